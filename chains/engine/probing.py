# SPDX-License-Identifier: Apache-2.0
"""Has functions asked whether they live: devices ask by themselves and tell; a worker asks what only it can reach.

Called by the pulse, every second. What a result means is for `health`; a chain whose function died is looked at then
and there.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from chains import models, selectors
from chains.engine import converge
from chains.engine.health import refresh_health
from chains.engine.limits import Limits
from chains.engine.sessions import fleet_of
from chains.planning.probes import WORKER
from chains.selectors.probes import Wanted
from chains.services import record
from drivers.asking import ask
from drivers.base import DriverError, Session, Unsupported
from drivers.probe import Probe, ProbeResult, Probing, judged

CHAINS_AT_ONCE = 50
THREADS = 32
# Longer than that a round waits for nobody: others are due again.
PATIENCE_S = 3.0

Results = Mapping[int, tuple[ProbeResult, ...]]
# What this process told each device to ask: telling it again is harmless, and is not needed.
_told: dict[str, tuple[Probe, ...]] = {}


def probe(given: Limits) -> int:
    """One round: how many were asked."""
    wanted = selectors.probes_wanted()
    own = _by_worker(wanted, given)
    if own:
        _heard(own, wanted)
    names = record.askers_claim(wanted.probes.keys() - {WORKER}, given.pulse_s * 0.9)
    if not names:
        return len(own)
    devices = {row.name: row for row in models.Device.objects.filter(name__in=names).exclude(driver="")}
    short = replace(given, device_timeout_s=min(given.device_timeout_s, PATIENCE_S))
    asks = {name: tuple(p for held in wanted.probes.get(name, {}).values() for p in held) for name in devices}
    with fleet_of(devices.values(), short) as fleet:
        for name, answer in fleet.arrivals({name: partial(_visit, name, asks[name]) for name in devices}):
            if isinstance(answer, DriverError):
                _told.pop(name, None)
                answer = _cannot(asks[name], answer) if isinstance(answer, Unsupported) else ()
            elif not asks[name]:
                record.asker_rests(name)
            said = {result.name: result for result in answer}
            offers = wanted.probes.get(name, {})
            _heard({pk: tuple(said[p.name] for p in held if p.name in said) for pk, held in offers.items()}, wanted)
    return len(own) + len(devices)


def _visit(name: str, probes: tuple[Probe, ...], session: Session) -> tuple[ProbeResult, ...]:
    """In the device's thread."""
    if not isinstance(session, Probing):
        if not probes:
            return ()
        raise Unsupported(f"{name}: its driver asks nothing by itself")
    found = session.probe_results() if _told.get(name) == probes else ()
    if {result.name for result in found} != {one.name for one in probes} or not probes:
        session.set_probes(probes)
        _told[name] = probes
        found = session.probe_results()
    return found


def _cannot(probes: tuple[Probe, ...], error: DriverError) -> tuple[ProbeResult, ...]:
    return tuple(ProbeResult(one.name, evidence=str(error)[:200]) for one in probes)


def _by_worker(wanted: Wanted, given: Limits) -> Results:
    """Asked here and now, side by side; each as often as it says, once a round at most."""
    held = wanted.probes.get(WORKER, {})
    due = record.instances_claim(held.keys(), given.pulse_s * 0.9) if held else []
    if not due:
        return {}
    now_s = record.now().timestamp()
    work: list[tuple[int, Probe, ProbeResult]] = []
    for row in due:
        for one in held[row.offer_id]:
            stored = {name: value for name, value in row.results.get(one.name, {}).items() if name != "heard_s"}
            before = ProbeResult(**stored) if stored else ProbeResult(one.name)
            if now_s - before.at_s >= one.interval_ms / 1000 - given.pulse_s / 2:
                work.append((row.offer_id, one, before))
    found: dict[int, tuple[ProbeResult, ...]] = {}
    if not work:
        return found
    with ThreadPoolExecutor(max_workers=min(THREADS, len(work)), thread_name_prefix="ask") as pool:
        answers = list(pool.map(ask, (one for _, one, _ in work)))
    for (offer, one, before), (is_good, evidence) in zip(work, answers, strict=True):
        result = (
            replace(ProbeResult(one.name), at_s=now_s, evidence=evidence)
            if is_good is None
            else judged(before, one, is_good=is_good, now_s=now_s, evidence=evidence)
        )
        found[offer] = (*found.get(offer, ()), result)
    return found


def _heard(found: Results, wanted: Wanted) -> None:
    """Write down, judge, and have chains looked at that lost something, or may have won."""
    record.results_record(found, {pk: wanted.names(pk) for pk in found})
    if refresh_health(found.keys()):
        for chain_id in converge.chains_to_look_at(CHAINS_AT_ONCE):
            converge.look_safely(chain_id)
