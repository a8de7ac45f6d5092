# SPDX-License-Identifier: Apache-2.0
"""The fabric as placement and drivers need it. The engine calls; constant query count, no secret read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from django.db.models import Q

from chains.models import Chain, Device, DeviceStatus, Instance, Link, Offer, Port, Price, Vrf
from chains.planning import types, worth
from chains.selectors.usage import LinkTaken, OfferTaken, Taken, taken_by_others
from drivers.base import PortInfo, Target
from drivers.registry import DRIVERS


def fabric_snapshot(chain: Chain) -> types.Fabric:
    """Everything that placement of this chain needs. Use by other chains is summed by the database."""
    taken = taken_by_others(chain.pk)
    return types.Fabric(
        devices=_devices(doubts=_doubts(chain)),
        links=_links(taken),
        offers=_offers(taken),
        vrfs=vrf_tags(),
        prices=prices_now(),
    )


def whole_snapshot() -> types.Fabric:
    """With everything that anybody takes counted as used, and no doubts: for questions about the whole."""
    taken = taken_by_others(None)
    return types.Fabric(_devices(), _links(taken), _offers(taken), vrf_tags(), prices_now())


def prices_now() -> types.Prices:
    """The operator's, the defaults where nothing is said."""
    held = dict(Price.objects.values_list("name", "cost"))
    return types.Prices(**{name: cost for name, cost in held.items() if name in worth.NAMES})


def inventory_snapshot(names: Iterable[str]) -> types.Fabric:
    """These devices, their offers and the links between them, as if nothing were taken: to compare, not to place."""
    taken, only = Taken({}, {}), tuple(names)
    return types.Fabric(
        devices=_devices(only), links=_links(taken, only), offers=_offers(taken, only), vrfs=vrf_tags()
    )


def _devices(
    names: tuple[str, ...] | None = None, doubts: Mapping[int, str] = MappingProxyType({})
) -> dict[str, types.Device]:
    """doubts: by device id."""
    rows = list(Device.objects.all() if names is None else Device.objects.filter(name__in=names))
    ports = _ports_of(rows)
    return {row.name: _device(row, ports[row.pk], doubts.get(row.pk, "")) for row in rows}


def _doubts(chain: Chain) -> dict[int, str]:
    """Devices that a chain may stay on, but not come to: they do not answer, or came back with nothing on them."""
    rows = DeviceStatus.objects.exclude(device__contributions__chain=chain)
    is_silent = Q(condition=DeviceStatus.Condition.UNREACHABLE)
    is_empty = Q(condition=DeviceStatus.Condition.DRIFTED, observed={})
    told = {DeviceStatus.Condition.UNREACHABLE: "does not answer"}
    found = rows.filter(is_silent | is_empty).values_list("device_id", "condition")
    return {pk: told.get(condition, "came back empty and is not programmed again yet") for pk, condition in found}


def vrf_tags() -> dict[str, int]:
    """Name -> the VLAN that carries it between switches."""
    return dict(Vrf.objects.values_list("name", "tag"))


def target_of(device: Device) -> Target:
    """The device as its driver needs it, without the secret: the caller resolves `device.credential`."""
    return _target(device, _ports_of([device])[device.pk], vrf_tags())


def targets_of(names: Iterable[str]) -> dict[str, Target]:
    """Several at once, by name, in three queries. A name that does not exist is left out."""
    vrfs = vrf_tags()
    rows = list(Device.objects.filter(name__in=list(names)))
    ports = _ports_of(rows)
    return {row.name: _target(row, ports[row.pk], vrfs) for row in rows}


def _target(device: Device, ports: dict[str, PortInfo], vrfs: dict[str, int]) -> Target:
    return Target(
        name=device.name,
        driver=device.driver,
        management=device.management,
        settings=device.settings,
        ports=ports,
        vrfs=vrfs,
    )


# A link has a port at either end, so what is at the other one is found by two ways.
PORT = ("device_id", "name", "number", "mac", "interface", "vrf", "addresses")
PEER = ("link_a__b__mac", "link_a__b__addresses", "link_b__a__mac", "link_b__a__addresses")


