# SPDX-License-Identifier: Apache-2.0
"""Rules of an FRR router's nftables table that belong to no item, recognised in nft's JSON (libnftables-json(5)).

Called by `drivers.switch.frr_parse`. Pure. What is not exactly ours is not recognised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drivers.transport.frr_box.grammar import LAST_GUARD, MARK

Json = Mapping[str, Any]


def is_neighbours(rule: Json) -> bool:
    """Only its shape: see `is_whole_exception`."""
    return "nd-neighbor-solicit" in json.dumps(rule["expr"])


def is_whole_exception(rule: Json) -> bool:
    """Is it the one that lets neighbours find the router?"""
    types = {"nd-neighbor-solicit", "nd-neighbor-advert", "nd-router-solicit", "nd-router-advert"}
    try:
        first, second, last = rule["expr"]
        of_type = set(first["match"]["right"]["set"]) == types
        to = second["match"]
        return bool(
            of_type
            and to["left"] == {"fib": {"result": "type", "flags": ["daddr"]}}
            and set(to["right"]["set"]) == {"local", "multicast"}
            and last == {"accept": None}
        )
    except (ValueError, KeyError, TypeError):
        return False


def jump(rule: Json) -> tuple[str, str]:
    """Interface and chain, "" for another rule."""
    try:
        match, jump = rule["expr"]
        if match["match"]["left"] == {"meta": {"key": "iifname"}} and match["match"]["op"] == "==":
            return str(match["match"]["right"]), str(jump["goto"]["target"])
    except (ValueError, KeyError, TypeError):
        pass
    return "", ""


def guard(rule: Json) -> str:
    """The rule as `frr_text.guards` writes it, "" if it is none of them."""
    try:
        *matches, verdict = rule["expr"]
        rights = [one["match"]["right"] for one in matches]
        lefts = [json.dumps(one["match"]["left"]) for one in matches if one["match"]["op"] == "=="]
        if verdict == {"drop": None} and lefts == ['{"meta": {"key": "mark"}}']:
            return LAST_GUARD if rights == [{"prefix": {"addr": MARK, "len": 8}}] else ""
        family = matches[2]["match"]["left"]["rt"]["family"]
        named = ['{"meta": {"key": "mark"}}', '{"meta": {"key": "oifname"}}']
        if verdict != {"accept": None} or lefts[:2] != named or len(lefts) != 3:
            return ""
        return f'meta mark {rights[0]:#x} oifname "{rights[1]}" rt {family} nexthop {rights[2]} accept'
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
