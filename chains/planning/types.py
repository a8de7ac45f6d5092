# SPDX-License-Identifier: Apache-2.0
"""The frozen vocabulary of planning: what a snapshot holds and what a plan says.

Built by `chains.selectors`, read by placement, routing, compile and verify. Names refer to devices,
ports and functions by name, so that a plan can be read without a database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from chains.planning.held import Allocation as Allocation
from chains.planning.held import Buckets as Buckets
from chains.planning.held import OfferUse as OfferUse
from chains.planning.policies import IpsPolicy as IpsPolicy
from chains.planning.policies import NatPolicy as NatPolicy
from chains.planning.policies import Policy as Policy
from chains.planning.policies import RulePolicy as RulePolicy
from chains.planning.policies import TapPolicy as TapPolicy
from chains.planning.proof import Proof as Proof
from chains.planning.proof import Violation as Violation
from chains.planning.worth import DEFAULT
from chains.planning.worth import Prices as Prices
from drivers.base import Capabilities, PortInfo
from drivers.diff import Change
from drivers.state import ANY_PORT, DeviceState, Ports


class Realm(StrEnum):
    """Where a function can run."""

    SWITCH = "switch"
    APPLIANCE = "appliance"
    HOST = "host"


class Capability(StrEnum):
    """What a hop requires."""

    STATELESS_FILTER = "stateless_filter"
    STATEFUL_FILTER = "stateful_filter"
    IPS = "ips"
    NAT = "nat"
    TAP = "tap"


class Mode(StrEnum):
    """How an appliance is plugged in: by two ports, by one, or as a bump in the wire that has no address."""

    TWO_ARM = "two_arm"
    ONE_ARM = "one_arm"
    TRANSPARENT = "transparent"


class Health(StrEnum):
    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


# --- the fabric -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Device:
    """kind: switch, appliance, host or external (never programmed, driver "").

    doubt: why nothing new may be led there, "" for no doubt: it could not show that it holds what it is given.
    """

    name: str
    kind: str
    driver: str = ""
    caps: Capabilities | None = None
    ports: Mapping[str, PortInfo] = field(default_factory=dict)
    is_enabled: bool = True
    doubt: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    device: str
    port: str


@dataclass(frozen=True, slots=True)
class Link:
    """used_*_mbps: what other chains take, in each direction. tags: stage tags other chains use on it.

    is_up: False if an end was seen without a link.
    """

    a: Endpoint
    b: Endpoint
    capacity_mbps: int
    latency_us: int
    mtu_bytes: int = 1500
    used_from_a_mbps: int = 0
    used_from_b_mbps: int = 0
    tags: frozenset[int] = frozenset()
    is_up: bool = True


@dataclass(frozen=True, slots=True)
class Offer:
    """used_*: what other chains take. tenant: whose chains use it now ("" for none).

    capacity_mbps, entries: 0 is unlimited; measured_mbps: 0 if nobody measured. pool, taken: NAT only (prefixes).
    block_size: ports. resting: public prefixes that were let go too lately for others, each with the one mapping that
    may have it again.
    """

    device: str
    function: str
    capability: Capability
    realm: Realm
    inside: str = ""
    outside: str = ""
    capacity_mbps: int = 0
    used_mbps: int = 0
    entries: int = 0
    used_entries: int = 0
    latency_us: int = 0
    cost_per_gbps: float = 0.0
    cost_fixed: float = 0.0
    licence_per_gbps: float = 0.0
    cores_per_gbps: float = 0.0
    watts_per_gbps: float = 0.0
    tenants: frozenset[str] = frozenset()
    is_shared: bool = False
    is_enabled: bool = True
    is_draining: bool = False
    is_last_resort: bool = False
    health: Health = Health.UNKNOWN
    pool: str = ""
    block_size: int = 0
    taken: frozenset[str] = frozenset()
    mode: Mode = Mode.TWO_ARM
    measured_mbps: int = 0
    resting: frozenset[tuple[str, str]] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.function}@{self.device}"

    @property
    def weight(self) -> int:
        """Its part in a group: what it carries, as measured if it was."""
        return self.measured_mbps or self.capacity_mbps or 1


@dataclass(frozen=True, slots=True)
class Fabric:
    """vrfs: name -> VLAN tag that carries the VRF on links between switches."""

    devices: Mapping[str, Device]
    links: tuple[Link, ...]
    offers: tuple[Offer, ...]
    vrfs: Mapping[str, int]
    prices: Prices = DEFAULT


# --- the intent -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attachment:
    """A switch port where prefixes live. host: the device behind the port, "" if unknown."""

    switch: Endpoint
    prefixes: tuple[str, ...]
    host: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """mtu_bytes: the largest packet that starts here, without any tag."""

    name: str
    vrf: str
    prefixes: tuple[str, ...]
    attachments: tuple[Attachment, ...]
    mtu_bytes: int = 1500


@dataclass(frozen=True, slots=True)
class Classifier:
    """family 0: both. Between the chain's segments, in the forward direction."""

    family: int = 0
    protocol: str = ""
    source_ports: Ports = ANY_PORT
    destination_ports: Ports = ANY_PORT
    dscp: int = -1



