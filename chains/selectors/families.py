# SPDX-License-Identifier: Apache-2.0
"""What a device's family can do, in words, and what the API and the pages may say of how it is reached."""

from __future__ import annotations

from typing import TypedDict

from chains.models import Device
from drivers.base import LINES, Capabilities, Driver, Fails, is_unverified
from drivers.limits import limits_of
from drivers.registry import DRIVERS

READ_ONLY = "read only"


class TableLimit(TypedDict):
    """name: `lines`, of all tables together, or `longest`, of one. most: null where nobody has said it."""

    name: str
    most: int | None
    source: str


class Caps(TypedDict):
    """tier: "A" takes back what is not confirmed, "B" is written with a stored way back, "read only" not at all.

    when_dead, when_unreachable: `drop`, `forward`, `keep` or `none` (`drivers.base.Fails`).
    """

    tier: str
    kinds: list[str]
    is_atomic: bool
    has_confirmed_commit: bool
    has_lock: bool
    has_ipv6: bool
    has_vrf: bool
    is_routed: bool
    tracks: bool
    takes_deny: bool
    tags: list[str]
    buckets: list[str]
    has_standby: bool
    has_copies: bool
    counts: bool
    when_dead: str
    when_unreachable: str
    limits: list[TableLimit]


# What people read of each answer: (field, if yes, if no).
WORDS = (
    ("is_atomic", "one push takes effect at once or not at all", "a push may stop half-way: it is then taken back"),
    ("has_confirmed_commit", "takes back by itself what is not confirmed", "no confirmed commit: a stored way back"),
    ("has_lock", "nobody else gets in between reading and commit", "no lock: others may write at the same time"),
    ("has_ipv6", "IPv6", "IPv4 only"),
    ("has_vrf", "keeps VRFs apart", "one routing table only"),
    ("is_routed", "routes: next hops are addresses", "switches or filters: next hops are ports"),
    ("tracks", "watches next hops by itself", "next hops are watched by Viaduct only"),
    ("has_standby", "takes a standby by itself when a next hop is lost", "no standby: Viaduct moves the chain"),
    ("has_copies", "sends copies to taps", "no copies for taps"),
    ("counts", "counts what each item matched", "counts nothing: what a chain carries is not measured there"),
    ("takes_deny", "deny lines in access lists", "no deny lines: earlier entries exempt"),
)


DEAD = {
    Fails.DROP.value: "a dead next hop drops its packets",
    Fails.FORWARD.value: "a dead next hop lets its packets past the function",
}
UNREACHABLE = {
    Fails.KEEP.value: "goes on as it is while it cannot be reached",
    Fails.DROP.value: "drops while it cannot be reached",
    Fails.FORWARD.value: "forwards past functions while it cannot be reached",
}


def caps_of(device: Device) -> Caps | None:
    """None for a device that is not programmed, or whose driver does not exist here."""
    family = DRIVERS.get(device.driver)
    return _caps(family, device) if family else None


def caps_words(caps: Caps | None) -> list[str]:
    """A line each, for people."""
    if caps is None:
        return []
    lines = [yes if caps[field] else no for field, yes, no in WORDS]  # type: ignore[literal-required]
    lines += [words for said, words in ((caps["when_dead"], DEAD), (caps["when_unreachable"], UNREACHABLE))
              for words in [words.get(said, "")] if words]  # fmt: skip
    lines += [f"buckets by {' or '.join(caps['buckets'])}"] if caps["buckets"] else []
    return lines + [_limit_words(limit) for limit in caps["limits"]]


def _limit_words(limit: TableLimit) -> str:
    what = "table lines" if limit["name"] == LINES else "entries in one table"
    said = "not known" if limit["most"] is None else f"{limit['most']:,} fit"
    return f"{what}: {said} ({limit['source']})"


def is_verified(device: Device) -> bool:
    """False only if the device's settings say that it need not prove who it is."""
    return not is_unverified(device.settings)


def _caps(family: Driver, device: Device) -> Caps:
    caps: Capabilities = family.caps
    tier = ("A" if caps.has_confirmed_commit else "B") if caps.is_writable else READ_ONLY
    return Caps(
        tier=tier,
        kinds=sorted(str(kind) for kind in caps.kinds),
        is_atomic=caps.is_atomic,
        has_confirmed_commit=caps.has_confirmed_commit,
        has_lock=caps.has_lock,
        has_ipv6=caps.has_ipv6,
        has_vrf=caps.has_vrf,
        is_routed=caps.is_routed,
        tracks=caps.tracks,
        takes_deny=caps.takes_deny,
        tags=sorted(caps.tags),
        buckets=sorted(caps.buckets),
        has_standby=caps.has_standby,
        has_copies=caps.has_copies,
        counts=caps.counts,
        when_dead=caps.when_dead.value,
        when_unreachable=caps.when_unreachable.value,
        limits=[
            TableLimit(name=one.name, most=one.most, source=one.source)
            for one in limits_of(family, device.settings)
        ],
    )
