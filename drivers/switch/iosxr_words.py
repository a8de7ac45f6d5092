# SPDX-License-Identifier: Apache-2.0
"""What IOS-XR prints, read: a configuration as nested lines, and one line of an access list as a match.

Called by `drivers.switch.iosxr_parse`. Pure. XR prints well-known ports and DSCPs by name, prefixes in one of three
forms, and keywords in the case that it likes: the same is the same here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from drivers.state import ANY_PORT, ANYWHERE, Match, Ports

# IP Addresses and Services Command Reference for Cisco ASR 9000, "permit (IPv4)": names of TCP and UDP ports.
TCP_PORTS = {
    "bgp": 179, "chargen": 19, "cmd": 514, "daytime": 13, "discard": 9, "domain": 53, "echo": 7, "exec": 512,
    "finger": 79, "ftp": 21, "ftp-data": 20, "gopher": 70, "hostname": 101, "ident": 113, "irc": 194,
    "klogin": 543, "kshell": 544, "ldp": 646, "login": 513, "lpd": 515, "nntp": 119, "pim-auto-rp": 496,
    "pop2": 109, "pop3": 110, "smtp": 25, "ssh": 22, "sunrpc": 111, "tacacs": 49, "talk": 517, "telnet": 23,
    "time": 37, "uucp": 540, "whois": 43, "www": 80,
}  # fmt: skip
UDP_PORTS = {
    "biff": 512, "bootpc": 68, "bootps": 67, "discard": 9, "dnsix": 195, "domain": 53, "echo": 7, "isakmp": 500,
    "ldp": 646, "mobile-ip": 434, "nameserver": 42, "netbios-dgm": 138, "netbios-ns": 137, "netbios-ss": 139,
    "ntp": 123, "pim-auto-rp": 496, "rip": 520, "snmp": 161, "snmptrap": 162, "sunrpc": 111, "syslog": 514,
    "tacacs": 49, "talk": 517, "tftp": 69, "time": 37, "who": 513, "xdmcp": 177,
}  # fmt: skip
PORT_NAMES: Mapping[str, Mapping[str, int]] = {"tcp": TCP_PORTS, "udp": UDP_PORTS}
DSCP_NAMES = {
    "default": 0, "ef": 46,
    **{f"cs{n}": 8 * n for n in range(1, 8)},
    **{f"af{n}{m}": 8 * n + 2 * m for n in range(1, 5) for m in range(1, 4)},
}  # fmt: skip
PROTOCOLS = {"ipv4": "", "ipv6": "", "58": "icmpv6", "1": "icmp"}


class Strange(ValueError):
    """A line that nobody here writes."""


@dataclass
class Block:
    """A line, and the lines inside it, in order."""

    line: str
    inside: list[Block] = field(default_factory=list)

    def texts(self) -> tuple[str, ...]:
        """All that is inside, deeper lines with a space more, as `iosxr_text` writes them."""
        return tuple(text for one in self.inside for text in (one.line, *(f" {deep}" for deep in one.texts())))


def blocks(running: str) -> list[Block]:
    """By indentation. Comments, separators and the final `end` say nothing."""
    top: list[Block] = []
    path: list[tuple[int, list[Block]]] = [(-1, top)]
    for raw in running.splitlines():
        line = " ".join(raw.split())
        if not line or line.startswith("!") or raw.rstrip() == "end":
            continue
        indent = len(raw) - len(raw.lstrip())
        while path[-1][0] >= indent:
            path.pop()
        block = Block(line)
        path[-1][1].append(block)
        path.append((indent, block.inside))
    return top


@dataclass(frozen=True, slots=True)
class Ace:
    """One line of an access list. hop: the VRF of `nexthop1`, "" without."""

    is_permit: bool
    match: Match
    hop: str = ""


def ace_of(text: str, family: int) -> Ace:
    """Of a line without its number. Errors: Strange."""
    words = text.split()
    at = iter(words[2:])
    if len(words) < 4 or words[0] not in ("permit", "deny"):
        raise Strange(text)
    protocol = PROTOCOLS.get(words[1], words[1])
    if words[1] == f"ipv{10 - family}" or protocol not in ("", "tcp", "udp", "sctp", "icmp", "icmpv6"):
        raise Strange(text)
    try:
        rest = list(at)
        source, rest = _prefix(rest, family)
        source_ports, rest = _ports(rest, protocol)
        destination, rest = _prefix(rest, family)
        destination_ports, rest = _ports(rest, protocol)
        dscp = -1
        if rest[:1] == ["dscp"]:
            dscp, rest = _number(rest[1], DSCP_NAMES), rest[2:]
        hop = ""
        if rest[:2] == ["nexthop1", "vrf"]:
            hop, rest = rest[2], rest[3:]
        if rest:
            raise Strange(text)
        match = Match(source, destination, protocol, source_ports, destination_ports, dscp)
    except (ValueError, IndexError) as error:
        raise Strange(text) from error
    return Ace(words[0] == "permit", match, hop)


def _prefix(words: list[str], family: int) -> tuple[str, list[str]]:
    if words[0] == "any":
        return ANYWHERE[family], words[1:]
    if words[0] == "host":
        return str(ipaddress.ip_network(words[1])), words[2:]
    if "/" in words[0]:
        return str(ipaddress.ip_network(words[0])), words[1:]
    return str(ipaddress.IPv4Network(f"{words[0]}/{_length(words[1])}")), words[2:]


def _length(wildcard: str) -> int:
    """Of the prefix that a wildcard mask means; ValueError if its ones are not all at the end."""
    free = int(ipaddress.IPv4Address(wildcard)) + 1
    if free & (free - 1):
        raise ValueError(wildcard)
    return 33 - free.bit_length()


def _ports(words: list[str], protocol: str) -> tuple[Ports, list[str]]:
    names = PORT_NAMES.get(protocol, {})
    if words[:1] == ["eq"]:
        port = _number(words[1], names)
        return (port, port), words[2:]
    if words[:1] == ["range"]:
        return (_number(words[1], names), _number(words[2], names)), words[3:]
    return ANY_PORT, words


def _number(word: str, names: Mapping[str, int]) -> int:
    return names[word] if word in names else int(word) if re.fullmatch(r"\d{1,5}", word) else _unknown(word)


def _unknown(word: str) -> int:
    raise Strange(word)


def numbered(block: Block) -> Iterator[tuple[int, str]]:
    """The lines of an access list. Errors: Strange."""
    for one in block.inside:
        found = re.fullmatch(r"(\d{1,10}) (.+)", one.line)
        if found is None or one.inside:
            raise Strange(one.line)
        yield int(found[1]), found[2]
