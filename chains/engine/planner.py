# SPDX-License-Identifier: Apache-2.0
"""From a chain's rows to a stored plan: one consistent read, pure planning, native text, one insert. No device I/O.

Called by the API and the pages (a dry run is just this) and by `converge`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from django.db import connection, transaction

from chains import models, selectors
from chains.engine.document import digest, plain
from chains.engine.full import Full, crowd_of, require_room
from chains.errors import NotFound
from chains.planning import types
from chains.planning.buckets import buckets_to_json
from chains.planning.candidates import Context
from chains.planning.changeover import changing_places, is_held
from chains.planning.classes import count_matches
from chains.planning.plan import Draft as Compiled
from chains.planning.plan import clashes, draft_plan, draft_removal, proven, shared
from chains.planning.routing import peers
from chains.planning.why import with_remedy
from chains.services import record
from drivers.base import Target, Unsupported
from drivers.diff import patch
from drivers.registry import driver
from drivers.state import EMPTY, DeviceState


@dataclass(frozen=True, slots=True)
class Rendered:
    """A step with its bytes. A drain step has none. tier A: its device takes back what nobody confirms; B: we do."""

    step: types.Step
    native: str
    reverse: str
    tier: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """A computed plan that is not stored. `refused` holds the reasons when there is no `plan`.

    wanted: the chain's intent as people gave it, for a later undo.
    intent, inventory: hashes of what was read, compared again before the first push. others: what the
    tenant's other chains wanted where this one goes, by device. beside: what everybody's wanted on those of them
    where all share objects.
    """

    chain: models.Chain
    goal: models.Plan.Goal
    intent: str
    inventory: str
    wanted: Mapping[str, Any]
    others: Mapping[str, DeviceState] = field(default_factory=dict)
    beside: Mapping[str, DeviceState] = field(default_factory=dict)
    plan: types.Plan | None = None
    steps: tuple[Rendered, ...] = ()
    refused: types.Refused | None = None


def plan_chain(chain: models.Chain, actor_name: str) -> models.Plan:
    """Store a READY or REFUSED plan of the chain as it is now. Removes the chain when it is not wanted any more."""
    return store(compute(chain), actor_name)


def compute(chain: models.Chain) -> Draft:
    """Read, plan and render; nothing is written. Errors: NotFound if the chain was deleted meanwhile.

    Where tables would overflow, the next cheapest place that needs fewer lines there is taken; if there is none, the
    first refusal stands.
    """
    first = draft = _computed(chain, {})
    avoid: dict[str, str] = {}
    while isinstance(draft.refused, Full):
        more = {name: why for name, why in draft.refused.offers.items() if name not in avoid}
        if not more:
            return first
        avoid |= more
        draft = _computed(chain, avoid)
    return _spared(chain, first if draft.plan is None else draft, avoid)


def _spared(chain: models.Chain, draft: Draft, avoid: Mapping[str, str]) -> Draft:
    """Where packets would be held as hops change places: with another instance of one, if none are held then."""
    if draft.plan is None or not is_held(draft.plan):
        return draft
    why = "hops change places: elsewhere no packet has to wait meanwhile"
    others = (_computed(chain, {**avoid, name: why}) for name in changing_places(draft.plan))
    return next((one for one in others if one.plan is not None and not is_held(one.plan)), draft)


def _computed(chain: models.Chain, avoid: Mapping[str, str]) -> Draft:
    with consistent_read():
        row = models.Chain.objects.select_related("tenant").filter(pk=chain.pk).first()
        if row is None:
            raise NotFound(f"The chain {chain.name} was deleted.")
        intent = selectors.chain_snapshot(row)
        fabric = selectors.fabric_snapshot(row)
        base = selectors.chain_contributions(row)
        goal = models.Plan.Goal.APPLY if row.is_wanted else models.Plan.Goal.REMOVE
        draft = Draft(row, goal, digest(plain(intent)), "", selectors.chain_intent(row))
        try:
            compiled, others = placed(row, fabric, intent, base, avoid)
            beside = beside_of(compiled, row)
        except types.Refused as refused:
            context = Context(fabric, intent, peers(fabric), count_matches(intent))
            return replace(draft, refused=with_remedy(context, refused) if row.is_wanted else refused)
        targets = selectors.targets_of(compiled.devices)
        crowd = crowd_of(targets, row, beside)
    try:
        plan = proven(compiled, others)
        require_room(plan, targets, crowd, fabric)
        steps = rendered(plan, targets, beside)
    except types.Refused as refused:
        return replace(draft, refused=refused)
    except Unsupported as error:
        return replace(draft, refused=types.Refused((types.Reason("unsupported", str(error)),)))
    inventory = inventory_digest(fabric, devices_of(plan))
    return replace(draft, inventory=inventory, others=others, beside=beside, plan=plan, steps=steps)


def beside_of(compiled: Compiled, row: models.Chain) -> dict[str, DeviceState]:
    """What all other chains want on the devices where items share objects."""
    names = shared(compiled)
    return selectors.others_on(names, row, of_all=True) if names else {}


def placed(
    row: models.Chain,
    fabric: types.Fabric,
    intent: types.Chain,
    base: Mapping[str, DeviceState],
    but: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Compiled, dict[str, DeviceState]]:
    """The draft and what others hold where it goes: a plan reads what it touches, not what exists.

    Only a draft shows where the chain goes; boxes where it would clash with another chain are left out of
    the next one, as are those of `but` from the start. Errors: Refused.
    """
    if not row.is_wanted:
        compiled = draft_removal(fabric, intent, base)
        return compiled, selectors.others_on(compiled.devices, row)
    avoid = dict(but)
    while True:
        compiled = draft_plan(fabric, intent, base, avoid)
        others = selectors.others_on(compiled.devices, row)
        found = clashes(compiled, others)
        if found.keys() <= avoid.keys():
            return compiled, others
        avoid |= found


def rendered(
    plan: types.Plan, targets: Mapping[str, Target], beside: Mapping[str, DeviceState]
) -> tuple[Rendered, ...]:
    """Every step's bytes, from what its device holds by then. Errors: Unsupported."""
    held = {name: state.merged(plan.base.get(name, EMPTY)) for name, state in beside.items()}
    found = []
    for step in plan.steps:
        before = held.get(step.device, EMPTY)
        after = patch(before, step.changes) if step.device in held else EMPTY
        found.append(render(step, targets, before, after))
        if step.device in held:
            held[step.device] = after
    return tuple(found)


