# SPDX-License-Identifier: Apache-2.0
"""Entries of Arista's and Cisco's access lists, as the packets that they mean. Read by the families' planes.

Sources: EOS User Manual, "ACLs and Route Maps"; Nexus 9000 Security Configuration Guide, "Configuring IP ACLs".
"""

from __future__ import annotations

import ipaddress

from drivers.state import ANY_PORT, ANYWHERE, Match, Ports
from drivers.switch.eos_blocks import DSCP_NAMES, PORT_NAMES


def match_of(words: list[str], family: int) -> Match:
    """PROTOCOL SOURCE [PORTS] DESTINATION [PORTS] [dscp NAME]"""
    protocol = "" if words[0] in ("ip", "ipv6") else words[0]
    source, rest = _prefix(words[1:], family)
    source_ports, rest = _ports(rest)
    destination, rest = _prefix(rest, family)
    destination_ports, rest = _ports(rest)
    dscp = -1
    if rest[:1] == ["dscp"]:
        dscp = DSCP_NAMES[rest[1]] if rest[1] in DSCP_NAMES else int(rest[1])
    return Match(source, destination, protocol, source_ports, destination_ports, dscp)


def _prefix(words: list[str], family: int) -> tuple[str, list[str]]:
    if words[0] == "any":
        return ANYWHERE[family], words[1:]
    if words[0] == "host":
        return str(ipaddress.ip_network(words[1])), words[2:]
    return str(ipaddress.ip_network(words[0])), words[1:]


def _ports(words: list[str]) -> tuple[Ports, list[str]]:
    if words[:1] == ["eq"]:
        return (_port(words[1]), _port(words[1])), words[2:]
    if words[:1] == ["range"]:
        return (_port(words[1]), _port(words[2])), words[3:]
    if words[:1] in (["gt"], ["lt"], ["neq"]):
        raise ValueError(f"a port match that nobody needs here: {words[:2]}")
    return ANY_PORT, words


def _port(word: str) -> int:
    return int(word) if word.isdigit() else PORT_NAMES[word]
