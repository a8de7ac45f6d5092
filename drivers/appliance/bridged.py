# SPDX-License-Identifier: Apache-2.0
"""A Linux appliance that is a bump in the wire: its two arms are legs of a kernel bridge, and no address is its own.

Called by the `linux` driver. Pure. Rules are those of any appliance, at the bridge instead of at its legs: the kernel
brings bridged packets to them (br_netfilter), and directions are told apart by addresses. That it really does, and that
nothing else than IP and ARP passes, is closed by a table of its own, `bridge viaduct`, around those rules: it sets the
claim bit, which the first of them takes off; a packet that still has it has not been asked about, and is dropped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from drivers.base import Target, Unsupported
from drivers.nftables_objects import CLAIM_BIT, INTERFACE
from drivers.state import FunctionItem, Key, NatPool

TABLE = "bridge viaduct"
SETTING = "bridges"
_PAIR = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*):([^:\s]+):([^:\s]+)")
_OPENING = f"add rule {TABLE} opening meta mark set meta mark | {CLAIM_BIT:#x}"
_CLOSING = (
    f"add rule {TABLE} closing ether type arp accept",
    f"add rule {TABLE} closing ether type {{ ip, ip6 }} meta mark & {CLAIM_BIT:#x} == 0x0 accept",
)
# The table, word for word: sent twice it is there once.
BASE = "".join(
    f"{line}\n"
    for line in (
        f"add table {TABLE}",
        f"delete table {TABLE}",
        f"add table {TABLE}",
        f"add chain {TABLE} opening {{ type filter hook forward priority -10; policy accept; }}",
        _OPENING,
        f"add chain {TABLE} closing {{ type filter hook forward priority 10; policy drop; }}",
        *_CLOSING,
    )
)
_TYPE = {"payload": {"protocol": "ether", "field": "type"}}
_MARK = {"meta": {"key": "mark"}}
# The rules as nft prints them.
_RULES = sorted(
    (chain, json.dumps(rule, sort_keys=True))
    for chain, rule in (
        ("opening", [{"mangle": {"key": _MARK, "value": {"|": [_MARK, CLAIM_BIT]}}}]),
        ("closing", [{"match": {"op": "==", "left": _TYPE, "right": "arp"}}, {"accept": None}]),
        (
            "closing",
            [
                {"match": {"op": "==", "left": _TYPE, "right": {"set": ["ip", "ip6"]}}},
                {"match": {"op": "==", "left": {"&": [_MARK, CLAIM_BIT]}, "right": 0}},
                {"accept": None},
            ],
        ),
    )
)
GONE = f"add table {TABLE}\ndelete table {TABLE}\n"
CALLS = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")


def pairs_of(target: Target) -> Mapping[tuple[str, str], str]:
    """Setting `bridges`: "BRIDGE:INSIDE:OUTSIDE ...", the ports in the fabric file. (inside, outside) -> Linux bridge.

    Errors: Unsupported.
    """
    found: dict[tuple[str, str], str] = {}
    for word in target.settings.get(SETTING, "").split():
        pair = _PAIR.fullmatch(word)
        if pair is None or INTERFACE.fullmatch(pair[1]) is None:
            raise Unsupported(f"{target.name}: setting {SETTING} has {word[:80]!r}; it is BRIDGE:INSIDE:OUTSIDE")
        found[pair[2], pair[3]] = pair[1]
    legs = [port for pair in found for port in pair]
    if len({*legs, *found.values()}) < 3 * len(found) or not set(legs) <= target.ports.keys():
        raise Unsupported(f"{target.name}: setting {SETTING} names a port twice, or one that is not in the fabric file")
    return found


def require_pair(key: Key, item: FunctionItem, target: Target) -> None:
    """Errors: Unsupported for what a bridge cannot do, or for arms that are not those of one."""
    pairs = pairs_of(target)
    legs = {port for pair in pairs for port in pair}
    if not {item.inside, item.outside} & legs:
        return
    if (item.inside, item.outside) not in pairs:
        raise Unsupported(f"{target.name}: {key} goes from {item.inside} to {item.outside}, which no bridge joins so")
    if isinstance(item, NatPool):
        raise Unsupported(f"{target.name}: {key} translates, which a bump in the wire has no address for")


def is_closed(listing: str) -> bool:
    """Is what `nft -j list table bridge viaduct` printed the table of BASE, and nothing beside?"""
    try:
        entries = json.loads(listing)["nftables"] if listing.strip() else []
        chains = {
            (one["chain"]["name"], one["chain"]["hook"], one["chain"]["prio"], one["chain"]["policy"])
            for one in entries
            if "chain" in one
        }
        found = [one["rule"] for one in entries if "rule" in one]
        rules = sorted((rule["chain"], json.dumps(rule["expr"], sort_keys=True)) for rule in found)
    except (ValueError, KeyError, TypeError):
        return False
    kinds = {next(iter(one)) for one in entries}
    expected = {("opening", "forward", -10, "accept"), ("closing", "forward", 10, "drop")}
    return chains == expected and rules == _RULES and kinds <= {"metainfo", "table", "chain", "rule"}
