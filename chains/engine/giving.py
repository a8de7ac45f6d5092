# SPDX-License-Identifier: Apache-2.0
"""Port blocks on demand: asks devices who wants one, has it written down, then tells the device. Called every second.

Nothing is read or written where no such pool is in force. A device that another attempt writes to, or that does not
answer, is asked again a second later; what it has lost meanwhile it is told again.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping

from chains import models
from chains.engine.carry import say
from chains.engine.freeze import Frozen, Gate
from chains.engine.lease import LeaseBusy, LeaseLost, Leases
from chains.engine.limits import Limits
from chains.engine.sessions import Fleet, fleet_of
from chains.services import record
from drivers.base import Demand, DriverError, Giving, Session
from drivers.nat import Block
from drivers.state import Key

log = logging.getLogger(__name__)
FULL = "pool-exhausted"
# As long as a device remembers whom it has seen (drivers.nftables_objects.SILENCE_S).
SILENT_S = 7500.0
Orders = dict[Key, tuple[tuple[Block, ...], tuple[Block, ...]]]


def give_blocks(given: Limits) -> int:
    """One look at every pool that is due; how many there were."""
    pools = record.pools_claim(0.9 * given.pulse_s)
    by_device: dict[models.Device, list[models.PoolAllocation]] = defaultdict(list)
    for pool in pools:
        by_device[pool.offer.device].append(pool)
    if by_device:
        gate = Gate()
        with fleet_of(by_device, given, gate.look) as fleet:
            names = {device.name: device for device in by_device}
            for name, answer in fleet.arrivals(dict.fromkeys(names, _demands)):
                if isinstance(answer, DriverError):
                    log.info("%s: not asked who wants ports: %s", name, say(answer))
                else:
                    _serve(names[name], by_device[names[name]], answer, fleet, gate, given)
    return len(pools)


def _demands(session: Session) -> Mapping[Key, Demand]:
    return session.demands() if isinstance(session, Giving) else {}


def _serve(
    device: models.Device,
    pools: list[models.PoolAllocation],
    demands: Mapping[Key, Demand],
    fleet: Fleet,
    gate: Gate,
    given: Limits,
) -> None:
    """Written down first: a device is told of what the record holds, and of nothing else."""
    try:
        gate.check()
    except Frozen as frozen:
        log.info("%s: no ports are given: %s", device.name, frozen)
        return
    orders: Orders = {}
    for pool in pools:
        asked = {key: one for key, one in demands.items() if _is_of(pool, key, one)}
        if not asked:
            continue
        wanted = {source: level for one in asked.values() for source, level in one.wanted.items()}
        seen = {source for one in asked.values() for source in one.seen}
        settled = record.blocks_settle(pool, wanted, seen, SILENT_S)
        if settled is None:
            continue
        _tell(device, pool, settled.refused)
        for key, one in asked.items():
            taken = tuple(block for block in one.given if block not in settled.held)
            new = tuple(block for block in settled.held if block not in one.given)
            if taken or new:
                orders[key] = (taken, new)
    if orders:
        _push(device, orders, fleet, gate, given)


def _is_of(pool: models.PoolAllocation, key: Key, demand: Demand) -> bool:
    item = demand.pool
    return (key.chain, item.public, item.traffic.source, item.block_size) == (
        pool.chain_number, pool.public, pool.subscribers, pool.block_size
    )  # fmt: skip


def _push(device: models.Device, orders: Orders, fleet: Fleet, gate: Gate, given: Limits) -> None:
    try:
        with Leases([device.pk], given, wait_s=0) as leases:
            native = "\n".join(f"{key} {taken} {new}" for key, (taken, new) in orders.items())
            push = record.Push(device.pk, leases.epoch(device.pk), native)
            rows = record.writes_begin([push], purpose="blocks")
            leases.check()
            gate.check()
            errors = {}
            for key, (taken, new) in orders.items():
                for name, answer in fleet.each({device.name: _giver(key, taken, new, leases)}).errors.items():
                    errors[name] = say(answer)
            record.writes_end(rows, errors)
            if errors:
                log.warning("%s: ports could not be given: %s", device.name, errors[device.name])
    except (LeaseBusy, LeaseLost, Frozen):
        log.info("%s: somebody is writing; ports are given later", device.name)


def _giver(
    key: Key, taken: tuple[Block, ...], new: tuple[Block, ...], leases: Leases
) -> Callable[[Session], None]:
    def give(session: Session) -> None:
        leases.must_hold()
        if isinstance(session, Giving):
            session.give(key, taken, new)

    return give


def _tell(device: models.Device, pool: models.PoolAllocation, refused: tuple[str, ...]) -> None:
    """A finding while somebody gets no ports who asks for them, within the limit or not."""
    chain = models.Chain.objects.filter(pk=pool.chain_number).first()
    if refused:
        detail = (
            f"{pool.offer}: {len(refused)} subscribers ask for ports of {pool.public} and get none: they have "
            f"{pool.blocks} blocks, or nothing beside theirs is free; give the hop more addresses or blocks"
        )
        witness = {"subscribers": list(refused[:20]), "public": pool.public}
        record.finding_open(code=FULL, device=device, chain=chain, detail=detail, witness=witness)
    else:
        record.finding_close(code=FULL, device=device, chain=chain)
