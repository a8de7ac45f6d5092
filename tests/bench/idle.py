# SPDX-License-Identifier: Apache-2.0
"""Very many chains in force on which nothing is left to do, with the ledger that led there.

Called by `sweeping`. The first chain of each tenant is planned; the others are that one for another port, which is
enough for a sweep: it counts, compares and reads back, and never places. What they take together is more than there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import Model
from django.db.models.functions import Now
from django.utils import timezone

from chains import models
from drivers.codec import state_from_json
from drivers.state import DeviceState
from tests.bench.network import FIRST_PORT, TENANTS
from tests.bench.seed import chains_in_force, clones

BELLS = 3  # of one chain: created, planned and applied, ended
AT_ONCE = 2000


def idle_chains(count: int) -> tuple[str, DeviceState]:
    """The device with the most items, and what is wanted there."""
    firsts = list(models.Chain.objects.filter(pk__in=chains_in_force(min(count, TENANTS))).order_by("pk"))
    made = clones(firsts, count)
    _contributions(firsts, made)
    _store(_uses(firsts, made))
    models.Chain.objects.update(revision=1, observed_generation=1, status=models.Chain.Status.READY)
    _ledger()
    wanted = _wanted()
    _statuses(wanted)
    with connection.cursor() as cursor:  # as autovacuum does it in a database that lives for a while
        cursor.execute("VACUUM ANALYZE")
    name = max(wanted, key=lambda name: len(wanted[name]))
    return name, state_from_json(wanted[name])


# In the database: there are hundreds of thousands of items. Its number is in the keys, its port in the matches.
CONTRIBUTIONS = """
INSERT INTO chains_contribution (chain_id, device_id, items)
SELECT made.chain, own.device_id,
       replace(replace(own.items::text, '"c' || made.first || '.', '"c' || made.chain || '.'),
               %(port)s, made.port::text)::jsonb
  FROM unnest(%(firsts)s::bigint[], %(chains)s::bigint[], %(ports)s::int[]) AS made (first, chain, port)
  JOIN chains_contribution AS own ON own.chain_id = made.first
"""


def _contributions(firsts: list[models.Chain], made: list[models.Chain]) -> None:
    pairs = list(_pairs(firsts, made))
    values = {
        "port": str(FIRST_PORT),
        "firsts": [first.pk for first, _ in pairs],
        "chains": [chain.pk for _, chain in pairs],
        "ports": [FIRST_PORT + index // TENANTS for index in range(len(firsts), len(firsts) + len(pairs))],
    }
    with connection.cursor() as cursor:
        cursor.execute(CONTRIBUTIONS, values)


def _uses(firsts: list[models.Chain], made: list[models.Chain]) -> Iterator[Model]:
    for kind in (models.Use, models.LinkUse):
        patterns = defaultdict(list)
        for row in kind.objects.filter(chain__in=firsts).values():
            patterns[row.pop("chain_id")].append({name: row[name] for name in row if name != "id"})
        for first, chain in _pairs(firsts, made):
            for values in patterns[first.pk]:
                yield kind(chain=chain, **values)


def _pairs(
    firsts: list[models.Chain], made: list[models.Chain]
) -> Iterator[tuple[models.Chain, models.Chain]]:
    for index, chain in enumerate(made, start=len(firsts)):
        yield firsts[index % TENANTS], chain


def _ledger() -> None:
    """One plan and one change of each chain, every step done, every bell rung, every question answered."""
    at = timezone.now() - timedelta(hours=1)
    chains = list(models.Chain.objects.order_by("pk"))
    plans = models.Plan.objects.bulk_create(
        [
            models.Plan(
                chain=chain, chain_name=chain.name, tenant_id=chain.tenant_id, generation=1, base_revision=0,
                revision=1, status=models.Plan.Status.APPLIED,
            )
            for chain in chains
        ],
        batch_size=AT_ONCE,
    )  # fmt: skip
    of_chain = {plan.chain_id: plan for plan in plans}
    succeeded = models.Change.Status.SUCCEEDED
    times = {"due_at": at, "started_at": at, "decided_at": at, "finished_at": at}
    changes = models.Change.objects.bulk_create(
        [models.Change(plan=plan, status=succeeded, attempts=1, **times) for plan in plans], batch_size=AT_ONCE
    )
    of_plan = {change.plan_id: change for change in changes}
    steps = models.PlanStep.objects.bulk_create(
        [
            models.PlanStep(plan=of_chain[chain], wave=0, phase="build", device_id=device, changes=[])
            for chain, device in models.Contribution.objects.values_list("chain_id", "device_id")
        ],
        batch_size=AT_ONCE,
    )
    done = models.Step.Status.DONE
    _store(models.Step(change=of_plan[step.plan_id], plan_step=step, status=done) for step in steps)
    _store(models.ChangeEvent(change=change, text="done") for change in changes)
    models.Outbox.objects.update(rung_at=at)  # of the first chains
    topics = models.Outbox.Topic
    _store(
        models.Outbox(topic=topics.CHAIN, ref=chain.pk, rung_at=at) for chain in chains for _ in range(BELLS)
    )
    _store(
        models.Condition(
            chain=chain, kind=kind, status="false" if kind == models.Condition.Kind.PROGRESSING else "true",
            reason="Seeded", generation=1, since=at,
        )
        for chain in chains
        for kind in models.Condition.Kind
    )  # fmt: skip


def _wanted() -> dict[str, dict[str, Any]]:
    """By device, the items of all chains, as JSON."""
    found: dict[str, dict[str, Any]] = {}
    rows = models.Contribution.objects.order_by("device", "chain").values_list("device__name", "items")
    for name, items in rows.iterator():
        found.setdefault(name, {}).update(items)
    return found


def _statuses(wanted: dict[str, dict[str, Any]]) -> None:
    """Every device was read a moment ago and holds what is wanted."""
    in_sync = models.DeviceStatus.Condition.IN_SYNC
    models.DeviceStatus.objects.all().delete()
    for device in models.Device.objects.exclude(driver="").prefetch_related("ports"):
        models.DeviceStatus.objects.create(
            device=device, condition=in_sync, observed=wanted.get(device.name, {}), observed_at=Now(),
            links_up={port.name: True for port in device.ports.all()},
        )  # fmt: skip
    models.Instance.objects.update(health=models.Instance.Health.UP)


def _store(rows: Iterable[Model]) -> None:
    by_kind: dict[type[Model], list[Model]] = {}
    for row in rows:
        by_kind.setdefault(type(row), []).append(row)
    for kind, held in by_kind.items():
        kind._default_manager.bulk_create(held, batch_size=AT_ONCE)
