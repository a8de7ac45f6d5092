# SPDX-License-Identifier: Apache-2.0
"""Checks a chain as a user sends it: from plain data to a `ChainData` whose every reference is resolved.

Called by `services.intent` inside its transaction; reads rows, writes none. All errors are collected and
raised together. Rules between chains (names, overlaps) are checked by the caller, which holds the lock.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Q

from chains.errors import FieldError
from chains.models import Function, Segment, Tenant
from chains.models.tenancy import NAME
from chains.selectors.intent import prefixes_inside
from chains.selectors.policy import ONE_FAMILY, ports_text, ports_value
from chains.services.hop_data import HopData, hop_intent, hops_clean
from chains.services.policy import PROTOCOLS
from chains.services.reading import Fields, invalid, nearest, shown
from drivers.nat import NAT_PROTOCOLS, PORTS_PER_ADDRESS
from drivers.state import MAX_PRIORITY, Ports

MAX_CLASSIFIERS = 16
MAX_BANDWIDTH_MBPS = 10_000_000
MAX_LATENCY_US = 10_000_000
FIELDS = (
    "name",
    "description",
    "source",
    "destination",
    "priority",
    "bandwidth_mbps",
    "latency_budget_us",
    "shares_fate",
    "classifiers",
    "hops",
)
CLASSIFIER_FIELDS = ("protocol", "source_ports", "destination_ports", "family", "dscp")


@dataclass(frozen=True, slots=True)
class ClassifierData:
    family: int
    protocol: str
    source_ports: Ports
    destination_ports: Ports
    dscp: int


@dataclass(frozen=True, slots=True)
class ChainData:
    """A whole chain, every reference resolved and every value in normal form."""

    name: str
    description: str
    source: Segment
    destination: Segment
    priority: int
    bandwidth_mbps: int
    latency_budget_us: int | None
    shares_fate: bool
    classifiers: tuple[ClassifierData, ...]
    hops: tuple[HopData, ...]


def chain_data_clean(tenant: Tenant, data: Any) -> ChainData:
    """Errors: Invalid with one FieldError for each fault."""
    errors: list[FieldError] = []
    fields = Fields(data, "", errors, FIELDS)
    name = _name(fields)
    segments = _Segments(tenant)
    source, destination = segments.find(fields, "source"), segments.find(fields, "destination")
    budget = None
    if fields.raw("latency_budget_us") is not None:
        budget = fields.integer("latency_budget_us", 1, MAX_LATENCY_US, default=1)
    classifiers = [
        _classifier(entry, path, errors) for path, entry in fields.entries("classifiers", 1, MAX_CLASSIFIERS)
    ]
    hops = hops_clean(fields, errors, [segment for segment in (source, destination) if segment is not None])
    description = fields.text("description", default="")
    priority = fields.integer("priority", 0, MAX_PRIORITY, default=0)
    bandwidth_mbps = fields.integer("bandwidth_mbps", 1, MAX_BANDWIDTH_MBPS, default=10)
    shares_fate = fields.flag("shares_fate", default=False)
    if not errors:
        _check_segments(fields, source, destination, classifiers, hops)
        _check_twice(fields, classifiers)
        if source is not None and destination is not None:
            _check_source(fields, tenant, source, destination)
        _check_nat(fields, classifiers, hops)
    if errors:
        raise invalid(errors)
    assert source is not None and destination is not None  # else there would be an error
    return ChainData(
        name=name,
        description=description,
        source=source,
        destination=destination,
        priority=priority,
        bandwidth_mbps=bandwidth_mbps,
        latency_budget_us=budget,
        shares_fate=shares_fate,
        classifiers=tuple(classifiers),
        hops=tuple(hop for hop in hops if hop is not None),
    )


def clean_intent(clean: ChainData) -> dict[str, Any]:
    """As `selectors.chain_intent` would show it once it is stored."""
    return {
        "name": clean.name,
        "description": clean.description,
        "source": clean.source.name,
        "destination": clean.destination.name,
        "priority": clean.priority,
        "bandwidth_mbps": clean.bandwidth_mbps,
        "latency_budget_us": clean.latency_budget_us,
        "shares_fate": clean.shares_fate,
        "classifiers": [
            {
                "protocol": row.protocol,
                "source_ports": ports_text(*row.source_ports),
                "destination_ports": ports_text(*row.destination_ports),
                "family": row.family,
                "dscp": None if row.dscp < 0 else row.dscp,
            }
            for row in clean.classifiers
        ],
        "hops": [hop_intent(row) for row in clean.hops],
    }


def _name(fields: Fields) -> str:
    name = fields.text("name", longest=63)
    if name:
        try:
            NAME(name)
        except ValidationError as error:
            fields.fail("name", "invalid", error.messages[0])
    return name


class _Segments:
    """The segments that the tenant can name: its own, and the operator's. The same error for foreign and missing."""

    def __init__(self, tenant: Tenant) -> None:
        rows = Segment.objects.filter(Q(tenant=tenant) | Q(tenant=None)).select_related("vrf")
        # Its own come last and win: the loader refuses one that is named like the operator's.
        self._known = {row.name: row for row in sorted(rows, key=lambda row: row.tenant_id is not None)}

    def find(self, fields: Fields, name: str) -> Segment | None:
        wanted = fields.text(name, longest=63)
        if wanted and wanted not in self._known:
            hint = nearest(wanted, self._known.keys())
            fields.fail(name, "unknown", f"there is no segment {shown(wanted)}; {hint}")
        return self._known.get(wanted)


