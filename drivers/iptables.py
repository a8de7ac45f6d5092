# SPDX-License-Identifier: Apache-2.0
"""Signatures on a Linux box: iptables chains of our own, because nftables cannot search a payload.

Called by the `linux` driver. Pure: text for iptables-restore and from iptables-save, IPv4 and IPv6 alike.
The chain of an item sets the claim bit on what it let pass (see `nftables_objects.base`), so if the chain
is bypassed or gone, the closing chain drops the traffic. Rules of others are never written or moved.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from drivers.base import Counter, Observation, Rejected, Unsupported
from drivers.nftables_objects import CLAIM_BIT, arms_of, interface_of
from drivers.nftables_parse import DAMAGED, DAMAGED_ITEMS
from drivers.state import ANY_PORT, ANYWHERE, DeviceState, Item, Key, Kind, Match, Ports, Signatures

# iptables allows 28 characters: the longest key takes all of them.
BARE = re.compile(r":(INPUT|FORWARD|OUTPUT) ACCEPT \[\d+:\d+\]|COMMIT")
CHAIN = re.compile(r"VIADUCT(\d{1,8})r(\d{1,4})([fr])(\d{1,2})i(\d{1,4})")
PATTERN = re.compile(r"(?:[0-9a-f]{2}){1,64}")
PROTOCOL_NAMES = {"icmpv6": "ipv6-icmp"}
# Knuth-Morris-Pratt: the kernel's Boyer-Moore misses a pattern that lies across two fragments of a
# socket buffer (comment in lib/ts_bm.c), and the sender chooses the fragments.
ALGORITHM = "kmp"
CLAIM = f"-j MARK --set-xmark {CLAIM_BIT:#x}/{CLAIM_BIT:#x}"
PROTOCOLS = {"": "", "tcp": "tcp", "udp": "udp", "sctp": "sctp", "icmp": "icmp", "ipv6-icmp": "icmpv6"}
_NAME = CHAIN.pattern
_NET = r"[0-9a-f:.]{2,45}/\d{1,3}"
_ARM = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}"
_PORT = r"\d{1,5}(?::\d{1,5})?"
_TRAFFIC = (
    rf"(?:-s {_NET} )?(?:-d {_NET} )?-i {_ARM} -o {_ARM} (?:-p (?:tcp|udp|sctp|icmp|ipv6-icmp) )?"
    rf"(?:-m (?:tcp|udp|sctp) (?:--sport {_PORT} )?(?:--dport {_PORT} )?)?(?:-m dscp --dscp 0x[0-9a-f]{{2}} )?"
)
_LINES = tuple(
    re.compile(text)
    for text in (
        rf":{_NAME} - \[0:0\]",
        rf'-A {_NAME} -m string --hex-string "\|(?:[0-9a-f]{{2}}){{1,64}}\|" --algo {ALGORITHM} -j DROP',
        rf"-A {_NAME} {CLAIM}",
        rf"-[ID] FORWARD {_TRAFFIC}-j {_NAME}",
        rf"-[FX] {_NAME}",
    )
)


@dataclass(frozen=True, slots=True)
class Jump:
    """One direction of an item's traffic: from the first interface to the second."""

    iif: str
    oif: str
    match: Match


@dataclass(frozen=True, slots=True)
class Saved:
    """iptables-save: the jumps from FORWARD to our chains, our chains' rules, how many rules others have.

    strangers: chains of others under our prefix. before: rules of others that FORWARD asks before a jump of ours.

    jumps: chain -> lines as saved ("-A FORWARD ... -j CHAIN"), without counters.
    rules: chain -> (packets, octets, line).
    """

    jumps: Mapping[str, tuple[str, ...]]
    rules: Mapping[str, tuple[tuple[int, int, str], ...]]
    foreign: int
    strangers: tuple[str, ...] = ()
    before: tuple[str, ...] = ()


def chain_of(key: Key) -> str:
    return f"VIADUCT{key.chain}r{key.revision}{key.direction}{key.stage}i{key.index}"


def added(key: Key, item: Signatures, interfaces: Mapping[str, str]) -> list[str]:
    """Lines that write the item anew; jumps go first in FORWARD. Errors: Unsupported."""
    chain = chain_of(key)
    if not all(PATTERN.fullmatch(pattern) for pattern in item.patterns):
        raise Unsupported(f"{key}: a signature is 1 to 64 bytes in lower-case hexadecimal")
    drops = (f'-A {chain} -m string --hex-string "|{one}|" --algo {ALGORITHM} -j DROP' for one in item.patterns)
    jumps = (f"-I FORWARD {_jump_text(jump)} -j {chain}" for jump in _arms(key, item, interfaces))
    return [f":{chain} - [0:0]", *drops, f"-A {chain} {CLAIM}", *jumps]


