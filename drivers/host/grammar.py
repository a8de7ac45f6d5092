# SPDX-License-Identifier: Apache-2.0
"""What the agent takes as native text: line by line, only what `drivers.nftables` prints for a host.

Called by the daemon before anything reaches nft. No shell, path, include, variable or other table can
be said in this grammar; a rule can only accept, drop, return or go to a chain of the same item.
"""

from __future__ import annotations

import re

MAX_LINES = 200_000
_KEY = r"c\d{1,8}_r\d{1,4}_[fr]_\d{1,2}_ruleset_\d{1,4}"
_CHAIN = rf"(?:tracking|{_KEY}(?:_(?:rules|input|output|forward))?)"
_HOOK = r" \{ type filter hook (?:input|output|forward) priority 0; policy accept; \}"
_IP4 = r"\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?"
_IP6 = r"[0-9a-f:.]{2,45}(?:/\d{1,3})?"
_PORTS = r"\d{1,5}(?:-\d{1,5})?"
_TERM = "|".join(
    (
        r"meta nfproto (?:ipv4|ipv6|\{ ipv4, ipv6 \})",
        rf"ip [sd]addr {_IP4}",
        rf"ip6 [sd]addr {_IP6}",
        r"ip6? dscp \d{1,2}",
        r"meta l4proto (?:tcp|udp|sctp|icmp|ipv6-icmp)",
        rf"(?:tcp|udp|sctp) [sd]port {_PORTS}",
        r"ct state (?:related|established)",
        r"ct direction (?:original|reply)",
        r"counter",
    )
)
_LINES = (
    re.compile(r"add table inet viaduct"),
    re.compile(rf"add chain inet viaduct {_KEY}_(?:input|output|forward){_HOOK}"),
    re.compile(rf"(?:add|flush|delete) chain inet viaduct {_CHAIN}"),
    re.compile(rf"add rule inet viaduct {_CHAIN} (?:(?:{_TERM}) )*(?:accept|drop|return)"),
    re.compile(rf"add rule inet viaduct (?P<key>{_KEY})(?:_[a-z]+)? (?:(?:{_TERM}) )*goto (?P=key)(?:_rules)?"),
)


def refused_line(native: str) -> int:
    """The number (from 1) of the first line that is outside the grammar, 0 if there is none."""
    if not native.endswith("\n"):
        return native.count("\n") + 1
    lines = native[:-1].split("\n")
    if len(lines) > MAX_LINES:
        return MAX_LINES + 1
    for number, line in enumerate(lines, start=1):
        if not any(pattern.fullmatch(line) for pattern in _LINES):
            return number
    return 0
