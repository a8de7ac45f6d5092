# SPDX-License-Identifier: Apache-2.0
"""Checks the hops of a chain as a user sends them, with their branches: from plain data to `HopData`.

Called by `services.chain_data`, which collects the errors. Reads rows, writes none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chains.errors import FieldError
from chains.models import Attachment, Device, Function, Hop, Offer, Realm, Segment
from chains.services.policy import policy_clean
from chains.services.reading import Fields, nearest, shown

MAX_HOPS = 12
MAX_INSTANCES = 300
MAX_STANDBY = 32
TAIL_FIELDS = ("function", "failure_mode", "realm", "device", "policy")
HOP_FIELDS = (*TAIL_FIELDS, "instances", "standby", "branch")
REALM_NAMES = tuple(Realm.values)
Capability = Function.Capability
# What follows a branch must judge packet by packet: replies carry no mark, and come back by the main way alone.
PER_PACKET = (Capability.STATELESS_FILTER, Capability.IPS, Capability.TAP)


@dataclass(frozen=True, slots=True)
class HopData:
    """branch_dscp: the mark with which packets take the `tail` instead of the rest of the chain, -1 for none."""

    function: Function
    failure_mode: str
    realm: str
    device: Device | None
    policy: Mapping[str, Any]
    instances: int = 1
    standby: int = 0
    branch_dscp: int = -1
    tail: tuple[HopData, ...] = ()


@dataclass(frozen=True, slots=True)
class _Known:
    """functions by name; hosts: devices behind the chain's own attachments."""

    functions: Mapping[str, Function]
    hosts: frozenset[int]
    errors: list[FieldError]


def hops_clean(
    fields: Fields, errors: list[FieldError], segments: Sequence[Segment]
) -> list[HopData | None]:
    """None for a hop whose function is not known, which is an error then."""
    entries = list(fields.entries("hops", 1, MAX_HOPS))
    known = _Known({row.name: row for row in Function.objects.all()}, frozenset(_hosts(segments)), errors)
    hops = [_hop(entry, path, known) for path, entry in entries]
    _check_branches(fields, hops)
    return hops


def hop_columns(hops: Sequence[HopData]) -> Iterator[dict[str, Any]]:
    """Columns of the rows: the chain's own hops first, then those of the branches."""
    free = MAX_HOPS
    for position, hop in enumerate(hops):
        yield {**_columns(hop), "position": position, "branch_of": None}
        for tail in hop.tail:
            yield {**_columns(tail), "position": free, "branch_of": position}
            free += 1


def hop_intent(hop: HopData) -> dict[str, Any]:
    """As `selectors.intent` would show it once it is stored."""
    branch = {"dscp": hop.branch_dscp, "hops": [_plain(tail) for tail in hop.tail]}
    return {
        **_plain(hop),
        "instances": hop.instances,
        "standby": hop.standby,
        "branch": branch if hop.branch_dscp >= 0 else None,
    }


def _plain(hop: HopData) -> dict[str, Any]:
    return {
        "function": hop.function.name,
        "failure_mode": hop.failure_mode,
        "realm": hop.realm,
        "device": hop.device.name if hop.device else "",
        "policy": dict(hop.policy),
    }


def _columns(hop: HopData) -> dict[str, Any]:
    names = ("function", "failure_mode", "policy", "realm", "device", "instances", "standby", "branch_dscp")
    return {name: getattr(hop, name) for name in names}


def _hop(data: Any, path: str, known: _Known, names: Collection[str] = HOP_FIELDS) -> HopData | None:
    fields = Fields(data, path, known.errors, names)
    wanted = fields.text("function", longest=63)
    function = known.functions.get(wanted)
    if wanted and function is None:
        hint = nearest(wanted, known.functions.keys())
        fields.fail("function", "unknown", f"there is no function {shown(wanted)}; {hint}")
    failure_mode = fields.choice("failure_mode", tuple(Hop.FailureMode.values), default="block")
    realm = fields.choice("realm", ("", *REALM_NAMES), default="")
    device_name = fields.text("device", default="", longest=63)
    instances = fields.integer("instances", 1, MAX_INSTANCES, default=1)
    standby = fields.integer("standby", 0, MAX_STANDBY, default=0)
    dscp, tail = _branch(fields, known) if fields.raw("branch") is not None else (-1, ())
    if function is None:
        return None
    given = {} if fields.raw("policy") is None else fields.raw("policy")
    policy = policy_clean(function.capability, given, fields.where("policy"), known.errors)
    if function.capability == Capability.NAT and failure_mode != Hop.FailureMode.BLOCK:
        fields.fail(
            "failure_mode", "invalid", "a NAT hop cannot be bypassed: the addresses would not fit; use block"
        )
    if function.capability == Capability.TAP:
        failure_mode = Hop.FailureMode.BYPASS  # a copy: there is nothing that it could block
        _check_tap(fields, instances, standby, dscp)
    device = _pin(fields, function, realm, device_name, known.hosts) if device_name else None
    if device is not None and instances + standby > 1:
        fields.fail("device", "invalid", "one device cannot be several instances; leave it out")
    return HopData(function, failure_mode, realm, device, policy, instances, standby, dscp, tail)