def _classifier(data: Any, path: str, errors: list[FieldError]) -> ClassifierData:
    fields = Fields(data, path, errors, CLASSIFIER_FIELDS)
    protocol = fields.choice("protocol", PROTOCOLS, default="")
    family = fields.integer("family", 0, 6, default=0)
    if family not in (0, 4, 6):
        fields.fail("family", "out-of-range", "must be 4, 6 or 0 for both")
    if protocol in ONE_FAMILY:
        if family not in (0, ONE_FAMILY[protocol]):
            fields.fail("family", "invalid", f"{protocol} is of family {ONE_FAMILY[protocol]} only")
        family = ONE_FAMILY[protocol]
    dscp = -1
    if fields.raw("dscp") is not None:
        dscp = fields.integer("dscp", 0, 63, default=0)
    return ClassifierData(
        family=family,
        protocol=protocol,
        source_ports=ports_value(fields.ports("source_ports", protocol)),
        destination_ports=ports_value(fields.ports("destination_ports", protocol)),
        dscp=dscp,
    )


def _check_segments(
    fields: Fields,
    source: Segment | None,
    destination: Segment | None,
    classifiers: list[ClassifierData],
    hops: list[HopData | None],
) -> None:
    if source is None or destination is None:
        return
    if source == destination:
        fields.fail(
            "destination", "invalid", "is the source as well: a chain leads from one segment to another"
        )
    both = _families(source) & _families(destination)
    for index, classifier in enumerate(classifiers):
        if not (both if classifier.family == 0 else both & {classifier.family}):
            fields.fail(
                f"classifiers.{index}.family",
                "invalid",
                "source and destination have no prefixes of this family",
            )
    has_nat = any(hop and hop.function.capability == Function.Capability.NAT for hop in hops)
    if source.vrf_id != destination.vrf_id and not has_nat:
        fields.fail(
            "destination",
            "invalid",
            f"is in the VRF {destination.vrf.name}, the source in {source.vrf.name}: between VRFs a NAT hop is needed",
        )


def _check_source(fields: Fields, tenant: Tenant, source: Segment, destination: Segment) -> None:
    """On the way back the source is where packets go: other segments inside it would be caught as well."""
    inside = prefixes_inside(source, tenant.pk, {source.vrf_id, destination.vrf_id})
    others = [prefix for prefix in inside if prefix not in destination.prefixes]
    if others:
        detail = f"contains other segments ({', '.join(others[:3])}): use a narrower source, or turn the chain round"
        fields.fail("source", "invalid", detail)


def _check_twice(fields: Fields, classifiers: list[ClassifierData]) -> None:
    for index, classifier in enumerate(classifiers):
        for earlier in range(index):
            if overlap(classifiers[earlier], classifier):
                detail = f"overlaps with classifier {earlier}: merge the two"
                fields.fail(f"classifiers.{index}", "overlap", detail)


def _check_nat(fields: Fields, classifiers: list[ClassifierData], hops: list[HopData | None]) -> None:
    nat = [
        index for index, hop in enumerate(hops) if hop and hop.function.capability == Function.Capability.NAT
    ]
    sharing = [index for index in nat if (hop := hops[index]) and hop.policy.get("block_size") != PORTS_PER_ADDRESS]
    for index in sharing[1:]:
        detail = (
            "is the second that shares public addresses among subscribers: nobody could tell any more who had a port; "
            f"give all NAT hops but one block_size {PORTS_PER_ADDRESS} (an address for each subscriber)"
        )
        fields.fail(f"hops.{index}.policy", "invalid", detail)
    if nat:
        for index, classifier in enumerate(classifiers):
            if classifier.family != 4:
                detail = "NAT is for IPv4: set family to 4 (IPv6 needs no NAT: use another chain)"
                fields.fail(f"classifiers.{index}.family", "invalid", detail)
            if classifier.protocol not in ("", *NAT_PROTOCOLS):
                detail = f"{classifier.protocol} cannot be translated: {', '.join(NAT_PROTOCOLS)} can"
                fields.fail(f"classifiers.{index}.protocol", "invalid", detail)


def _families(segment: Segment) -> set[int]:
    return {ipaddress.ip_network(prefix).version for prefix in segment.prefixes}


def overlap(one: ClassifierData, other: ClassifierData) -> bool:
    """Is there a packet that both match, between the same two segments?"""
    same_family = 0 in (one.family, other.family) or one.family == other.family
    same_protocol = "" in (one.protocol, other.protocol) or one.protocol == other.protocol
    same_dscp = -1 in (one.dscp, other.dscp) or one.dscp == other.dscp
    return (
        same_family
        and same_protocol
        and same_dscp
        and _meet(one.source_ports, other.source_ports)
        and _meet(one.destination_ports, other.destination_ports)
    )


def turned(classifier: ClassifierData) -> ClassifierData:
    """The way back."""
    return ClassifierData(
        classifier.family,
        classifier.protocol,
        classifier.destination_ports,
        classifier.source_ports,
        classifier.dscp,
    )


def _meet(one: Ports, other: Ports) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]