def _ports_of(devices: Iterable[Device]) -> dict[int, dict[str, PortInfo]]:
    """By device id and port name."""
    found: dict[int, dict[str, PortInfo]] = {device.pk: {} for device in devices}
    rows = Port.objects.filter(device__in=list(found)).order_by("name").values_list(*PORT, *PEER)
    for device_id, name, number, mac, interface, vrf, own, to_b, at_b, to_a, at_a in rows:
        far = tuple(at_b or at_a or ())
        found[device_id][name] = PortInfo(
            name, number, mac, interface, tuple(own), peer_mac=to_b or to_a or "", peer_addresses=far, vrf=vrf
        )
    return found


def _device(row: Device, ports: dict[str, PortInfo], doubt: str) -> types.Device:
    driver = DRIVERS.get(row.driver)
    return types.Device(
        name=row.name,
        kind=row.kind,
        driver=row.driver,
        caps=driver.caps if driver else None,
        ports=ports,
        is_enabled=row.is_enabled,
        doubt=doubt,
    )


def _links(taken: Taken, names: tuple[str, ...] | None = None) -> tuple[types.Link, ...]:
    rows = Link.objects.order_by()
    if names is not None:
        rows = rows.filter(a__device__name__in=names, b__device__name__in=names)
    links = []
    ends, itself = ("a__device__name", "a__name", "b__device__name", "b__name"), ("capacity_mbps", "latency_us")
    values = rows.values_list(*ends, *itself, "mtu_bytes", "is_up")
    for a_device, a_port, b_device, b_port, mbps, us, mtu, is_up in values:
        used = taken.links.get((f"{a_device}:{a_port}", f"{b_device}:{b_port}"), LinkTaken())
        links.append(
            types.Link(
                a=types.Endpoint(a_device, a_port),
                b=types.Endpoint(b_device, b_port),
                capacity_mbps=mbps,
                latency_us=us,
                mtu_bytes=mtu,
                used_from_a_mbps=used.from_a_mbps,
                used_from_b_mbps=used.from_b_mbps,
                tags=frozenset(used.tags),
                is_up=is_up,
            )
        )
    return tuple(sorted(links, key=lambda link: (link.a, link.b)))


# Read as values: a row with its device, function and instance would be four objects for each offer of the fabric.
OFFER = (
    "device__name", "function__name", "function__capability", "realm", "inside", "outside", "mode", "capacity_mbps",
    "measured_mbps",
    "entries", "latency_us", "cost_per_gbps", "cost_fixed", "licence_per_gbps", "cores_per_gbps", "watts_per_gbps",
    "measured_cores_per_gbps", "measured_latency_us", "is_shared", "is_enabled", "settings",
    "instance__is_draining", "instance__health", "is_last_resort",
)  # fmt: skip


def _offers(taken: Taken, names: tuple[str, ...] | None = None) -> tuple[types.Offer, ...]:
    rows = Offer.objects.all() if names is None else Offer.objects.filter(device__name__in=names)
    return tuple(_offer(row, taken) for row in rows.values(*OFFER))


def _offer(row: dict[str, Any], taken: Taken) -> types.Offer:
    used = taken.offers.get(f"{row['function__name']}@{row['device__name']}", OfferTaken())
    return types.Offer(
        device=row["device__name"],
        function=row["function__name"],
        capability=types.Capability(row["function__capability"]),
        realm=types.Realm(row["realm"]),
        inside=row["inside"],
        outside=row["outside"],
        mode=types.Mode(row["mode"]),
        capacity_mbps=row["capacity_mbps"],
        measured_mbps=row["measured_mbps"],
        used_mbps=used.mbps,
        entries=row["entries"],
        used_entries=used.entries,
        latency_us=row["measured_latency_us"] or row["latency_us"],
        cost_per_gbps=row["cost_per_gbps"],
        cost_fixed=row["cost_fixed"],
        licence_per_gbps=row["licence_per_gbps"],
        cores_per_gbps=row["measured_cores_per_gbps"] or row["cores_per_gbps"],
        watts_per_gbps=row["watts_per_gbps"],
        tenants=frozenset(used.tenants),
        is_shared=row["is_shared"],
        is_enabled=row["is_enabled"],
        is_draining=bool(row["instance__is_draining"]),
        is_last_resort=row["is_last_resort"],
        # An offer without an instance was never looked at.
        health=types.Health(row["instance__health"] or Instance.Health.UNKNOWN),
        pool=row["settings"].get("pool", ""),
        block_size=int(row["settings"].get("block_size", 0)),
        taken=frozenset(used.public),
        resting=frozenset(used.resting),
    )
