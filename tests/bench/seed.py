# SPDX-License-Identifier: Apache-2.0
"""Many chains in force, quickly: planned one after the other, each in what the others left free, stored in bulk.

The rows are those that the engine's decision writes. `editing` checks that by planning seeded chains
anew: nothing may be left to do. What the seed leaves out is the ledger of plans and changes, which no planning reads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

from django.db import connection

from chains import models, selectors
from chains.engine.document import plain
from chains.planning import types
from chains.planning.plan import make_plan
from chains.services import intent
from chains.services.actor import SYSTEM
from drivers.state import Rule
from tests.bench.network import FIRST_PORT, TENANTS, chain_data, tenant_name


@dataclass(slots=True)
class Rows:
    """What is to be stored."""

    contributions: list[models.Contribution] = field(default_factory=list)
    uses: list[models.Use] = field(default_factory=list)
    link_uses: list[models.LinkUse] = field(default_factory=list)


def chains_in_force(count: int) -> list[int]:
    """Their numbers. The first TENANTS ones belong to different tenants, and so on round the tenants."""
    firsts = [_first(index) for index in range(min(count, TENANTS))]
    patterns = [selectors.chain_snapshot(chain) for chain in firsts]
    chains = [*firsts, *clones(firsts, count)]
    rows, fabric, names = Rows(), selectors.fabric_snapshot(firsts[0]), Names()
    for index, chain in enumerate(chains):
        wanted = _for_port(patterns[index % TENANTS], chain, FIRST_PORT + index // TENANTS)
        plan = make_plan(fabric, wanted, {}, {})
        names.store(rows, chain.pk, plan)
        fabric = with_use(fabric, wanted, plan)
    models.Contribution.objects.bulk_create(rows.contributions, batch_size=500)
    models.Use.objects.bulk_create(rows.uses, batch_size=2000)
    models.LinkUse.objects.bulk_create(rows.link_uses, batch_size=2000)
    models.Chain.objects.update(revision=1, observed_generation=1, status=models.Chain.Status.READY)
    with connection.cursor() as cursor:  # as autovacuum does it in a database that lives for a while
        cursor.execute("VACUUM ANALYZE")
    return [chain.pk for chain in chains]


def _first(index: int) -> models.Chain:
    """A tenant's first chain, made as a user makes it."""
    tenant = models.Tenant.objects.get(name=tenant_name(index))
    return intent.chain_create(actor=SYSTEM, tenant=tenant, data=chain_data(index, FIRST_PORT))


def clones(firsts: list[models.Chain], count: int) -> list[models.Chain]:
    """The other chains: the same rows for another port."""
    made = [
        models.Chain(
            tenant_id=first.tenant_id, name=f"chain-{index:04d}", source_id=first.source_id,
            destination_id=first.destination_id, bandwidth_mbps=first.bandwidth_mbps,
        )
        for index in range(len(firsts), count)
        for first in (firsts[index % TENANTS],)
    ]  # fmt: skip
    models.Chain.objects.bulk_create(made)
    classifiers, hops = [], []
    of_first = {first.pk: (list(first.classifiers.all()), list(first.hops.all())) for first in firsts}
    for index, chain in enumerate(made, start=len(firsts)):
        port = FIRST_PORT + index // TENANTS
        its_classifiers, its_hops = of_first[firsts[index % TENANTS].pk]
        for row in its_classifiers:
            values = {"protocol": row.protocol, "family": row.family, "position": row.position}
            ports = {"destination_port_first": port, "destination_port_last": port}
            classifiers.append(models.Classifier(chain=chain, **values, **ports))
        for row in its_hops:
            policy = json.loads(json.dumps(row.policy).replace(f'"{FIRST_PORT}"', f'"{port}"'))
            values = {"function_id": row.function_id, "position": row.position, "failure_mode": row.failure_mode}
            hops.append(models.Hop(chain=chain, policy=policy, **values))
    models.Classifier.objects.bulk_create(classifiers)
    models.Hop.objects.bulk_create(hops)
    return made


def _for_port(pattern: types.Chain, chain: models.Chain, port: int) -> types.Chain:
    """The tenant's first chain as planning sees it, turned into another one."""
    ports = (port, port)
    hops = []
    for hop in pattern.hops:
        if isinstance(hop.policy, types.RulePolicy):
            rules = tuple(
                Rule(rule.verdict, replace(rule.match, destination_ports=ports)) for rule in hop.policy.rules
            )
            hop = replace(hop, policy=replace(hop.policy, rules=rules))
        hops.append(hop)
    classifiers = tuple(replace(row, destination_ports=ports) for row in pattern.classifiers)
    return replace(pattern, number=chain.pk, name=chain.name, classifiers=classifiers, hops=tuple(hops))


class Names:
    """Ids of devices, offers and links by the names that plans use."""

    def __init__(self) -> None:
        self.devices = dict(models.Device.objects.values_list("name", "pk"))
        offers = models.Offer.objects.select_related("device", "function")
        self.offers = {str(row): row.pk for row in offers}
        links = models.Link.objects.select_related("a__device", "b__device")
        self.links = {
            (types.Endpoint(row.a.device.name, row.a.name), types.Endpoint(row.b.device.name, row.b.name)): row.pk
            for row in links
        }

    def store(self, rows: Rows, chain_id: int, plan: types.Plan) -> None:
        for device, state in plan.target.items():
            row = models.Contribution(chain_id=chain_id, device_id=self.devices[device], items=plain(state))
            rows.contributions.append(row)
        for use in plan.offer_uses:
            values = {"bandwidth_mbps": use.bandwidth_mbps, "entries": use.entries}
            offer_id = self.offers[use.offer]
            rows.uses.append(models.Use(chain_id=chain_id, hop_position=use.hop, offer_id=offer_id, **values))
        for link in plan.link_uses:
            taken = {"from_a_mbps": link.from_a_mbps, "from_b_mbps": link.from_b_mbps, "tags": list(link.tags)}
            link_id = self.links[link.a, link.b]
            rows.link_uses.append(models.LinkUse(chain_id=chain_id, link_id=link_id, **taken))


def with_use(fabric: types.Fabric, chain: types.Chain, plan: types.Plan) -> types.Fabric:
    """The fabric as the next chain meets it: `selectors.usage` would count the same."""
    taken = {use.offer: use for use in plan.offer_uses}
    crossed = {(use.a, use.b): use for use in plan.link_uses}
    return replace(
        fabric,
        offers=tuple(_offer(row, taken.get(row.name), chain.tenant) for row in fabric.offers),
        links=tuple(_link(row, crossed.get((row.a, row.b))) for row in fabric.links),
    )


def _offer(row: types.Offer, use: types.OfferUse | None, tenant: str) -> types.Offer:
    if use is None:
        return row
    return replace(
        row,
        used_mbps=row.used_mbps + use.bandwidth_mbps,
        used_entries=row.used_entries + use.entries,
        tenants=row.tenants | {tenant},
    )


def _link(row: types.Link, use: types.LinkUse | None) -> types.Link:
    if use is None:
        return row
    return replace(
        row,
        used_from_a_mbps=row.used_from_a_mbps + use.from_a_mbps,
        used_from_b_mbps=row.used_from_b_mbps + use.from_b_mbps,
        tags=row.tags | frozenset(use.tags),
    )
