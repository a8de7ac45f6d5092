# SPDX-License-Identifier: Apache-2.0
"""One schedule: intents, faults and workers in an order drawn from one seed, then peace, then the verdict.

The engine is called as tasks and sweeps call it; PostgreSQL is real, devices are in memory, time is set forward
by rows and by the clock of the leases. The same seed does the same again.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import connection, transaction

from chains import models
from chains.engine import planner
from chains.engine.kept import KEPT
from chains.engine.observe import observe_devices
from chains.engine.reconcile import run_change
from chains.engine.sweep import sweep
from chains.errors import Conflict, Problem
from chains.services import intent
from chains.services.actor import SYSTEM
from drivers import fake
from drivers.state import DeviceState, Guard, Item, Key, Match, RuleSet, Signatures, slot
from tests.engine import world
from tests.simulation import oracle
from tests.simulation.devices import LEASE_TTL_S, Clock, Outside, Trouble, installed

ROUNDS = 12
# By device: how often it is switched off in a schedule. The other devices are always there.
SPARE = {"a1": 0.8, "a2": 0.8, "b1": 0.8, "b2": 0.8, "fw2": 0.4, "ips1": 0.2, "ips2": 0.8, "cgn1": 0.7}
ARMS = (("leaf1", "fw1-in"), ("leaf2", "fw2-in"), ("leaf2", "ips1-out"), ("leaf1", "ips2-out"), ("leaf2", "cgn1-in"))
HOPS = ("ngfw", "ips", "filter", "ngfw ips", "ips ngfw", "filter ngfw", "filter ips ngfw", "cgn", "ngfw cgn")
PINS = {"ngfw": ("fw1", "fw2"), "ips": ("ips1", "ips2"), "filter": ("leaf1", "leaf2", "spine1"), "cgn": ("cgn1",)}
TROUBLES = ("unreachable", "unreachable", "refuses", "loses_reply", "silent")
UNDER_WAY = ("pending", "running", "reverting")
FORGET = """
DELETE FROM chains_changeevent; DELETE FROM chains_step; DELETE FROM chains_change; DELETE FROM chains_planstep;
DELETE FROM chains_finding; DELETE FROM chains_plan; DELETE FROM chains_use; DELETE FROM chains_linkuse;
DELETE FROM chains_contribution; DELETE FROM chains_poolallocation; DELETE FROM chains_classifier;
DELETE FROM chains_hop; DELETE FROM chains_chain; DELETE FROM chains_outbox; DELETE FROM chains_lease;
DELETE FROM chains_devicestatus; DELETE FROM chains_auditrow;
UPDATE chains_device SET is_enabled = true WHERE NOT is_enabled;
UPDATE chains_offer SET is_enabled = true WHERE NOT is_enabled;
UPDATE chains_instance SET health = 'unknown', health_reason = '', health_at = NULL WHERE health <> 'unknown';
SELECT setval(pg_get_serial_sequence('chains_chain', 'id'), 1, false);
SELECT setval(pg_get_serial_sequence('chains_plan', 'id'), 1, false);
SELECT setval(pg_get_serial_sequence('chains_change', 'id'), 1, false);
"""
TIME_PASSES = """
UPDATE chains_lease SET expires_at = clock_timestamp() - interval '1 s' WHERE expires_at IS NOT NULL;
UPDATE chains_devicestatus SET due_at = NULL WHERE due_at IS NOT NULL;
UPDATE chains_devicestatus SET closed_until = clock_timestamp() - interval '1 s' WHERE closed_until IS NOT NULL;
UPDATE chains_change SET due_at = created_at WHERE status IN ('pending', 'running', 'reverting');
UPDATE chains_outbox SET rung_at = rung_at - interval '1 hour' WHERE ref < 0;
UPDATE chains_outbox SET created_at = created_at - interval '1 hour' WHERE rung_at IS NULL;
"""


@dataclass
class Verdict:
    """What one schedule showed. faults: by kind, only those that really hit."""

    seed: int
    faults: Counter[str]
    lost_intents: list[str] = field(default_factory=list)
    mixed_end_states: list[str] = field(default_factory=list)
    false_ready: list[str] = field(default_factory=list)
    overlapping_writers: list[str] = field(default_factory=list)
    bypassed_packets: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    rounds: int = 0
    walked: int = 0
    pushes: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)

    @property
    def problems(self) -> dict[str, list[str]]:
        names = (
            "lost_intents", "mixed_end_states", "false_ready", "overlapping_writers", "bypassed_packets", "other"
        )  # fmt: skip
        return {name: getattr(self, name) for name in names if getattr(self, name)}


class _Broken(logging.Handler):
    """What the engine logs as broken is a problem, even if it went on."""

    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._into.append(f"{record.getMessage()}: {error!r}")


def run(seed: int) -> Verdict:
    """Play the seed's schedule on an empty fabric (`tests.engine.world.load`, no transaction open)."""
    forget()
    schedule = Schedule(seed)
    handler = _Broken(schedule.verdict.other)
    log = logging.getLogger("chains.engine")
    log.addHandler(handler)
    was_propagating, log.propagate = log.propagate, False
    try:
        with installed(schedule.outside):
            schedule.play()
    finally:
        log.removeHandler(handler)
        log.propagate = was_propagating
    return schedule.verdict