@dataclass(frozen=True, slots=True)
class Hop:
    """realm, device: a pin, "" for none. blocks: the failure mode (False: bypass).

    instances: how many share the traffic; standby: how many more are kept ready. down_below: with less than so many
    percent of its instances it counts as down.
    """

    position: int
    function: str
    capability: Capability
    policy: Policy
    blocks: bool = True
    realm: str = ""
    device: str = ""
    instances: int = 1
    standby: int = 0
    branch: Branch | None = None
    down_below: int = 1


@dataclass(frozen=True, slots=True)
class Branch:
    """Packets that leave the hop with this DSCP go on by these hops instead of the rest of the chain."""

    dscp: int
    hops: tuple[Hop, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """number: as in drivers.state.Key. excluded: prefixes of the tenant that a wide destination does not mean.

    current: offer names per hop position now in force; pools: public addresses in force; buckets: of groups in force,
    by function.
    """

    number: int
    tenant: str
    name: str
    source: Segment
    destination: Segment
    classifiers: tuple[Classifier, ...]
    hops: tuple[Hop, ...]
    priority: int = 0
    bandwidth_mbps: int = 0
    latency_budget_us: int | None = None
    excluded: tuple[str, ...] = ()
    revision: int = 0
    current: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    pools: tuple[Allocation, ...] = ()
    buckets: Mapping[str, Buckets] = field(default_factory=dict)

    @property
    def precedence(self) -> int:
        """On devices: by priority; of equal priority a wide destination gives way to the tenant's own segments."""
        return 2 * self.priority + (0 if self.excluded else 1)


# --- the plan ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to realise a hop. offers: several only in the host realm (one for each host of a segment).

    cost_terms: cost units by name, they add up to cost; excluded: why it cannot serve, "" if it can.
    """

    realm: Realm
    offers: tuple[str, ...]
    cost: float = 0.0
    cost_terms: Mapping[str, float] = field(default_factory=dict)
    excluded: str = ""


@dataclass(frozen=True, slots=True)
class HopPlacement:
    """Where one hop runs, why, and what was turned down. chosen None: bypassed (reason says why).

    missing: how many fewer than wanted share the traffic or are kept ready.
    """

    position: int
    function: str
    chosen: Candidate | None
    rejected: tuple[Candidate, ...]
    reason: str
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """cost in cost units, cost_terms add up to it. latency_us: one way."""

    hops: tuple[HopPlacement, ...]
    cost: float
    cost_terms: Mapping[str, float]
    latency_us: int


@dataclass(frozen=True, slots=True)
class Visit:
    """One device on a path. hop: the position realised here, -1 for mere transit. tag: on arrival."""

    device: str
    ingress: str
    egress: str
    hop: int = -1
    tag: int = 0


@dataclass(frozen=True, slots=True)
class Path:
    """Device by device between one source and one destination attachment. reverse visits the same backwards.

    sources: the prefixes that take it, where a group shares the traffic; () for all.
    """

    source: Endpoint
    destination: Endpoint
    forward: tuple[Visit, ...]
    reverse: tuple[Visit, ...]
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One push: steps of one wave may run side by side, waves in order. phase: build, switch, drain, remove."""

    wave: int
    phase: str
    device: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class LinkUse:
    """Bandwidth by direction, and the stage tags this chain uses on the link."""

    a: Endpoint
    b: Endpoint
    from_a_mbps: int
    from_b_mbps: int
    tags: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole answer for one chain. base and target: the chain's own items by device.

    buckets: of its groups, by function. breaks: which flows will not survive the change, and why.
    """

    chain: int
    revision: int
    placement: Placement | None
    paths: tuple[Path, ...]
    base: Mapping[str, DeviceState]
    target: Mapping[str, DeviceState]
    steps: tuple[Step, ...]
    allocations: tuple[Allocation, ...]
    offer_uses: tuple[OfferUse, ...]
    link_uses: tuple[LinkUse, ...]
    proof: Proof
    buckets: Mapping[str, Buckets] = field(default_factory=dict)
    breaks: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """code: stable. hop: position, -1 for the whole chain. detail: the cause and the fix."""

    code: str
    detail: str
    hop: int = -1


class Refused(Exception):
    """No plan: `reasons` say why, `placement` (if any) shows the candidates, `proof` the violations."""

    def __init__(
        self, reasons: tuple[Reason, ...], placement: Placement | None = None, proof: Proof | None = None
    ) -> None:
        super().__init__("; ".join(reason.detail for reason in reasons))
        self.reasons = reasons
        self.placement = placement
        self.proof = proof
