# SPDX-License-Identifier: Apache-2.0
"""Writes the difference of two documents to the rows. Called by `load` alone, inside its transaction.

Order: what hangs on others goes first, then everything is created and changed from the ground up, then the
ground goes. References are by name, so a row that keeps its name keeps its identity.
"""

from __future__ import annotations

from collections.abc import Iterable

from chains import models
from chains.fabric.document import Device, Fabric, Link, Offer, Segment, Site, Tenant
from chains.fabric.text import told

Ends = tuple[str, str]


def write(before: Fabric, wanted: Fabric) -> None:
    models.Fabric.objects.update_or_create(
        pk=1, defaults={"name": wanted.fabric, "management": wanted.management}
    )
    _remove_links(before, wanted)
    _remove_offers(before, wanted)
    _bounded(models.Site, wanted.sites)
    _bounded(models.Tenant, wanted.tenants)
    _vrfs(wanted)
    _functions(wanted)
    _prices(before, wanted)
    _devices(before, wanted)
    _links(before, wanted)
    _offers(before, wanted)
    _segments(before, wanted)
    _remove_ground(wanted)


def _bounded(model: type[models.Site] | type[models.Tenant], entries: Iterable[Site | Tenant]) -> None:
    model.objects.bulk_create(  # type: ignore[attr-defined]
        [
            model(
                name=entry.name, needs_approval=entry.needs_approval, changes_at_once=entry.changes_at_once
            )
            for entry in entries
        ],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["needs_approval", "changes_at_once"],
    )


def _vrfs(wanted: Fabric) -> None:
    """Tags may be swapped: who has to give one up takes a free one for a moment."""
    rows = {row.name: row for row in models.Vrf.objects.all()}
    taken = {row.tag for row in rows.values()} | {vrf.tag for vrf in wanted.vrfs}
    spare = iter(tag for tag in range(1, 3000) if tag not in taken)
    tags = {vrf.name: vrf.tag for vrf in wanted.vrfs}
    moving = [row for row in rows.values() if tags.get(row.name) != row.tag]
    for row in moving:
        row.tag = next(spare)
    models.Vrf.objects.bulk_update(moving, ["tag"])
    for row in moving:
        row.tag = tags.get(row.name, row.tag)
    models.Vrf.objects.bulk_update(moving, ["tag"])
    models.Vrf.objects.bulk_create(
        models.Vrf(name=name, tag=tag) for name, tag in tags.items() if name not in rows
    )


def _functions(wanted: Fabric) -> None:
    models.Function.objects.bulk_create(
        [
            models.Function(
                name=entry.name,
                capability=entry.capability,
                description=entry.description,
                degraded_below=entry.degraded_below,
                down_below=entry.down_below,
            )
            for entry in wanted.functions
        ],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["capability", "description", "degraded_below", "down_below"],
    )


def _prices(before: Fabric, wanted: Fabric) -> None:
    if before.prices != wanted.prices:
        models.Price.objects.exclude(name__in=[entry.name for entry in wanted.prices]).delete()
        models.Price.objects.bulk_create(
            [models.Price(name=entry.name, cost=entry.cost) for entry in wanted.prices],
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=["cost"],
        )


def _devices(before: Fabric, wanted: Fabric) -> None:
    old = {device.name: device for device in before.devices}
    changed = [device for device in wanted.devices if old.get(device.name) != device]
    sites = dict(models.Site.objects.values_list("name", "pk"))
    models.Device.objects.bulk_create(
        [
            models.Device(
                name=entry.name,
                site_id=sites[entry.site],
                kind=entry.kind,
                driver=entry.driver,
                management=entry.management,
                credential=entry.credential,
                settings=dict(entry.settings),
                is_enabled=entry.is_enabled,
            )
            for entry in changed
        ],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["site", "kind", "driver", "management", "credential", "settings", "is_enabled"],
    )
    _ports(changed)


