# SPDX-License-Identifier: Apache-2.0
"""The fabric as placement and drivers need it. The engine calls; constant query count, no secret read."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q

from chains.models import Chain, Device, Instance, Link, Offer, Port, Vrf
from chains.planning import types
from chains.selectors.usage import LinkTaken, OfferTaken, Taken, taken_by_others
from drivers.base import PortInfo, Target
from drivers.registry import DRIVERS

# By the id of a port: the port at the other end of its link.
Far = dict[int, Port]


def fabric_snapshot(chain: Chain) -> types.Fabric:
    """Everything that placement of this chain needs. Use by other chains is summed by the database."""
    taken = taken_by_others(chain.pk)
    links = _link_rows()
    return types.Fabric(
        devices=_devices(_far(links)),
        links=_links(links, taken),
        offers=_offers(taken),
        vrfs=vrf_tags(),
    )


def _devices(far: Far) -> dict[str, types.Device]:
    return {row.name: _device(row, far) for row in Device.objects.prefetch_related("ports")}


def vrf_tags() -> dict[str, int]:
    """Name -> the VLAN that carries it between switches."""
    return dict(Vrf.objects.values_list("name", "tag"))


def target_of(device: Device) -> Target:
    """The device as its driver needs it, without the secret: the caller resolves `device.credential`."""
    return _target(device, vrf_tags(), _far(_link_rows([device.name])))


def targets_of(names: Iterable[str]) -> dict[str, Target]:
    """Several at once, by name, in four queries. A name that does not exist is left out."""
    wanted, vrfs = list(names), vrf_tags()
    far = _far(_link_rows(wanted))
    rows = Device.objects.filter(name__in=wanted).prefetch_related("ports")
    return {row.name: _target(row, vrfs, far) for row in rows}


def _target(device: Device, vrfs: dict[str, int], far: Far) -> Target:
    return Target(
        name=device.name,
        driver=device.driver,
        management=device.management,
        settings=device.settings,
        ports=_ports(device, far),
        vrfs=vrfs,
    )


def _ports(device: Device, far: Far) -> dict[str, PortInfo]:
    return {port.name: _port(port, far.get(port.pk)) for port in device.ports.all()}


def _port(port: Port, peer: Port | None) -> PortInfo:
    return PortInfo(
        name=port.name,
        number=port.number,
        mac=port.mac,
        interface=port.interface,
        addresses=tuple(port.addresses),
        peer_mac=peer.mac if peer else "",
        peer_addresses=tuple(peer.addresses) if peer else (),
    )


def _link_rows(devices: Iterable[str] | None = None) -> list[Link]:
    """All links, or those that end on these devices."""
    rows = Link.objects.select_related("a__device", "b__device")
    if devices is not None:
        rows = rows.filter(Q(a__device__name__in=devices) | Q(b__device__name__in=devices))
    return list(rows)


def _far(links: Iterable[Link]) -> Far:
    return {near.pk: far for link in links for near, far in ((link.a, link.b), (link.b, link.a))}


def _device(row: Device, far: Far) -> types.Device:
    driver = DRIVERS.get(row.driver)
    return types.Device(
        name=row.name,
        kind=row.kind,
        driver=row.driver,
        caps=driver.caps if driver else None,
        ports=_ports(row, far),
        is_enabled=row.is_enabled,
    )


def _links(rows: Iterable[Link], taken: Taken) -> tuple[types.Link, ...]:
    links = []
    for row in rows:
        used = taken.links.get((str(row.a), str(row.b)), LinkTaken())
        links.append(
            types.Link(
                a=types.Endpoint(row.a.device.name, row.a.name),
                b=types.Endpoint(row.b.device.name, row.b.name),
                capacity_mbps=row.capacity_mbps,
                latency_us=row.latency_us,
                mtu_bytes=row.mtu_bytes,
                used_from_a_mbps=used.from_a_mbps,
                used_from_b_mbps=used.from_b_mbps,
                tags=frozenset(used.tags),
            )
        )
    return tuple(sorted(links, key=lambda link: (link.a, link.b)))


def _offers(taken: Taken) -> tuple[types.Offer, ...]:
    rows = Offer.objects.select_related("device", "function", "instance")
    return tuple(_offer(row, taken.offers.get(str(row), OfferTaken())) for row in rows)


def _offer(row: Offer, used: OfferTaken) -> types.Offer:
    instance = getattr(row, "instance", None) or Instance()
    return types.Offer(
        device=row.device.name,
        function=row.function.name,
        capability=types.Capability(row.function.capability),
        realm=types.Realm(row.realm),
        inside=row.inside,
        outside=row.outside,
        capacity_mbps=row.capacity_mbps,
        used_mbps=used.mbps,
        entries=row.entries,
        used_entries=used.entries,
        latency_us=row.latency_us,
        cost_per_gbps=row.cost_per_gbps,
        cost_fixed=row.cost_fixed,
        tenants=frozenset(used.tenants),
        is_shared=row.is_shared,
        is_enabled=row.is_enabled,
        is_draining=instance.is_draining,
        health=types.Health(instance.health),
        pool=row.settings.get("pool", ""),
        block_size=int(row.settings.get("block_size", 0)),
        taken=frozenset(used.public),
    )
