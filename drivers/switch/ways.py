# SPDX-License-Identifier: Apache-2.0
"""What an entry of a route map says: which packets, where they go, in which order, and what watches where they go.

Called by `policies`, for the IOS and NX-OS families. Pure. A standby is a second next hop of the same entry, taken by
the device itself. Both are tracked where both can be (IPv4, behind ports): else the list of next hops is a plain one,
of which the device takes the first that it can reach, so a lost link is seen and a silent function is not.
"""

from __future__ import annotations

from collections.abc import Iterator

from drivers.base import Target, Unsupported
from drivers.state import NextHop
from drivers.switch.aces import STEP, ace
from drivers.switch.routemaps import WORD, Words, same, track_of
from drivers.switch.stanzas import Stanza
from drivers.switch.tables import Action, Entry, address_of


def entry_stanzas(
    entry: Entry, name: str, list_name: str, number: int, target: Target, words: Words
) -> Iterator[Stanza]:
    """The access list and the route map's entry. name, list_name: with or without generation."""
    try:
        aces = tuple(ace(words.style, STEP * at, match) for at, match in enumerate(entry.matches, 1))
    except Unsupported as error:
        raise Unsupported(f"{target.name}: {entry.name}: {error}") from None
    yield Stanza(f"{words.lists[entry.family]}{list_name}", aces)
    action = "deny" if entry.action is Action.ROUTE else "permit"
    lines = (f"description {entry.name}", f"match {WORD[entry.family]} address {list_name}")
    yield Stanza(f"route-map {name} {action} {number}", lines + set_lines(entry, target, words))


def set_lines(entry: Entry, target: Target, words: Words) -> tuple[str, ...]:
    """Errors: Unsupported."""
    if entry.action is Action.ROUTE:
        return ()
    if entry.action is Action.DROP:
        return (words.null,)
    hops = _hops(entry)
    ways = tuple(
        (address_of(target, hop, entry.family), _track(hop, entry.family, target, words)) for hop in hops
    )
    if not all(track for _, track in ways):
        ways = tuple((address, 0) for address, _ in ways)
    is_open = entry.standby is not None and not entry.standby.port
    return words.redirect(ways, entry.family, is_open)


def _hops(entry: Entry) -> tuple[NextHop, ...]:
    """Those that have an address, in the order in which the device takes them."""
    return (entry.hop, entry.standby) if entry.standby and entry.standby.port else (entry.hop,)


def _track(hop: NextHop, family: int, target: Target, words: Words) -> int:
    return 0 if hop.tag or family == 6 else track_of(target.ports[hop.port], target, words)[1]


def probes(entries: tuple[Entry, ...], target: Target, words: Words) -> dict[str, Stanza]:
    """What can watch the next hops of these entries, by `same`."""
    found: dict[str, Stanza] = {}
    redirects = (entry for entry in entries if entry.action is Action.REDIRECT and entry.family == 4)
    for hop in (hop for entry in redirects for hop in _hops(entry) if not hop.tag):
        port = target.ports[hop.port]
        numbers = track_of(port, target, words)
        for stanza in words.probe(port, address_of(target, hop, 4), _vrf_word(target, hop), *numbers):
            found[same(stanza.header)] = stanza
    return found


def _vrf_word(target: Target, hop: NextHop) -> str:
    return "" if hop.vrf == target.settings.get("global_vrf", "") else hop.vrf