def _ports(changed: list[Device]) -> None:
    ids = dict(
        models.Device.objects.filter(name__in=[entry.name for entry in changed]).values_list("name", "pk")
    )
    kept = {(ids[entry.name], port.name) for entry in changed for port in entry.ports}
    rows = models.Port.objects.filter(device__in=ids.values()).values_list("pk", "device_id", "name")
    gone = [pk for pk, device_id, name in rows if (device_id, name) not in kept]
    # A segment that leaves the port is written later; its attachment goes with the port.
    models.Attachment.objects.filter(port__in=gone).delete()
    models.Port.objects.filter(pk__in=gone).delete()
    models.Port.objects.bulk_create(
        [
            models.Port(
                device_id=ids[entry.name],
                name=port.name,
                number=port.number,
                mac=port.mac,
                interface=port.interface,
                vrf=port.vrf,
                addresses=list(port.addresses),
            )
            for entry in changed
            for port in entry.ports
        ],
        update_conflicts=True,
        unique_fields=["device", "name"],
        update_fields=["number", "mac", "interface", "vrf", "addresses"],
    )
    models.DeviceStatus.objects.bulk_create(
        [models.DeviceStatus(device_id=pk) for pk in sorted(ids.values())], ignore_conflicts=True
    )


def _ends(entry: Link) -> Ends:
    return entry.a, entry.b


def _link_ids() -> dict[Ends, int]:
    """By their ends, the one that sorts first before the other, as in a document."""
    rows = models.Link.objects.select_related("a__device", "b__device")
    return {tuple(sorted((str(row.a), str(row.b)))): row.pk for row in rows}  # type: ignore[misc]


def _remove_links(before: Fabric, wanted: Fabric) -> None:
    kept = {_ends(entry) for entry in wanted.links}
    gone = {_ends(entry) for entry in before.links} - kept
    if gone:
        ids = _link_ids()
        models.Link.objects.filter(pk__in=[ids[ends] for ends in gone]).delete()


def _links(before: Fabric, wanted: Fabric) -> None:
    old = {_ends(entry): entry for entry in before.links}
    changed = [entry for entry in wanted.links if old.get(_ends(entry)) != entry]
    if not changed:
        return
    ids, ports = _link_ids(), _port_ids()
    new = [entry for entry in changed if _ends(entry) not in ids]
    models.Link.objects.bulk_create(
        models.Link(a_id=ports[entry.a], b_id=ports[entry.b], **_link_values(entry)) for entry in new
    )
    for entry in changed:
        if _ends(entry) in ids:
            models.Link.objects.filter(pk=ids[_ends(entry)]).update(**_link_values(entry))


def _link_values(entry: Link) -> dict[str, int]:
    return {
        "capacity_mbps": entry.capacity_mbps,
        "latency_us": entry.latency_us,
        "mtu_bytes": entry.mtu_bytes,
    }


def _port_ids() -> dict[str, int]:
    rows = models.Port.objects.order_by().values_list("device__name", "name", "pk")
    return {f"{device}:{port}": pk for device, port, pk in rows}


def _remove_offers(before: Fabric, wanted: Fabric) -> None:
    kept = {entry.name for entry in wanted.offers}
    gone = [entry for entry in before.offers if entry.name not in kept]
    for entry in gone:
        models.Offer.objects.filter(device__name=entry.device, function__name=entry.function).delete()


def _offers(before: Fabric, wanted: Fabric) -> None:
    old = {entry.name: entry for entry in before.offers}
    changed = [entry for entry in wanted.offers if old.get(entry.name) != entry]
    devices = dict(models.Device.objects.values_list("name", "pk"))
    functions = dict(models.Function.objects.values_list("name", "pk"))
    models.Offer.objects.bulk_create(
        [_offer(entry, devices[entry.device], functions[entry.function]) for entry in changed],
        update_conflicts=True,
        unique_fields=["device", "function"],
        update_fields=[
            "realm",
            "inside",
            "outside",
            "mode",
            "capacity_mbps",
            "measured_mbps",
            "entries",
            "latency_us",
            "cost_per_gbps",
            "cost_fixed",
            "licence_per_gbps",
            "cores_per_gbps",
            "watts_per_gbps",
            "measured_cores_per_gbps",
            "measured_latency_us",
            "is_shared",
            "is_enabled",
            "settings",
            "probes",
            "is_last_resort",
        ],
    )
    bare = models.Offer.objects.filter(instance=None).values_list("pk", flat=True)
    models.Instance.objects.bulk_create(models.Instance(offer_id=pk) for pk in bare)


