# SPDX-License-Identifier: Apache-2.0
"""What a driver is: a value made of plain functions and data, and the session it opens.

Every family fills in one `Driver`; `diff`, `order` and `forward` are shared and overridden by none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from drivers.diff import Change
from drivers.nat import Block
from drivers.state import DeviceState, Key, Kind, NatPool


class DriverError(Exception):
    """Something went wrong with a device. The text names the device, the cause and the fix."""


class Transient(DriverError):
    """Could not reach the device or it is busy: trying again later may help."""


class Rejected(DriverError):
    """The device refused, or answered what we do not understand: trying again will not help."""


class Unsupported(DriverError):
    """The driver cannot express this intent on this device. Raised while planning, never while applying."""


class Fails(StrEnum):
    """What becomes of packets when something that they need is gone."""

    DROP = "drop"
    FORWARD = "forward"  # past the function
    KEEP = "keep"  # as before
    NONE = "none"  # nothing here needs it


# Names of limits. LINES: lines that match packets (of access lists, filters, policies; flows), in all tables together.
# LONGEST: what the longest single table has, in the unit of its limit's source.
LINES, LONGEST = "lines", "longest"


@dataclass(frozen=True, slots=True)
class Limit:
    """How many entries of a kind fit. most: None where the box decides and nobody has said it.

    source: the document, or what decides; in words for people.
    """

    name: str
    most: int | None
    source: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a device family can do, one question per field."""

    # Which kinds of items can it hold?
    kinds: frozenset[Kind]
    # Is one push atomic on the device (all of its changes or none)?
    is_atomic: bool
    # Does it take a commit back by itself when nobody confirms it (`ConfirmingSession`)?
    has_confirmed_commit: bool
    # Which tags can it put on a link and match ("vlan", "mpls", "nsh")?
    tags: frozenset[str] = frozenset()
    # Does it handle IPv6 in every kind above?
    has_ipv6: bool = True
    # Does it route? Then packets reach it at its own MAC address and next hops are addresses (`PortInfo`).
    is_routed: bool = False
    # Do items share objects on it, so that `render` must know all that it holds (`Target.held`)?
    shares_objects: bool = False
    # Does nobody else get in between our reading and our commit?
    has_lock: bool = False
    # Does it watch next hops by itself, and leave one that does not answer?
    tracks: bool = False
    # Can it keep several VRFs apart?
    has_vrf: bool = True
    # Does an access list behind a redirect take deny lines?
    takes_deny: bool = True
    # How can a group of next hops be chosen from: by bits of an address ("mask"), or by prefixes of it?
    buckets: frozenset[str] = frozenset()
    # Does it send packets to a redirect's `standby` by itself while the port of `next` has no link?
    has_standby: bool = False
    # Can it send a redirect's packets to `copies` too?
    has_copies: bool = False
    # Does it say how many packets an item matched?
    counts: bool = True
    # Can it give port blocks on demand (`Giving`)?
    gives_blocks: bool = False
    # Is it written to, or only read and verified?
    is_writable: bool = True
    # What happens to redirected packets when their next hop (and standby) is dead?
    when_dead: Fails = Fails.NONE
    # And to packets while we cannot reach the device? What waits for its confirmation is taken back.
    when_unreachable: Fails = Fails.KEEP
    # How many entries fit (`Driver.entries`)? A device's setting `table_lines` says it for the device (`limits_of`).
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class PortInfo:
    """number: the device's own port number (OpenFlow), 0 if it has none. mac: "" if unknown.

    interface: the device's own name of it, "" if it is `name`. addresses: of the interface, with prefix length.
    vrf: where its operator has put it, "" if that does not matter.
    peer_mac, peer_addresses: of what is at the other end of its link.
    """

    name: str
    number: int = 0
    mac: str = ""
    interface: str = ""
    addresses: tuple[str, ...] = ()
    peer_mac: str = ""
    peer_addresses: tuple[str, ...] = ()
    vrf: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A device as its driver needs to know it. secret is never printed.

    management: IP address or host name of the management interface. settings: what the fabric
    file's `settings` says (strings), documented in each driver. ports by name. vrfs: name -> VLAN tag.
    held: all of ours that the device holds before the changes to render, where `Capabilities.shares_objects`.
    residue: see `Observation`; a repair is rendered from it.
    """

    name: str
    driver: str
    management: str
    settings: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, PortInfo] = field(default_factory=dict)
    vrfs: Mapping[str, int] = field(default_factory=dict)
    secret: str = field(default="", repr=False)
    held: DeviceState = field(default_factory=DeviceState)
    residue: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Counter:
    """What an item saw since it was written. dropped: how many of a switch's packets it stopped."""

    packets: int = 0
    octets: int = 0
    dropped: int = 0


# In a line of `Observation.attached`: what it names takes packets before an item of ours can.
SHADOWS = "shadows "


