# SPDX-License-Identifier: Apache-2.0
"""Where a redirect or a filter hands packets, as OpenFlow actions and groups, and back.

Called by `drivers.switch.flows`. Pure. Copies are clones before the packet itself is changed: one that cannot be sent
is lost alone. A standby is a fast-failover group of the item's own (OpenFlow 1.4 section 5.6.1), whose buckets are

    the standby, while the group `mark_of(port of next)` exists    a prober has found what is behind that port dead
    next,        while its port has a link
    the standby, while its port has a link; base forwarding always has one

and no live bucket drops. The first bucket carries the item's cookie as a note: whose a group is does not hang on its
number alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2s

from drivers.base import Rejected, Unsupported
from drivers.state import Filter, Key, Kind, NextHop, Redirect
from drivers.switch.openflow_text import PROBER_MAGIC, cookie_of, is_ours, key_of

# Our groups have numbers from FIRST on, a prober's marks from FIRST_MARK on; others seldom count so far.
FIRST, FIRST_MARK, LAST_MARK = 0x10000000, 0xD6000000, 0xD6FFFFFF
# OXM's vlan_vid carries a "present" bit beside the VLAN id (OpenFlow 1.4 section 7.2.3.8).
VLAN_PRESENT = 0x1000
FAILOVER, ALIVE = "ff", "indirect"
# A note has six octets and any number of eight more.
_PAD = ".00" * 6

_MAC = r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}"
_TO_VRF = re.compile(r"load:0x([0-9a-f]+)->NXM_NX_REG0\[\],resubmit\(,(\d+)\)")
_TO_PORT = re.compile(
    rf"(?:set_field:({_MAC})->eth_dst,)?(?:push_vlan:0x8100,set_field:(\d+)->vlan_vid,)?(?:IN_PORT|output:(\d+))"
)
_COPY = re.compile(rf"clone\(({_TO_PORT.pattern})\),")
_ACTIONS = re.compile(rf"(?:pop_vlan,)?((?:{_COPY.pattern})*)(group:\d+|{_TO_VRF.pattern}|{_TO_PORT.pattern})")
_GROUP = re.compile(r"group_id=(\d+),type=([^,]+)(.*)")
_BUCKET = re.compile(r"(?:(watch_(?:port|group):\d+),)?actions=(.*)")
_NOTE = re.compile(r"note:((?:[0-9a-f]{2}\.){7}[0-9a-f]{2})(?:\.00){6}(?:,|$)")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """How this bridge names what items name: ports by number, VRFs by tag, and the operator's tables.

    base_table: where a packet goes as if we were not there. route_table: routing, by the VRF in reg0.
    """

    device: str
    numbers: Mapping[str, int]
    names: Mapping[int, str]
    vrfs: Mapping[str, int]
    vrf_names: Mapping[int, str]
    base_table: int
    route_table: int

    def number(self, port: str, key: Key) -> int:
        """Errors: Unsupported."""
        if port not in self.numbers:
            raise Unsupported(f"{self.device}: port {port!r} of {key} has no number in the fabric file")
        return self.numbers[port]


@dataclass(frozen=True, slots=True)
class Group:
    """buckets: what is watched ("" for nothing) and the actions, as text. cookie: of the item it belongs to, or 0."""

    number: int
    kind: str
    buckets: tuple[tuple[str, str], ...]
    cookie: int


def mark_of(port: int) -> int:
    """The group that exists while a prober has found dead what is behind the port of this number."""
    return FIRST_MARK + port


def numbers_of(cookie: int) -> tuple[int, int]:
    """Of an item's failover group, and of the group that is always alive, for a standby that is no port.

    A hash, as a cookie is longer than a number. If two items meet in one, the switch refuses the second.
    """
    made = blake2s(cookie.to_bytes(8, "big"), digest_size=8).digest()
    room = FIRST_MARK - FIRST
    return FIRST + int.from_bytes(made[:4], "big") % room, FIRST + int.from_bytes(made[4:], "big") % room


def actions_of(key: Key, item: Redirect | Filter, pipeline: Pipeline) -> str:
    """What becomes of a packet that is let through. Errors: Unsupported."""
    pop = "pop_vlan," if item.tag else ""
    clones = []
    for copy in item.copies:
        if not copy.port:
            raise Unsupported(f"{pipeline.device}: a copy of what {key} redirects goes to a port, not to {copy}")
        clones.append(f"clone({_hop(key, item, copy, pipeline)}),")
    if item.standby is None:
        return f"{pop}{''.join(clones)}{_hop(key, item, item.next, pipeline)}"
    return f"{pop}{''.join(clones)}group:{numbers_of(cookie_of(key))[0]}"


def groups_of(key: Key, item: Redirect | Filter, pipeline: Pipeline) -> tuple[Group, ...]:
    """The groups that `actions_of` needs, in the order in which they are added. Errors: Unsupported."""
    if item.standby is None:
        return ()
    if not item.next.port:
        raise Unsupported(f"{pipeline.device}: {key} has a standby for base forwarding, which always has a link")
    port = pipeline.number(item.next.port, key)
    cookie = cookie_of(key)
    number, always = numbers_of(cookie)
    note = f"note:{'.'.join(f'{octet:02x}' for octet in cookie.to_bytes(8, 'big'))}{_PAD}"
    to, instead = _hop(key, item, item.next, pipeline), _hop(key, item, item.standby, pipeline)
    more: tuple[Group, ...] = ()
    if item.standby.port:
        watched = f"watch_port:{pipeline.number(item.standby.port, key)}"
    else:
        watched, more = f"watch_group:{always}", (Group(always, ALIVE, (("", note),), cookie),)
    buckets = (
        (f"watch_group:{mark_of(port)}", f"{note},{instead}"),
        (f"watch_port:{port}", to),
        (watched, instead),
    )
    return (*more, Group(number, FAILOVER, buckets, cookie))


def _hop(key: Key, item: Redirect | Filter, hop: NextHop, pipeline: Pipeline) -> str:
    if hop.vrf:
        if hop != NextHop(vrf=hop.vrf) or hop.vrf not in pipeline.vrfs:
            raise Unsupported(f"{pipeline.device}: cannot hand {key} to {hop}")
        return f"load:{pipeline.vrfs[hop.vrf]:#x}->NXM_NX_REG0[],resubmit(,{pipeline.route_table})"
    if (hop.mac and not re.fullmatch(_MAC, hop.mac)) or not 0 <= hop.tag <= 4094:
        raise Unsupported(f"{pipeline.device}: cannot hand {key} to {hop}")
    number = pipeline.number(hop.port, key)
    mac = f"set_field:{hop.mac}->eth_dst," if hop.mac else ""
    push = f"push_vlan:0x8100,set_field:{VLAN_PRESENT + hop.tag}->vlan_vid," if hop.tag else ""
    # A switch never sends a packet back by `output` to where it came from (OpenFlow 1.4 section 5.12).
    output = "IN_PORT" if hop.port == item.ingress else f"output:{number}"
    return f"{mac}{push}{output}"


def is_known(actions: str) -> bool:
    """Whether `actions_of` can write this."""
    return _ACTIONS.fullmatch(actions) is not None


@dataclass(frozen=True, slots=True)
class Hands:
    """What actions and groups may mean; the caller checks that writing it again gives just these."""

    next: NextHop
    standby: NextHop | None = None
    copies: tuple[NextHop, ...] = ()


def hands_of(actions: str, groups: Iterable[Group], ingress: str, pipeline: Pipeline) -> Hands:
    """The inverse of `actions_of` and `groups_of`, as far as there is one."""
    found = _ACTIONS.fullmatch(actions)
    if found is None:
        return Hands(NextHop())
    copies = tuple(_hop_of(copy[1], ingress, pipeline) for copy in _COPY.finditer(found[1]))
    main = found[0][found.end(1) :]
    if not main.startswith("group:"):
        return Hands(_hop_of(main, ingress, pipeline), None, copies)
    buckets = next((each.buckets for each in groups if f"group:{each.number}" == main), ())
    if len(buckets) != 3:  # the mark's, that of the next hop, the standby's
        return Hands(NextHop(), None, copies)
    return Hands(_hop_of(buckets[1][1], ingress, pipeline), _hop_of(buckets[2][1], ingress, pipeline), copies)


def _hop_of(actions: str, ingress: str, pipeline: Pipeline) -> NextHop:
    to_vrf = _TO_VRF.fullmatch(actions)
    if to_vrf is not None:
        return NextHop(vrf=pipeline.vrf_names.get(int(to_vrf[1], 16), ""))
    to_port = _TO_PORT.fullmatch(actions)
    if to_port is None:
        return NextHop()
    mac, vid, number = to_port.groups()
    return NextHop(
        port=ingress if number is None else pipeline.names.get(int(number), ""),
        tag=int(vid) - VLAN_PRESENT if vid else 0,
        mac=mac or "",
    )


# --- text ---------------------------------------------------------------------------------------


def group_line(group: Group) -> str:
    """The bundle line that adds it."""
    return f"group add {_text(group)}"


def forget_line(number: int) -> str:
    """The bundle line that deletes a group, and the flows that use it."""
    return f"group delete group_id={number}"


def parse_group(text: str) -> Group:
    """As in a bundle and as `dump-groups` prints it. Errors: ValueError for what is in another form."""
    found = _GROUP.fullmatch(text)
    if found is None:
        raise ValueError(f"not a group: {text!r}")
    buckets = []
    for part in found[3].split(",bucket=")[1:]:
        bucket = _BUCKET.fullmatch(part)
        buckets.append((bucket[1] or "", bucket[2]) if bucket else ("", part))
    note = _NOTE.match(buckets[0][1]) if buckets else None
    cookie = int(note[1].replace(".", ""), 16) if note else 0
    return Group(int(found[1]), found[2], tuple(buckets), cookie if _is_handed(cookie) else 0)


def _is_handed(cookie: int) -> bool:
    """Could an item with this cookie have a group?"""
    try:
        return is_ours(cookie) and key_of(cookie).kind in (Kind.REDIRECT, Kind.FILTER)
    except ValueError:
        return False


def is_probers(line: str) -> bool:
    """Is this line of a dump a flow or a mark of a prober's?"""
    mark = re.match(r"\s*group_id=(\d+),", line)
    if mark is not None:
        return FIRST_MARK <= int(mark[1]) <= LAST_MARK
    return re.search(rf"\bcookie={PROBER_MAGIC:#x}[0-9a-f]{{14}}\b", line) is not None


def parse_groups(dump: str) -> tuple[Group, ...]:
    """Every group in what `dump-groups` printed, whosever it is. Errors: Rejected."""
    try:
        return tuple(parse_group(line.strip()) for line in dump.splitlines() if "group_id=" in line)
    except ValueError as error:
        raise Rejected(str(error)) from error


def _text(group: Group) -> str:
    parts = [f"group_id={group.number},type={group.kind}"]
    parts += [f"bucket={watched}{',' if watched else ''}actions={actions}" for watched, actions in group.buckets]
    return ",".join(parts)