def render(
    step: types.Step, targets: Mapping[str, Target], before: DeviceState = EMPTY, after: DeviceState = EMPTY
) -> Rendered:
    """The bytes there and back. before, after: see `Target.held`. Errors: Unsupported."""
    if not step.changes:
        return Rendered(step, "", "")
    target = targets[step.device]
    family = driver(target.driver)
    back = tuple(change.reversed() for change in step.changes)
    tier = "A" if family.caps.has_confirmed_commit else "B"
    native = family.render(step.changes, replace(target, held=before))
    return Rendered(step, native, family.render(back, replace(target, held=after)), tier)


def devices_of(plan: types.Plan) -> tuple[str, ...]:
    """Every device that the plan writes to or leads packets through."""
    visited = {visit.device for path in plan.paths for visit in (*path.forward, *path.reverse)}
    written = {step.device for step in plan.steps if step.device}
    return tuple(sorted(visited | written | set(plan.target) | set(plan.base)))


def devices_of_document(plan: models.Plan) -> tuple[str, ...]:
    """The same, of a stored plan."""
    return tuple(sorted(plan.summary["path_devices"]))


def inventory_digest(fabric: types.Fabric, devices: Iterable[str]) -> str:
    """A hash over what the plan assumed of these devices: ports, addresses, drivers, links between them, VRF tags."""
    names = set(devices)
    links = [
        (plain(link.a), plain(link.b), link.mtu_bytes)
        for link in fabric.links
        if link.a.device in names and link.b.device in names
    ]
    held = {name: plain(fabric.devices[name]) for name in sorted(names & set(fabric.devices))}
    return digest({"devices": held, "links": links, "vrfs": plain(fabric.vrfs)})


def others_digest(others: Mapping[str, Mapping[str, Any]]) -> str:
    """Of `selectors.others_stored`: states as JSON."""
    return digest({name: items for name, items in others.items() if items})


def store(
    draft: Draft,
    actor_name: str,
    *,
    kept: Mapping[str, Any] = MappingProxyType({}),
    told: Mapping[str, Any] = MappingProxyType({}),
) -> models.Plan:
    """One insert of the plan with its steps. kept, told: columns and parts of the summary from the plan in force."""
    row, plan = draft.chain, draft.plan
    fields: dict[str, Any] = {
        "chain": row,
        "chain_name": row.name,
        "tenant": row.tenant,
        "goal": draft.goal,
        "generation": row.generation,
        "base_revision": row.revision,
        "created_by": actor_name,
        "intent": dict(draft.wanted),
    }
    if plan is None:
        refused = draft.refused
        assert refused is not None
        return record.plan_store(
            **fields,
            revision=row.revision,
            status=models.Plan.Status.REFUSED,
            placement=plain(refused.placement) or {},
            proof=plain(refused.proof) or {},
            errors=plain(refused.reasons),
        )
    effect = effect_of(draft, plan)
    shown = {"placement": plain(plan.placement) or {}, "path": {"paths": plain(plan.paths)}}
    return record.plan_store(
        **fields,
        **{**shown, **kept},
        proof=plain(plan.proof),
        base=effect["base"],
        target=effect["target"],
        allocations=effect["allocations"],
        revision=plan.revision,
        status=models.Plan.Status.READY,
        summary={**summary(draft, plan), **told},
        digest=digest(effect),
        steps=effect["steps"],
    )