@dataclass(frozen=True, slots=True)
class Observation:
    """One reading of a device: our own items only, their counters, and which ports have a link.

    foreign: how many objects of others were seen beside ours (never touched). attached: those of them that sit
    inside our objects or in their way, one line each, in the device's words (see SHADOWS). pending: the name of a
    commit that the device will take back by itself unless it is confirmed, "" for none; it may be a stranger's.
    residue: ours as it stands, in the device's words, where that is not just what `state` would be written as ("" if it
    is): what a repair must know to say every line that it sends. is_saved: it starts with ours as they are (True where
    a commit is what it starts with).
    """

    state: DeviceState
    counters: Mapping[Key, Counter] = field(default_factory=dict)
    links_up: Mapping[str, bool] = field(default_factory=dict)
    foreign: int = 0
    attached: tuple[str, ...] = ()
    pending: str = ""
    residue: str = ""
    is_saved: bool = True


@dataclass(frozen=True, slots=True)
class Demand:
    """Of one NAT pool whose blocks are given on demand. given: what the device has been told, one range a subscriber.

    wanted: subscriber -> of how many blocks he has used up every port; 0: he has none. seen: who has sent anything for
    long enough that no flow of the others is left.
    """

    pool: NatPool
    given: tuple[Block, ...]
    wanted: Mapping[str, int]
    seen: frozenset[str]


@runtime_checkable
class Giving(Protocol):
    """A session to a device that can give port blocks on demand."""

    def demands(self) -> Mapping[Key, Demand]:
        """Of every such pool that is whole. Errors: as `Session.read`."""
        ...

    def give(self, key: Key, taken: tuple[Block, ...], given: tuple[Block, ...]) -> None:
        """Away with `taken`, then `given`, at once. Errors: as `Session.push`."""
        ...


class Session(Protocol):
    """An open connection to one device. Every method raises DriverError kinds only."""

    def read(self) -> Observation:
        """Our own items as the device holds them now. Unknown text inside our objects is Rejected."""
        ...

    def validate(self, native: str) -> None:
        """Ask the device whether it would take `native`, without effect. Where it cannot: check the syntax."""
        ...

    def push(self, native: str) -> None:
        """Send exactly these bytes, as rendered for the plan. Atomic where caps say so."""
        ...


class ConfirmingSession(Session, Protocol):
    """A session of a family that has confirmed commit (RFC 6241 section 8.4): what nobody confirms is taken back.

    A commit outlives its session: any later session, of any process, may confirm or cancel it by its label.
    `push` stays a commit that needs no confirmation.
    """

    def commit(self, native: str, label: str, revert_in_s: int) -> None:
        """Push, to be taken back by the device itself after `revert_in_s` (a multiple of 60, below 24 h).

        label: at most 63 of [a-z0-9-]. Rejected while another commit is pending, whosever it is.
        """
        ...

    def confirm(self, label: str) -> None:
        """Make it stay. Rejected if no commit of this label is pending: it was taken back, or confirmed before."""
        ...

    def cancel(self, label: str) -> None:
        """Take it back now. Rejected if no commit of this label is pending."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device says of itself when somebody logs in, for people; every text may be "".

    verified: how the device proved who it is, or that it did not. missing: prerequisites, each with the exact line to
    add on the device. first_push: what the first push of all does to packets that no item is about, "" for nothing.
    """

    platform: str = ""
    version: str = ""
    serial: str = ""
    verified: str = ""
    missing: tuple[str, ...] = ()
    first_push: str = ""


@runtime_checkable
class Introspective(Protocol):
    """A session that can say what it is connected to. Optional: a family without it is reported as reachable."""

    def login(self, native: str = "") -> Identity:
        """Asks the device. native: what might be written to it: what that would need, and what stands in its way, is
        missing too; nothing of it is sent. Errors: DriverError kinds.
        """
        ...


@runtime_checkable
class Printable(Protocol):
    """A session that can print all that is configured, ours and others'. Optional."""

    def configuration(self) -> str:
        """Text that is the same, byte for byte, as long as nobody configures anything: no counters, no times.

        May hold secrets of the device: for a file of the operator's, never for a log. Errors: DriverError kinds.
        """
        ...


@runtime_checkable
class Saving(Protocol):
    """A session of a family that saves by a step of its own: what is in force may be lost at a reload. Optional."""

    def save(self) -> None:
        """Ours as they are become what it starts with. Errors: Rejected, also where others' work would be saved too."""
        ...


@runtime_checkable
class Glancing(Protocol):
    """A session that can say for little which ports have a link. Optional: without it only `read` tells."""

    def links(self) -> Mapping[str, bool]:
        """As `Observation.links_up`. Errors: DriverError kinds."""
        ...


def is_unverified(settings: Mapping[str, str]) -> bool:
    """Does the fabric file say that the device need not prove who it is?"""
    return settings.get("unverified", "no") == "yes"


def no_entries(state: DeviceState, target: Target) -> Mapping[str, int]:
    """Of a family that has no limits."""
    return {}


@dataclass(frozen=True, slots=True)
class Driver:
    """A device family.

    render(changes, target): the native text that makes the changes; pure and deterministic, ""
    for no change; Unsupported if it cannot express one. open(target, timeout_s): a session, a ConfirmingSession
    where caps say so. entries(state, target): how many entries of each kind in `caps.limits` the device holds when it
    holds just this state, as `render` writes it; pure and cheap; Unsupported as `render`.
    """

    name: str
    caps: Capabilities
    render: Callable[[tuple[Change, ...], Target], str]
    open: Callable[[Target, float], AbstractContextManager[Session]]
    entries: Callable[[DeviceState, Target], Mapping[str, int]] = no_entries
