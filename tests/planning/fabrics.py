# SPDX-License-Identifier: Apache-2.0
"""Fabrics and chains for planning tests: plain values, no database."""

from __future__ import annotations

from chains.planning.types import (
    Attachment,
    Capability,
    Chain,
    Classifier,
    Device,
    Endpoint,
    Fabric,
    Hop,
    IpsPolicy,
    Link,
    NatPolicy,
    Offer,
    Policy,
    Realm,
    RulePolicy,
    Segment,
)
from drivers import fake
from drivers.base import PortInfo
from drivers.nat import PORTS_PER_ADDRESS
from drivers.state import Match, Rule, Verdict

CAPS = {
    "switch": fake.SWITCH.caps,
    "appliance": fake.APPLIANCE.caps,
    "host": fake.HOST.caps,
    "external": None,
}
CAPABILITIES = {
    "filter": Capability.STATELESS_FILTER,
    "ngfw": Capability.STATEFUL_FILTER,
    "ips": Capability.IPS,
    "cgn": Capability.NAT,
    "static": Capability.NAT,
}
WEB = RulePolicy(
    rules=(
        Rule(Verdict.PERMIT, Match("0.0.0.0/0", "0.0.0.0/0", "tcp", destination_ports=(80, 80))),
        Rule(Verdict.PERMIT, Match("::/0", "::/0", "tcp", destination_ports=(80, 80))),
    )
)
POLICIES: dict[str, Policy] = {
    "filter": WEB,
    "ngfw": WEB,
    "ips": IpsPolicy(("deadbeef",)),
    "cgn": NatPolicy(256),
    "static": NatPolicy(PORTS_PER_ADDRESS),
}


class Builder:
    """Collects devices, links and offers; `fabric()` gives the frozen value."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}
        self.ports: dict[str, dict[str, PortInfo]] = {}
        self.links: list[Link] = []
        self.offers: list[Offer] = []
        self.vrfs = {"internet": 10, "a": 101, "b": 102}

    def device(self, name: str, kind: str) -> None:
        self.kinds[name] = kind
        self.ports[name] = {}

    def link(self, a: str, b: str, capacity_mbps: int = 10_000, latency_us: int = 10) -> None:
        ends = []
        for end in (a, b):
            device, port = end.split(":")
            number = len(self.ports[device]) + 1
            self.ports[device][port] = PortInfo(
                port, number, f"02:00:00:00:{len(self.kinds):02x}:{number:02x}"
            )
            ends.append(Endpoint(device, port))
        self.links.append(Link(ends[0], ends[1], capacity_mbps, latency_us))

    def appliance(self, name: str, function: str, switch: str, other: str = "", **fields: object) -> None:
        """Two-armed: inside on `switch`, outside on `other` (the same if not given)."""
        self.device(name, "appliance")
        self.link(f"{switch}:{name}-in", f"{name}:in")
        self.link(f"{other or switch}:{name}-out", f"{name}:out")
        nat = {"pool": "198.51.100.0/28", "block_size": 256} if function == "cgn" else {}
        self.offer(name, function, Realm.APPLIANCE, inside="in", outside="out", **{**nat, **fields})

    def offer(self, device: str, function: str, realm: Realm, **fields: object) -> None:
        costs = {"cost_per_gbps": 5.0, "cost_fixed": 10.0, "latency_us": 50}
        self.offers.append(
            Offer(device, function, CAPABILITIES[function], realm, **{**costs, **fields})  # type: ignore[arg-type]
        )

    def fabric(self) -> Fabric:
        devices = {
            name: Device(name, kind, f"fake-{kind}", CAPS[kind], self.ports[name])
            for name, kind in self.kinds.items()
        }
        return Fabric(devices, tuple(self.links), tuple(self.offers), self.vrfs)


def demo() -> Builder:
    r"""Two leaves, a spine, tenant A's client and server, an outside network.

    a1   fw1   ips2        a2 inet fw2 ips1 cgn1
      \  ||   //            \   |  ||  //  //
        leaf1 ---- spine1 ---- leaf2
    """
    builder = Builder()
    for name in ("leaf1", "leaf2", "spine1"):
        builder.device(name, "switch")
    builder.link("leaf1:spine1", "spine1:leaf1")
    builder.link("leaf2:spine1", "spine1:leaf2")
    for host, leaf in (("a1", "leaf1"), ("a2", "leaf2")):
        builder.device(host, "host")
        builder.link(f"{leaf}:{host}", f"{host}:eth0")
    builder.device("inet", "external")
    builder.link("leaf2:inet", "inet:eth0")
    builder.appliance("fw1", "ngfw", "leaf1")
    builder.appliance("fw2", "ngfw", "leaf2", cost_fixed=11.0)
    builder.appliance("ips1", "ips", "leaf2")
    builder.appliance("ips2", "ips", "leaf1", cost_fixed=30.0)
    builder.appliance("cgn1", "cgn", "leaf2")
    builder.offer("leaf1", "filter", Realm.SWITCH, cost_fixed=1.0, is_shared=True, entries=2000)
    builder.offer("a1", "ngfw", Realm.HOST, cost_per_gbps=50.0)
    builder.offer("a2", "ngfw", Realm.HOST, cost_per_gbps=50.0)
    return builder


CLIENTS = Segment(
    "clients",
    "a",
    ("10.10.1.0/24", "2001:db8:10:1::/64"),
    (Attachment(Endpoint("leaf1", "a1"), ("10.10.1.0/24", "2001:db8:10:1::/64"), "a1"),),
)
SERVERS = Segment(
    "servers",
    "a",
    ("10.10.2.0/24", "2001:db8:10:2::/64"),
    (Attachment(Endpoint("leaf2", "a2"), ("10.10.2.0/24", "2001:db8:10:2::/64"), "a2"),),
)
OUTSIDE = Segment(
    "outside",
    "internet",
    ("0.0.0.0/0", "::/0"),
    (Attachment(Endpoint("leaf2", "inet"), ("0.0.0.0/0", "::/0"), "inet"),),
)


def hop(position: int, function: str, **fields: object) -> Hop:
    values = {"policy": POLICIES[function], **fields}
    return Hop(position, function, CAPABILITIES[function], **values)  # type: ignore[arg-type]


def chain(*functions: str | Hop, number: int = 7, **fields: object) -> Chain:
    """clients -> servers unless told otherwise; a chain with a cgn goes outside, IPv4 only."""
    hops = tuple(hop(i, f) if isinstance(f, str) else f for i, f in enumerate(functions))
    has_nat = any(h.capability is Capability.NAT for h in hops)
    values: dict[str, object] = {
        "source": CLIENTS,
        "destination": OUTSIDE if has_nat else SERVERS,
        "classifiers": (
            Classifier(4 if has_nat else 0, "tcp", destination_ports=(80, 80)),
            Classifier(4 if has_nat else 0, "tcp", destination_ports=(443, 443)),
        ),
        "bandwidth_mbps": 100,
        "excluded": ("10.10.1.0/24", "10.10.2.0/24") if has_nat else (),
        **fields,
    }
    return Chain(number, "a", "web", hops=hops, **values)  # type: ignore[arg-type]
