# SPDX-License-Identifier: Apache-2.0
"""One rule of `nft -j` (libnftables-json(5)) into a Line. Only for `nftables_parse`; unknown is Rejected."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from drivers.base import Rejected
from drivers.nftables_objects import BOTH_FAMILIES, CLAIM_BIT, Line
from drivers.state import Ports

Json = Mapping[str, Any]
# RFC 2474, 2597, 3246, 5865, 8622: nft prints code points by name where it knows one.
DSCP = {
    **{f"cs{number}": number * 8 for number in range(8)},
    **{f"af{group}{drop}": group * 8 + drop * 2 for group in range(1, 5) for drop in range(1, 4)},
    "be": 0,
    "df": 0,
    "ef": 46,
    "va": 44,
    "voice-admit": 44,
    "lephb": 1,
}
PROTOCOLS = {
    "icmp": "icmp", "tcp": "tcp", "udp": "udp", "sctp": "sctp", "ipv6-icmp": "icmpv6", "icmpv6": "icmpv6",
    1: "icmp", 6: "tcp", 17: "udp", 132: "sctp", 58: "icmpv6",
}  # fmt: skip
FAMILIES = {"ipv4": 4, "ipv6": 6, 2: 4, 10: 6}
# nft 1.0.6 shows `ip6 dscp` as raw bits of the first two octets of the header.
RAW_DSCP_MASK = 0x0FC0
_UNCLAIM = 0xFFFFFFFF ^ CLAIM_BIT
_MARK: Json = {"meta": {"key": "mark"}}
_SOURCE: Json = {"payload": {"protocol": "ip", "field": "saddr"}}
_ACTIONS = {
    (("mark", CLAIM_BIT), "accept"): "mark accept",
    (("unmark", _UNCLAIM), "accept"): "unmark accept",
    (("unmark", _UNCLAIM), ""): "unmark",
}


class _Unknown(Exception):
    """Not something that we write."""


def line_from_json(rule: Json) -> Line:
    """Errors: Rejected, with the chain and handle of the rule."""
    fields: dict[str, Any] = {}
    try:
        for expression in rule["expr"]:
            kind, value = next(iter(expression.items()))
            for name, found in _EXPRESSIONS[kind](kind, value).items():
                if fields.setdefault(name, found) != found:
                    raise _Unknown(name)
        mark = fields.pop("mark", None)
        verdict = fields.pop("verdict", "")
        fields["verdict"] = verdict if mark is None else _ACTIONS[mark, verdict]
        return Line(**fields)
    except (_Unknown, KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        where = f"chain {rule.get('chain')}, handle {rule.get('handle')}"
        raise Rejected(f"table inet viaduct, {where}: a rule that Viaduct never writes; remove it") from error


def _match(_: str, value: Json) -> dict[str, Any]:
    left, right = value["left"], value["right"]
    if value["op"] == "!=" and left == _SOURCE and isinstance(right, str) and right.startswith("@"):
        return {"absent_from": right[1:]}
    operator = "in" if left == {"ct": {"key": "state"}} else "=="
    if value["op"] != operator:
        raise _Unknown(value["op"])
    if "&" in left:
        return _masked(left["&"], right)
    kind, of = next(iter(left.items()))
    return _LEFT[kind](of, right)


def _masked(left: Any, right: Any) -> dict[str, Any]:
    what, mask = left
    if (what, mask, right) == (_MARK, CLAIM_BIT, CLAIM_BIT):
        return {"is_claimed": True}
    if what == {"payload": {"base": "nh", "offset": 0, "len": 16}} and mask == RAW_DSCP_MASK:
        return {"dscp": int(right) >> 6, "family": 6}
    raise _Unknown(what)


def _meta(of: Json, right: Any) -> dict[str, Any]:
    key = of["key"]
    if key in ("iifname", "oifname"):
        return {key.removesuffix("name"): _string(right)}
    if key == "nfproto":
        if isinstance(right, Mapping) and {FAMILIES[name] for name in right["set"]} == {4, 6}:
            return {"family": BOTH_FAMILIES}
        return {"family": FAMILIES[right]}
    if key == "l4proto":
        names = right["set"] if isinstance(right, Mapping) else [right]
        return {"protocols": tuple(PROTOCOLS[name] for name in names)}
    raise _Unknown(key)


def _payload(of: Json, right: Any) -> dict[str, Any]:
    protocol, name = of["protocol"], of["field"]
    if protocol in ("ip", "ip6"):
        family = 6 if protocol == "ip6" else 4
        if name == "dscp":
            return {"dscp": DSCP[right] if isinstance(right, str) else int(right), "family": family}
        side = {"saddr": "source", "daddr": "destination"}[name]
        return {side: _prefix(right, family), "family": family}
    side = {"sport": "source_ports", "dport": "destination_ports"}[name]
    return {side: _ports(right), "protocols": ({"tcp": "tcp", "udp": "udp", "sctp": "sctp"}[protocol],)}


def _ct(of: Json, right: Any) -> dict[str, Any]:
    if of == {"key": "state"}:
        return {"state": _string(right)}
    if of == {"key": "direction"}:
        return {"direction": _string(right)}
    if of == {"key": "ip daddr", "dir": "reply"}:
        return {"reply_to": _prefix(right, 4)}
    raise _Unknown(of)


def _counter(_: str, value: Json) -> dict[str, Any]:
    return {"has_counter": True, "packets": int(value["packets"]), "octets": int(value["bytes"])}


def _mangle(_: str, value: Json) -> dict[str, Any]:
    operator, (of, bits) = next(iter(value["value"].items()))
    if value["key"] != _MARK or of != _MARK:
        raise _Unknown(value)
    return {"mark": ({"|": "mark", "&": "unmark"}[operator], bits)}


def _verdict(kind: str, _: Any) -> dict[str, Any]:
    return {"verdict": kind}


def _goto(_: str, value: Json) -> dict[str, Any]:
    return {"verdict": f"goto {value['target']}"}


def _snat(_: str, value: Json) -> dict[str, Any]:
    of = value["addr"]["map"]
    if value.get("family") != "ip" or of["key"] != _SOURCE or not of["data"].startswith("@"):
        raise _Unknown(value)
    return {"verdict": f"snat {of['data'][1:]}"}


def _set(_: str, value: Json) -> dict[str, Any]:
    """The source goes into a set: just so, or if it has more flows than so many."""
    if value["elem"] != _SOURCE or value["set"][:1] != "@":
        raise _Unknown(value)
    name = value["set"][1:]
    if value.get("op") == "update" and set(value) == {"op", "elem", "set"}:
        return {"update": name}
    ((kind, limit),) = value["stmt"][0].items()
    if value.get("op") != "add" or len(value["stmt"]) != 1 or kind != "ct count" or limit.get("inv") is not True:
        raise _Unknown(value)
    return {"counted": (name, int(limit["val"]))}


def _prefix(value: Any, family: int) -> str:
    """In normal form: the C library writes ::8a4:0 as ::8.164.0.0."""
    text = value if isinstance(value, str) else f"{value['prefix']['addr']}/{value['prefix']['len']}"
    network = ipaddress.ip_network(text)
    if network.version != family:
        raise _Unknown(text)
    return str(network)


def _ports(value: Any) -> Ports:
    low, high = value["range"] if isinstance(value, Mapping) else (value, value)
    return int(low), int(high)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise _Unknown(value)
    return value


_LEFT: Mapping[str, Callable[[Json, Any], dict[str, Any]]] = {"meta": _meta, "payload": _payload, "ct": _ct}
_EXPRESSIONS: Mapping[str, Callable[[str, Any], dict[str, Any]]] = {
    "match": _match,
    "counter": _counter,
    "mangle": _mangle,
    "accept": _verdict,
    "drop": _verdict,
    "return": _verdict,
    "goto": _goto,
    "snat": _snat,
    "set": _set,
}
