# SPDX-License-Identifier: Apache-2.0
"""What tenants ask for in a schedule. Each is a web request: a worker's work, that may die or lose its database.

Whatever was answered with success is kept in `Asked`, for the oracle.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import Error as DatabaseError
from django.db import transaction

from chains import models
from chains.engine import planner
from chains.errors import Problem
from chains.services import intent
from chains.services.actor import SYSTEM
from chains.services.freeze import freeze_lift, freeze_set
from tests.engine import world

HOPS = ("ngfw", "ips", "filter", "ngfw ips", "ips ngfw", "filter ngfw", "filter ips ngfw", "cgn", "ngfw cgn")
PINS = {
    "ngfw": ("fw1", "fw2"),
    "ips": ("ips1", "ips2"),
    "filter": ("leaf1", "leaf2", "spine1"),
    "cgn": ("cgn1",),
}


@dataclass
class Asked:
    """chains: by name, is it wanted; None: nobody was told. accepted: by the audit's word, how often."""

    chains: dict[str, bool | None] = field(default_factory=dict)
    changes: list[int] = field(default_factory=list)
    accepted: Counter[str] = field(default_factory=Counter)
    doubled: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(self.accepted.values())


@dataclass
class Tenants:
    """Draws and sends requests."""

    random: random.Random
    asked: Asked
    say: Callable[[str], None]

    def request(self) -> None:
        """One request of any kind; a chain is made if there is none."""
        rows = list(models.Chain.objects.filter(is_wanted=True).order_by("pk"))
        kinds = (self.create, self.edit, self.edit, self.move, self.move, self.tune, self.tune, self.delete)
        kind = self.random.choice(kinds) if rows else self.create
        try:
            kind(rows)
        except Problem as error:
            self.say(f"  {kind.__name__} refused: {error}")
        except DatabaseError:
            self.say(f"  {kind.__name__}: no answer")
            raise

    def create(self, rows: list[models.Chain]) -> None:
        number = len(self.asked.chains)
        hops = self.random.choice(HOPS).split()
        tenant = self.random.choice(("tenant-a", "tenant-b"))
        wanted = [self._hop(name, 80 + number) for name in hops]
        name = f"{tenant}/c{number}"
        self.asked.chains[name] = None
        row = world.chain(
            *wanted,
            name=f"c{number}",
            tenant=tenant,
            destination="outside" if "cgn" in hops else "servers",
            classifiers=[{"protocol": "tcp", "destination_ports": str(80 + number), "family": 4}],
        )
        self.asked.chains[name] = True
        self.asked.accepted["chain.create"] += 1
        self.say(f"  created {name}: {' '.join(hops)}")
        self.apply(row)

    def edit(self, rows: list[models.Chain]) -> None:
        """The same hops with other policies."""
        self.apply(self._edited(self.random.choice(rows)))

    def tune(self, rows: list[models.Chain]) -> None:
        """Edits in a row; perhaps nobody applies them."""
        row = self.random.choice(rows)
        for _ in range(self.random.randint(1, 3)):
            row = self._edited(row)
        if self.random.random() < 0.3:
            self.apply(row)

    def move(self, rows: list[models.Chain]) -> None:
        """Other hops."""
        row = self.random.choice(rows)
        fits = [hops.split() for hops in HOPS if ("cgn" in hops) == (row.destination.name == "outside")]
        self.apply(self._updated(row, self.random.choice(fits)))

    def delete(self, rows: list[models.Chain]) -> None:
        row = self.random.choice(rows)
        name = f"{row.tenant.name}/{row.name}"
        self.asked.chains[name] = None
        with transaction.atomic():  # nobody else deletes between the question and the order
            held = models.Chain.objects.select_for_update().filter(pk=row.pk).first()
            intent.chain_delete(actor=SYSTEM, chain=row)
        self.asked.chains[name] = False
        self.asked.accepted["chain.delete"] += held is not None and held.is_wanted
        self.say(f"  deleted {name}")

    def freeze(self) -> None:
        """Set the freeze switch, or lift it."""
        if not freeze_lift(actor=SYSTEM):
            freeze_set(actor=SYSTEM, reason="simulated")
            self.asked.accepted["freeze.set"] += 1

    def apply(self, row: models.Chain) -> None:
        plan = planner.plan_chain(row, "simulation")
        if plan.status != models.Plan.Status.READY:
            self.say(f"  no plan: {plan.errors}")
            return
        if self.random.random() < 0.1:
            return  # shown, never applied
        change = intent.change_create(actor=SYSTEM, plan=plan)
        self.asked.changes.append(change.pk)
        self.asked.accepted["plan.apply"] += 1
        self.say(f"  change {change.pk} of chain {row.pk}")
        if self.random.random() < 0.1 and intent.change_create(actor=SYSTEM, plan=plan).pk != change.pk:
            self.asked.doubled.append(f"plan {plan.pk} was applied by two changes")

    def _edited(self, row: models.Chain) -> models.Chain:
        names = list(row.hops.order_by("position").values_list("function__name", flat=True))
        return self._updated(row, names)

    def _updated(self, row: models.Chain, names: list[str]) -> models.Chain:
        port = 80 + int(row.name.removeprefix("c"))
        hops = [self._hop(name, port) for name in names]
        with transaction.atomic():  # nobody else edits between the question and the edit
            held = models.Chain.objects.select_for_update().filter(pk=row.pk).first()
            after = world.edit(row, hops=hops)
        if held is not None and after.generation > held.generation:
            self.asked.accepted["chain.update"] += 1
        return after

    def _hop(self, function: str, port: int) -> dict[str, Any]:
        hop: dict[str, Any] = {"function": function, "failure_mode": "block", "policy": {}}
        if function == "ips":
            hop["policy"] = {"patterns": [{"text": self.random.choice(("attack", "malware", "exploit"))}]}
            hop["failure_mode"] = self.random.choice(("block", "block", "bypass"))
        elif function == "cgn":
            hop["policy"] = {"block_size": self.random.choice((128, 256))}
        else:
            rules = [{"verdict": "permit", "protocol": "tcp", "destination_ports": str(port)}]
            rules += [
                {"verdict": "deny", "protocol": "udp", "destination_ports": str(self.random.randint(1, 9))}
            ]
            hop["policy"] = {"default": "deny", "rules": rules}
        if self.random.random() < 0.4:
            hop["device"] = self.random.choice(PINS[function])
        return hop
