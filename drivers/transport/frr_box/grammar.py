# SPDX-License-Identifier: Apache-2.0
"""Which text may change a router: line by line, only what the FRR driver renders. Used at both ends of the SSH.

Nothing in this grammar can name another table, an interface that is not being attached, or another command. Standard
library only: it runs under the router's own Python too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

TABLE = "inet viaduct_switch"
ALIAS = "viaduct"
# The first octet of a packet's mark says that it is ours; the rest, where it must go.
MARK, MARK_MASK = 0x56000000, 0xFF000000

_MAP = r"SI-t-[a-z0-9][a-z0-9-]{0,23}-\d{1,4}"
_CHAIN = r"t-[a-z0-9][a-z0-9-]{0,23}-\d{1,4}"
_ENTRY = r"SI-c\d{1,8}r\d{1,4}[fr]\d{1,2}[rfgp]\d{1,4}p\d{1,2}(?:-\d{1,4})?"
_TAG = r"(?:3\d{3}|40[0-8]\d|409[0-4])"
_IF = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}"
_SUB = rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,9}}\.{_TAG}"
_IP4 = r"\d{1,3}(?:\.\d{1,3}){3}"
_IP6 = r"[0-9a-f:]{2,39}(?:\.\d{1,3}){0,3}"
_MAC = r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}"
_OURS = r"0x56[0-9a-f]{6}"
_TERM = (
    rf"(?:meta nfproto ipv[46]|ip [sd]addr {_IP4}(?:/\d{{1,2}})?|ip6 [sd]addr {_IP6}(?:/\d{{1,3}})?|ip6? dscp \d{{1,2}}"
    r"|meta l4proto (?:tcp|udp|sctp|icmp|ipv6-icmp)|(?:tcp|udp|sctp) [sd]port \d{1,5}(?:-\d{1,5})?)"
)
_ACTION = rf"(?:drop|(?:meta mark set {_OURS} )?accept)"
_HOP = rf"(?:ip nexthop {_IP4}|ip6 nexthop {_IP6})"
_NAMES = "nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert"
# Whoever may not ask for the router's address cannot send at all. These never leave the link.
NEIGHBOURS = f"icmpv6 type {{ {_NAMES} }} fib daddr type {{ local, multicast }} accept"
# Right after the operator's own mangling, before anything translates addresses.
PRIORITY = -149
BASE = f"{{ type filter hook %s priority {PRIORITY}; policy accept; }}"
LAST_GUARD = f"meta mark & {MARK_MASK:#x} == {MARK:#x} drop"
LINKS, FRR, NFT, KEEP = "# links", "# frr", "# nft", "# keep"
GRAMMAR: dict[str, str] = {
    LINKS: "|".join(
        (
            rf"link add link (?P<parent>{_IF}) name (?P=parent)\.(?P<tag>{_TAG}) type vlan id (?P=tag)",
            rf"link set dev {_SUB} alias {ALIAS} addrgenmode none up",
            rf"address replace (?:{_IP4}/31|{_IP6}/127) dev {_SUB}(?: nodad)?",
            rf"neighbour replace (?:{_IP4}|{_IP6}) lladdr {_MAC} dev {_SUB} nud permanent",
        )
    ),
    # Whole stanzas: see `_stanzas`.
    FRR: "|".join(
        (
            rf"pbr-map {_MAP} seq \d{{1,3}}\n match src-ip (?:0\.0\.0\.0/0|::/0)\n match mark \d{{1,10}}\n"
            rf" set nexthop (?:{_IP4}|{_IP6}) {_IF}\nexit",
            rf"interface {_IF}\n pbr-policy {_MAP}\nexit",
        )
    ),
    NFT: "|".join(
        (
            rf"(?:add|flush|delete) table {TABLE}",
            rf"add counter {TABLE} {_ENTRY}",
            rf"add chain {TABLE} {_CHAIN}",
            re.escape(f"add chain {TABLE} classify {BASE % 'prerouting'}"),
            re.escape(f"add chain {TABLE} guard {BASE % 'forward'}"),
            rf"add rule {TABLE} {_CHAIN} {re.escape(NEIGHBOURS)}",
            rf'add rule {TABLE} {_CHAIN} {_TERM}(?: {_TERM})* counter name "{_ENTRY}" {_ACTION}',
            rf"add rule {TABLE} {_CHAIN} meta nfproto ipv[46] drop",
            rf'add rule {TABLE} classify iifname "{_IF}" goto {_CHAIN}',
            rf'add rule {TABLE} guard meta mark {_OURS} oifname "{_IF}" rt {_HOP} accept',
            re.escape(f"add rule {TABLE} guard {LAST_GUARD}"),
        )
    ),
    KEEP: "|".join(
        (
            rf"map {_MAP}(?: \d{{1,3}})+",
            rf"policy {_IF} {_MAP}",
            rf"link {_SUB}",
            rf"chain (?:{_CHAIN}|classify|guard)",
            rf"counter {_ENTRY}",
        )
    ),
}  # fmt: skip
_COMPILED = {name: re.compile(text) for name, text in GRAMMAR.items()}


class Refused(Exception):
    """What stands in the way, for people."""


def sections(text: str) -> dict[str, list[str]]:
    """Section -> its lines (FRR: its stanzas). Errors: Refused, with the first line that we never write."""
    lines = text.split("\n")
    if lines.pop() or [line for line in lines if line.startswith("#")] != list(GRAMMAR):
        raise Refused(f"the text must have the sections {', '.join(GRAMMAR)}, each once, and end with a line")
    if lines[0] != LINKS:
        raise Refused(f"the first line must be {LINKS!r}")
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("#"):
            found[line] = current = []
        else:
            current.append(line)
    found[FRR] = list(_stanzas(found[FRR]))
    for name, parts in found.items():
        for part in parts:
            if _COMPILED[name].fullmatch(part) is None:
                raise Refused(f"{name[2:]}: {part!r} is not something that Viaduct writes")
    return found


def _stanzas(lines: list[str]) -> Iterator[str]:
    """Errors: Refused if the last one has no end."""
    held: list[str] = []
    for line in lines:
        held.append(line)
        if line == "exit":
            yield "\n".join(held)
            held = []
    if held:
        raise Refused(f"frr: {held[0]!r} has no end")
