# SPDX-License-Identifier: Apache-2.0
"""All ways to realise one hop: every offer of its function, with its own cost or why it cannot serve.

Called by placement. A candidate that is excluded is kept, for the explanation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chains.planning.addresses import allocated, no_room, subscribers, translations_before
from chains.planning.routing import LATENCY_COST_PER_US, why_unfit
from chains.planning.types import (
    Attachment,
    Candidate,
    Capability,
    Chain,
    Device,
    Endpoint,
    Fabric,
    Health,
    Hop,
    Link,
    Mode,
    NatPolicy,
    Offer,
    Realm,
    RulePolicy,
)
from drivers.state import Kind

# Where a host realisation sits: at the chain's own ends, wherever these are attached.
AT_SOURCE, AT_DESTINATION = "<source>", "<destination>"
# Moving a live hop costs: a stateful function that is entered in mid-flow may drop the flow.
MOVE_COST = 5.0
# More than any fabric's other costs together: taken where nobody else can serve.
LAST_RESORT_COST = 1e9
# Hops of a branch have the positions behind those of the chain: see chains.services.hop_data.
FIRST_TAIL = 12

KIND_NEEDED: Mapping[tuple[Realm, Capability], Kind] = {
    (Realm.SWITCH, Capability.STATELESS_FILTER): Kind.FILTER,
    (Realm.APPLIANCE, Capability.STATELESS_FILTER): Kind.RULESET,
    (Realm.APPLIANCE, Capability.STATEFUL_FILTER): Kind.RULESET,
    (Realm.APPLIANCE, Capability.IPS): Kind.SIGNATURES,
    (Realm.APPLIANCE, Capability.NAT): Kind.NATPOOL,
    (Realm.HOST, Capability.STATELESS_FILTER): Kind.RULESET,
    (Realm.HOST, Capability.STATEFUL_FILTER): Kind.RULESET,
}


@dataclass(frozen=True, slots=True)
class Spot:
    """A candidate and where it is: enter the fabric's side at `entry`, leave at `exit`.

    In the switch realm both are the switch itself with port ""; in the host realm the device is
    AT_SOURCE or AT_DESTINATION.
    """

    candidate: Candidate
    entry: Endpoint
    exit: Endpoint
    offers: tuple[Offer, ...]

    @property
    def device(self) -> str:
        return self.offers[0].device


@dataclass(frozen=True, slots=True)
class Context:
    """What is the same for all hops of one chain."""

    fabric: Fabric
    chain: Chain
    peers: Mapping[Endpoint, Endpoint]
    # How many matches the chain has in one direction: table entries are counted by it.
    matches: int
    # Cost units for a microsecond; raised where a latency budget binds.
    latency_weight: float = LATENCY_COST_PER_US
    # Offer name -> why it must not be taken this time.
    avoid: Mapping[str, str] = field(default_factory=dict)
    # Both ends of every link -> the link.
    cables: Mapping[Endpoint, Link] = field(default_factory=dict)


def spots(context: Context, hop: Hop) -> tuple[tuple[Spot, ...], tuple[Candidate, ...]]:
    """Those that can serve and those that cannot, both in name order."""
    offers = sorted((o for o in context.fabric.offers if o.function == hop.function), key=lambda o: o.device)
    able: list[Spot] = []
    unable: list[Candidate] = []
    hosts = {offer.device: offer for offer in offers if offer.realm == Realm.HOST}
    for offer in offers:
        if offer.realm == Realm.HOST:
            continue
        found = _spot(context, hop, offer)
        able.append(found) if isinstance(found, Spot) else unable.append(found)
    ends = (
        (AT_SOURCE, context.chain.source.attachments),
        (AT_DESTINATION, context.chain.destination.attachments),
    )
    for end, attachments in ends if hosts and hop.position < FIRST_TAIL else ():
        found = _host_spot(context, hop, hosts, end, attachments)
        able.append(found) if isinstance(found, Spot) else unable.append(found)
    return tuple(able), tuple(unable)


def entries_needed(context: Context, hop: Hop) -> int:
    """Table entries of a filter on a switch: every rule and the default, for each match, both directions."""
    rules = len(hop.policy.rules) if isinstance(hop.policy, RulePolicy) else 0
    return 2 * context.matches * (rules + 1)


def own_cost(context: Context, hop: Hop, offers: Sequence[Offer]) -> dict[str, float]:
    """Cost units by term, links left out. Several hosts share the chain's bandwidth."""
    gbps = context.chain.bandwidth_mbps / 1000
    share = gbps / len(offers)
    terms = {
        "function": sum(offer.cost_per_gbps * share for offer in offers),
        "instance": sum(offer.cost_fixed for offer in offers),
        "latency": max(offer.latency_us for offer in offers) * context.latency_weight,
    }
    if any(offer.is_last_resort for offer in offers):
        terms["last resort"] = LAST_RESORT_COST
    current = context.chain.current.get(hop.position, ())
    if current and not {offer.name for offer in offers} <= set(current):
        terms["move"] = MOVE_COST
    return terms


def _spot(context: Context, hop: Hop, offer: Offer) -> Spot | Candidate:
    refused = _why_not(context, hop, offer, share=hop.instances)
    ends: tuple[Endpoint, Endpoint] | str
    if offer.realm == Realm.SWITCH:
        ends = (Endpoint(offer.device, ""), Endpoint(offer.device, ""))
        entries = entries_needed(context, hop)
        if not refused and offer.entries and offer.used_entries + entries > offer.entries:
            refused = f"needs {entries} table entries, {offer.entries - offer.used_entries} are left"
    else:
        ends = _ends(context, hop, offer)
    if isinstance(ends, str):
        refused = refused or ends
    if refused or isinstance(ends, str):
        return Candidate(offer.realm, (offer.name,), excluded=refused)
    terms = own_cost(context, hop, (offer,))
    return Spot(Candidate(offer.realm, (offer.name,), sum(terms.values()), terms), *ends, (offer,))


