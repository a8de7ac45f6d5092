# SPDX-License-Identifier: Apache-2.0
"""EOS configuration text as nested lines, and one line of an access list as a match. Pure.

Called by the other eos modules. Knows nothing of tables or items. Sources: EOS User Manual, "ACLs and Route Maps"
(permit, IPv4 and IPv6 access control lists) and "Switch Administration" (banners).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from drivers.base import Unsupported
from drivers.state import ANY_PORT, ANYWHERE, Match, Ports

INDENT = "   "
HEREDOC = re.compile(r"banner (login|motd|exec)")
PROTOCOLS = ("", "tcp", "udp", "icmp", "icmpv6")

# The device prints well-known ports and DSCPs by name, however they were typed.
PORT_NAMES = {
    "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "time": 37, "nameserver": 42, "whois": 43,
    "tacacs": 49, "domain": 53, "bootps": 67, "bootpc": 68, "tftp": 69, "gopher": 70, "finger": 79, "www": 80,
    "kerberos": 88, "hostname": 101, "pop2": 109, "pop3": 110, "sunrpc": 111, "ident": 113, "nntp": 119, "ntp": 123,
    "netbios-ns": 137, "netbios-dgm": 138, "netbios-ss": 139, "snmp": 161, "snmptrap": 162, "xdmcp": 177, "bgp": 179,
    "irc": 194, "dnsix": 195, "mobile-ip": 434, "https": 443, "isakmp": 500, "biff": 512, "exec": 512, "login": 513,
    "who": 513, "cmd": 514, "syslog": 514, "lpd": 515, "talk": 517, "rip": 520, "uucp": 540, "klogin": 543,
    "kshell": 544, "msdp": 639, "ldp": 646, "netconf-ssh": 830, "bfd": 3784, "bfd-echo": 3785, "bfd-multi-hop": 4784,
    "gnmi": 6030, "micro-bfd": 6784,
}  # fmt: skip
DSCP_NAMES = {
    **{f"cs{number}": 8 * number for number in range(1, 8)},
    **{f"af{high}{low}": 8 * high + 2 * low for high in range(1, 5) for low in range(1, 4)},
    "ef": 46,
    "default": 0,
}


@dataclass(frozen=True, slots=True)
class Block:
    """A line with the lines inside it."""

    line: str
    inside: tuple[Block, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """Of the next level only."""
        return tuple(block.line for block in self.inside)

    def text(self, depth: int = 0) -> Iterator[str]:
        yield INDENT * depth + self.line
        for block in self.inside:
            yield from block.text(depth + 1)


def block(line: str, *inside: str | Block) -> Block:
    return Block(line, tuple(Block(one) if isinstance(one, str) else one for one in inside))


def blocks_of(text: str, *, is_native: bool = False) -> tuple[Block, ...]:
    """What a running configuration says; or a native text, in which every line counts, comments too."""
    return _nested(list(_lines(text, is_native)), 0, -1)[0]


def _lines(text: str, is_native: bool) -> Iterator[tuple[int, str]]:
    """(indentation, line), without what a person wrote to be read by persons."""
    is_free = False
    for raw in text.splitlines():
        line = raw.strip()
        if is_native:
            yield len(raw) - len(raw.lstrip()), line
        elif is_free:
            is_free = line != "EOF"
        elif HEREDOC.fullmatch(line):
            is_free = True
        elif line and line != "end" and not line.startswith("!"):
            yield len(raw) - len(raw.lstrip()), line


def _nested(lines: list[tuple[int, str]], start: int, outside: int) -> tuple[tuple[Block, ...], int]:
    found: list[Block] = []
    while start < len(lines) and lines[start][0] > outside:
        indent, line = lines[start]
        inside, start = _nested(lines, start + 1, indent)
        found.append(Block(line, inside))
    return tuple(found), start


def paths(blocks: Iterable[Block], outside: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every line with the lines around it."""
    for one in blocks:
        yield (*outside, one.line)
        yield from paths(one.inside, (*outside, one.line))


# --- lines of an access list ------------------------------------------------------------------


def check_match(match: Match, who: str) -> None:
    """Errors: Unsupported, naming `who`."""
    other = "icmp" if match.family == 6 else "icmpv6"
    if match.protocol not in PROTOCOLS or match.protocol == other:
        raise Unsupported(f"{who}: EOS access lists of IPv{match.family} have no protocol {match.protocol}")


def permit(match: Match, who: str) -> str:
    """Without the sequence number. who: for errors. Errors: Unsupported."""
    check_match(match, who)
    protocol = match.protocol or ("ipv6" if match.family == 6 else "ip")
    words = [
        f"permit {protocol}",
        _prefix(match.source),
        _ports(match.source_ports),
        _prefix(match.destination),
        _ports(match.destination_ports),
        f"dscp {match.dscp}" if match.dscp >= 0 else "",
    ]
    return " ".join(word for word in words if word)


def _prefix(text: str) -> str:
    network = ipaddress.ip_network(text)
    if text == ANYWHERE[network.version]:
        return "any"
    return f"host {network.network_address}" if network.num_addresses == 1 else text


def _ports(ports: Ports) -> str:
    if ports == ANY_PORT:
        return ""
    return f"eq {ports[0]}" if ports[0] == ports[1] else f"range {ports[0]} {ports[1]}"


def match_of(line: str, family: int) -> Match:
    """Inverse of `permit`, as the device prints it. Errors: ValueError if it is no line that `permit` writes."""
    words = line.split()
    if words[:1] != ["permit"] or len(words) < 4:
        raise ValueError(line)
    protocol, rest = words[1], words[2:]
    source = _take_prefix(rest, family)
    source_ports = _take_ports(rest)
    destination = _take_prefix(rest, family)
    destination_ports = _take_ports(rest)
    dscp = -1
    if rest[:1] == ["dscp"]:
        dscp = DSCP_NAMES[rest[1]] if rest[1] in DSCP_NAMES else int(rest[1])
        del rest[:2]
    if rest or protocol not in ("ip", "ipv6", *PROTOCOLS[1:]):
        raise ValueError(line)
    found = "" if protocol in ("ip", "ipv6") else protocol
    return Match(source, destination, found, source_ports, destination_ports, dscp)


def _take_prefix(words: list[str], family: int) -> str:
    if not words:
        raise ValueError("an address is missing")
    word = words.pop(0)
    if word == "any":
        return ANYWHERE[family]
    network = ipaddress.ip_network(words.pop(0) if word == "host" and words else word)
    if network.version != family:
        raise ValueError(f"{network} is of the other family")
    return str(network)


def _take_ports(words: list[str]) -> Ports:
    if words[:1] == ["eq"] and len(words) > 1:
        port = _port(words[1])
        del words[:2]
        return port, port
    if words[:1] == ["range"] and len(words) > 2:
        found = _port(words[1]), _port(words[2])
        del words[:3]
        return found
    return ANY_PORT


def _port(word: str) -> int:
    return PORT_NAMES[word] if word in PORT_NAMES else int(word)
