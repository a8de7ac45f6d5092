# SPDX-License-Identifier: Apache-2.0
"""What the entries of a fabric file say of one another: names once, references that lead somewhere, tags, pools.

Pure: a document in, faults out, all of them. Called by `load` and by the command that only checks.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from chains.fabric.document import Device, Entry, Fabric, Fault, Link, Segment
from chains.fabric.names import Names, names_of
from chains.fabric.offers import check_arms, check_offer, check_pools
from drivers.base import Capabilities
from drivers.limits import TABLE_LINES, is_table_lines

E = TypeVar("E", bound=Entry)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
def check(fabric: Fabric, drivers: Mapping[str, Capabilities]) -> tuple[Fault, ...]:
    """Every fault, by line."""
    names = names_of(fabric, drivers)
    for label, entries in (
        ("sites", fabric.sites),
        ("vrfs", fabric.vrfs),
        ("tenants", fabric.tenants),
        ("devices", fabric.devices),
        ("functions", fabric.functions),
    ):
        _once(names, label, entries, lambda entry: entry.name)
    _once(names, "offers", fabric.offers, lambda offer: offer.name, "there is already an offer")
    _once(names, "segments", fabric.segments, lambda segment: segment.full_name, "there is already a segment")
    _vrfs(names)
    for function in fabric.functions:
        if function.down_below > function.degraded_below:
            names.add(function, f"functions[{function.name}]", "down_below is above degraded_below", "down_below")
    for device in fabric.devices:
        _device(names, device)
    _management(names)
    _links(names)
    for offer in fabric.offers:
        check_offer(names, offer)
    check_pools(names)
    check_arms(names)
    for segment in fabric.segments:
        _segment(names, segment)
    _overlaps(names)
    _attachments(names)
    return tuple(sorted(set(names.faults)))


def _once(
    names: Names, label: str, entries: Iterable[E], key: Callable[[E], str], text: str = "the name is taken"
) -> None:
    first: dict[str, E] = {}
    for entry in entries:
        name = key(entry)
        if name in first:
            names.add(entry, f"{label}[{name}]", f"{text} (line {first[name].line()}); every name once")
        first.setdefault(name, entry)


def _vrfs(names: Names) -> None:
    first: dict[int, str] = {}
    for vrf in names.fabric.vrfs:
        if vrf.tag in first:
            names.add(
                vrf, f"vrfs[{vrf.name}]", f"tag {vrf.tag} is that of {first[vrf.tag]}; take a free one", "tag"
            )
        first.setdefault(vrf.tag, vrf.name)


def _device(names: Names, device: Device) -> None:
    path = f"devices[{device.name}]"
    names.known(device, path, "site", device.site, {site.name for site in names.fabric.sites}, "site")
    if device.kind == "external":
        if device.driver:
            names.add(device, path, 'an external device is never programmed: its driver is ""', "driver")
    elif not device.driver:
        names.add(
            device, path, f"a {device.kind} needs a driver: {', '.join(sorted(names.drivers))}", "driver"
        )
    else:
        names.known(device, path, "driver", device.driver, names.drivers, "driver")
    if device.settings.get("unverified", "no") not in ("yes", "no"):
        names.add(device, path, 'unverified is "yes" or "no" (default)', "settings")
    lines = device.settings.get(TABLE_LINES, "")
    if TABLE_LINES in device.settings and not is_table_lines(lines):
        names.add(device, path, f"{TABLE_LINES} is how many lines fit, a number from 1", "settings")
    is_fake = device.driver.startswith("fake")
    if (
        device.kind != "external"
        and not is_fake
        and not device.management
        and "management" not in device.lines
    ):
        names.add(device, path, "needs management, the address of its management interface")
    _ports(names, device, path)


def _ports(names: Names, device: Device, path: str) -> None:
    _once(names, f"{path}.ports", device.ports, lambda port: port.name)
    first: dict[int, str] = {}
    for port in device.ports:
        where = f"{path}.ports[{port.name}]"
        if port.vrf:
            names.known(port, where, "vrf", port.vrf, {vrf.name for vrf in names.fabric.vrfs}, "VRF")
        if port.number in first:
            names.add(port, where, f"number {port.number} is that of {first[port.number]}", "number")
        if port.number:
            first.setdefault(port.number, port.name)
        elif device.kind == "switch" and "number" not in port.lines:
            names.add(port, where, "a switch's port needs its number (1 to 65279)")
        if device.kind == "appliance" and not port.mac and "mac" not in port.lines:
            names.add(port, where, "an appliance's port needs its mac: switches write it as the next hop")
        if port.mac and int(port.mac[:2], 16) & 1:
            names.add(port, where, f"{port.mac} is a multicast address", "mac")


def _management(names: Names) -> None:
    """Inside the prefix that the file names, and every address once."""
    prefix = ipaddress.ip_network(names.fabric.management) if names.fabric.management else None
    first: dict[str, str] = {}
    for device in names.fabric.devices:
        path, text = f"devices[{device.name}]", device.management
        if not text:
            continue
        if text in first:
            names.add(device, path, f"{text} is the address of {first[text]}", "management")
        first.setdefault(text, device.name)
        if prefix is None or not _is_address(text):
            continue
        if ipaddress.ip_address(text) not in prefix:
            names.add(device, path, f"{text} is outside management ({prefix})", "management")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _links(names: Names) -> None:
    first: dict[str, Link] = {}
    for link in names.fabric.links:
        path = f"links[{link.name}]"
        for key, end in (("a", link.a), ("b", link.b)):
            if not _is_port(names, link, path, key, end):
                continue
            if end in first and first[end] is not link:
                names.add(link, path, f"port {end} is in the link of line {first[end].line()} already", key)
            first.setdefault(end, link)
        if link.a.partition(":")[0] == link.b.partition(":")[0]:
            names.add(link, path, "leads from a device to itself")


def _is_port(names: Names, entry: Entry, path: str, key: str, end: str) -> bool:
    """Does "device:port" exist? If not, a fault."""
    device, colon, port = end.partition(":")
    if not colon:
        names.add(entry, path, f'{end[:60]!a} is no port; write "device:port"', key)
        return False
    if not names.known(entry, path, key, device[:63], names.devices, "device"):
        return False
    return names.known(
        entry, path, key, port[:63], {p.name for p in names.devices[device].ports}, f"port of {device}"
    )


def _segment(names: Names, segment: Segment) -> None:
    path = f"segments[{segment.full_name}]"
    if segment.tenant:
        tenants = {tenant.name for tenant in names.fabric.tenants}
        names.known(segment, path, "tenant", segment.tenant, tenants, "tenant")
        if any(other.name == segment.name and not other.tenant for other in names.fabric.segments):
            detail = (
                f"{segment.name} is the name of a segment of the operator (tenant null); take another one"
            )
            names.add(segment, path, detail, "name")
    names.known(segment, path, "vrf", segment.vrf, {vrf.name for vrf in names.fabric.vrfs}, "VRF")
    if not segment.prefixes:
        names.add(segment, path, "needs at least one prefix", "prefixes")
    if not segment.attachments:
        names.add(segment, path, "needs at least one attachment: {port: DEVICE:PORT}", "attachments")
    _segment_prefixes(names, segment)


def _segment_prefixes(names: Names, segment: Segment) -> None:
    path = f"segments[{segment.full_name}]"
    networks = [ipaddress.ip_network(prefix) for prefix in segment.prefixes]
    for index, network in enumerate(networks):
        for other in networks[:index]:
            if _overlap(network, other):
                names.add(segment, path, f"{network} overlaps with {other}; keep the wider one", "prefixes")
    for attachment in segment.attachments:
        where = f"{path}.attachments[{attachment.port[:63]}]"
        for prefix in attachment.prefixes:
            if not any(_is_part(ipaddress.ip_network(prefix), network) for network in networks):
                names.add(attachment, where, f"{prefix} is not part of the segment", "prefixes")


def _overlaps(names: Names) -> None:
    """In one VRF an address belongs to one segment. Only inside the operator's may others lie: the narrowest counts."""
    by_vrf: dict[str, list[tuple[Segment, Network]]] = defaultdict(list)
    for segment in names.fabric.segments:
        for prefix in segment.prefixes:
            by_vrf[segment.vrf].append((segment, ipaddress.ip_network(prefix)))
    for members in by_vrf.values():
        for index, (segment, network) in enumerate(members):
            for other, taken in members[:index]:
                if other is segment or not _overlap(network, taken):
                    continue
                if network == taken or (segment.tenant and other.tenant):
                    detail = f"{network} overlaps with {taken} of {other.full_name} in the VRF {segment.vrf}"
                    names.add(segment, f"segments[{segment.full_name}]", detail, "prefixes")