def _host_spot(
    context: Context, hop: Hop, hosts: Mapping[str, Offer], end: str, attachments: tuple[Attachment, ...]
) -> Spot | Candidate:
    """All hosts of one end together, or nothing: a flow may come from any of them."""
    missing = sorted({a.host or str(a.switch.port) for a in attachments if a.host not in hosts})
    offers = tuple(hosts[name] for name in sorted({a.host for a in attachments if a.host in hosts}))
    names = tuple(offer.name for offer in offers) or (f"{hop.function}@{end.strip('<>')} hosts",)
    refused = ""
    if missing:
        where = "source" if end == AT_SOURCE else "destination"
        refused = f"the {where} segment also lives on {', '.join(missing)}, which do not offer {hop.function}"
    for offer in offers:
        refused = refused or _why_not(context, hop, offer, share=len(offers))
    if refused or not offers:
        return Candidate(Realm.HOST, names, excluded=refused or "no host of the segment is known")
    terms = own_cost(context, hop, offers)
    place = Endpoint(end, "")
    return Spot(Candidate(Realm.HOST, names, sum(terms.values()), terms), place, place, offers)


def _ends(context: Context, hop: Hop, offer: Offer) -> tuple[Endpoint, Endpoint] | str:
    """The switch ports that the two arms of an appliance are plugged into, or what is wrong."""
    found = []
    for port, vrf in zip((offer.inside, offer.outside), _vrfs(context.chain, hop), strict=True):
        peer = context.peers.get(Endpoint(offer.device, port))
        device = context.fabric.devices.get(peer.device) if peer else None
        if peer is None or device is None or device.kind != "switch" or not device.is_enabled:
            return f"its port {port} is not linked to a switch in service"
        if device.doubt:
            return f"{peer.device}, where its port {port} is, {device.doubt}"
        cable = context.cables.get(peer)
        if cable is not None and (unfit := why_unfit(context.fabric, context.chain, cable)):
            return f"its link to {peer.device}:{peer.port} {unfit}"
        if offer.mode is Mode.TRANSPARENT and device.caps is not None and device.caps.is_routed:
            return f"{peer.device} routes: it cannot send to a box that has no address"
        held = device.ports[peer.port].vrf if peer.port in device.ports else ""
        if held and held != vrf:
            return f"{peer.device}:{peer.port}, which leads to it, is in VRF {held}; the chain is in {vrf} there"
        found.append(peer)
    return found[0], found[1]


def _vrfs(chain: Chain, hop: Hop) -> tuple[str, str]:
    """The VRF before the hop and behind it: a translation leads from the source's to the destination's."""
    translations = [other.position for other in chain.hops if other.capability is Capability.NAT]
    return (
        chain.destination.vrf if any(position < hop.position for position in translations) else chain.source.vrf,
        chain.destination.vrf if any(position <= hop.position for position in translations) else chain.source.vrf,
    )


def _why_not(context: Context, hop: Hop, offer: Offer, share: int = 1) -> str:
    """The first constraint that excludes the offer, in words; "" if none does. share: so many carry the load."""
    chain = context.chain
    needed_mbps = -(-chain.bandwidth_mbps // share)
    found = _why_unable(context, hop, offer)
    if found:
        return found
    if not offer.is_shared and offer.tenants - {chain.tenant}:
        return "dedicated to another tenant"
    if offer.capacity_mbps and offer.used_mbps + needed_mbps > offer.capacity_mbps:
        return f"needs {needed_mbps} Mb/s, {max(0, offer.capacity_mbps - offer.used_mbps)} Mb/s are left"
    # What a later NAT hop, or a member of a group, translates is known only when the others have their places.
    is_sure = hop.capability is Capability.NAT and hop.instances == 1 and not translations_before(chain, hop)
    if is_sure and not allocated(chain, hop, offer, subscribers(chain)):
        return no_room(offer)
    return context.avoid.get(offer.name, "")


def _why_unable(context: Context, hop: Hop, offer: Offer) -> str:
    """The same, whatever is free."""
    device = context.fabric.devices[offer.device]
    # A member of a group that is drained hands its buckets to the others.
    is_kept = hop.instances == 1 and offer.name in context.chain.current.get(hop.position, ())
    if hop.realm and hop.realm != offer.realm:
        return f"the hop is pinned to the {hop.realm} realm"
    if hop.device and hop.device != offer.device:
        return f"the hop is pinned to {hop.device}"
    if not offer.is_enabled or not device.is_enabled or device.doubt:
        return f"{device.name} {device.doubt}" if device.doubt else "switched off by an operator"
    if offer.is_draining and not is_kept:
        return "being drained"
    if offer.health is Health.DOWN:
        return "down"
    return _beyond(hop, offer, device)


def _beyond(hop: Hop, offer: Offer, device: Device) -> str:
    """What the device, or its family, cannot do of what is asked, "" if it can."""
    if hop.instances + hop.standby > 1 and offer.realm != Realm.APPLIANCE:
        return "a group is made of appliances"
    if hop.capability is Capability.TAP and offer.realm == Realm.APPLIANCE:
        return ""
    kind = KIND_NEEDED.get((offer.realm, hop.capability))
    if kind is None or device.caps is None or kind not in device.caps.kinds:
        return f"its driver {device.driver!r} cannot do {hop.capability} in the {offer.realm} realm"
    if isinstance(hop.policy, NatPolicy) and hop.policy.blocks and not device.caps.gives_blocks:
        return f"its driver {device.driver!r} gives no port blocks on demand: give everybody one (blocks: 0)"
    return ""