def _offer(entry: Offer, device_id: int, function_id: int) -> models.Offer:
    return models.Offer(
        device_id=device_id,
        function_id=function_id,
        realm=entry.realm,
        inside=entry.inside,
        outside=entry.outside,
        mode=entry.mode,
        capacity_mbps=entry.capacity_mbps,
        measured_mbps=entry.measured_mbps,
        entries=entry.entries,
        latency_us=entry.latency_us,
        cost_per_gbps=entry.cost_per_gbps,
        cost_fixed=entry.cost_fixed,
        licence_per_gbps=entry.licence_per_gbps,
        cores_per_gbps=entry.cores_per_gbps,
        watts_per_gbps=entry.watts_per_gbps,
        measured_cores_per_gbps=entry.measured_cores_per_gbps,
        measured_latency_us=entry.measured_latency_us,
        is_shared=entry.is_shared,
        is_enabled=entry.is_enabled,
        settings=dict(entry.settings),
        probes=[told(probe) for probe in entry.probes],
        is_last_resort=entry.is_last_resort,
    )


def _segments(before: Fabric, wanted: Fabric) -> None:
    old = {entry.full_name: entry for entry in before.segments}
    rows = {
        (row.tenant.name if row.tenant else "", row.name): row
        for row in models.Segment.objects.select_related("tenant")
    }
    kept = {(entry.tenant, entry.name) for entry in wanted.segments}
    models.Segment.objects.filter(pk__in=[row.pk for name, row in rows.items() if name not in kept]).delete()
    tenants = dict(models.Tenant.objects.values_list("name", "pk"))
    vrfs = dict(models.Vrf.objects.values_list("name", "pk"))
    ports = _port_ids()
    for entry in wanted.segments:
        row = rows.get((entry.tenant, entry.name))
        # Also if it is as before: a port that was replaced under the same name took its attachment along.
        if (
            row is None
            or old.get(entry.full_name) != entry
            or row.attachments.count() != len(entry.attachments)
        ):
            _segment(entry, row, tenants.get(entry.tenant), vrfs[entry.vrf], ports)


def _segment(
    entry: Segment, row: models.Segment | None, tenant_id: int | None, vrf_id: int, ports: dict[str, int]
) -> None:
    row = row or models.Segment(tenant_id=tenant_id, name=entry.name)
    row.vrf_id, row.prefixes, row.mtu_bytes = vrf_id, list(entry.prefixes), entry.mtu_bytes
    row.save()
    row.attachments.all().delete()
    models.Attachment.objects.bulk_create(
        models.Attachment(segment=row, port_id=ports[attachment.port], prefixes=list(attachment.prefixes))
        for attachment in entry.attachments
    )


def _remove_ground(wanted: Fabric) -> None:
    """What others stood on."""
    models.Function.objects.exclude(name__in=[entry.name for entry in wanted.functions]).delete()
    gone = models.Device.objects.exclude(name__in=[entry.name for entry in wanted.devices])
    models.Plan.objects.filter(change=None, steps__device__in=gone).delete()
    gone.delete()
    models.Tenant.objects.exclude(name__in=[entry.name for entry in wanted.tenants]).delete()
    models.Vrf.objects.exclude(name__in=[entry.name for entry in wanted.vrfs]).delete()
    models.Site.objects.exclude(name__in=[entry.name for entry in wanted.sites]).delete()
