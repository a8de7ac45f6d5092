# SPDX-License-Identifier: Apache-2.0
"""One schedule: intents, faults and workers in an order drawn from one seed, then peace, then the verdict.

The engine is called as tasks and sweeps call it, by workers of which one runs at a time (see `workers`); PostgreSQL
is real, devices are in memory, time is simulated. The same seed does the same again.
"""

from __future__ import annotations

import gc
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from django.db import Error as DatabaseError

from chains import models
from chains.engine.bells import answer
from chains.engine.observe import observe_devices
from chains.engine.relay import carry_bells
from chains.engine.sweep import sweep
from chains.services.actor import SYSTEM
from chains.services.again import can_retry, change_retry
from chains.services.freeze import freeze_lift
from drivers.state import DeviceState
from tests.simulation import fabric, known, oracle
from tests.simulation.clock import Clock, told_by
from tests.simulation.devices import Outside, installed
from tests.simulation.faults import Faults
from tests.simulation.intents import Asked, Tenants
from tests.simulation.packets import Watcher
from tests.simulation.workers import Crew, Fate, Worker

ROUNDS = 14
# Work at which devices are written: what happens during it matters most.
WRITES = ("ring change", "sweep")
NEVER = 1_000_000_000
BURSTS = (1, 1, 1, 2, 2, 3, 5, 8, 13, 30)
# Seconds that may go by at once: a breath, a renewal, a sweep, a lease, any patience.
PASSES = (2.0, 21.0, 31.0, 61.0, 61.0, 301.0)
CALM_S = 301.0
COUNTED = ("lost_intents", "mixed_end_states", "false_ready", "overlapping_writers", "bypassed_packets")


@dataclass
class Verdict:
    """What one schedule showed. faults: by kind, only those that really hit."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    lost_intents: list[str] = field(default_factory=list)
    mixed_end_states: list[str] = field(default_factory=list)
    false_ready: list[str] = field(default_factory=list)
    overlapping_writers: list[str] = field(default_factory=list)
    bypassed_packets: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    intents: int = 0
    rounds: int = 0
    walked: int = 0
    switches: int = 0
    pushes: list[tuple[str, str]] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)

    @property
    def problems(self) -> dict[str, list[str]]:
        return {name: getattr(self, name) for name in (*COUNTED, "other") if getattr(self, name)}


class _Broken(logging.Handler):
    """What the engine logs as broken is a problem, even if it went on."""

    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._into.append(f"{record.getMessage()}: {error!r}")


@contextmanager
def _listening(into: list[str]) -> Iterator[None]:
    handler = _Broken(into)
    log = logging.getLogger("chains.engine")
    log.addHandler(handler)
    was_propagating, log.propagate = log.propagate, False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = was_propagating


def run(seed: int, crew: Crew) -> Verdict:
    """Play the seed's schedule on an empty fabric (`tests.engine.world.load`, no transaction open)."""
    fabric.forget()
    clock = Clock()
    crew.begin(clock)
    schedule = Schedule(seed, crew)
    gc.disable()  # a schedule's garbage goes between two of them
    drawn = random.getstate()
    random.seed(seed)  # the engine's own jitter
    try:
        with ExitStack() as stack:
            stack.enter_context(told_by(clock))
            stack.enter_context(crew.at_work())
            stack.enter_context(known.kept())
            stack.enter_context(installed(schedule.outside))
            stack.enter_context(_listening(schedule.verdict.other))
            schedule.play()
    finally:
        random.setstate(drawn)
        gc.enable()
    return schedule.verdict


