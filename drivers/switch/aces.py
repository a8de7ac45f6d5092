# SPDX-License-Identifier: Apache-2.0
"""Lines of Cisco access lists, both ways: a sequence number and a `Match` to text, and text to them.

Called by the IOS and NX-OS dialects. Pure. Permit lines only: what a list names is meant, what happens to it is said
by the route map. Devices print well-known ports and DSCP values by name: both spellings are read, numbers are written.
Source: the IP addressing command references of both platforms, `permit` (IP and IPv6), tables of port names.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from drivers.base import Unsupported
from drivers.state import ANY_PORT, ANYWHERE, Match, Ports

STEP = 10
TCP_PORTS: Mapping[str, int] = {
    "bgp": 179, "chargen": 19, "cmd": 514, "daytime": 13, "discard": 9, "domain": 53, "echo": 7, "exec": 512,
    "finger": 79, "ftp": 21, "ftp-data": 20, "gopher": 70, "hostname": 101, "ident": 113, "irc": 194, "klogin": 543,
    "kshell": 544, "login": 513, "lpd": 515, "msrpc": 135, "nntp": 119, "pim-auto-rp": 496, "pop2": 109, "pop3": 110,
    "smtp": 25, "sunrpc": 111, "tacacs": 49, "talk": 517, "telnet": 23, "time": 37, "uucp": 540, "whois": 43,
    "www": 80,
}  # fmt: skip
UDP_PORTS: Mapping[str, int] = {
    "biff": 512, "bootpc": 68, "bootps": 67, "discard": 9, "dnsix": 195, "domain": 53, "echo": 7, "isakmp": 500,
    "mobile-ip": 434, "nameserver": 42, "netbios-dgm": 138, "netbios-ns": 137, "netbios-ss": 139,
    "non500-isakmp": 4500, "ntp": 123, "pim-auto-rp": 496, "rip": 520, "ripv6": 521, "snmp": 161, "snmptrap": 162,
    "sunrpc": 111, "syslog": 514, "tacacs": 49, "talk": 517, "tftp": 69, "time": 37, "who": 513, "xdmcp": 177,
}  # fmt: skip
PORTS: Mapping[str, Mapping[str, int]] = {"tcp": TCP_PORTS, "udp": UDP_PORTS}
DSCP: Mapping[str, int] = {
    "default": 0, "ef": 46,
    **{f"cs{number}": 8 * number for number in range(1, 8)},
    **{f"af{high}{low}": 8 * high + 2 * low for high in range(1, 5) for low in range(1, 4)},
}  # fmt: skip
PROTOCOLS = {4: {"": "ip", "tcp": "tcp", "udp": "udp", "icmp": "icmp"},
             6: {"": "ipv6", "tcp": "tcp", "udp": "udp", "icmpv6": "icmp"}}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Style:
    """has_wildcards: IPv4 prefixes as address and wildcard bits, single addresses as `host A` (IOS).

    sequence6: the word before an IPv6 line's number.
    """

    has_wildcards: bool
    sequence6: str = ""


IOS = Style(has_wildcards=True, sequence6="sequence ")
NXOS = Style(has_wildcards=False)
LINE = re.compile(r"(?:sequence )?(?P<number>\d+) permit (?P<protocol>[a-z0-9]+) (?P<rest>.+)")


def ace(style: Style, number: int, match: Match) -> str:
    """Errors: Unsupported for a protocol that these lists cannot name."""
    said = PROTOCOLS[match.family].get(match.protocol)
    if said is None:
        raise Unsupported(f"an IPv{match.family} access list here cannot match the protocol {match.protocol}")
    word = style.sequence6 if match.family == 6 else ""
    parts = [
        f"{word}{number} permit {said}",
        _address(style, match.source),
        _ports(match.source_ports),
        _address(style, match.destination),
        _ports(match.destination_ports),
        f"dscp {match.dscp}" if match.dscp >= 0 else "",
    ]
    return " ".join(part for part in parts if part)


def parse_ace(style: Style, line: str, family: int) -> tuple[int, Match] | None:
    """Inverse of `ace`, of what the device prints too; None for anything else."""
    found = LINE.fullmatch(line)
    if found is None:
        return None
    back = {said: name for name, said in PROTOCOLS[family].items()}
    protocol = back.get(found["protocol"])
    if protocol is None:
        return None
    words = found["rest"].split()
    try:
        source, source_ports = _take_address(words, family), _take_ports(words, protocol)
        destination, destination_ports = _take_address(words, family), _take_ports(words, protocol)
        dscp = -1
        if words[:1] == ["dscp"]:
            dscp = DSCP[words[1]] if words[1] in DSCP else int(words[1])
            del words[:2]
        if words:
            return None
        return int(found["number"]), Match(
            source, destination, protocol, source_ports, destination_ports, dscp
        )
    except (ValueError, IndexError):
        return None


def plain(style: Style, line: str, family: int) -> str:
    """The line as `ace` writes it; as it is if it is none of ours."""
    found = parse_ace(style, line, family)
    return ace(style, *found) if found else line


def _address(style: Style, prefix: str) -> str:
    network = ipaddress.ip_network(prefix)
    if network.prefixlen == 0:
        return "any"
    if network.version == 4 and not style.has_wildcards:
        return prefix
    if network.prefixlen == network.max_prefixlen and style.has_wildcards:
        return f"host {network.network_address}"
    return f"{network.network_address} {network.hostmask}" if network.version == 4 else prefix


def _ports(ports: Ports) -> str:
    if ports == ANY_PORT:
        return ""
    return f"eq {ports[0]}" if ports[0] == ports[1] else f"range {ports[0]} {ports[1]}"


def _take_address(words: list[str], family: int) -> str:
    first = words.pop(0)
    if first == "any":
        return ANYWHERE[family]
    if first == "host":
        found = ipaddress.ip_network(words.pop(0).lower())
    elif "/" in first:
        found = ipaddress.ip_network(first.lower())
    else:
        wild = int(ipaddress.IPv4Address(words.pop(0)))
        if wild & (wild + 1):
            raise ValueError("wildcard bits with holes")
        found = ipaddress.ip_network((first, 32 - wild.bit_length()))
    if found.version != family:
        raise ValueError("of the other family")
    return str(found)


def _take_ports(words: list[str], protocol: str) -> Ports:
    if words[:1] not in (["eq"], ["range"]):
        return ANY_PORT
    count = 1 if words.pop(0) == "eq" else 2
    numbers = [_port(words.pop(0), protocol) for _ in range(count)]
    return numbers[0], numbers[-1]


def _port(word: str, protocol: str) -> int:
    named = PORTS.get(protocol, {})
    return named[word] if word in named else int(word)
