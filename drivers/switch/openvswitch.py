# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch: steering items as flows in table 0 of one bridge, one OpenFlow bundle a push.

The registry and the planner call `DRIVER`. Only flows of table 0 whose cookie carries our mark, and groups that carry
such a cookie, are read, written or deleted; the operator's own pipeline is out of reach, whatever the text says.

Settings: `bridge` (default: the device's name), `base_table`, `route_table`, `openflow` (default
tcp:MANAGEMENT:6653) and `ovsdb` (default tcp:MANAGEMENT:6640). For ssl: endpoints the credential is
one PEM text: private key, certificate, then the authority that signs the switches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from drivers.base import (
    LINES,
    Capabilities,
    Counter,
    Driver,
    Fails,
    Identity,
    Limit,
    Observation,
    Rejected,
    Target,
    Unsupported,
)
from drivers.diff import Change
from drivers.probe import Probe, ProbeResult
from drivers.state import DeviceState, Key, Kind
from drivers.switch import probe_notes
from drivers.switch.flows import (
    flows_of,
    groups_of_item,
    is_deny,
    is_known_action,
    items_of,
    pipeline_of,
    torn,
)
from drivers.switch.handover import (
    FIRST_MARK,
    LAST_MARK,
    Group,
    Pipeline,
    forget_line,
    group_line,
    is_probers,
    numbers_of,
    parse_groups,
)
from drivers.switch.openflow_text import (
    TABLE,
    Flow,
    Seen,
    add_line,
    cookie_of,
    delete_line,
    key_of,
    parse_bundle,
    parse_dump,
)
from drivers.switch.strangers import attached
from drivers.transport import openflow, ovsdb

CAPS = Capabilities(
    kinds=frozenset({Kind.REDIRECT, Kind.FILTER, Kind.GUARD, Kind.PASS}),
    is_atomic=True,
    has_confirmed_commit=False,
    tags=frozenset({"vlan"}),
    has_ipv6=True,
    has_standby=True,
    has_copies=True,
    buckets=frozenset({"prefix", "mask"}),
    when_dead=Fails.DROP,
    limits=(Limit(LINES, None, "flows: memory, unless `flow_limit` of table 0 is set (ovs-vswitchd.conf.db(5))"),),
)


def render(changes: tuple[Change, ...], target: Target) -> str:
    """Lines of an `ovs-ofctl bundle` file: all deletes (by exact cookie), then all adds, in key order.

    Deletes come first, so an item that replaces another of the same slot is never deleted with it; groups go after the
    flows that use them and come before them. The bundle is one transaction, so no packet sees the state in between.
    Errors: Unsupported.
    """
    pipeline = pipeline_of(target)
    ordered = sorted(changes, key=lambda change: change.key)
    deletes = [delete_line(cookie_of(change.key)) for change in ordered if change.before is not None]
    forgotten = [forget_line(number) for change in ordered for number in _forgotten(change, pipeline)]
    adds: list[str] = []
    groups: dict[int, Group] = {}
    taken: dict[str, Key] = {}
    for change in ordered:
        if change.key.kind not in CAPS.kinds:
            raise Unsupported(f"{target.name}: a switch cannot hold {change.key}")
        if change.after is None or change.after == torn(change.key.kind):
            continue
        for group in groups_of_item(change.key, change.after, pipeline):
            if group.number in groups:
                raise Unsupported(f"{target.name}: {change.key} needs group {group.number}, which another item needs")
            groups[group.number] = group
        for flow in flows_of(change.key, change.after, pipeline):
            line = add_line(flow)
            place = line.partition(",")[2].partition(",actions=")[0]
            if place in taken:
                raise Unsupported(f"{target.name}: {change.key} and {taken[place]} need one flow: {place}")
            taken[place] = change.key
            adds.append(line)
    lines = [*deletes, *forgotten, *map(group_line, groups.values()), *adds]
    return "".join(f"{line}\n" for line in lines)


def entries(state: DeviceState, target: Target) -> Mapping[str, int]:
    """See `Driver`: flows. Errors: Unsupported."""
    pipeline = pipeline_of(target)
    whole = ((key, item) for key, item in state.items() if item != torn(key.kind))
    return {LINES: sum(1 for key, item in whole for _ in flows_of(key, item, pipeline))}


def _forgotten(change: Change, pipeline: Pipeline) -> tuple[int, ...]:
    """Groups that go with what was there before; of a torn item, whichever there are."""
    if change.before is None or change.key.kind not in (Kind.REDIRECT, Kind.FILTER):
        return ()
    if change.before == torn(change.key.kind):
        return numbers_of(cookie_of(change.key))
    return tuple(group.number for group in groups_of_item(change.key, change.before, pipeline))


def parse(native: str, target: Target) -> tuple[frozenset[Key], DeviceState]:
    """The keys that a rendered text deletes and the items that it adds.

    Errors: Rejected if a line, or the flows and groups of an item together, are not what `render` writes.
    """
    lines = native.splitlines()
    deleted, added = parse_bundle("".join(f"{line}\n" for line in lines if not line.startswith("group ")))
    known = {number for cookie in deleted for number in numbers_of(cookie)}
    forgotten = [line for line in lines if line.startswith("group delete ")]
    if any(line not in map(forget_line, known) for line in forgotten):
        raise Rejected(f"{target.name}: a group that no deleted item has: {forgotten!r:.400}")
    told = [line for line in lines if line.startswith("group ") and line not in forgotten]
    groups = parse_groups("".join(f"{line.removeprefix('group add ')}\n" for line in told))
    written = [*map(delete_line, deleted), *forgotten, *map(group_line, groups), *map(add_line, added)]
    if lines != written or not all(group.cookie for group in groups):
        raise Rejected(f"{target.name}: not lines that this driver writes, or in another order")
    state = _items(added, groups, target)
    for key, item in state.items():
        if item == torn(key.kind):
            raise Rejected(f"{target.name}: the flows of {key} are not those of an item")
    return frozenset(key_of(cookie) for cookie in deleted), state


def parse_flows(dump: str, groups: str, target: Target, links_up: Mapping[str, bool]) -> Observation:
    """From what `dump-flows BRIDGE table=0` and `dump-groups` printed. Errors: Rejected if a flow of ours is unclear.

    A prober's flows and marks are neither items nor a stranger's.
    """
    seen, foreign = parse_dump(dump)
    flows = tuple(one.flow for one in seen)
    held = parse_groups(groups)
    ours = _our_groups(held, flows)
    state = _items(flows, ours, target)
    counted: dict[int, list[Seen]] = {}
    for one in seen:
        counted.setdefault(one.flow.cookie, []).append(one)
    counters = {
        key_of(cookie): Counter(
            packets=sum(one.packets for one in group),
            octets=sum(one.octets for one in group),
            dropped=sum(one.packets for one in group if is_deny(one.flow)),
        )
        for cookie, group in counted.items()
    }
    in_the_way = attached(foreign, [one.flow for one in seen])
    marks = sum(FIRST_MARK <= group.number <= LAST_MARK for group in held)
    return Observation(state, counters, links_up, len(foreign) + len(held) - len(ours) - marks, in_the_way)


def _our_groups(held: Iterable[Group], flows: Iterable[Flow]) -> tuple[Group, ...]:
    """Those that say so, and those that a flow of ours uses by the number that it should: then one was altered."""
    used = {numbers_of(flow.cookie)[0]: flow.cookie for flow in flows if "group:" in flow.actions}
    ours = []
    for group in held:
        if group.cookie:
            ours.append(group)
        elif group.number in used:
            ours.append(replace(group, cookie=used[group.number]))
    return tuple(ours)


@dataclass(frozen=True, slots=True)
class BridgeSession:
    """One bridge: its flow table by OpenFlow, its ports by OVSDB."""

    target: Target
    channel: openflow.Channel
    timeout_s: float

    def read(self) -> Observation:
        links_up = self.links()
        return parse_flows(self.channel.dump_flows(TABLE), self.channel.dump_groups(), self.target, links_up)

    def links(self) -> Mapping[str, bool]:
        """drivers.base.Glancing: OVSDB alone is asked."""
        links = _bridge(self.target, self.timeout_s).links_up
        return {name: links.get(port.number, False) for name, port in self.target.ports.items()}

    def validate(self, native: str) -> None:
        """Open vSwitch has no dry run: every line must be one that `render` writes for this target."""
        parse(native, self.target)

    def push(self, native: str) -> None:
        self.validate(native)
        if "group delete " in native:
            self._must_be_ours(native)
        if native:
            self.channel.bundle(native)

    def _must_be_ours(self, native: str) -> None:
        """Numbers of groups are few: one that an item of ours should have may have become another's."""
        held = parse_groups(self.channel.dump_groups())
        seen, _ = parse_dump(self.channel.dump_flows(TABLE))
        ours = {group.number for group in _our_groups(held, [one.flow for one in seen])}
        for number in sorted({group.number for group in held} - ours):
            if forget_line(number) in native.splitlines():
                raise Rejected(f"{self.target.name}: group {number} has become somebody else's; remove it")

    def set_probes(self, probes: tuple[Probe, ...]) -> None:
        """drivers.probe.Probing. Only through functions. Errors: Rejected, Transient."""
        note = probe_notes.written(probes, self.target)
        with ovsdb.connect(_database(self.target), self.target.secret, self.timeout_s) as database:
            if database.notes().get(_bridge_name(self.target), {}).get(probe_notes.PROBES, "") != note:
                database.note(_bridge_name(self.target), probe_notes.PROBES, note)

    def probe_results(self) -> tuple[ProbeResult, ...]:
        """drivers.probe.Probing."""
        with ovsdb.connect(_database(self.target), self.target.secret, self.timeout_s) as database:
            return probe_notes.found(database.notes().get(_bridge_name(self.target), {}), self.target.name)

    def login(self, native: str = "") -> Identity:
        """drivers.base.Introspective."""
        is_encrypted = all(one.startswith("ssl:") for one in (_database(self.target), self.channel.endpoint))
        verified = (
            "its certificate is signed by the authority of its credential"
            if is_encrypted
            else "not verified: tcp: has neither encryption nor authentication; use ssl: in `openflow` and `ovsdb`"
        )
        return Identity("Open vSwitch", self.channel.software(), verified=verified)

    def configuration(self) -> str:
        """drivers.base.Printable: the bridge's flows and groups, without a prober's: nobody configures those."""
        lines = self.channel.configuration().splitlines(keepends=True)
        return "".join(line for line in lines if not is_probers(line))


@contextmanager
def open_session(target: Target, timeout_s: float) -> Iterator[BridgeSession]:
    """Checks first that the OpenFlow endpoint is the bridge that the fabric file names."""
    settings = target.settings
    endpoint = settings.get("openflow") or f"tcp:{_host(target)}:6653"
    with openflow.connect(endpoint, target.secret, timeout_s) as channel:
        expected, found = _bridge(target, timeout_s).datapath_id, channel.datapath_id()
        if expected != found:
            raise Rejected(
                f"{target.name}: {endpoint} is datapath {found}, the bridge is {expected}; correct `openflow`"
            )
        yield BridgeSession(target, channel, timeout_s)


def _bridge(target: Target, timeout_s: float) -> ovsdb.Bridge:
    """A connection for each question: a session may be silent for longer than OVSDB's inactivity probe allows."""
    with ovsdb.connect(_database(target), target.secret, timeout_s) as database:
        return database.bridge(_bridge_name(target))


def _bridge_name(target: Target) -> str:
    return target.settings.get("bridge") or target.name


def _database(target: Target) -> str:
    return target.settings.get("ovsdb") or f"tcp:{_host(target)}:6640"


def _host(target: Target) -> str:
    return f"[{target.management}]" if ":" in target.management else target.management


def _items(flows: tuple[Flow, ...], groups: tuple[Group, ...], target: Target) -> DeviceState:
    """Actions that nobody here writes were put in by hand: the item is torn, and gets written anew."""
    pipeline = pipeline_of(target)
    altered = {flow.cookie for flow in flows if not is_known_action(flow.actions)}
    for flow in flows:
        if key_of(flow.cookie).kind not in CAPS.kinds:
            raise Rejected(f"{target.name}: a cookie of ours that no switch holds: {add_line(flow)!r}")
    state = items_of(
        (flow for flow in flows if flow.cookie not in altered),
        (group for group in groups if group.cookie not in altered),
        pipeline,
    )
    return state.merged({key_of(cookie): torn(key_of(cookie).kind) for cookie in altered})


DRIVER = Driver(name="openvswitch", caps=CAPS, render=render, open=open_session, entries=entries)
