# SPDX-License-Identifier: Apache-2.0
"""The `linux` driver: NGFW rule sets, an IPS and a CGN on any Linux box, over SSH, with nft and iptables.

Settings: `interface_PORT: NAME` where a port's Linux interface has another name; `bridges` where two arms are the legs
of a bridge (see `bridged`). Credential: JSON {"user", "private_key_file", "known_hosts_file", "port"}. Native text:
scripts in the order in which they are sent, each after a line "# nft", "# nft bridge", "# iptables" or "# ip6tables".
Forwarded packets that no item lets pass are dropped from the first push on; what is addressed to the box itself is
never touched. A box with one arm has one port that is inside and outside: directions are told apart by addresses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from drivers import iptables, nftables_parse
from drivers.appliance import bridged
from drivers.base import (
    LINES,
    Capabilities,
    Counter,
    Demand,
    Driver,
    Identity,
    Limit,
    Observation,
    Rejected,
    Target,
    Unsupported,
)
from drivers.diff import Change
from drivers.nat import Block
from drivers.nftables import render as render_nftables
from drivers.nftables import render_base, render_given
from drivers.nftables_grammar import refused_line
from drivers.nftables_objects import Realm
from drivers.nftables_parse import DAMAGED_ITEMS
from drivers.state import DeviceState, FunctionItem, Item, Key, Kind, Signatures
from drivers.transport.ssh import Result, Shell, connect

CAPS = Capabilities(
    kinds=frozenset({Kind.RULESET, Kind.SIGNATURES, Kind.NATPOOL}), is_atomic=True, has_confirmed_commit=False,
    gives_blocks=True,
    limits=(Limit(LINES, None, "rules of nftables and iptables: the machine's memory"),),
)
NFT, BRIDGE, FOUR, SIX = "# nft", "# nft bridge", "# iptables", "# ip6tables"
FAMILIES = {FOUR: 4, SIX: 6}
# Everything that this driver ever runs on a device; data goes to standard input only.
READS = ("nft -j list table inet viaduct", "iptables-save -c", "ip6tables-save -c", "ip -json link show")
READ = "; ".join(f"{command}; echo viaduct-exit $?" for command in READS)
READ_BRIDGE = "nft -j list table bridge viaduct"
SAVE = {FOUR: "iptables-save -c", SIX: "ip6tables-save -c"}
APPLY = {NFT: "nft -f -", BRIDGE: "nft -f -", FOUR: "iptables-restore --noflush", SIX: "ip6tables-restore --noflush"}
CHECK = {
    NFT: "nft -c -f -",
    BRIDGE: "nft -c -f -",
    FOUR: "iptables-restore --noflush --test",
    SIX: "ip6tables-restore --noflush --test",
}
# What the box is, and which programs it lacks; `nft list ruleset` and iptables together are all that is configured.
PROGRAMS = {"nft": "nftables", "iptables-restore": "iptables", "ip6tables-restore": "iptables", "ip": "iproute2"}
LOGIN = (
    "uname -sr; (. /etc/os-release && echo $PRETTY_NAME); "
    + "; ".join(f"command -v {name} >/dev/null || echo missing {name}" for name in PROGRAMS)
)
CLOSES = "the first push closes it to all forwarded packets that no chain takes through it"
CONFIGURATION = "nft -s list ruleset; iptables-save; ip6tables-save"
REMOVES = re.compile(r"^(delete chain|-X) ", re.MULTILINE)
MISSING_PROGRAM = 127

Section = tuple[str, str]


def interfaces_of(target: Target) -> dict[str, str]:
    """Port name -> Linux interface name, for every port of the device. Cables are there."""
    return {port: target.settings.get(f"interface_{port}", port) for port in target.ports}


def places_of(target: Target) -> dict[str, str]:
    """Port name -> the interface at which rules see its packets: of a leg, its bridge. Errors: Unsupported."""
    legs = {port: bridge for pair, bridge in bridged.pairs_of(target).items() for port in pair}
    return {**legs, **{port: name for port, name in interfaces_of(target).items() if port not in legs}}


def claim() -> str:
    """Native text that closes an appliance to all forwarded traffic before it has any item."""
    return _joined([(NFT, render_base(Realm.APPLIANCE))])


def render(changes: tuple[Change, ...], target: Target) -> str:
    """Signatures are written first and taken away last: whatever fails in between, nothing opens.

    Errors: Unsupported.
    """
    if not changes:
        return ""
    interfaces = places_of(target)
    ordered = sorted(changes, key=lambda change: change.key)
    for change in ordered:
        if change.key.kind not in CAPS.kinds:
            raise Unsupported(f"{target.name}: a Linux appliance cannot hold a {change.key.kind}")
        if isinstance(change.after, FunctionItem):
            bridged.require_pair(change.key, change.after, target)
    rules = tuple(change for change in ordered if change.key.kind is not Kind.SIGNATURES)
    script = render_nftables(rules, Realm.APPLIANCE, interfaces) or render_base(Realm.APPLIANCE)
    written: dict[str, list[str]] = {FOUR: [], SIX: []}
    removed: dict[str, list[str]] = {FOUR: [], SIX: []}
    for change in ordered:
        if change.key.kind is Kind.SIGNATURES:
            _signatures(change, interfaces, written, removed)
    parts = [(kind, iptables.script(lines)) for kind, lines in written.items()]
    parts += [(BRIDGE, bridged.BASE if bridged.pairs_of(target) else ""), (NFT, script)]
    parts += [(kind, iptables.script(lines)) for kind, lines in removed.items()]
    return _joined(parts)


def entries(state: DeviceState, target: Target) -> Mapping[str, int]:
    """See `Driver`: rules, those that are always there too. Errors: Unsupported."""
    whole = {key: item for key, item in state.items() if item != DAMAGED_ITEMS.get(key.kind)}
    text = render(tuple(Change(key, None, item) for key, item in whole.items()), target)
    return {LINES: sum(line.startswith(("add rule ", "-A ")) for line in text.splitlines())}


def _signatures(
    change: Change, interfaces: Mapping[str, str], written: dict[str, list[str]], removed: dict[str, list[str]]
) -> None:
    key, before, after = change.key, change.before, change.after
    kind = _kind(after) if isinstance(after, Signatures) else ""
    if isinstance(before, Signatures):
        # In which family a damaged item was is not known.
        is_damaged = before.inside == nftables_parse.DAMAGED
        for old in (FOUR, SIX) if is_damaged else (_kind(before),):
            lines = iptables.removed(key, before, interfaces)
            if old == kind:
                written[kind] += [line for line in lines if line.startswith("-D")]
            else:
                removed[old] += lines
    if isinstance(after, Signatures):
        written[kind] += iptables.added(key, after, interfaces)


def _kind(item: Signatures) -> str:
    return FOUR if item.traffic.family == 4 else SIX


def _joined(sections: list[Section]) -> str:
    return "".join(f"{kind}\n{text}" for kind, text in sections if text)


def sections(native: str) -> tuple[Section, ...]:
    """The scripts of a native text. Errors: Rejected for anything that `render` does not print."""
    found: list[tuple[str, list[str]]] = []
    for line in native.splitlines(keepends=True):
        if line.rstrip("\n") in APPLY:
            found.append((line.rstrip("\n"), []))
        elif found:
            found[-1][1].append(line)
        else:
            raise Rejected(f"line 1 of the native text must be one of {', '.join(APPLY)}")
    parts = tuple((kind, "".join(lines)) for kind, lines in found)
    for kind, text in parts:
        if kind == BRIDGE:
            number = int(text != bridged.BASE)
        else:
            number = refused_line(text, Realm.APPLIANCE) if kind == NFT else iptables.refused_line(text)
        if number or not text:
            raise Rejected(f"{kind[2:]} part, line {number}: not something that this driver writes")
    return parts


class LinuxSession:
    """Commands over one SSH connection."""

    def __init__(self, shell: Shell, target: Target) -> None:
        self._shell = shell
        self._target = target
        self._interfaces = places_of(target)
        self._strangers: tuple[str, ...] | None = None

    def read(self) -> Observation:
        table, four, six, links = self._all()
        found = nftables_parse.parse(table, Realm.APPLIANCE, self._interfaces)
        self._strangers = found.attached
        for family, text in ((4, four), (6, six)):
            saved = iptables.saved_from(text)
            self._strangers += saved.strangers
            found = _merged(found, iptables.parse(saved, family, self._interfaces))
        if not nftables_parse.has_base(table, Realm.APPLIANCE) or (found.state and not self._is_wire_closed()):
            # Signatures stand in iptables, but without the base nothing closes the box behind them.
            damaged = {key: nftables_parse.DAMAGED_ITEMS[key.kind] for key in found.state}
            found = replace(found, state=DeviceState(damaged))
        return replace(found, links_up=self._links(links))

    def _is_wire_closed(self) -> bool:
        """Always, unless two of its ports are joined by a bridge."""
        if not bridged.pairs_of(self._target):
            return True
        done = self._shell.run(READ_BRIDGE)
        if done.code and "No such file or directory" not in done.errors:
            raise self._refused(READ_BRIDGE, done)
        return bridged.is_closed("" if done.code else done.output)

    def demands(self) -> Mapping[Key, Demand]:
        """drivers.base.Giving."""
        return nftables_parse.demands(self._all()[0], Realm.APPLIANCE, self._interfaces)

    def give(self, key: Key, taken: tuple[Block, ...], given: tuple[Block, ...]) -> None:
        """drivers.base.Giving."""
        self.push(_joined([(NFT, render_given(key, Realm.APPLIANCE, taken, given))]))

    def login(self, native: str = "") -> Identity:
        """drivers.base.Introspective."""
        lines = self._shell.run(LOGIN).output.splitlines()
        told = [line for line in lines[1:] if not line.startswith("missing ")]
        lacking = sorted({PROGRAMS[line[8:]] for line in lines if line[8:] in PROGRAMS and line.startswith("missing ")})
        missing = self._uncalled()
        if lacking:
            missing = (f"programs are missing; add: apt-get install {' '.join(lacking)}", *missing)
        kernel = lines[0] if lines else ""
        first_push = "" if lacking or nftables_parse.has_base(self._all()[0], Realm.APPLIANCE) else CLOSES
        verified = "its SSH host key is the known one"
        return Identity(told[0] if told else "Linux", kernel, "", verified, missing, first_push)

    def _uncalled(self) -> tuple[str, ...]:
        """What a bridge needs, so that its packets are asked about; without it nothing passes."""
        if not bridged.pairs_of(self._target):
            return ()
        lines = self._shell.run(f"sysctl -e {' '.join(bridged.CALLS)}").output.splitlines()
        is_on = {line.partition(" = ")[0] for line in lines if line.endswith(" = 1")}
        return tuple(f"add: sysctl -w {name}=1 (br_netfilter)" for name in bridged.CALLS if name not in is_on)

    def configuration(self) -> str:
        """drivers.base.Printable: nftables and iptables."""
        done = self._shell.run(CONFIGURATION)
        if done.code:
            raise self._refused(CONFIGURATION, done)
        lines = [re.sub(r"\[\d+:\d+\]", "[0:0]", line) for line in done.output.splitlines()]
        return "".join(f"{line}\n" for line in lines if not line.startswith("#"))

    def _must_be_ours(self) -> None:
        """Where somebody else has put something under our names, nothing is written: it could be taken along."""
        if self._strangers is None:
            self.read()
        if self._strangers:
            told = ", ".join(self._strangers)[:400]
            raise Rejected(f"{self._target.name}: {told} is not ours, but is among ours; remove it")

    def validate(self, native: str) -> None:
        self._must_be_ours()
        saved: dict[str, iptables.Saved] = {}
        for kind, text in sections(native):
            script = iptables.settled(text, self._saved(kind, saved)) if kind in SAVE else text
            done = self._shell.run(CHECK[kind], script) if script else None
            if done is not None and done.code:
                raise self._refused(CHECK[kind], done)

    def push(self, native: str) -> None:
        """If a later script fails, what the earlier ones wrote to iptables is put back."""
        self._must_be_ours()
        parts = sections(native)
        before: dict[str, iptables.Saved] = {}
        for number, (kind, text) in enumerate(parts):
            if kind in SAVE:
                text = iptables.settled(text, self._saved(kind, {} if kind in before else before))
            done = self._shell.run(APPLY[kind], text) if text else None
            if done is not None and done.code:
                fate = self._put_back(parts[:number], before) if number else "nothing has changed"
                raise Rejected(f"{self._refused(APPLY[kind], done)}; {fate}")
        if any(REMOVES.search(text) for _, text in parts):
            self._leave({kind for kind, _ in parts})

    def _leave(self, kinds: set[str]) -> None:
        """With the last item the base goes too, and what iptables made for us: the box is the operator's own again."""
        table, four, six, _ = self._all()
        saved = {FOUR: four, SIX: six}
        is_ours = any(iptables.saved_from(text).rules for text in saved.values())
        left = nftables_parse.parse(table, Realm.APPLIANCE, self._interfaces)
        if is_ours or left.state or left.attached:
            return
        lines = ["delete table inet viaduct\n"] if table else []
        if bridged.pairs_of(self._target):
            lines.append(bridged.GONE)
        for kind, family in ((FOUR, "ip"), (SIX, "ip6")):
            if kind in kinds and iptables.is_bare(saved[kind]):
                lines.append(f"delete table {family} filter\n")
        done = self._shell.run(APPLY[NFT], "".join(lines))
        if done.code:
            raise self._refused(APPLY[NFT], done)

    def _put_back(self, done: tuple[Section, ...], before: Mapping[str, iptables.Saved]) -> str:
        """Undo what was sent so far, where it can be undone; what to tell the operator."""
        if any(kind == NFT for kind, _ in done):
            return "the nft part has been applied, signatures that should go are still there; nothing is open"
        for kind, text in done:
            undo = iptables.restoring(iptables.chains_in(text), before[kind], self._saved(kind, {}))
            if undo and self._shell.run(APPLY[kind], undo).code:
                return f"what {kind[2:]} had taken before could not be undone; nothing is open"
        return "what had been sent before has been undone"

    def _saved(self, kind: str, known: dict[str, iptables.Saved]) -> iptables.Saved:
        """What iptables holds; asked once for everyone who shares `known`."""
        if kind not in known:
            done = self._shell.run(SAVE[kind])
            if done.code:
                raise self._refused(SAVE[kind], done)
            known[kind] = iptables.saved_from(done.output)
        return known[kind]

    def _all(self) -> list[str]:
        """What every command of READ answers, in one round trip; "" for a table that is not there."""
        done = self._shell.run(READ)
        answers = re.split(r"^viaduct-exit (\d+)\n", done.output, flags=re.MULTILINE)
        codes = [int(code) for code in answers[1::2]]
        if codes[:1] == [1] and "No such file or directory" in done.errors:
            answers[0], codes[0] = "", 0
        if len(codes) != len(READS) or any(codes):
            raise self._refused(READ, replace(done, code=max(codes, default=done.code)))
        return answers[:-1:2]

    def _links(self, text: str) -> dict[str, bool]:
        try:
            links = {link["ifname"]: "LOWER_UP" in link["flags"] for link in json.loads(text)}
        except (ValueError, KeyError, TypeError) as error:
            raise Rejected(f"{self._target.name}: `ip link` did not answer in its JSON format") from error
        return {port: links.get(interface, False) for port, interface in interfaces_of(self._target).items()}

    def _refused(self, command: str, done: Result) -> Rejected:
        if done.code == MISSING_PROGRAM:
            return Rejected(f"{self._target.name}: a program is missing; install nftables, iptables and iproute2")
        return Rejected(f"{self._target.name}: {command!r} failed: {done.errors.strip()[:2000]}")


def _merged(one: Observation, two: Observation) -> Observation:
    """Both readings; an item that is in both families' tables is damaged."""
    items: dict[Key, Item] = {**one.state, **two.state}
    counters: dict[Key, Counter] = {**one.counters, **two.counters}
    for key in one.state.keys() & two.state.keys():
        items[key] = nftables_parse.DAMAGED_ITEMS[key.kind]
    attached = (*one.attached, *two.attached)
    return Observation(DeviceState(items), counters, foreign=one.foreign + two.foreign, attached=attached)


@contextmanager
def open_session(target: Target, timeout_s: float) -> Iterator[LinuxSession]:
    """Errors: Transient, Rejected."""
    with connect(target, timeout_s) as shell:
        yield LinuxSession(shell, target)


DRIVER = Driver(name="linux", caps=CAPS, render=render, open=open_session, entries=entries)