def forget() -> None:
    """All that a schedule wrote, in rows and in devices."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(FORGET)
    fake.reset()
    KEPT.close_idle(0)


class Schedule:
    """What is drawn and what is done."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.watcher = oracle.Watcher()
        self.outside = Outside(clock=Clock(), on_state=self.watcher.pushed, on_pause=self._while_paused)
        self.verdict = Verdict(seed, self.outside.shown)
        self.accepted: list[int] = []
        self.chains: dict[str, bool] = {}
        self.ready: dict[int, Any] = {}
        self.devices: list[str] = []

    # --- the play -----------------------------------------------------------------------------

    def play(self) -> None:
        self._draw_fabric()
        intents = self.random.randint(2, 5)
        calm = self.random.choice((0, 0, 1, 2)) if intents > 2 else 0
        for _ in range(calm):
            self._begin()
        acts: list[Callable[[], None]] = [self._act_intent] * (intents - calm)
        others: tuple[Callable[[], None], ...] = (
            self._act_trouble, self._act_trouble, self._act_drift, self._act_link, self._act_stranger,
            self._act_lose_bells, self._act_sweep, self._act_sweep, self._act_observe, self._act_ring,
        )  # fmt: skip
        acts += [self.random.choice(others) for _ in range(self.random.randint(4, 9))]
        self.random.shuffle(acts)
        for act in acts:
            self._say(act.__name__.removeprefix("_act_"))
            act()
            self._after()
        self._settle()
        self._judge()

    def _begin(self) -> None:
        """A chain that is in force before anything goes wrong."""
        self._say("begin")
        try:
            self._create([])
        except Problem as error:
            self._say(f"  refused: {error}")
        for change in models.Change.objects.filter(status__in=UNDER_WAY).order_by("pk"):
            self._work(lambda change=change: run_change(change.pk), is_calm=True)  # type: ignore[misc]

    def _draw_fabric(self) -> None:
        off = [name for name, share in SPARE.items() if self.random.random() < share]
        models.Device.objects.filter(name__in=off).update(is_enabled=False)
        self.devices = sorted(
            models.Device.objects.filter(is_enabled=True).exclude(driver="").values_list("name", flat=True)
        )

    def _work(self, work: Callable[[], object], *, is_calm: bool = False) -> None:
        """A worker does it, and may be killed or paused at it."""
        if not is_calm and self.random.random() < 0.35:
            self.outside.dies_in = self.random.randint(1, self.random.choice((40, 120, 300)))
        if not is_calm and self.random.random() < 0.2:
            self.outside.pauses_in = self.random.randint(1, 30)
        try:
            self.outside.run(work)
        except Exception as error:  # noqa: BLE001  nothing may come out of the engine
            self.verdict.other.append(f"{self.verdict.trace[-1]}: {error!r}")
        self.outside.pauses_in = 0

    def _while_paused(self) -> None:
        """Another worker finds the leases ended, while the first one sleeps."""
        outside = self.outside
        dies_in = outside.dies_in
        with outside.own():
            self.time_passes()
            due = list(models.Change.objects.filter(status__in=UNDER_WAY).values_list("pk", flat=True))
        self._say("paused: another worker takes over")
        outside.dies_in = self.random.choice((0, 0, self.random.randint(1, 100)))
        for change in self.random.sample(due, len(due)):
            outside.run(lambda change=change: run_change(change))  # type: ignore[misc]
        if self.random.random() < 0.3:
            outside.run(sweep)
        outside.dies_in = dies_in
        if self.random.random() < 0.3:
            with outside.own():
                self.time_passes()

    def time_passes(self) -> None:
        """Longer than a lease lasts, than any patience and than the time between two sweeps."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(TIME_PASSES)
        self.outside.clock.now_s += LEASE_TTL_S + 1.0

    def _after(self) -> None:
        with self.outside.own():
            self.verdict.false_ready.extend(oracle.false_ready(self.ready, self.outside.reads))

    def _say(self, text: str) -> None:
        self.verdict.trace.append(text)

    # --- what may happen ----------------------------------------------------------------------

    def _act_intent(self) -> None:
        rows = list(models.Chain.objects.filter(is_wanted=True).order_by("pk"))
        acts = (self._create, self._edit, self._edit, self._move, self._move, self._delete)
        act = self.random.choice(acts) if rows else self._create
        self._say(f"  {act.__name__.removeprefix('_')}")
        try:
            act(rows)
        except Problem as error:
            self._say(f"  refused: {error}")
            return
        if self.random.random() < 0.85:
            self._act_ring()

    def _create(self, rows: list[models.Chain]) -> None:
        number = len(self.chains)
        hops = self.random.choice(HOPS).split()
        tenant = self.random.choice(("tenant-a", "tenant-b"))
        row = world.chain(
            *[self._hop(name, 80 + number) for name in hops],
            name=f"c{number}",
            tenant=tenant,
            destination="outside" if "cgn" in hops else "servers",
            classifiers=[{"protocol": "tcp", "destination_ports": str(80 + number), "family": 4}],
        )
        self.chains[f"{tenant}/{row.name}"] = True
        self._apply(row)

    def _hop(self, function: str, port: int) -> dict[str, Any]:
        hop: dict[str, Any] = {"function": function, "failure_mode": "block", "policy": {}}
        if function == "ips":
            hop["policy"] = {"patterns": [{"text": self.random.choice(("attack", "malware", "exploit"))}]}
            hop["failure_mode"] = self.random.choice(("block", "block", "bypass"))
        elif function == "cgn":
            hop["policy"] = {"block_size": self.random.choice((128, 256))}
        else:
            rules = [{"verdict": "permit", "protocol": "tcp", "destination_ports": str(port)}]
            rules += [{"verdict": "deny", "protocol": "udp", "destination_ports": str(self.random.randint(1, 9))}]
            hop["policy"] = {"default": "deny", "rules": rules}
        if self.random.random() < 0.4:
            hop["device"] = self.random.choice(PINS[function])
        return hop

    def _edit(self, rows: list[models.Chain]) -> None:
        """The same hops with other policies."""
        row = self.random.choice(rows)
        names = list(row.hops.order_by("position").values_list("function__name", flat=True))
        self._update(row, names)

    def _move(self, rows: list[models.Chain]) -> None:
        """Other hops."""
        row = self.random.choice(rows)
        fits = [hops.split() for hops in HOPS if ("cgn" in hops) == (row.destination.name == "outside")]
        self._update(row, self.random.choice(fits))

    def _update(self, row: models.Chain, names: list[str]) -> None:
        port = row.classifiers.get().destination_port_first
        self._apply(world.edit(row, hops=[self._hop(name, port) for name in names]))

    def _apply(self, row: models.Chain) -> None:
        plan = planner.plan_chain(row, "simulation")
        if plan.status != models.Plan.Status.READY:
            self._say(f"  no plan: {plan.errors}")
            return
        if self.random.random() < 0.1:
            return  # shown, never applied
        try:
            change = intent.change_create(actor=SYSTEM, plan=plan)
        except Conflict as conflict:
            self._say(f"  not taken: {conflict}")
            return
        self.accepted.append(change.pk)

    def _delete(self, rows: list[models.Chain]) -> None:
        row = self.random.choice(rows)
        self.chains[f"{row.tenant.name}/{row.name}"] = False
        world.delete(row)

    def _act_ring(self) -> None:
        """A bell arrives, once or more often, early or late."""
        due = list(models.Change.objects.filter(status__in=UNDER_WAY).order_by("pk").values_list("pk", flat=True))
        if not due:
            return
        change = self.random.choice(due)
        if self.random.random() < 0.5:
            self.time_passes()
        for _ in range(self.random.choice((1, 1, 2, 3))):
            self._work(lambda: run_change(change))

    def _act_sweep(self) -> None:
        if self.random.random() < 0.8:
            self.time_passes()
        self._work(sweep)

    def _act_observe(self) -> None:
        rows = models.Device.objects.filter(name__in=self.random.sample(self.devices, 3)).order_by("pk")
        numbers = list(rows.values_list("pk", flat=True))
        self._work(lambda: observe_devices(numbers))

    def _act_trouble(self) -> None:
        kind = self.random.choice(TROUBLES)
        device = self.random.choice(self.devices)
        self.outside.troubles[device] = Trouble(kind, self.random.choice((1, 1, 2, 5)))
        self._say(f"  {kind} {device}")

    def _act_lose_bells(self) -> None:
        self.outside.shown["lost bells"] += models.Outbox.objects.filter(rung_at=None).delete()[0]

    def _act_stranger(self) -> None:
        with fake.box(self.random.choice(self.devices)) as box:
            box.foreign.append("a stranger's")
        self.outside.shown["stranger"] += 1

    def _act_link(self) -> None:
        switch, port = self.random.choice(ARMS)
        with fake.box(switch) as box:
            box.links_down = [] if box.links_down else [port]
        self.outside.shown["link"] += 1

    def _act_drift(self) -> None:
        """Somebody deletes, alters or adds something of ours."""
        kind = self.random.choice(("delete", "alter", "orphan"))
        full = [name for name in self.devices if self._held(name)]
        device = self.random.choice(full if full and kind != "orphan" else self.devices)
        items: dict[Key, Item] = dict(self._held(device))
        if kind == "orphan" or not items:
            key = Key.parse("c7777.r1.f.0.guard.0")
            items[key] = Guard("spine1", 0, Match("192.0.2.0/24", "198.51.100.0/24"))
            if not device.startswith("leaf"):
                return
        else:
            key = self.random.choice(sorted(items))
            if kind == "delete":
                del items[key]
            else:
                altered = _altered(items[key])
                if any(slot(other) == slot(altered) for at, other in items.items() if at != key):
                    return
                items[key] = altered
        self._say(f"  {kind} {key} on {device}")
        self.outside.shown["drift"] += 1
        with fake.box(device) as box:
            box.state = DeviceState(items)
            self.watcher.by_hand(device, box.state)

    def _held(self, device: str) -> DeviceState:
        with fake.box(device) as box:
            return box.state

    # --- peace and verdict --------------------------------------------------------------------

    def _settle(self) -> None:
        """Faults stop; workers sweep until nothing moves any more. From here on no push may be in vain."""
        self.outside.troubles.clear()
        self.outside.is_calm = True
        for name in self.devices:
            with fake.box(name) as box:
                box.links_down = []
        before: Collection[object] = ()
        for round_ in range(1, ROUNDS + 1):
            self._say(f"calm sweep {round_}")
            pushes = len(self.outside.pushes)
            self.time_passes()
            self._work(sweep, is_calm=True)
            self._after()
            now = self._rows()
            if len(self.outside.pushes) == pushes and now == before:
                self.verdict.rounds = round_
                return
            before = now
        self.verdict.lost_intents.append(f"no rest after {ROUNDS} sweeps")

    def _rows(self) -> Collection[object]:
        chains = models.Chain.objects.order_by("pk").values_list(
            "pk", "status", "status_reason", "generation", "revision"
        )
        changes = models.Change.objects.order_by("pk").values_list("pk", "status")
        return [*chains, *changes]

    def _judge(self) -> None:
        verdict, outside = self.verdict, self.outside
        self.watcher.altered.clear()
        self.watcher.judge()  # once more, with what was altered and is to be right by now
        verdict.lost_intents += oracle.lost(self.accepted, self.chains)
        verdict.lost_intents += oracle.stuck()
        verdict.mixed_end_states += oracle.mixed()
        verdict.overlapping_writers += outside.overlaps
        verdict.other += [f"{device} was written though nothing differed" for device in outside.vain]
        verdict.bypassed_packets += self.watcher.bypasses
        verdict.other += [f"cut off: {text}" for text in self.watcher.cut]
        verdict.walked, verdict.pushes = self.watcher.walked, len(outside.pushes)
        verdict.changes = Counter(models.Change.objects.values_list("status", flat=True))


def _altered(item: Item) -> Item:
    """The same item with something wrong in it."""
    if isinstance(item, RuleSet):
        return replace(item, rules=item.rules[:-1])
    if isinstance(item, Signatures):
        return replace(item, patterns=("deadbeef",))
    if hasattr(item, "precedence"):
        return replace(item, precedence=item.precedence + 7)
    return replace(item, block_size=512)