def effect_of(draft: Draft, plan: types.Plan) -> dict[str, Any]:
    """All that applying the plan will do, as JSON. Its hash is the plan's digest."""
    return {
        "chain": draft.chain.pk,
        "goal": str(draft.goal.value),
        "revision": plan.revision,
        "steps": sorted((plain_step(rendered) for rendered in draft.steps), key=_place),
        "base": plain(plan.base),
        "target": plain(plan.target),
        "allocations": plain(plan.allocations),
    }


def effect_as_stored(plan: models.Plan) -> dict[str, Any]:
    """The same of a stored plan, from its rows: if its hash is not the plan's, somebody changed them."""
    steps = [
        {
            "wave": row.wave,
            "phase": row.phase,
            "device": row.device.name if row.device else "",
            "changes": row.changes,
            "native": row.native,
            "reverse": row.reverse,
        }
        for row in plan.steps.all()
    ]
    return {
        "chain": plan.chain_id,
        "goal": str(plan.goal),
        "revision": plan.revision,
        "steps": sorted(steps, key=_place),
        "base": plan.base,
        "target": plan.target,
        "allocations": plan.allocations,
    }


def _place(step: Mapping[str, Any]) -> tuple[int, str]:
    return step["wave"], step["device"]


def plain_step(rendered: Rendered) -> dict[str, Any]:
    return plain(rendered.step) | {"native": rendered.native, "reverse": rendered.reverse}


def summary(draft: Draft, plan: types.Plan) -> dict[str, Any]:
    """What a person wants to know first, and what the ledger takes over with the decision."""
    counts = {name: Counter({"create": 0, "update": 0, "delete": 0}) for name in devices_of(plan)}
    for step in plan.steps:
        if step.device:
            counts[step.device].update(change.action.value for change in step.changes)
    touched = {name: dict(count) for name, count in counts.items() if any(count.values())}
    risk, why = risk_of(draft, plan)
    return {
        "create": sum(count["create"] for count in touched.values()),
        "update": sum(count["update"] for count in touched.values()),
        "delete": sum(count["delete"] for count in touched.values()),
        "devices": touched,
        "tiers": {rendered.step.device: rendered.tier for rendered in draft.steps if rendered.tier},
        "risk": risk,
        "risk_reason": why,
        "latency_us": plan.placement.latency_us if plan.placement else None,
        "cost": plan.placement.cost if plan.placement else None,
        "offer_uses": plain(plan.offer_uses),
        "link_uses": [plain(use) | {"a": end_name(use.a), "b": end_name(use.b)} for use in plan.link_uses],
        "path_devices": list(devices_of(plan)),
        "bypassed": bypassed(plan),
        "short": short(plan),
        "buckets": {name: buckets_to_json(held) for name, held in plan.buckets.items()},
        "breaks": plain(plan.breaks),
        "intent": draft.intent,
        "inventory": draft.inventory,
        "others": {"devices": sorted(draft.others), "digest": others_digest(plain(draft.others))},
        "beside": {"devices": sorted(draft.beside), "digest": others_digest(plain(draft.beside))},
    }


def bypassed(plan: types.Plan) -> list[dict[str, Any]]:
    """Hops that packets pass by, with the reason."""
    hops = plan.placement.hops if plan.placement else ()
    return [
        {"hop": hop.position, "function": hop.function, "reason": hop.reason} for hop in hops if hop.chosen is None
    ]


def short(plan: types.Plan) -> list[dict[str, Any]]:
    """Hops that fewer instances serve than are wanted."""
    hops = plan.placement.hops if plan.placement else ()
    return [
        {"hop": hop.position, "function": hop.function, "missing": hop.missing, "reason": hop.reason}
        for hop in hops
        if hop.chosen is not None and hop.missing
    ]


def lacking(plan: types.Plan) -> int:
    """How much is not there that is wanted: 0 if nothing."""
    return len(bypassed(plan)) + sum(hop["missing"] for hop in short(plan))


def end_name(end: types.Endpoint) -> str:
    return f"{end.device}:{end.port}"


def risk_of(draft: Draft, plan: types.Plan) -> tuple[str, str]:
    """low, medium or high, and why."""
    if not any(step.changes for step in plan.steps):
        return "low", "nothing has to be written"
    if draft.goal == models.Plan.Goal.CLOSE:
        return "medium", "the chain's traffic is dropped where it enters, until a hop that has nobody is served again"
    if draft.goal == models.Plan.Goal.REMOVE:
        return "medium", "the chain's traffic returns to the base forwarding, past its functions"
    if not draft.chain.revision:
        return "medium", "traffic that flows today is led through the functions from now on"
    if any(step.phase == "remove" and has_translation(step) for step in plan.steps):
        return "high", "subscribers get other public addresses: their open flows break"
    return "medium", "live traffic is switched to another path; the old one is drained first"


def has_translation(step: types.Step) -> bool:
    return any(change.key.kind == "natpool" for change in step.changes)


@contextmanager
def consistent_read() -> Iterator[None]:
    """All queries inside see one moment. Inside a caller's transaction that one decides."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield
