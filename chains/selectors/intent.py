# SPDX-License-Identifier: Apache-2.0
"""A chain as planning needs it. The engine calls; constant query count."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from django.db.models import F, Prefetch, Q, Value
from django.db.models.functions import Coalesce

from chains.models import Attachment, Chain, Classifier, Hop, Segment, Use
from chains.planning import types
from chains.planning.buckets import buckets_from_json
from chains.selectors.addresses import allocations_in_force
from chains.selectors.policy import policy_value, ports_text


def chain_snapshot(chain: Chain) -> types.Chain:
    """The intent and what is in force of it. Errors: ValueError if a stored policy is damaged."""
    row = _chain_row(chain.pk)
    return types.Chain(
        number=row.pk,
        tenant=row.tenant.name,
        name=row.name,
        source=_segment(row.source),
        destination=_segment(row.destination),
        classifiers=tuple(_classifier(classifier) for classifier in row.classifiers.all()),
        hops=_hops(row),
        priority=row.priority,
        bandwidth_mbps=row.bandwidth_mbps,
        latency_budget_us=row.latency_budget_us,
        excluded=excluded_prefixes(row),
        revision=row.revision,
        current=_current(row),
        pools=allocations_in_force(row.pk),
        buckets={name: buckets_from_json(held) for name, held in row.buckets.items()},
    )


def chain_intent(chain: Chain) -> dict[str, Any]:
    """The intent as the API shows it and as `services.intent` takes it back unchanged."""
    return {
        "name": chain.name,
        "description": chain.description,
        "source": chain.source.name,
        "destination": chain.destination.name,
        "priority": chain.priority,
        "bandwidth_mbps": chain.bandwidth_mbps,
        "latency_budget_us": chain.latency_budget_us,
        "shares_fate": chain.shares_fate,
        "classifiers": [
            {
                "protocol": row.protocol,
                "source_ports": ports_text(row.source_port_first, row.source_port_last),
                "destination_ports": ports_text(row.destination_port_first, row.destination_port_last),
                "family": row.family,
                "dscp": None if row.dscp < 0 else row.dscp,
            }
            for row in chain.classifiers.all()
        ],
        "hops": [
            hop_intent(row, [tail for tail in chain.hops.all() if tail.branch_of == row.position])
            for row in chain.hops.all()
            if row.branch_of is None
        ],
    }


def hop_intent(row: Hop, tail: Iterable[Hop] = ()) -> dict[str, Any]:
    """One hop as the API shows it, with the hops of its branch."""
    found = {
        "function": row.function.name,
        "failure_mode": row.failure_mode,
        "realm": row.realm,
        "device": row.device.name if row.device else "",
        "policy": row.policy,
    }
    if row.branch_of is not None:
        return found
    branch = {"dscp": row.branch_dscp, "hops": [hop_intent(other) for other in tail]}
    return {
        **found,
        "instances": row.instances,
        "standby": row.standby,
        "branch": branch if row.branch_dscp >= 0 else None,
    }


def excluded_prefixes(chain: Chain) -> tuple[str, ...]:
    """What a wide destination does not mean: prefixes inside it that belong to another segment.

    An address means the narrowest segment that the tenant can name: its own in the VRFs of the chain,
    and the operator's in the destination's VRF. The rest of the source segment is excluded as well:
    packets between two of its members are not on their way out.
    """
    return prefixes_inside(
        chain.destination, chain.tenant_id, {chain.source.vrf_id, chain.destination.vrf_id}
    )


def prefixes_inside(wide: Segment, tenant_id: int, vrf_ids: Collection[int]) -> tuple[str, ...]:
    """What lies inside `wide` of the tenant's other segments in these VRFs and of the operator's in its own VRF."""
    own = Q(tenant=tenant_id, vrf__in=vrf_ids)
    shared = Q(tenant=None, vrf=wide.vrf_id)
    others = Segment.objects.filter(own | shared).exclude(pk=wide.pk).order_by()
    prefixes = (prefix for row in others.values_list("prefixes", flat=True) for prefix in row)
    return tuple(sorted({prefix for prefix in prefixes if is_inside(prefix, wide.prefixes)}))


def is_inside(prefix: str, wide: Iterable[str]) -> bool:
    """Is it narrower than, and part of, one of the wide prefixes?"""
    network = ipaddress.ip_network(prefix)
    return any(
        network.version == other.version and network != other and network.subnet_of(other)  # type: ignore[arg-type]
        for other in map(ipaddress.ip_network, wide)
    )


def _chain_row(pk: int) -> Chain:
    # Names alone: a port may have a link as either end, and each would be three more objects for each attachment.
    host = Coalesce("port__link_a__b__device__name", "port__link_b__a__device__name", Value(""))
    names = {"device_name": F("port__device__name"), "port_name": F("port__name"), "host": host}
    attachments = Attachment.objects.annotate(**names).order_by("device_name", "port_name")
    return (
        Chain.objects.select_related("tenant", "source__vrf", "destination__vrf")
        .prefetch_related(
            Prefetch("source__attachments", attachments),
            Prefetch("destination__attachments", attachments),
            "classifiers",
            Prefetch("hops", Hop.objects.select_related("function", "device")),
        )
        .get(pk=pk)
    )


def _segment(row: Segment) -> types.Segment:
    return types.Segment(
        name=row.name,
        vrf=row.vrf.name,
        prefixes=tuple(row.prefixes),
        attachments=tuple(_attachment(row, attachment) for attachment in row.attachments.all()),
        mtu_bytes=row.mtu_bytes,
    )


def _attachment(segment: Segment, row: Attachment) -> types.Attachment:
    """Of a row of `_chain_row`, which knows the names."""
    return types.Attachment(
        switch=types.Endpoint(row.device_name, row.port_name),  # type: ignore[attr-defined]
        prefixes=tuple(row.prefixes or segment.prefixes),
        host=row.host,  # type: ignore[attr-defined]
    )


def _classifier(row: Classifier) -> types.Classifier:
    return types.Classifier(
        family=row.family,
        protocol=row.protocol,
        source_ports=(row.source_port_first, row.source_port_last),
        destination_ports=(row.destination_port_first, row.destination_port_last),
        dscp=row.dscp,
    )


def _hops(chain: Chain) -> tuple[types.Hop, ...]:
    """Those of a branch are inside the hop where it begins."""
    tails: dict[int, list[types.Hop]] = defaultdict(list)
    for row in chain.hops.all():
        if row.branch_of is not None:
            tails[row.branch_of].append(_hop(row))
    return tuple(_hop(row, tuple(tails[row.position])) for row in chain.hops.all() if row.branch_of is None)


def _hop(row: Hop, tail: tuple[types.Hop, ...] = ()) -> types.Hop:
    branch = types.Branch(row.branch_dscp, tail) if row.branch_dscp >= 0 else None
    return types.Hop(
        position=row.position,
        function=row.function.name,
        capability=types.Capability(row.function.capability),
        policy=policy_value(row.function.capability, row.policy),
        blocks=row.failure_mode == Hop.FailureMode.BLOCK,
        realm=row.realm,
        device=row.device.name if row.device else "",
        instances=row.instances,
        standby=row.standby,
        branch=branch,
        down_below=row.function.down_below,
    )


def _current(chain: Chain) -> dict[int, tuple[str, ...]]:
    found: dict[int, list[str]] = defaultdict(list)
    uses = Use.objects.filter(chain=chain).select_related("offer__device", "offer__function")
    for use in uses.order_by("hop_position", "offer__device__name"):
        found[use.hop_position].append(str(use.offer))
    return {position: tuple(names) for position, names in found.items()}
