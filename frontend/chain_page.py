# SPDX-License-Identifier: Apache-2.0
"""What the chain page shows, gathered from the selectors: path, counters, reasons, plans, changes, findings.

Called by frontend.views.chains. Reads through selectors only; the number of queries does not depend on sizes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from django.urls import reverse
from django.utils.safestring import mark_safe

from chains import selectors
from chains.selectors.usage import OPEN
from chains.services.actor import Actor
from chains.services.traffic import traffic_watch
from frontend import why
from frontend.drawing import HopLook, Scene, draw
from frontend.items import ports_words

HISTORY = 10
Counts = dict[int, dict[str, int]]
Place = tuple[str, str, int]


def whole(actor: Actor, chain: Any) -> dict[str, Any]:
    """The whole page."""
    plan = selectors.chain_plan(chain)
    plans = list(selectors.plan_list(actor).filter(chain=chain)[:HISTORY])
    changes = list(selectors.change_list(actor).filter(plan__chain=chain)[:HISTORY])
    live = moving(actor, chain, plan)
    return live | {
        "plan": plan,
        "plans": plans,
        "changes": changes,
        "latest": applicable(plans, chain),
        "classifiers": [classifier_words(row) for row in chain.classifiers.all()],
        "drawings": drawings(actor, plan, chain, live["counts"], live["down"]),
        "paths": plan.path.get("paths", []) if plan else [],
        "reasons": why.reasons(plan.placement) if plan else (),
        "cost": plan.placement.get("cost") if plan else None,
        "cost_terms": why.terms_of(plan.placement.get("cost_terms") or {}) if plan else (),
        "latency_us": plan.placement.get("latency_us") if plan else None,
    }


def moving(actor: Actor, chain: Any, plan: Any = None) -> dict[str, Any]:
    """What is fetched anew every few seconds."""
    plan = plan or selectors.chain_plan(chain)
    places = {reason.position: reason for reason in why.reasons(plan.placement)} if plan else {}
    rows = selectors.chain_counters(chain)
    counts = by_hop(rows, exits(plan.path.get("paths", []), kinds_of(plan, places)) if plan else {})
    dead = down_hops(chain)
    traffic_watch(chain)
    return {
        "chain": chain,
        "conditions": selectors.condition_list(chain),
        "counts": counts,
        "hops": [
            {
                "hop": hop,
                "place": places.get(hop.position),
                "counts": shown(counts.get(hop.position)),
                "is_down": hop.position in dead,
            }
            for hop in chain.hops.all()
        ],
        "down": dead,
        "traffic": traffic_words(selectors.chain_traffic(chain)),
        "observed_at": max((row["observed_at"] for row in rows if row["observed_at"]), default=None),
        "running": selectors.change_list(actor).filter(plan__chain=chain, status__in=OPEN).first(),
        "findings": list(selectors.finding_list(actor).filter(chain=chain, closed_at=None)[:HISTORY]),
    }


def traffic_words(view: Any) -> dict[str, Any]:
    """What becomes of packets now, by direction, with the places where they end; `measured_at` None: not known yet."""
    return {
        "measured_at": view.measured_at,
        "window_s": view.window_s,
        "courses": [
            {
                "direction": course.direction.name.lower(),
                "fate": str(course.fate),
                "entered": course.entered,
                "left": course.left,
                "unread": course.unread,
                "losses": [{"said": view.said(loss), "evidence": loss.evidence} for loss in course.losses],
            }
            for course in view.courses
        ],
    }


def down_hops(chain: Any) -> frozenset[int]:
    """Positions of hops in force with an instance that is known to be down."""
    uses = chain.uses.filter(offer__instance__health="down")
    return frozenset(uses.values_list("hop_position", flat=True))


def by_hop(rows: Iterable[Mapping[str, Any]], leaving: Mapping[Place, int]) -> Counts:
    """What each hop let pass, by direction, and what it dropped, in packets; {position: {name: packets}}.

    A switch counts each direction by itself. An appliance judges both in one item ("both"); what left it in
    each direction was counted by the switch behind it (`leaving`). A host counts both directions together.
    """
    counts: Counts = defaultdict(lambda: defaultdict(int))
    for row in rows:
        position, passed = row["hop"], row["packets"] - row["dropped"]
        if position < 0:
            position = leaving.get((row["direction"], row["device"], row["stage"]), -1)
            if position >= 0:
                counts[position][row["direction"]] += passed
            continue
        counts[position]["dropped"] += row["dropped"]
        counts[position]["octets"] += row["octets"]
        counts[position][row["direction"] if row["realm"] == "switch" else "both"] += passed
    return {position: dict(found) for position, found in counts.items()}


def exits(paths: Iterable[Mapping[str, Any]], kinds: Mapping[str, str]) -> dict[Place, int]:
    """(direction, switch, its place among the switches of the path) -> hop whose appliance is just before it."""
    found: dict[Place, int] = {}
    for path, way in ((path, way) for path in paths for way in ("forward", "reverse")):
        stage, before = 0, -1
        for visit in path[way]:
            if kinds[visit["device"]] == "switch":
                if before >= 0:
                    found[way, visit["device"], stage] = before
                stage, before = stage + 1, -1
            elif kinds[visit["device"]] == "appliance":
                before = visit["hop"]
    return found


def shown(counts: Mapping[str, int] | None) -> dict[str, int | None]:
    """forward, reverse, dropped, and both where the directions are not told apart; None for what is not known."""
    counts = counts or {}
    found: dict[str, int | None] = {name: counts.get(name) for name in ("forward", "reverse", "dropped", "octets")}
    is_split = found["forward"] is not None or found["reverse"] is not None
    return found | {"both": None if is_split else counts.get("both")}


def applicable(plans: list[Any], chain: Any) -> Any:
    """The newest plan if it could be applied as things stand."""
    if not plans or plans[0].status != "ready":
        return None
    fits = (plans[0].generation, plans[0].base_revision) == (chain.generation, chain.revision)
    return plans[0] if fits and getattr(plans[0], "change", None) is None else None


def drawings(
    actor: Actor, plan: Any, chain: Any, counts: Counts, down: frozenset[int] = frozenset()
) -> list[str]:
    """SVG texts, safe: the drawing escapes what it is given."""
    if plan is None or not plan.path.get("paths"):
        return []
    hops = {hop.position: hop for hop in chain.hops.all()}
    looks = {
        reason.position: HopLook(
            position=reason.position,
            function=reason.function,
            realm=reason.realm,
            blocks=reason.position not in hops or hops[reason.position].failure_mode == "block",
            is_down=reason.position in down,
            counters=shown(counts.get(reason.position)),
        )
        for reason in why.reasons(plan.placement)
    }
    kinds = kinds_of(plan, looks)
    links = {name: reverse("ui:device", args=[name]) for name in kinds} if actor.is_operator else {}
    scene = Scene(looks, kinds, links, str(chain.source), str(chain.destination))
    return [mark_safe(text) for text in draw(plan.path["paths"], scene)]


def kinds_of(plan: Any, places: Mapping[int, Any]) -> dict[str, str]:
    """What each device on the path is, as far as the plan says: a realm, or the endpoint of the traffic."""
    kinds: dict[str, str] = {}
    ways = [path[way] for path in plan.path.get("paths", []) for way in ("forward", "reverse")]
    for visit in (visit for way in ways for visit in way):
        if visit["hop"] in places:
            kinds[visit["device"]] = places[visit["hop"]].realm
        else:
            is_end = not visit["ingress"] and not visit["egress"]
            kinds.setdefault(visit["device"], "endpoint" if is_end else "switch")
    return kinds


def classifier_words(row: Any) -> dict[str, str]:
    """One classifier in words."""
    return {
        "protocol": row.protocol or "any protocol",
        "source_ports": ports_words(row.source_port_first, row.source_port_last) or "any",
        "destination_ports": ports_words(row.destination_port_first, row.destination_port_last) or "any",
        "family": {4: "IPv4", 6: "IPv6"}.get(row.family, "IPv4 and IPv6"),
        "dscp": str(row.dscp) if row.dscp >= 0 else "any",
    }
