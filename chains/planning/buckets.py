# SPDX-License-Identifier: Apache-2.0
"""Who of a group serves which part of the source prefixes: weighted, stable, the same in both directions. Pure.

The source prefixes are cut into a power of two of equal parts, the buckets, so every device can tell them apart by a
prefix. Called by `shares`. What is in force is kept: who leaves a group gives its buckets to the others, who comes
takes its part and no more, and who comes back gets its own again.
Choice among equals: highest random weight (Thaler and Ravishankar, IEEE/ACM ToN 6(1), 1998) over stable hashes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import blake2b
from math import floor
from typing import Any

from chains.planning.types import Buckets


def assigned(weights: Mapping[str, int], count: int, before: Buckets | None) -> Buckets:
    """weights: of every member, by offer name, above 0; at most `count` of them. count: buckets, a power of two."""
    found = _kept(before, count)
    owners = [owner if owner in weights else "" for owner in found.owners]
    homes = list(found.homes)
    claims = (home if home in weights else owner for home, owner in zip(homes, owners, strict=True))
    quota = _quotas(weights, count, Counter(claims))
    for bucket, home in enumerate(homes):  # who is back gets its own, as far as its part goes
        if home in weights and owners[bucket] != home and owners.count(home) < quota[home]:
            owners[bucket] = home
    _release(owners, homes, quota)
    free = sorted((bucket for bucket, owner in enumerate(owners) if not owner), key=lambda bucket: _hash("", bucket))
    held = Counter(owners)
    seeds = {name: _hash(name, -1) for name in weights}
    for bucket in free:
        seed = _hash("", bucket)
        able = [name for name in weights if held[name] < quota[name]]
        owners[bucket] = max(able, key=partial(_score, seeds, seed))
        held[owners[bucket]] += 1
        homes[bucket] = homes[bucket] or owners[bucket]
    return Buckets(tuple(owners), tuple(homes))


def buckets_to_json(held: Buckets) -> dict[str, Any]:
    names = sorted({*held.owners, *held.homes})
    return {
        "members": names,
        "owners": [names.index(name) for name in held.owners],
        "homes": [names.index(name) for name in held.homes],
    }


def buckets_from_json(data: Mapping[str, Any]) -> Buckets:
    """Inverse. Errors: ValueError, LookupError if it is damaged."""
    names = [str(name) for name in data["members"]]
    return Buckets(tuple(names[index] for index in data["owners"]), tuple(names[index] for index in data["homes"]))


def _kept(before: Buckets | None, count: int) -> Buckets:
    """What is in force, cut into as many buckets; a coarser cut begins anew."""
    if before is None or not before.owners or count % len(before.owners):
        return Buckets(("",) * count, ("",) * count)
    times = count // len(before.owners)
    return Buckets(_times(before.owners, times), _times(before.homes, times))


def _times(names: Sequence[str], times: int) -> tuple[str, ...]:
    return tuple(name for name in names for _ in range(times))


def _quotas(weights: Mapping[str, int], count: int, held: Mapping[str, int]) -> dict[str, int]:
    """How many buckets each may have: its part by weight, rounded so that as few as possible move; at least one."""
    total = sum(weights.values())
    exact = {name: count * weight / total for name, weight in weights.items()}
    quota = {name: max(1, floor(part)) for name, part in exact.items()}
    for name in weights:
        if quota[name] < held.get(name, 0) and quota[name] < exact[name]:
            quota[name] += 1
    order = sorted(weights, key=lambda name: _hash(name, -1))
    while sum(quota.values()) < count:
        quota[max(order, key=lambda name: exact[name] - quota[name])] += 1
    while sum(quota.values()) > count:
        quota[max((n for n in order if quota[n] > 1), key=lambda name: quota[name] - exact[name])] -= 1
    return quota


def _release(owners: list[str], homes: list[str], quota: Mapping[str, int]) -> None:
    """Who has more than its part gives up guests first, then what it holds by the least of hashes."""
    for name, most in quota.items():
        own = [bucket for bucket, owner in enumerate(owners) if owner == name]
        own.sort(key=partial(_rank, homes, name))
        for bucket in own[: max(0, len(own) - most)]:
            owners[bucket] = ""
            if homes[bucket] == name:
                homes[bucket] = ""


def _hash(name: str, bucket: int) -> int:
    return int.from_bytes(blake2b(f"{name} {bucket}".encode(), digest_size=8).digest(), "big")


def _score(seeds: Mapping[str, int], bucket_seed: int, name: str) -> int:
    return _mixed(seeds[name] ^ bucket_seed)


def _rank(homes: Sequence[str], name: str, bucket: int) -> tuple[bool, int]:
    return homes[bucket] == name, _mixed(_hash(name, -1) ^ _hash("", bucket))


def _mixed(value: int) -> int:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a hash for each pair would take a second."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 31)
