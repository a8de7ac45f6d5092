# SPDX-License-Identifier: Apache-2.0
"""What a fabric file may not take away: what chains, plans, tokens or people still need. Reads rows only.

Called by `load` before it writes. A plan that was applied is history, and history names its devices.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import QuerySet

from chains import models
from chains.fabric.document import Device, Fabric, Fault, Offer
from chains.selectors.usage import plans_under_way

FIX = "put it back, or remove what needs it first"
Needs = dict[str, list[str]]


def faults_of(before: Fabric, wanted: Fabric) -> tuple[Fault, ...]:
    """One fault for each thing that is needed and would go, or would become another thing."""
    gone = _Gone(before, wanted)
    found: list[Fault] = []
    for label, names, needs in (
        ("tenants", gone.tenants, _tenants(gone.tenants)),
        ("devices", gone.devices, _devices(gone.devices)),
        ("functions", gone.functions, _functions(gone.functions)),
        ("offers", gone.offers, _offers(gone.offers)),
        ("links", gone.links, _links(gone.links)),
        ("segments", gone.segments, _segments(gone.segments)),
    ):
        for name in names:
            if needs.get(name):
                who = ", ".join(sorted(set(needs[name]))[:5])
                found.append(Fault(0, f"{label}[{name}]", f"is not in the file but needed by {who}; {FIX}"))
    found.extend(_changed_devices(before, wanted))
    found.extend(_changed_pools(wanted))
    return tuple(sorted(found))


class _Gone:
    """Names that the file does not hold any more."""

    def __init__(self, before: Fabric, wanted: Fabric) -> None:
        self.tenants = _minus(before.tenants, wanted.tenants, "name")
        self.devices = _minus(before.devices, wanted.devices, "name")
        self.functions = _minus(before.functions, wanted.functions, "name")
        self.offers = _minus(before.offers, wanted.offers, "name")
        self.links = _minus(before.links, wanted.links, "name")
        self.segments = _minus(before.segments, wanted.segments, "full_name")


def _minus(before: Iterable[Any], wanted: Iterable[Any], label: str) -> list[str]:
    kept = {getattr(entry, label) for entry in wanted}
    return [name for entry in before if (name := getattr(entry, label)) not in kept]


def _gather(rows: Iterable[tuple[str, str]]) -> Needs:
    found: Needs = defaultdict(list)
    for name, who in rows:
        found[name].append(who)
    return found


def _chains(rows: QuerySet[Any], name: str, chain: str = "chain") -> list[tuple[str, str]]:
    """(name of the thing, chain) pairs."""
    values = rows.order_by().values_list(name, f"{chain}__tenant__name", f"{chain}__name").distinct()
    return [(held, f"chain {tenant}/{label}") for held, tenant, label in values]


def _tenants(names: list[str]) -> Needs:
    rows: list[tuple[str, str]] = []
    if names:
        mine = {"tenant__name__in": names}
        for what, held in (
            ("chains", models.Chain.objects.filter(**mine)),
            ("tokens", models.ApiToken.objects.filter(**mine)),
            ("members", models.Membership.objects.filter(**mine)),
            ("plans", models.Plan.objects.filter(**mine)),
            ("records of public addresses", models.PoolAllocation.objects.filter(**mine)),
        ):
            rows += [
                (name, f"its {what}")
                for name in held.order_by().values_list("tenant__name", flat=True).distinct()
            ]
    return _gather(rows)


def _devices(names: list[str]) -> Needs:
    if not names:
        return {}
    here = {"device__name__in": names}
    rows = _chains(models.Contribution.objects.filter(**here), "device__name")
    rows += _chains(models.Hop.objects.filter(**here), "device__name")
    rows += _chains(models.Use.objects.filter(offer__device__name__in=names), "offer__device__name")
    # Plans that were never applied go with the device.
    applied = models.PlanStep.objects.filter(**here).exclude(plan__change=None).order_by()
    steps = applied.values_list("device__name", "plan_id").distinct()
    rows += [(name, f"plan {plan} (instead: is_enabled: false)") for name, plan in steps]
    return _gather(rows)


def _functions(names: list[str]) -> Needs:
    return (
        _gather(_chains(models.Hop.objects.filter(function__name__in=names), "function__name"))
        if names
        else {}
    )


def _offers(names: list[str]) -> Needs:
    """In use, promised to a change under way, or named by a record of who had which address."""
    if not names:
        return {}
    found: Needs = defaultdict(list)
    devices = [name.partition("@")[2] for name in names]
    uses = models.Use.objects.filter(offer__device__name__in=devices).select_related(
        "offer__device", "offer__function", "chain__tenant"
    )
    for use in uses:
        found[str(use.offer)].append(f"chain {use.chain.tenant.name}/{use.chain.name}")
    allocations = models.PoolAllocation.objects.filter(offer__device__name__in=devices)
    for row in allocations.select_related("offer__device", "offer__function"):
        found[str(row.offer)].append("records of public addresses (instead: is_enabled: false)")
    for plan in plans_under_way(None):
        for use in plan.summary.get("offer_uses", ()):
            found[use["offer"]].append(f"plan {plan.pk}, which is being applied")
    return found


def _links(names: list[str]) -> Needs:
    if not names:
        return {}
    found: Needs = defaultdict(list)
    rows = models.LinkUse.objects.select_related("link__a__device", "link__b__device", "chain__tenant")
    for use in rows:
        found[f"{use.link.a} - {use.link.b}"].append(f"chain {use.chain.tenant.name}/{use.chain.name}")
    for plan in plans_under_way(None):
        for use in plan.summary.get("link_uses", ()):
            found[f"{use['a']} - {use['b']}"].append(f"plan {plan.pk}, which is being applied")
    return found


def _segments(names: list[str]) -> Needs:
    found: Needs = defaultdict(list)
    if names:
        for chain in models.Chain.objects.select_related("tenant", "source__tenant", "destination__tenant"):
            for segment in (chain.source, chain.destination):
                full_name = f"{segment.tenant.name}/{segment.name}" if segment.tenant else segment.name
                found[full_name].append(f"chain {chain.tenant.name}/{chain.name}")
    return found


def _changed_devices(before: Fabric, wanted: Fabric) -> list[Fault]:
    """A device that holds items cannot become another kind of thing, nor lose the ports that they name."""
    old = {device.name: device for device in before.devices}
    changed = [
        device
        for device in wanted.devices
        if device.name in old and _shape(old[device.name]) != _shape(device)
    ]
    if not changed:
        return []
    holders = _gather(
        _chains(
            models.Contribution.objects.filter(device__name__in=[device.name for device in changed]),
            "device__name",
        )
    )
    found = []
    for device in changed:
        if not holders.get(device.name):
            continue
        lost = sorted({port.name for port in old[device.name].ports} - {port.name for port in device.ports})
        is_other = (device.kind, device.driver) != (old[device.name].kind, old[device.name].driver)
        who = ", ".join(sorted(holders[device.name])[:5])
        if is_other:
            detail = f"holds items of {who}: kind and driver stay, or remove those first"
            found.append(Fault(device.line("driver"), f"devices[{device.name}]", detail))
        if lost:
            detail = f"holds items of {who}: the ports {', '.join(lost)} stay, or remove those first"
            found.append(Fault(device.line("ports"), f"devices[{device.name}]", detail))
    return found


def _shape(device: Device) -> tuple[Any, ...]:
    return device.kind, device.driver, frozenset(port.name for port in device.ports)


def _changed_pools(wanted: Fabric) -> list[Fault]:
    """A pool may grow, but not away from addresses that subscribers have."""
    offers: Mapping[str, Offer] = {offer.name: offer for offer in wanted.offers}
    active = models.PoolAllocation.objects.filter(until=None).select_related(
        "offer__device", "offer__function"
    )
    found = {}
    for row in active:
        offer = offers.get(str(row.offer))
        if offer is None:
            continue
        pool = offer.settings.get("pool")
        if not pool or not ipaddress.IPv4Network(row.public).subnet_of(ipaddress.IPv4Network(pool)):
            detail = f"the pool must keep {row.public}: subscribers of chain {row.chain_number} have it"
            found[offer.name] = Fault(offer.line("settings"), f"offers[{offer.name}]", detail)
    return list(found.values())