def _branch(outer: Fields, known: _Known) -> tuple[int, tuple[HopData, ...]]:
    fields = Fields(outer.raw("branch"), outer.where("branch"), known.errors, ("dscp", "hops"))
    if not fields.has("dscp"):
        fields.fail("dscp", "required", "is required: the mark that the function gives, 0 to 63")
    dscp = fields.integer("dscp", 0, 63, default=0)
    tail = [_hop(entry, path, known, TAIL_FIELDS) for path, entry in fields.entries("hops", 0, MAX_HOPS - 1)]
    for index, hop in enumerate(tail):
        if hop is not None and hop.function.capability == Capability.TAP:
            fields.fail(f"hops.{index}.function", "invalid", "a tap stands on the chain's own way, not in a branch")
    return dscp, tuple(hop for hop in tail if hop is not None)


def _check_tap(fields: Fields, instances: int, standby: int, dscp: int) -> None:
    if instances + standby > 1:
        fields.fail("instances", "invalid", "a tap gets one copy; for more copies add more taps")
    if dscp >= 0:
        fields.fail("branch", "invalid", "nothing comes back from a tap, so nothing can branch off")


def _check_branches(fields: Fields, hops: Sequence[HopData | None]) -> None:
    """One branch; what follows it, either way, judges packet by packet."""
    branching = [index for index, hop in enumerate(hops) if hop is not None and hop.branch_dscp >= 0]
    for index in branching[1:]:
        fields.fail(f"hops.{index}.branch", "invalid", "is a second branch: a chain has one at most")
    if not branching:
        return
    first = branching[0]
    hop = hops[first]
    assert hop is not None
    if hop.function.capability == Capability.STATELESS_FILTER and hop.realm == Realm.SWITCH:
        fields.fail(f"hops.{first}.branch", "invalid", "a filter in a switch marks nothing")
    if len(hops) + len(hop.tail) > MAX_HOPS:
        fields.fail(
            f"hops.{first}.branch.hops", "out-of-range", f"with the chain's own at most {MAX_HOPS} hops"
        )
    why = "follows a branch: replies carry no mark, so it would not see both directions of a flow"
    places = [(f"hops.{index}.function", hops[index]) for index in range(first + 1, len(hops))]
    places += [(f"hops.{first}.branch.hops.{index}.function", tail) for index, tail in enumerate(hop.tail)]
    for path, other in places:
        if other is not None and other.function.capability not in PER_PACKET:
            fields.fail(path, "invalid", f"{other.function.name} {why}")


def _pin(
    fields: Fields, function: Function, realm: str, name: str, hosts: Collection[int]
) -> Device | None:
    """A device may be named if it offers the function; a host only if the chain's own segments live there."""
    offers = Offer.objects.filter(device__name=name, function=function).select_related("device")
    offer = (offers.filter(realm=realm) if realm else offers).first()
    if offer is None or (offer.realm == Realm.HOST and offer.device_id not in hosts):
        where = f" in the realm {realm}" if realm else ""
        fields.fail(
            "device", "unknown", f"no device {shown(name)} offers {function.name}{where} for this chain"
        )
        return None
    return offer.device


def _hosts(segments: Iterable[Segment]) -> set[int]:
    """Devices behind the attachments of the segments."""
    found: set[int] = set()
    rows = Attachment.objects.filter(segment__in=list(segments)).values_list(
        "port__link_a__b__device", "port__link_b__a__device"
    )
    for pair in rows:
        found.update(device for device in pair if device is not None)
    return found
