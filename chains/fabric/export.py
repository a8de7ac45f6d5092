# SPDX-License-Identifier: Apache-2.0
"""Rows -> the document that would load as these rows. Called by `load` (to compare) and by a command."""

from __future__ import annotations

from chains import models
from chains.fabric.document import (
    Attachment,
    Device,
    Fabric,
    Function,
    Link,
    Offer,
    Port,
    Price,
    Probe,
    Segment,
    Site,
    Tenant,
    Vrf,
    canonical,
)

UNNAMED = "fabric"
BOUNDED = ("name", "needs_approval", "changes_at_once")


def export() -> Fabric:
    """In canonical order. Ten queries, whatever the size."""
    row = models.Fabric.objects.first()
    return canonical(
        Fabric(
            fabric=row.name if row else UNNAMED,
            management=row.management if row else "",
            sites=tuple(Site(*bounds) for bounds in models.Site.objects.values_list(*BOUNDED)),
            vrfs=tuple(Vrf(name, tag) for name, tag in models.Vrf.objects.values_list("name", "tag")),
            tenants=tuple(Tenant(*bounds) for bounds in models.Tenant.objects.values_list(*BOUNDED)),
            devices=tuple(
                device(row) for row in models.Device.objects.select_related("site").prefetch_related("ports")
            ),
            links=tuple(link(row) for row in models.Link.objects.select_related("a__device", "b__device")),
            functions=tuple(
                Function(row.name, row.capability, row.description, row.degraded_below, row.down_below)
                for row in models.Function.objects.all()
            ),
            prices=tuple(Price(*row) for row in models.Price.objects.values_list("name", "cost")),
            offers=tuple(offer(row) for row in models.Offer.objects.select_related("device", "function")),
            segments=tuple(
                segment(row)
                for row in models.Segment.objects.select_related("tenant", "vrf").prefetch_related(
                    "attachments__port__device"
                )
            ),
        )
    )


def device(row: models.Device) -> Device:
    return Device(
        name=row.name,
        site=row.site.name,
        kind=row.kind,
        driver=row.driver,
        management=row.management,
        credential=row.credential,
        settings=row.settings,
        is_enabled=row.is_enabled,
        ports=tuple(
            Port(port.name, port.number, port.mac, port.interface, port.vrf, tuple(port.addresses))
            for port in row.ports.all()
        ),
    )


def link(row: models.Link) -> Link:
    return Link(str(row.a), str(row.b), row.capacity_mbps, row.latency_us, row.mtu_bytes)


def offer(row: models.Offer) -> Offer:
    return Offer(
        device=row.device.name,
        function=row.function.name,
        realm=row.realm,
        inside=row.inside,
        outside=row.outside,
        mode=row.mode,
        capacity_mbps=row.capacity_mbps,
        measured_mbps=row.measured_mbps,
        entries=row.entries,
        latency_us=row.latency_us,
        cost_per_gbps=row.cost_per_gbps,
        cost_fixed=row.cost_fixed,
        licence_per_gbps=row.licence_per_gbps,
        cores_per_gbps=row.cores_per_gbps,
        watts_per_gbps=row.watts_per_gbps,
        measured_cores_per_gbps=row.measured_cores_per_gbps,
        measured_latency_us=row.measured_latency_us,
        is_shared=row.is_shared,
        is_enabled=row.is_enabled,
        settings=row.settings,
        probes=tuple(Probe(**probe) for probe in row.probes),
        is_last_resort=row.is_last_resort,
    )


def segment(row: models.Segment) -> Segment:
    return Segment(
        tenant=row.tenant.name if row.tenant else "",
        name=row.name,
        vrf=row.vrf.name,
        prefixes=tuple(row.prefixes),
        attachments=tuple(
            Attachment(str(attachment.port), tuple(attachment.prefixes))
            for attachment in row.attachments.all()
        ),
        mtu_bytes=row.mtu_bytes,
    )
