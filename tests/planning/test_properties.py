# SPDX-License-Identifier: Apache-2.0
"""Any edit of any chain on any fabric: in every state between, no packet gets past a function, or out of its tenant.

What a plan says of itself is not asked: `walker` sends single packets through the states that devices would hold.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.planning.plan import make_plan
from chains.planning.types import Capability, Chain, Fabric, Plan, Refused, Step
from drivers.diff import patch
from drivers.state import DeviceState
from tests.planning.walker import Fate, Ground, Packet, on_host, travel
from tests.planning.worlds import World, world

CASES = 2000
States = Mapping[str, DeviceState]
DROPPED = ("lost", "guarded", "closed", "denied")


@dataclass(frozen=True, slots=True)
class Told:
    """One chain in force. hops: for each hop on the way the devices that may serve it, and whether it blocks."""

    chain: Chain
    hops: tuple[frozenset[str], ...]
    blocks: tuple[bool, ...]

    def means(self, packet: Packet) -> bool:
        return any(
            c.protocol in ("", packet.protocol)
            and c.destination_ports[0] <= packet.dport <= c.destination_ports[1]
            for c in self.chain.classifiers
        )


NOTHING: Told | None = None


def told(fabric: Fabric, chain: Chain, plan: Plan) -> Told:
    """From the intent and the inventory; only which hops are bypassed is taken from the plan."""
    assert plan.placement is not None
    left_out = {hop.position for hop in plan.placement.hops if hop.chosen is None}
    on_way = [h for h in chain.hops if h.capability is not Capability.TAP and h.position not in left_out]
    devices = [frozenset(o.device for o in fabric.offers if o.function == h.function) for h in on_way]
    return Told(chain, tuple(devices), tuple(h.blocks for h in on_way))


def ground_of(fabric: Fabric) -> Ground:
    cables = {}
    for link in fabric.links:
        a, b = (link.a.device, link.a.port), (link.b.device, link.b.port)
        cables[a], cables[b] = b, a
    return Ground({name: device.kind for name, device in fabric.devices.items()}, cables)


def in_order(met: list[str], hops: tuple[frozenset[str], ...], is_reply: bool) -> bool:
    wanted = list(reversed(hops)) if is_reply else list(hops)
    for device in met:
        while wanted and device in wanted[0]:
            wanted.pop(0)
            if device not in ("client", "server"):  # a host may be asked twice at once
                break
    return not wanted


def states_between(base: States, steps: tuple[Step, ...], draw: random.Random) -> Iterator[tuple[str, States]]:
    """Every state after a wave, and one with a part of each wave that is written side by side."""
    held = {name: state for name, state in base.items() if state}
    for number in sorted({step.wave for step in steps}):
        wave = [step for step in steps if step.wave == number and step.device]
        if len(wave) > 1:
            part = draw.sample(wave, draw.randint(1, len(wave) - 1))
            yield f"part of wave {number}", applied(held, part)
        held = applied(held, wave)
        yield f"wave {number}", held


def applied(states: States, steps: list[Step]) -> dict[str, DeviceState]:
    after = dict(states)
    for step in steps:
        after[step.device] = patch(after.get(step.device, DeviceState()), step.changes)
    return {name: state for name, state in after.items() if state}


@dataclass(frozen=True, slots=True)
class Witness:
    """Sends packets through one state after the other."""

    world: World
    ground: Ground
    fabric: Fabric
    taps: frozenset[str]

    def send(
        self, states: States, packet: Packet, is_reply: bool, dead: frozenset[tuple[str, str]] = frozenset()
    ) -> Fate:
        start, end = (self.world.source, self.world.destination)
        hosts = ("client", "server")
        if is_reply:
            start, end, hosts = end, start, hosts[::-1]
        first = Fate(packet=packet)
        on_host(states.get(hosts[0], DeviceState()), hosts[0], first, is_reply)
        if first.end:
            return first
        fate = travel(replace(self.ground, dead=dead), states, (start.device, start.port), packet, is_reply)
        fate.met[:0] = first.met
        if fate.end in ("delivered", "base"):
            on_host(states.get(hosts[1], DeviceState()), hosts[1], fate, is_reply)
        if fate.end == "delivered":
            assert fate.device == end.device, f"delivered at {fate.device}: {fate.trail}"
        assert all(name in self.taps for name in fate.copies), f"copies at {fate.copies}: {fate.trail}"
        return fate

    def judge(self, fate: Fate, old: Told | None, new: Told | None, is_last: bool, is_reply: bool) -> str:
        """What is wrong with it, "" if nothing. old, new: chains that mean the packet."""
        if fate.end in ("loop", "ambiguous", "closed", "lost", "guarded"):
            return fate.end
        if fate.end == "denied":
            return ""
        chains = [new] if is_last else [old, new]
        if fate.end == "base" and any(one is None for one in chains) and self.is_on_hosts(fate):
            return ""
        for one in chains:
            if one is not None and in_order(fate.met, one.hops, is_reply):
                return "" if fate.end == "delivered" or self.is_on_hosts(fate) else "base"
        if old is not None and new is not None and not is_last and len(old.hops) == len(new.hops):
            mixed = tuple(a | b for a, b in zip(old.hops, new.hops, strict=True))
            if in_order(fate.met, mixed, is_reply):
                return ""
        return "" if all(one is None for one in chains) else "bypass"

    def is_on_hosts(self, fate: Fate) -> bool:
        return set(fate.met) <= {"client", "server"}


def samples(draw: random.Random) -> list[Packet]:
    clients = [f"10.10.1.{draw.randrange(256)}" for _ in range(2)]
    found = [Packet(client, f"10.10.2.{draw.randrange(256)}", sport=draw.randrange(1024, 65536)) for client in clients]
    return [*found, replace(found[0], protocol="udp", dport=53)]


def check(seed: int) -> str:
    """"planned" or "refused". Errors: AssertionError with the packet's way."""
    here, draw = world(seed), random.Random(seed)
    states: States = {}
    old: Told | None = None
    said = "refused"
    for fabric, wanted in here.stories:
        if old is not None:
            kept = old.chain
            wanted = replace(
                wanted, revision=kept.revision, current=kept.current, pools=kept.pools, buckets=kept.buckets
            )
        try:
            plan = make_plan(fabric, wanted, states, {})
        except Refused as refused:
            assert refused.reasons and all(reason.detail for reason in refused.reasons)
            continue
        said = "planned"
        new = told(fabric, wanted, plan)
        taps = frozenset(offer.device for offer in fabric.offers if offer.function == "tap")
        witness = Witness(here, ground_of(fabric), fabric, taps)
        between = list(states_between(states, plan.steps, draw)) or [("as it was", states)]
        for packet in samples(draw):
            meant = (old if old and old.means(packet) else None, new if new.means(packet) else None)
            for name, held in between:
                is_last = held == dict(plan.target) and name == between[-1][0]
                _flow(witness, held, packet, meant, is_last, f"seed {seed}, {name}", bool(plan.breaks))
            if meant[1] is not None:
                _losses(witness, plan.target, packet, new, f"seed {seed}")
        states = plan.target
        current: dict[int, tuple[str, ...]] = {}
        for use in plan.offer_uses:
            current[use.hop] = (*current.get(use.hop, ()), use.offer)
        settled = replace(
            wanted, revision=plan.revision, current=current, pools=plan.allocations, buckets=plan.buckets
        )
        old = replace(new, chain=settled)
    return said


