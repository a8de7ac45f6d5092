# SPDX-License-Identifier: Apache-2.0
"""Which nft scripts may reach a device: line by line, only what `drivers.nftables` prints.

Called by the agent and by the appliance's session before anything reaches nft. No path, include,
variable or other table can be said in this grammar, and a rule refers to nothing outside its own item.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from drivers.nftables import render_base
from drivers.nftables_objects import Realm

MAX_LINES = 500_000
_KEY = r"(?P<key>c\d{1,8}_r\d{1,4}_[fr]_\d{1,2}_[a-z]+_\d{1,4})"
_IP4 = r"\d{1,3}(?:\.\d{1,3}){3}"
_NET4 = rf"{_IP4}(?:/\d{{1,2}})?"
_NET6 = r"[0-9a-f:.]{2,45}(?:/\d{1,3})?"
_NUMBER = r"\d{1,5}"
_INTERFACE = r'"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}"'
_PROTOCOL = r"(?:tcp|udp|sctp|icmp|ipv6-icmp)"
_TERMS = (
    r"meta nfproto (?:ipv4|ipv6|\{ ipv4, ipv6 \})",
    rf"ip [sd]addr {_NET4}",
    rf"ip6 [sd]addr {_NET6}",
    r"ip6? dscp \d{1,2}",
    rf"meta l4proto {_PROTOCOL}",
    rf"(?:tcp|udp|sctp) [sd]port {_NUMBER}(?:-{_NUMBER})?",
    r"ct state (?:related|established)",
    r"ct direction (?:original|reply)",
    r"counter",
)
_UPDATE = r"update @(?P=key)_(?:want\d|seen) \{ ip saddr \}"
_SET_TYPE = r"\{ type ipv4_addr; size 65535; flags dynamic(?:,timeout; timeout (?:60|7500)s)?; \}"
_ARM_TERMS = (
    rf"[io]ifname {_INTERFACE}",
    r"meta l4proto \{ icmp, tcp, udp \}",
    rf"ct reply ip daddr {_NET4}",
    "ct state new",
    r"ip saddr != @(?P=key)_blocks",
    r"add @(?P=key)_use\d \{ ip saddr ct count over \d{1,6} \}",
    rf"{_UPDATE}",
)
_MAP_TYPE = r"\{ type ipv4_addr : interval ipv4_addr \. inet_service; flags interval; \}"
_BASE_CHAIN = r"\{ type filter hook HOOK priority 0; policy accept; \}"
_AFTER_CHAIN = r"\{ type (?:nat hook postrouting priority 100|filter hook postrouting priority 110); policy accept; \}"


def _rule(terms: tuple[str, ...], verdicts: str) -> str:
    return rf"add rule inet viaduct {_KEY}(?:_[a-z]+)? (?:(?:{'|'.join(terms)}) )*(?:{verdicts})"


def _chains(hooks: str, suffixes: str) -> tuple[str, ...]:
    return (
        rf"(?:add|flush|delete) chain inet viaduct {_KEY}(?:_(?:{suffixes}))?",
        rf"add chain inet viaduct {_KEY}(?:_(?:{suffixes}))? {_BASE_CHAIN.replace('HOOK', hooks)}",
    )


_PATTERNS: Mapping[Realm, tuple[str, ...]] = {
    Realm.HOST: (
        *_chains("(?:input|output|forward)", "rules|input|output|forward"),
        _rule(_TERMS, r"accept|drop|return|goto (?P=key)(?:_rules)?"),
    ),
    Realm.APPLIANCE: (
        *_chains("forward", "rules|nat|after"),
        rf"add chain inet viaduct {_KEY}_(?:nat|after) {_AFTER_CHAIN}",
        rf"add map inet viaduct {_KEY}_blocks {_MAP_TYPE}",
        rf"(?:flush|delete) map inet viaduct {_KEY}_blocks",
        rf"add set inet viaduct {_KEY}_(?:want\d|use\d|seen) {_SET_TYPE}",
        rf"(?:flush|delete) set inet viaduct {_KEY}_(?:want\d|use\d|seen)",
        rf"(?:add|delete) element inet viaduct {_KEY}_blocks \{{ {_IP4} : {_IP4} \. {_NUMBER}-{_NUMBER} \}}",
        _rule(
            (*_TERMS, *_ARM_TERMS),
            rf"drop|return|goto (?:claim|(?P=key)_rules)|snat ip to ip saddr map @(?P=key)_blocks|{_UPDATE}",
        ),
    ),
}
_LINES = {realm: tuple(re.compile(text) for text in texts) for realm, texts in _PATTERNS.items()}


def refused_line(script: str, realm: Realm) -> int:
    """The number (from 1) of the first line that is outside the grammar, 0 if there is none.

    A script is the base, word for word, and then lines about items; or nothing at all.
    """
    if not script:
        return 0
    base = render_base(realm)
    if not script.startswith(base):
        return 1
    patterns, first = _LINES[realm], base.count("\n") + 1
    lines = script[len(base) :].split("\n")
    if lines.pop() or len(lines) > MAX_LINES:
        return first + len(lines)
    for number, line in enumerate(lines, start=first):
        if not any(pattern.fullmatch(line) for pattern in patterns):
            return number
    return 0