class Schedule:
    """The director: draws what happens next and who goes on."""

    def __init__(self, seed: int, crew: Crew) -> None:
        self.random = random.Random(seed)
        self.crew = crew
        self.verdict = Verdict(seed, crew.shown)
        self.watcher = Watcher()
        self.judge = oracle.Judge()
        self.asked = Asked()
        self.is_unheard = False
        self.acts: list[Callable[[], None]] = []
        self.broker: list[tuple[str, int]] = []
        self.paused: dict[int, int] = {}
        self.outside = Outside(crew, self.judge.readings.on_read, self._on_state, self._on_own)
        self.judge.on_end = self.watcher.ended
        self.tenants = Tenants(self.random, self.asked, self._say)
        crew.on_error, crew.on_commit = self._on_error, self.judge.on_commit

    def _on_state(self, device: str, before: DeviceState, after: DeviceState) -> None:
        self.judge.readings.on_state(device, before, after)
        self.watcher.pushed(device, before, after)

    def _on_own(self, device: str, before: DeviceState, after: DeviceState, is_hand: bool) -> None:
        if not is_hand:
            self.judge.readings.on_state(device, before, after)
        self.watcher.others(device, before, after, is_hand)

    def _on_error(self, worker: Worker, error: BaseException) -> None:
        """Nothing may come out of the engine, but that the database is gone."""
        if not (worker.is_cut and isinstance(error, DatabaseError)):
            self.verdict.other.append(f"{worker.name}: {error!r}")

    def _say(self, text: str) -> None:
        self.verdict.trace.append(text)

    # --- the play -----------------------------------------------------------------------------

    def play(self) -> None:
        self.devices, confirming = fabric.draw(self.random)
        self.faults = Faults(self.random, self.outside, self.devices, confirming, self._say)
        for _ in range(self.random.choice((0, 1, 1, 2))):
            self._begin()
        self.acts = self._drawn()
        self._storm()
        self._settle()
        self._judge()

    def _begin(self) -> None:
        """A chain that is in force before anything goes wrong."""
        self._alone("begin", lambda: self.tenants.create([]))
        self._alone("relay", lambda: carry_bells(self._ring))
        while self.broker:
            topic, ref = self.broker.pop(0)
            self._alone(f"ring {topic} {ref}", lambda: answer(topic, ref))  # noqa: B023  done at once

    def _drawn(self) -> list[Callable[[], None]]:
        """Everything that will happen, in an order."""
        acts: list[Callable[[], None]] = [self._act_request] * self.random.randint(4, 7)
        faults = self.faults
        acts += [self._act_sweep] * self.random.randint(0, 1)
        acts += [self._act_observe] * self.random.randint(0, 1)
        others = (
            faults.trouble, faults.drift, faults.link, faults.stranger, self._act_flush, self._act_freeze,
            self._act_time, self._act_pause, self._act_pause,
        )  # fmt: skip
        acts += [self.random.choice(others) for _ in range(self.random.randint(5, 10))]
        self.random.shuffle(acts)
        return [self._act_sweep, self._act_time, *acts]  # the last first

    def _storm(self) -> None:
        """Workers in turn, acts in between, until there is nothing left to do."""
        acts = self.acts
        while True:
            self._pass(0.01)
            ready = self._ready()
            is_free = bool(self.crew.idle())
            if is_free and self.broker and self.random.random() < 0.6:
                self._deliver()
            elif is_free and self.is_unheard and self.random.random() < 0.4:
                self._relay()
            elif acts and is_free and (not ready or self.random.random() < 0.3):
                act = acts.pop()
                self._say(act.__name__.removeprefix("_act_"))
                act()
            elif ready:
                self.verdict.switches += 1
                self.random.choice(ready).step(self.random.choice(BURSTS))
            elif not acts and not self.crew.busy():
                return

    def _ready(self) -> list[Worker]:
        """Workers that may go on. One that sleeps wakes after a while, or when nobody else is there."""
        busy = self.crew.busy()
        for number in list(self.paused):
            self.paused[number] -= 1
            if self.paused[number] <= 0 or len(busy) == 1:
                del self.paused[number]
        awake = [worker for worker in busy if worker.number not in self.paused]
        if awake and min(worker.wakes_s for worker in awake) > self.crew.clock.now_s:
            self._pass(min(worker.wakes_s for worker in awake) - self.crew.clock.now_s)
        return [worker for worker in awake if worker.wakes_s <= self.crew.clock.now_s]

    def _pass(self, seconds: float) -> None:
        self.crew.clock.now_s += seconds
        self.outside.pass_time()

    def _give(self, name: str, work: Callable[[], object]) -> None:
        """A worker that is free begins with it, and may be killed or lose its database at it."""
        fate = Fate()
        if self.random.random() < (0.4 if name.startswith(WRITES) else 0.15):
            fate.dies_in = self.random.randint(1, self.random.choice((40, 120, 300)))
        elif self.random.random() < 0.08:
            fate.cut_in = self.random.randint(2, 150)
        if name.startswith(WRITES) and self.random.random() < 0.5:
            self.faults.trouble_ahead()
        self._say(f"{name} (dies in {fate.dies_in}, cut in {fate.cut_in})")
        self.crew.give(self.random.choice(self.crew.idle()), name, work, fate)

    def _alone(self, name: str, work: Callable[[], object]) -> None:
        """To the end, with nobody else in between."""
        self._say(name)
        worker = self.crew.workers[0]
        self.crew.give(worker, name, work, Fate())
        while worker.is_busy:
            self._pass(max(0.01, worker.wakes_s - self.crew.clock.now_s))
            worker.step(NEVER)

    # --- what may happen ----------------------------------------------------------------------

    def _act_request(self) -> None:
        self._give("request", self.tenants.request)
        self.is_unheard = self.random.random() < 0.8

    def _act_freeze(self) -> None:
        """Twice: it is lifted again, perhaps."""
        self.crew.shown["freeze"] += 1
        self._give("freeze", self.tenants.freeze)

    def _relay(self) -> None:
        self.is_unheard = False
        self._give("relay", lambda: carry_bells(self._ring))

    def _ring(self, topic: str, ref: int) -> None:
        self.broker.append((topic, ref))

    def _deliver(self) -> None:
        """A message arrives: early or late, once or more often."""
        index = self.random.randrange(len(self.broker))
        topic, ref = self.broker[index]
        if self.random.random() < 0.15:
            self.crew.shown["doubled bell"] += 1
        else:
            del self.broker[index]
        self._give(f"ring {topic} {ref}", lambda: answer(topic, ref))

    def _act_flush(self) -> None:
        """The broker forgets."""
        self.crew.shown["lost bells"] += len(self.broker)
        self.broker.clear()

    def _act_sweep(self) -> None:
        self._give("sweep", sweep)

    def _act_observe(self) -> None:
        names = self.random.sample(self.devices, 3)
        rows = models.Device.objects.filter(name__in=names).order_by("pk")
        numbers = list(rows.values_list("pk", flat=True))
        self._give(f"observe {sorted(names)}", lambda: observe_devices(numbers))

    def _act_time(self) -> None:
        seconds = self.random.choice(PASSES)
        self._say(f"  {seconds:.0f} s pass")
        self._pass(seconds)

    def _later(self, act: Callable[[], None]) -> None:
        """It would hit nothing now. Once more, unless everything else is over."""
        if self.crew.busy() or any(other != act for other in self.acts):
            self.acts.insert(0, act)

    def _act_pause(self) -> None:
        """A worker is stopped past its leases; another one looks for what is due."""
        busy = [worker for worker in self.crew.busy() if worker.name.startswith(WRITES)]
        if not busy:
            self._later(self._act_pause)
            return
        sleeper = self.random.choice(busy)
        self.crew.shown["paused"] += 1
        self.paused[sleeper.number] = self.random.randint(2, 12)
        self._say(f"  worker {sleeper.number} ({sleeper.name}) sleeps")
        self._pass(61.0)
        rows = models.Change.objects.filter(status__in=oracle.UNDER_WAY).order_by("pk")
        if due := list(rows.values_list("pk", flat=True)):
            number = self.random.choice(due)
            self._give(f"ring change {number}", lambda: answer("change", number))
        else:
            self._act_sweep()

    # --- peace and verdict --------------------------------------------------------------------

    def _settle(self) -> None:
        """Faults stop; workers sweep until nothing moves any more. From here on no push may be in vain."""
        self.faults.peace()
        freeze_lift(actor=SYSTEM)
        for parked in models.Change.objects.filter(status=models.Change.Status.FAILED).order_by("pk"):
            if can_retry(parked):
                change_retry(actor=SYSTEM, change=parked)
        self.outside.is_calm = True
        before = oracle.rows()
        for round_ in range(1, ROUNDS + 1):
            pushes = len(self.outside.pushes)
            self._pass(CALM_S)
            self._alone(f"calm sweep {round_}", sweep)
            now = oracle.rows()
            if len(self.outside.pushes) == pushes and now == before and not oracle.is_busy():
                self.verdict.rounds = round_
                return
            before = now
        self.verdict.lost_intents.append(f"no rest after {ROUNDS} sweeps")

    def _judge(self) -> None:
        verdict, outside = self.verdict, self.outside
        self.watcher.altered.clear()
        self.watcher.astray.clear()
        chains = oracle.ask("SELECT id FROM chains_chain")
        self.watcher.judge(number for (number,) in chains)  # also what was altered, and is to be right by now
        verdict.lost_intents += oracle.lost(self.asked.changes, self.asked.chains)
        verdict.lost_intents += oracle.unaudited(self.asked.accepted)
        verdict.lost_intents += oracle.stuck()
        verdict.mixed_end_states += self.judge.mixed + oracle.mixed()
        verdict.false_ready += self.judge.false_ready
        verdict.overlapping_writers += outside.overlaps
        verdict.other += [f"{device} was written though nothing differed" for device in outside.vain]
        verdict.other += outside.frozen + self.asked.doubled
        verdict.bypassed_packets += self.watcher.bypasses
        verdict.other += [f"cut off: {text}" for text in self.watcher.cut]
        verdict.intents, verdict.walked, verdict.pushes = (
            self.asked.count,
            self.watcher.walked,
            outside.pushes,
        )
        verdict.changes = Counter(models.Change.objects.values_list("status", flat=True))
