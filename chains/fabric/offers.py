# SPDX-License-Identifier: Apache-2.0
"""What is checked of the offers of a fabric file: devices, ports, modes, settings, pools. Called by `check`. Pure."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Mapping

from chains.fabric.document import Device, Offer
from chains.fabric.names import Names
from chains.fabric.probes import probe_faults
from drivers.nat import PORTS_PER_ADDRESS
from drivers.state import Kind

# Which items realise a capability; one of them is enough.
KINDS_FOR: Mapping[str, frozenset[Kind]] = {
    "stateless_filter": frozenset({Kind.FILTER, Kind.RULESET}),
    "stateful_filter": frozenset({Kind.RULESET}),
    "ips": frozenset({Kind.SIGNATURES}),
    "nat": frozenset({Kind.NATPOOL}),
    # A tap only takes in: nothing is written to it.
    "tap": frozenset(),
}


def check_offer(names: Names, offer: Offer) -> None:
    """Device, function, ports, settings of one offer."""
    path = f"offers[{offer.name}]"
    functions = {function.name: function for function in names.fabric.functions}
    has_function = names.known(offer, path, "function", offer.function, functions, "function")
    if not names.known(offer, path, "device", offer.device, names.devices, "device"):
        return
    device = names.devices[offer.device]
    if offer.realm != device.kind:
        names.add(offer, path, f"{device.name} is of kind {device.kind}: the realm must be the same", "realm")
    _offer_ports(names, offer, device)
    for probe, detail in probe_faults(offer, names.devices, names.peers):
        names.add(probe or offer, path, detail, "" if probe else "probes")
    if has_function:
        _capability(names, offer, functions[offer.function].capability, device)


def _offer_ports(names: Names, offer: Offer, device: Device) -> None:
    path = f"offers[{offer.name}]"
    for key, port in (("inside", offer.inside), ("outside", offer.outside)):
        if offer.realm != "appliance":
            if port:
                names.add(offer, path, f"only an appliance has {key}; leave it out", key)
        elif not port:
            names.add(offer, path, f"an appliance's offer needs {key}, a port of {device.name}")
        elif names.known(offer, path, key, port, {p.name for p in device.ports}, f"port of {device.name}"):
            peer = names.peers.get(f"{device.name}:{port}", "")
            if peer.partition(":")[0] not in names.devices or names.kind(peer) != "switch":
                names.add(offer, path, f"{device.name}:{port} needs a link to a switch", key)
    if offer.realm == "appliance":
        _mode(names, offer, path)
    elif offer.mode != "two_arm":
        names.add(offer, path, "only an appliance has a mode; leave it out", "mode")


def _mode(names: Names, offer: Offer, path: str) -> None:
    """Only a box with one arm has the same port twice; a tap gives nothing back."""
    is_one_port = bool(offer.inside) and offer.inside == offer.outside
    functions = {function.name: function.capability for function in names.fabric.functions}
    if functions.get(offer.function) == "tap":
        if not is_one_port or offer.mode != "one_arm":
            names.add(offer, path, "a tap has one port: mode one_arm, inside and outside the same", "mode")
    elif is_one_port and offer.mode != "one_arm":
        names.add(offer, path, f"{offer.mode} needs two ports; with one port the mode is one_arm", "outside")
    elif not is_one_port and offer.mode == "one_arm":
        names.add(offer, path, "one_arm means that inside and outside are the same port", "mode")


def _capability(names: Names, offer: Offer, capability: str, device: Device) -> None:
    path = f"offers[{offer.name}]"
    caps = names.drivers.get(device.driver)
    if caps is not None and capability != "tap" and not caps.kinds & KINDS_FOR[capability]:
        detail = f"the driver {device.driver} of {device.name} cannot realise {capability}"
        names.add(offer, path, detail, "function")
    known = ("pool", "block_size") if capability == "nat" else ()
    for name in sorted(offer.settings):
        if name not in known:
            hint = f"known: {', '.join(known)}" if known else f"{capability} has none"
            names.add(offer, path, f"there is no setting {name}; {hint}", "settings")
    if capability == "nat":
        _nat(names, offer, path)


def _nat(names: Names, offer: Offer, path: str) -> None:
    pool, size = offer.settings.get("pool", ""), offer.settings.get("block_size", "")
    if not pool and "settings" not in offer.lines or offer.settings and not pool:
        names.add(offer, path, "NAT needs settings: {pool: PREFIX}", "settings")
    elif pool and pool_of(offer) is None:
        names.add(offer, path, f"pool {pool[:60]!a} must be an IPv4 prefix with host bits zero", "settings")
    if size and not (
        size.isascii() and size.isdigit() and len(size) < 6 and 16 <= int(size) <= PORTS_PER_ADDRESS
    ):
        names.add(offer, path, f"block_size must be 16 to {PORTS_PER_ADDRESS} ports", "settings")


def pool_of(offer: Offer) -> ipaddress.IPv4Network | None:
    """The offer's NAT pool, None if it has none that can be read."""
    try:
        return ipaddress.IPv4Network(offer.settings["pool"])
    except (KeyError, ValueError):
        return None


def check_pools(names: Names) -> None:
    pools = [(offer, pool) for offer in names.fabric.offers if (pool := pool_of(offer)) is not None]
    for index, (offer, pool) in enumerate(pools):
        for other, taken in pools[:index]:
            if pool.overlaps(taken):
                detail = f"pool {pool} overlaps with {taken} of {other.name}: return traffic could not be told apart"
                names.add(offer, f"offers[{offer.name}]", detail, "settings")


def check_arms(names: Names) -> None:
    """One port of an appliance cannot be the inside of one function and the outside of another."""
    roles: dict[str, dict[str, Offer]] = defaultdict(dict)
    for offer in names.fabric.offers:
        for role, port in (("inside", offer.inside), ("outside", offer.outside)):
            other = "outside" if role == "inside" else "inside"
            taken = roles[f"{offer.device}:{port}"]
            are_one_arm = other in taken and offer.mode == taken[other].mode == "one_arm"
            if port and other in taken and taken[other] is not offer and not are_one_arm:
                detail = f"port {port} is the {other} of {taken[other].name}"
                names.add(offer, f"offers[{offer.name}]", detail, role)
            taken.setdefault(role, offer)
