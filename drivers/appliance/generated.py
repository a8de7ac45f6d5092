# SPDX-License-Identifier: Apache-2.0
"""The lines of a firewall policy, rendered by aerleon in a vendor's syntax and taken out of what it wrote.

Called by the `render` of `panos`, `fortios` and `srx`. aerleon's text itself is never sent: it replaces the operator's
policies (`replace:` on an SRX, a whole <config> of PAN-OS, FortiOS numbers from 1). What it says is read
(`generated_text`, which refuses a word that it does not know) and must be what was asked for, line by line, in order
and complete; its warnings are errors. So none of the ways in which aerleon drops a line, a match or the default denial
without a word gets by. GAPS names what it is not asked, because it is known to get it wrong. The terms have names,
zones and addresses of numbers alone: no text of anybody reaches it, no term expires, none has an option.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

from drivers.appliance.generated_text import Said, fortigate, paloalto, srx
from drivers.base import Unsupported
from drivers.state import ANY_PORT, Match, Ports, Verdict

Asked = tuple[Verdict, Match]
READERS: Mapping[str, Callable[[str], tuple[Said, ...]]] = {
    "fortigate": fortigate, "paloalto": paloalto, "srx": srx,
}  # fmt: skip
# Protocols that aerleon 1.18.0 gets wrong. fortigate: raises for SCTP, and writes `service "ALL"` for ICMP without a
# type, which would let everything through.
GAPS: Mapping[str, frozenset[str]] = {"fortigate": frozenset({"sctp", "icmp", "icmpv6"})}
ZONES = ("inside", "outside")
ACTIONS = {Verdict.PERMIT: "accept", Verdict.DENY: "deny"}
# It keeps its generators and its logger for the whole process.
_LOCK = threading.Lock()


@lru_cache(maxsize=256)
def generated(asked: tuple[Asked, ...], platform: str, device: str) -> tuple[Asked, ...]:
    """The same lines as aerleon renders them. Errors: Unsupported if it would write anything else."""
    places = [place for place, (_, match) in enumerate(asked) if _is_said(match, platform)]
    found = list(asked)
    if places:
        wanted = [asked[place] for place in places]
        text = text_of(wanted, platform, device)
        for place, line in zip(places, agreed(wanted, text, platform, device), strict=True):
            found[place] = line
    return tuple(found)


def agreed(asked: Sequence[Asked], text: str, platform: str, device: str) -> list[Asked]:
    """What the text says, which is what was asked for. Errors: Unsupported."""
    try:
        said = READERS[platform](text)
    except ValueError as error:
        raise Unsupported(f"{device}: aerleon writes for {platform} what nobody here reads: {error}") from error
    if len(said) != len(asked):
        raise Unsupported(f"{device}: aerleon writes {len(said)} lines for {platform}, {len(asked)} were asked for")
    found = []
    for number, ((verdict, match), one) in enumerate(zip(asked, said, strict=True)):
        line = (one.verdict, _spelled(match, one.match))
        if (one.name, one.zones, *line) != (f"t{number}", ZONES, verdict, match):
            wrong = f"line {number} as {one.verdict} {one.match} instead of {verdict} {match}"
            raise Unsupported(f"{device}: aerleon writes for {platform} {wrong}")
        found.append(line)
    return found


def _is_said(match: Match, platform: str) -> bool:
    """It has no DSCP on a firewall and no port 0; a range from 0 is asked for from 1, as no flow has port 0."""
    is_zero = (0, 0) in (match.source_ports, match.destination_ports)
    return match.protocol not in GAPS.get(platform, frozenset()) and not is_zero and match.dscp < 0


def _asked(ports: Ports) -> Ports:
    return max(ports[0], 1), ports[1]


def _spelled(asked: Match, said: Match) -> Match:
    """What was said, with port 0 again where it was asked for."""
    found = said
    for field in ("source_ports", "destination_ports"):
        wanted = getattr(asked, field)
        if getattr(said, field) == _asked(wanted):
            found = replace(found, **{field: wanted})
    return found


def text_of(asked: Sequence[Asked], platform: str, device: str) -> str:
    """aerleon's output. Errors: Unsupported, also for what it only warns of."""
    # More than half a second, for devices that few networks have. It counts its plugins in the log of every call.
    logging.getLogger("absl").setLevel(logging.WARNING)
    from aerleon import aclgen, api
    from aerleon.lib import aclgenerator, naming, policy

    networks, services, terms = _definitions(asked)
    header = {"targets": {platform: f"from-zone {ZONES[0]} to-zone {ZONES[1]} mixed"}}
    source: Any = {"filename": "policy", "filters": [{"header": header, "terms": terms}]}
    names = naming.Naming()
    try:
        with _LOCK, _warnings() as warnings:
            names.ParseDefinitionsObject({"networks": networks, "services": services}, "definitions")
            texts = list((api.Generate([source], names) or {}).values())
    except (ValueError, aclgen.ACLParserError, aclgenerator.Error, naming.Error, policy.Error) as error:
        raise Unsupported(f"{device}: aerleon cannot render this policy for {platform}: {error}") from error
    if len(texts) != 1 or warnings:
        said = "; ".join(warnings)[:200] or "nothing"
        raise Unsupported(f"{device}: aerleon does not render this policy for {platform}: {said}")
    return str(texts[0])


def _definitions(asked: Sequence[Asked]) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, str]]]:
    networks: dict[str, Any] = {}
    services: dict[str, Any] = {}
    tokens: dict[str, str] = {}
    terms = []
    for number, (verdict, match) in enumerate(asked):
        term = {"name": f"t{number}", "action": ACTIONS[verdict]}
        for field, prefix in (("source-address", match.source), ("destination-address", match.destination)):
            term[field] = tokens.setdefault(prefix, f"N{len(tokens)}")
            networks[term[field]] = {"values": [{"address": prefix}]}
        if match.protocol:
            term["protocol"] = match.protocol
        if match.protocol in ("tcp", "udp", "sctp"):
            # Without any port some generators leave the protocol out too.
            for field, ports in (("source-port", match.source_ports), ("destination-port", match.destination_ports)):
                if field == "destination-port" or ports != ANY_PORT:
                    low, high = _asked(ports)
                    name = f"P{low}-{high}-{match.protocol}"
                    text = str(low) if low == high else f"{low}-{high}"
                    services[name] = [{"port": text, "protocol": match.protocol}]
                    term[field] = name
        terms.append(term)
    return networks, services, terms


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def _warnings() -> Iterator[list[str]]:
    kept, logger = _Kept(), logging.getLogger("absl")
    logger.addHandler(kept)
    try:
        yield kept.said
    finally:
        logger.removeHandler(kept)
