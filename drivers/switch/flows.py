# SPDX-License-Identifier: Apache-2.0
"""Items as the flows that realise them, and the items that a set of flows realises.

Called by `drivers.switch.openvswitch`. Pure. `items_of` never guesses: what it returns for a cookie is
an item whose flows are exactly those given, or the `torn` item of that kind.

Priority = 20000 + 1024 * precedence + r, with r = 0 guard, 1 redirect and a filter's default, 2.. a
filter's rules (the first rule highest), 1020 pass.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from drivers.base import Target, Unsupported
from drivers.narrow import normal
from drivers.state import (
    ANYWHERE,
    MAX_PRECEDENCE,
    DeviceState,
    Filter,
    Guard,
    Item,
    Key,
    Kind,
    Match,
    NextHop,
    Pass,
    Redirect,
    Rule,
    Steering,
    Verdict,
)
from drivers.switch.handover import Group, Pipeline, actions_of, groups_of, hands_of, is_known
from drivers.switch.openflow_text import DROP, Flow, blocks_of, cookie_of, key_of

BASE_PRIORITY = 20000
PRIORITIES_PER_PRECEDENCE = 1024
GUARD_PLACE, REDIRECT_PLACE, FIRST_RULE_PLACE, PASS_PLACE = 0, 1, 2, 1020
MAX_RULES = 1000
_TO_BASE = re.compile(r"resubmit\(,\d+\)")

_ANYTHING = Match(ANYWHERE[4], ANYWHERE[4])
_TORN: Mapping[Kind, Steering] = {
    Kind.REDIRECT: Redirect("", 0, _ANYTHING, NextHop()),
    Kind.FILTER: Filter("", 0, _ANYTHING, NextHop(), (), Verdict.DENY),
    Kind.GUARD: Guard("", 0, _ANYTHING),
    Kind.PASS: Pass("", 0, _ANYTHING),
}


def pipeline_of(target: Target) -> Pipeline:
    """Settings: `base_table` (default 1), `route_table` (default 10). Errors: Unsupported."""
    tables = []
    for name, default in (("base_table", "1"), ("route_table", "10")):
        text = target.settings.get(name, default)
        if not re.fullmatch(r"\d{1,3}", text, re.ASCII) or not 1 <= int(text) <= 253:
            raise Unsupported(f"{target.name}: setting {name} is {text!r}; give a table, 1 to 253")
        tables.append(int(text))
    numbers = {name: port.number for name, port in target.ports.items() if port.number}
    names = {number: name for name, number in numbers.items()}
    vrf_names = {tag: name for name, tag in target.vrfs.items()}
    if len(names) != len(numbers) or len(vrf_names) != len(target.vrfs):
        raise Unsupported(f"{target.name}: two ports have one number, or two VRFs one tag")
    return Pipeline(target.name, numbers, names, dict(target.vrfs), vrf_names, tables[0], tables[1])


def torn(kind: Kind) -> Item:
    """What is reported for a key whose flows are readable but form no item: some are missing or altered.

    It equals no wanted item (no port has an empty name), so the difference rewrites or removes it.
    """
    return _TORN[kind]


def flows_of(key: Key, item: Item, pipeline: Pipeline) -> Iterator[Flow]:
    """The flows of one item, highest priority first. Errors: Unsupported."""
    if not isinstance(item, Redirect | Filter | Guard | Pass):
        raise Unsupported(f"{pipeline.device}: a switch cannot hold {key}")
    if not 0 <= item.precedence <= MAX_PRECEDENCE or not 0 <= item.tag <= 4094:
        raise Unsupported(f"{pipeline.device}: precedence or tag of {key} is out of range")
    port = pipeline.number(item.ingress, key)
    for place, match, actions in _places(key, item, pipeline):
        priority = BASE_PRIORITY + PRIORITIES_PER_PRECEDENCE * item.precedence + place
        for block in _blocks(match):
            yield Flow(cookie_of(key), priority, port, item.tag, block, actions)


def groups_of_item(key: Key, item: Item, pipeline: Pipeline) -> tuple[Group, ...]:
    """The groups that its flows use, to be added before them. Errors: Unsupported."""
    if isinstance(item, Filter):
        item = normal(item)
    return groups_of(key, item, pipeline) if isinstance(item, Redirect | Filter) else ()


def items_of(flows: Iterable[Flow], groups: Iterable[Group], pipeline: Pipeline) -> DeviceState:
    """The items that these flows and groups realise, by the key in their cookies; `torn` where they form none."""
    by_cookie: dict[int, tuple[list[Flow], list[Group]]] = {}
    for flow in flows:
        by_cookie.setdefault(flow.cookie, ([], []))[0].append(flow)
    for group in groups:
        by_cookie.setdefault(group.cookie, ([], []))[1].append(group)
    return DeviceState({key_of(cookie): _item(cookie, *found, pipeline) for cookie, found in by_cookie.items()})


def is_deny(flow: Flow) -> bool:
    """Whether the flow stops what it matches."""
    return flow.actions == DROP


def is_known_action(actions: str) -> bool:
    """Whether this is an action list that `flows_of` can write."""
    return actions == DROP or is_known(actions) or _TO_BASE.fullmatch(actions) is not None


def _places(key: Key, item: Steering, pipeline: Pipeline) -> Iterator[tuple[int, Match, str]]:
    if isinstance(item, Guard):
        yield GUARD_PLACE, item.match, DROP
    elif isinstance(item, Pass):
        yield PASS_PLACE, item.match, f"resubmit(,{pipeline.base_table})"
    elif isinstance(item, Redirect):
        yield REDIRECT_PLACE, item.match, actions_of(key, item, pipeline)
    else:
        item = normal(item)
        if len(item.rules) > MAX_RULES:
            raise Unsupported(f"{pipeline.device}: {key} has more than {MAX_RULES} rules")
        verdicts = {item.default, *(rule.verdict for rule in item.rules)}
        actions = {Verdict.DENY: DROP}
        if Verdict.PERMIT in verdicts:
            actions[Verdict.PERMIT] = actions_of(key, item, pipeline)
        last = FIRST_RULE_PLACE + len(item.rules) - 1
        for index, rule in enumerate(item.rules):
            yield last - index, rule.match, actions[rule.verdict]
        yield REDIRECT_PLACE, item.match, actions[item.default]


def _item(cookie: int, flows: list[Flow], groups: list[Group], pipeline: Pipeline) -> Item:
    """The item whose flows and groups are exactly these."""
    key = key_of(cookie)
    try:
        item = _candidate(key.kind, sorted(flows, key=lambda flow: -flow.priority), groups, pipeline)
        if (
            item is not None
            and Counter(flows_of(key, item, pipeline)) == Counter(flows)
            and Counter(groups_of_item(key, item, pipeline)) == Counter(groups)
        ):
            return item
    except (Unsupported, ValueError):
        # The fields can be read, but no item of ours has these values.
        pass
    return torn(key.kind)


def _candidate(kind: Kind, flows: list[Flow], groups: list[Group], pipeline: Pipeline) -> Item | None:
    """An item that might have these flows (highest priority first); the caller checks that it does."""
    if not flows:
        return None
    lowest = flows[-1]
    ingress = pipeline.names.get(lowest.port)
    precedence, place = divmod(lowest.priority - BASE_PRIORITY, PRIORITIES_PER_PRECEDENCE)
    if ingress is None or not 0 <= precedence <= MAX_PRECEDENCE or place not in (0, 1, PASS_PLACE):
        return None
    match = _hull([flow.match for flow in flows if flow.priority == lowest.priority])
    if kind is Kind.GUARD:
        return Guard(ingress, lowest.tag, match, precedence)
    if kind is Kind.PASS:
        return Pass(ingress, lowest.tag, match, precedence)
    permitted = next((flow.actions for flow in flows if not is_deny(flow)), "")
    to = hands_of(permitted, groups, ingress, pipeline)
    if kind is Kind.REDIRECT:
        return Redirect(ingress, lowest.tag, match, to.next, precedence, to.standby, to.copies)
    by_priority: dict[int, list[Flow]] = {}
    for flow in flows:
        by_priority.setdefault(flow.priority, []).append(flow)
    rules = tuple(
        Rule(_verdict(found[0]), _hull([flow.match for flow in found]))
        for priority, found in by_priority.items()
        if priority != lowest.priority
    )
    default = _verdict(lowest)
    return Filter(ingress, lowest.tag, match, to.next, rules, default, precedence, to.standby, to.copies)


def _verdict(flow: Flow) -> Verdict:
    return Verdict.DENY if is_deny(flow) else Verdict.PERMIT


def _blocks(match: Match) -> Iterator[Match]:
    for source_ports in blocks_of(match.source_ports):
        for destination_ports in blocks_of(match.destination_ports):
            if (source_ports, destination_ports) == (match.source_ports, match.destination_ports):
                yield match
            else:
                yield replace(match, source_ports=source_ports, destination_ports=destination_ports)


def _hull(matches: list[Match]) -> Match:
    """The first match with its port ranges widened to cover all."""
    if len(matches) == 1:
        return matches[0]
    source = [match.source_ports for match in matches]
    destination = [match.destination_ports for match in matches]
    return replace(
        matches[0],
        source_ports=(min(low for low, _ in source), max(high for _, high in source)),
        destination_ports=(min(low for low, _ in destination), max(high for _, high in destination)),
    )