def removed(key: Key, item: Signatures, interfaces: Mapping[str, str]) -> list[str]:
    """Lines that take the item away."""
    chain = chain_of(key)
    known = () if item.inside == DAMAGED else _arms(key, item, interfaces)
    return [*(f"-D FORWARD {_jump_text(jump)} -j {chain}" for jump in known), f"-F {chain}", f"-X {chain}"]


def script(lines: list[str]) -> str:
    """For `iptables-restore --noflush`: one transaction."""
    return "".join(f"{line}\n" for line in ("*filter", *lines, "COMMIT")) if lines else ""


def settled(text: str, saved: Saved) -> str:
    """The script as it suits what the device has, so that sending it twice is sending it once.

    Jumps that the device has to a chain that is written anew or taken away go first, however many
    there are; chains that are not there are not taken away.
    """
    lines: list[str] = []
    for line in text.splitlines()[1:-1]:
        word, _, rest = line.partition(" ")
        chain = word[1:] if word.startswith(":") else rest
        if word == "-D" or (word in ("-F", "-X") and chain not in saved.rules):
            continue
        if word.startswith(":") or word == "-F":
            lines += [f"-D{jump[2:]}" for jump in saved.jumps.get(chain, ())]
        lines.append(line)
    return script(lines)


def restoring(chains: set[str], before: Saved, now: Saved) -> str:
    """The script that brings these chains back from `now` to what they were before."""
    lines: list[str] = []
    for chain in sorted(chains):
        lines += [f"-D{jump[2:]}" for jump in now.jumps.get(chain, ())]
        if chain in before.rules:
            lines += [f":{chain} - [0:0]", *(line for _, _, line in before.rules[chain])]
            lines += [f"-I{jump[2:]}" for jump in reversed(before.jumps.get(chain, ()))]
        elif chain in now.rules:
            lines += [f"-F {chain}", f"-X {chain}"]
    return script(lines)


def refused_line(text: str) -> int:
    """The number (from 1) of the first line of a script that `script` never makes, 0 if there is none."""
    lines = text.split("\n")
    if lines[0] != "*filter" or lines[-2:] != ["COMMIT", ""]:
        return 1
    for number, line in enumerate(lines[1:-2], start=2):
        if not any(pattern.fullmatch(line) for pattern in _LINES):
            return number
    return 0


def chains_in(text: str) -> set[str]:
    """The chains that a script writes or takes away."""
    return {found[0] for found in CHAIN.finditer(text)}


def saved_from(text: str) -> Saved:
    """Read the output of `iptables-save -c`."""
    jumps: dict[str, list[str]] = {}
    rules: dict[str, list[tuple[int, int, str]]] = {}
    strangers: list[str] = []
    others: list[str] = []  # of FORWARD in the table filter, in its order
    before: list[str] = []
    foreign, table = 0, ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":VIADUCT"):
            chain = line[1:].split(" ")[0]
            if CHAIN.fullmatch(chain) is None:
                strangers.append(f"iptables chain {chain}")
            else:
                rules[chain] = []
        elif line.startswith("["):
            counters, _, rule = line.partition(" ")
            source, target = rule.split(" ")[1], rule.rpartition(" -j ")[2]
            if source in rules:
                packets, _, octets = counters.strip("[]").partition(":")
                rules[source].append((int(packets), int(octets), rule))
            elif source == "FORWARD" and CHAIN.fullmatch(target):
                jumps.setdefault(target, []).append(rule)
                before = list(others)
            else:
                foreign += 1
                if (table, source) == ("filter", "FORWARD"):
                    others.append(rule)
    return Saved(
        {chain: tuple(found) for chain, found in jumps.items()},
        {chain: tuple(found) for chain, found in rules.items()},
        foreign,
        tuple(strangers),
        tuple(f"iptables {rule}" for rule in before),
    )


def is_bare(text: str) -> bool:
    """Does `iptables-save` show the filter table alone, with nothing in it that has an effect?"""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return lines[:1] == ["*filter"] and all(BARE.fullmatch(line) for line in lines[1:])


