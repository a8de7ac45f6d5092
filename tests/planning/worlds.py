# SPDX-License-Identifier: Apache-2.0
"""Random fabrics, chains and edits for the properties of planning. Everything follows from one number."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from chains.planning.types import (
    Attachment,
    Branch,
    Capability,
    Chain,
    Classifier,
    Endpoint,
    Fabric,
    Health,
    Hop,
    Mode,
    Realm,
    Segment,
    TapPolicy,
)
from tests.planning.fabrics import CAPABILITIES, POLICIES, Builder, hop

CAPABILITIES["tap"] = Capability.TAP
POLICIES["tap"] = TapPolicy()
CLIENTS, SERVERS = "10.10.1.0/24", "10.10.2.0/24"
MOST_DEVICES = 30
# How many of the worlds are large: they take a hundred times as long.
LARGE = 0.01


@dataclass(frozen=True, slots=True)
class World:
    """A fabric, and the chains that follow one another in it, each with the fabric as it is by then."""

    fabric: Fabric
    stories: tuple[tuple[Fabric, Chain], ...]
    source: Endpoint
    destination: Endpoint


def world(seed: int) -> World:
    """Mostly small; now and then up to 30 devices and 12 hops."""
    draw = random.Random(seed)
    is_large = draw.random() < LARGE
    builder, switches = _switches(draw, draw.randint(4, 8) if is_large else draw.randint(1, 3))
    source, destination = _ends(builder, draw, switches)
    room = MOST_DEVICES - len(builder.kinds) if is_large else 6
    _appliances(builder, draw, switches, room)
    fabric = builder.fabric()
    hops = tuple(_hops(draw, 12 if is_large else 3))
    chain = _chain(draw, hops, source, destination)
    stories = [(fabric, chain)]
    for _ in range(draw.choice([1, 1, 1, 2])):
        fabric, chain = _edited(draw, *stories[-1])
        stories.append((fabric, chain))
    return World(fabric, tuple(stories), source, destination)


def _switches(draw: random.Random, count: int) -> tuple[Builder, list[str]]:
    """A tree, and some cables more."""
    builder = Builder()
    names = [f"s{number}" for number in range(count)]
    for name in names:
        builder.device(name, "switch")
    pairs = [(names[draw.randrange(i)], names[i]) for i in range(1, count)]
    pairs += [tuple(sorted(draw.sample(names, 2))) for _ in range(draw.randint(0, count)) if count > 1]  # type: ignore[misc]
    for number, (one, other) in enumerate(dict.fromkeys(pairs)):
        builder.link(f"{one}:x{number}", f"{other}:y{number}", latency_us=draw.choice([10, 10, 30]))
    return builder, names


def _ends(builder: Builder, draw: random.Random, switches: list[str]) -> tuple[Endpoint, Endpoint]:
    found = []
    for host in ("client", "server"):
        builder.device(host, "host")
        switch = draw.choice(switches)
        builder.link(f"{switch}:{host}", f"{host}:eth0")
        found.append(Endpoint(switch, host))
    if draw.random() < 0.3:
        for host in ("client", "server"):
            builder.offer(host, "ngfw", Realm.HOST, cost_fixed=draw.choice([0.0, 20.0]))
    for switch in switches:
        if draw.random() < 0.4:
            builder.offer(switch, "filter", Realm.SWITCH, cost_fixed=draw.choice([1.0, 4.0]))
    return found[0], found[1]


def _appliances(builder: Builder, draw: random.Random, switches: list[str], room: int) -> None:
    for number in range(room):
        function = draw.choice(["ngfw", "ngfw", "ips", "ips", "cgn", "tap", "filter"])
        switch, name = draw.choice(switches), f"f{number}"
        mode = draw.choice([Mode.TWO_ARM, Mode.TWO_ARM, Mode.ONE_ARM, Mode.TRANSPARENT])
        mode = Mode.ONE_ARM if function == "tap" else mode
        cost = draw.choice([5.0, 10.0, 10.0, 12.0])
        nat = {"pool": f"198.51.{number}.0/25", "block_size": 256} if function == "cgn" else {}
        if mode is Mode.ONE_ARM:
            builder.device(name, "appliance")
            builder.link(f"{switch}:{name}", f"{name}:p")
            builder.offer(
                name, function, Realm.APPLIANCE, inside="p", outside="p", mode=mode, cost_fixed=cost, **nat
            )
        else:
            other = draw.choice([switch, switch, draw.choice(switches)])
            builder.appliance(name, function, switch, other, mode=mode, cost_fixed=cost, **nat)


def _hops(draw: random.Random, most: int) -> Iterator[Hop]:
    count = draw.randint(1, most)
    has_nat = False
    for position in range(count):
        function = draw.choice(["ngfw", "ips", "ips", "filter", "tap", "cgn"])
        if function == "cgn":
            if has_nat:
                function = "ips"
            has_nat = True
        yield _hop(draw, position, function)


def _hop(draw: random.Random, position: int, function: str) -> Hop:
    if function == "tap":
        return hop(position, "tap", blocks=False)
    instances = draw.choice([1, 1, 1, 1, 2, 3])
    standby = draw.choice([0, 0, 1]) if function != "filter" or instances > 1 else 0
    blocks = function == "cgn" or draw.random() < 0.7
    if function == "filter":
        instances, standby = 1, 0
    return hop(position, function, instances=instances, standby=standby, blocks=blocks)


def _chain(draw: random.Random, hops: tuple[Hop, ...], source: Endpoint, destination: Endpoint) -> Chain:
    far = "internet" if any(h.capability is Capability.NAT for h in hops) else "a"
    clients = Segment("clients", "a", (CLIENTS,), (Attachment(source, (CLIENTS,), "client"),))
    servers = Segment("servers", far, (SERVERS,), (Attachment(destination, (SERVERS,), "server"),))
    return Chain(7, "a", "web", clients, servers, _classifiers(draw), hops, bandwidth_mbps=draw.choice([10, 100]))


def _classifiers(draw: random.Random) -> tuple[Classifier, ...]:
    first = Classifier(4, "tcp", destination_ports=(80, draw.choice([80, 90])))
    return draw.choice([(first,), (first,), (Classifier(4),), (first, Classifier(4, "udp"))])


def _edited(draw: random.Random, fabric: Fabric, chain: Chain) -> tuple[Fabric, Chain]:
    """Something that people or devices do."""
    hops = list(chain.hops)
    what = draw.choice(["swap", "insert", "remove", "resize", "classifier", "down", "up", "dark", "policy", "replace"])
    if what == "swap" and len(hops) > 1:
        one, other = draw.sample(range(len(hops)), 2)
        hops[one], hops[other] = hops[other], hops[one]
    elif what == "insert" and len(hops) < 12:
        hops.insert(draw.randint(0, len(hops)), _hop(draw, 0, draw.choice(["ngfw", "ips", "tap"])))
    elif what == "remove" and len(hops) > 1:
        hops.pop(draw.randrange(len(hops)))
    elif what in ("resize", "replace", "policy"):
        place = draw.randrange(len(hops))
        hops[place] = _hop(draw, place, hops[place].function)
    elif what == "classifier":
        chain = replace(chain, classifiers=_classifiers(draw))
    elif what in ("down", "up"):
        offers = list(fabric.offers)
        place = draw.randrange(len(offers)) if offers else 0
        if offers:
            offers[place] = replace(offers[place], health=Health.DOWN if what == "down" else Health.UP)
        fabric = replace(fabric, offers=tuple(offers))
    elif what == "dark":
        links = list(fabric.links)
        place = draw.randrange(len(links))
        links[place] = replace(links[place], is_up=False)
        fabric = replace(fabric, links=tuple(links))
    hops = [replace(h, position=position) for position, h in enumerate(hops)]
    far = "internet" if any(h.capability is Capability.NAT for h in hops) else "a"
    return fabric, replace(chain, hops=tuple(hops), destination=replace(chain.destination, vrf=far))


__all__ = ["CLIENTS", "SERVERS", "Branch", "World", "world"]
