# SPDX-License-Identifier: Apache-2.0
"""Has functions asked whether they live, and looks at links: devices tell, a worker asks what only it can reach.

Called by the pulse, every second. What a result means is for `health`; a chain whose function died is looked at then
and there. A switch whose links are not as they were read last, or that does not answer, is read as a whole at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from chains import models, selectors
from chains.engine import converge
from chains.engine.health import refresh_health
from chains.engine.limits import Limits
from chains.engine.observe import observe_devices
from chains.engine.sessions import fleet_of
from chains.planning.probes import WORKER
from chains.selectors.probes import Wanted
from chains.services import record
from drivers.asking import ask
from drivers.base import DriverError, Glancing, Session
from drivers.probe import Probe, ProbeResult, Probing, judged

CHAINS_AT_ONCE = 50
THREADS = 32
# Longer than that a round waits for nobody: others are due again.
PATIENCE_S = 3.0
# So many devices are visited in a second at most, however many there are.
VISITS_A_SECOND = 100

Results = Mapping[int, tuple[ProbeResult, ...]]
# What this process told each device to ask: telling it again is harmless, and is not needed.
_told: dict[str, tuple[Probe, ...]] = {}


@dataclass(frozen=True, slots=True)
class Visit:
    """What a device said. results None: it asks nothing by itself. links None: they are not to be had alone."""

    results: tuple[ProbeResult, ...] | None
    links: Mapping[str, bool] | None


def probe(given: Limits) -> int:
    """One round: how many were asked."""
    wanted = selectors.probes_wanted()
    own = _by_worker(wanted, given)
    if own:
        _heard(own, wanted)
    is_switch = models.Device.objects.filter(kind=models.Device.Kind.SWITCH, is_enabled=True).exclude(driver="")
    carrying = is_switch.filter(contributions__isnull=False).order_by().values_list("name", flat=True)
    names = {*carrying.distinct(), *wanted.probes} - {WORKER}
    due = record.askers_claim(names, max(given.pulse_s * 0.9, len(names) / VISITS_A_SECOND))
    return len(own) + (_visit_all(due, names, wanted, given) if due else 0)


def _visit_all(due: list[str], names: set[str], wanted: Wanted, given: Limits) -> int:
    """Each answer is acted on as it comes; who is to be read as a whole is read in the end.

    Of those that are due, `names` are visited on; the others stop asking, and rest.
    """
    devices = {row.name: row for row in models.Device.objects.filter(name__in=due).exclude(driver="")}
    read_last = dict(models.DeviceStatus.objects.filter(device__in=devices.values()).values_list("device", "links_up"))
    short = replace(given, device_timeout_s=min(given.device_timeout_s, PATIENCE_S))
    asks = {name: tuple(p for held in wanted.probes.get(name, {}).values() for p in held) for name in devices}
    suspects = []
    with fleet_of(devices.values(), short) as fleet:
        for name, answer in fleet.arrivals({name: partial(_visit, name, asks[name]) for name in devices}):
            if isinstance(answer, DriverError):
                _told.pop(name, None)
                suspects.append(devices[name].pk)
                continue
            if answer.links is not None and dict(answer.links) != read_last.get(devices[name].pk, {}):
                suspects.append(devices[name].pk)
            _hear(name, answer, asks[name], wanted)
            if name not in names:
                record.asker_rests(name)
    if suspects:
        observe_devices(suspects)
    return len(devices)


def _visit(name: str, probes: tuple[Probe, ...], session: Session) -> Visit:
    """In the device's thread."""
    links = session.links() if isinstance(session, Glancing) else None
    if not isinstance(session, Probing):
        return Visit(None, links)
    found = session.probe_results() if probes and _told.get(name) == probes else ()
    if _told.get(name) != probes or {result.name for result in found} != {one.name for one in probes}:
        session.set_probes(probes)
        _told[name] = probes
        found = session.probe_results()
    return Visit(found, links)


def _hear(name: str, answer: Visit, probes: tuple[Probe, ...], wanted: Wanted) -> None:
    found = answer.results
    if found is None:
        found = tuple(ProbeResult(one.name, evidence=f"{name} asks nothing by itself") for one in probes)
    said = {result.name: result for result in found}
    offers = wanted.probes.get(name, {})
    _heard({pk: tuple(said[p.name] for p in held if p.name in said) for pk, held in offers.items()}, wanted)


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
    if not found:
        return
    record.results_record(found, {pk: wanted.names(pk) for pk in found})
    if refresh_health(found.keys()):
        for chain_id in converge.chains_to_look_at(CHAINS_AT_ONCE):
            converge.look_safely(chain_id)