def _attachments(names: Names) -> None:
    vrfs: dict[str, Segment] = {}
    for segment in names.fabric.segments:
        _once(
            names, f"segments[{segment.full_name}].attachments", segment.attachments, lambda entry: entry.port
        )
        for attachment in segment.attachments:
            path = f"segments[{segment.full_name}].attachments[{attachment.port[:63]}]"
            if not _is_port(names, attachment, path, "port", attachment.port):
                continue
            for fault in _port_faults(names, attachment.port):
                names.add(attachment, path, fault, "port")
            other = vrfs.setdefault(attachment.port, segment)
            if other.vrf != segment.vrf:
                detail = f"the port is in the VRF {other.vrf} ({other.full_name}); a port is in one VRF"
                names.add(attachment, path, detail, "port")


def _port_faults(names: Names, port: str) -> Iterator[str]:
    if names.kind(port) != "switch":
        yield "a segment is attached to a port of a switch"
        return
    peer = names.peers.get(port, "")
    if peer.partition(":")[0] in names.devices and names.kind(peer) in ("switch", "appliance"):
        yield f"the port leads to the {names.kind(peer)} {peer.partition(':')[0]}: no segment lives there"


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _is_part(network: Network, of: Network) -> bool:
    return network.version == of.version and network.subnet_of(of)  # type: ignore[arg-type]