def _flow(
    witness: Witness,
    states: States,
    packet: Packet,
    meant: tuple[Told | None, Told | None],
    is_last: bool,
    where: str,
    may_hold: bool,
) -> None:
    out = witness.send(states, packet, is_reply=False)
    problem = witness.judge(out, *meant, is_last, False)
    is_held = may_hold and not is_last and problem == "guarded"
    assert not problem or is_held, f"{where}: {problem}: {packet}: {out}"
    if out.end not in ("delivered", "base") or out.packet is None:
        return
    back = witness.send(states, out.packet.reply(), is_reply=True)
    problem = witness.judge(back, *meant, is_last, True)
    if is_last:
        assert not problem, f"{where}: {problem}: reply to {packet}: {back}"
        if meant[1] is not None and back.end != "denied":
            assert set(out.met) == set(back.met), f"{where}: asymmetric: {packet}: {out.trail} {back.trail}"
            assert back.packet is not None and back.packet.destination == packet.source, where
    else:
        # A reply to packets that went the other way may find nobody: it is lost, never led astray. To public addresses
        # that are not in force yet nobody but us leads anything.
        is_nobodys = back.end == "base" and out.packet.source != packet.source
        is_lost = problem in ("", "closed", "guarded") or is_nobodys
        assert is_lost, f"{where}: {problem}: reply to {packet}: {back}"


def _losses(witness: Witness, states: States, packet: Packet, new: Told, where: str) -> None:
    """Each function on the way dies: what still arrives has passed all the others, and both ways alike."""
    alive = witness.send(states, packet, is_reply=False)
    for device in dict.fromkeys(alive.met):
        dead = frozenset(end for end, far in witness.ground.cables.items() if far[0] == device)
        if witness.ground.kinds[device] != "appliance":
            continue
        needed = tuple(
            hop for hop, blocks in zip(new.hops, new.blocks, strict=True) if blocks or device not in hop
        )
        out = witness.send(states, packet, False, dead)
        assert out.end in ("delivered", *DROPPED), f"{where} without {device}: {packet}: {out}"
        if out.end != "delivered" or out.packet is None:
            continue
        assert device not in out.met and in_order(out.met, needed, False), f"{where} without {device}: {out}"
        back = witness.send(states, out.packet.reply(), True, dead)
        assert back.end in ("delivered", *DROPPED), f"{where} without {device}: reply to {packet}: {back}"
        if back.end == "delivered":
            assert set(back.met) == set(out.met), f"{where} without {device}: {out.trail} {back.trail}"


@settings(
    max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
)
@given(st.integers(0, 2**32 - 1))
def test_any_edit_keeps_order_symmetry_and_isolation(seed: int) -> None:
    check(seed)