def parse(saved: Saved, family: int, interfaces: Mapping[str, str]) -> Observation:
    """The items and counters in one family's tables. Errors: Rejected."""
    items: dict[Key, Item] = {}
    counters: dict[Key, Counter] = {}
    for chain, rules in saved.rules.items():
        key = _key(chain)
        dropped = sum(packets for packets, _, line in rules if line.endswith("-j DROP"))
        passed = [(packets, octets) for packets, octets, line in rules if line.endswith(CLAIM)]
        counters[key] = Counter(sum(each[0] for each in passed), sum(each[1] for each in passed), dropped)
        lines = [line for _, _, line in rules]
        jumps = [_jump(line, family) for line in saved.jumps.get(chain, ())]
        # The forward jump was inserted first, so it is the lower one.
        item = _item(lines, jumps[-1], interfaces) if jumps and jumps[-1] is not None else None
        is_whole = item is not None and jumps == [*reversed(_arms(key, item, interfaces))]
        ends = lines[-1:] == [f"-A {chain} {CLAIM}"] and sum(line.endswith(CLAIM) for line in lines) == 1
        items[key] = item if item is not None and is_whole and ends else DAMAGED_ITEMS[Kind.SIGNATURES]
    attached = (*saved.strangers, *saved.before)
    return Observation(DeviceState(items), counters, foreign=saved.foreign, attached=attached)


def _key(chain: str) -> Key:
    found = CHAIN.fullmatch(chain)
    if found is None:
        raise Rejected(f"iptables holds a chain {chain}, which is not ours; remove it")
    one, revision, direction, stage, index = found.groups()
    try:
        return Key.parse(f"c{one}.r{revision}.{direction}.{stage}.signatures.{index}")
    except ValueError as error:
        raise Rejected(f"iptables holds a chain {chain}, which is not ours: {error}") from error


def _arms(key: Key, item: Signatures, interfaces: Mapping[str, str]) -> tuple[Jump, Jump]:
    """What jumps to the item's chain: both directions."""
    inside, outside = (interface_of(key, port, interfaces) for port in (item.inside, item.outside))
    return Jump(inside, outside, item.traffic), Jump(outside, inside, item.traffic.reversed())


def _jump_text(jump: Jump) -> str:
    """As iptables-save prints it."""
    words, match = [], jump.match
    if match.source not in ANYWHERE.values():
        words.append(f"-s {match.source}")
    if match.destination not in ANYWHERE.values():
        words.append(f"-d {match.destination}")
    words.append(f"-i {jump.iif} -o {jump.oif}")
    if match.protocol:
        words.append(f"-p {PROTOCOL_NAMES.get(match.protocol, match.protocol)}")
    ports = (("--sport", match.source_ports), ("--dport", match.destination_ports))
    found = [f"{word} {_range(given)}" for word, given in ports if given != ANY_PORT]
    if found:
        words.append(f"-m {match.protocol} {' '.join(found)}")
    if match.dscp >= 0:
        words.append(f"-m dscp --dscp {match.dscp:#04x}")
    return " ".join(words)


def _range(ports: Ports) -> str:
    low, high = ports
    return str(low) if low == high else f"{low}:{high}"


def _item(lines: list[str], forward: Jump, interfaces: Mapping[str, str]) -> Signatures:
    """What the rules and the forward jump seem to be. Errors: Rejected."""
    patterns = tuple(_pattern(line) for line in lines if not line.endswith(CLAIM))
    inside, outside = arms_of(forward.iif, forward.oif, interfaces)
    return Signatures(forward.match, patterns, inside, outside)


def _pattern(line: str) -> str:
    words = shlex.split(line)
    shape = [*words[2:5], *words[6:]]
    if shape == ["-m", "string", "--hex-string", "--algo", ALGORITHM, "-j", "DROP"]:
        return words[5].strip("|")
    if shape == ["-m", "string", "--string", "--algo", ALGORITHM, "-j", "DROP"]:
        return words[5].encode("ascii").hex()
    raise Rejected(f"iptables holds a rule in chain {words[1]} that Viaduct never writes; remove it: {line}")


def _jump(line: str, family: int) -> Jump | None:
    """None if it is not one that we write."""
    words = shlex.split(line)[2:]
    fields = dict(zip(words[::2], words[1::2], strict=False))
    fields.pop("-m", None)
    try:
        match = Match(
            _prefix(fields.pop("-s", ANYWHERE[family])),
            _prefix(fields.pop("-d", ANYWHERE[family])),
            PROTOCOLS[fields.pop("-p", "")],
            _ports(fields.pop("--sport", "0:65535")),
            _ports(fields.pop("--dport", "0:65535")),
            int(fields.pop("--dscp", "-1"), 0),
        )
        jump = Jump(fields.pop("-i"), fields.pop("-o"), match)
    except (KeyError, ValueError):
        return None
    return jump if fields.keys() == {"-j"} else None


def _prefix(text: str) -> str:
    """In normal form: the C library writes ::8a4:0 as ::8.164.0.0."""
    return str(ipaddress.ip_network(text))


def _ports(text: str) -> Ports:
    low, _, high = text.partition(":")
    return int(low), int(high or low)
