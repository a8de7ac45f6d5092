# SPDX-License-Identifier: Apache-2.0
"""What is read: snapshots for planning, items beside readings, query counts that do not grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chains import models, selectors
from chains.engine.document import plain
from chains.engine.planner import inventory_digest, others_digest
from chains.fabric.export import export
from chains.planning import types
from chains.services import intent, record
from drivers.base import Counter, Observation
from drivers.codec import state_to_json
from drivers.state import (
    ANY_PORT,
    DeviceState,
    Direction,
    Guard,
    Key,
    Kind,
    Match,
    NextHop,
    Redirect,
    Rule,
    RuleSet,
    Verdict,
)
from tests.builders import (
    CGN,
    FILTER,
    IPS,
    NGFW,
    OPERATOR,
    allocation,
    apply,
    device,
    link_use,
    make_chain,
    make_plan,
    offer,
    offer_use,
)

pytestmark = pytest.mark.usefixtures("fabric")
TRUNK = ("leaf1:spine1", "spine1:leaf1")
WEB = Match("10.10.1.0/24", "10.10.2.0/24", "tcp", destination_ports=(80, 80))


def items(chain: models.Chain) -> DeviceState:
    """A redirect and a guard on a switch, by the chain's own number."""
    return DeviceState(
        {
            Key(chain.pk, 1, Direction.FORWARD, 0, Kind.REDIRECT, 0): Redirect(
                "a1", 0, WEB, NextHop("fw1-in")
            ),
            Key(chain.pk, 1, Direction.FORWARD, 0, Kind.GUARD, 0): Guard("a1", 0, WEB),
        }
    )


def in_force(chain: models.Chain, **uses: Any) -> models.Chain:
    apply(make_plan(chain, target={"leaf1": state_to_json(items(chain))}, **uses))
    chain.refresh_from_db()
    return chain


# --- snapshots --------------------------------------------------------------------------------


def test_the_fabric_as_placement_sees_it() -> None:
    fabric = selectors.fabric_snapshot(make_chain())
    assert fabric.vrfs == {"internet": 10, "tenant-a": 101, "tenant-b": 102}
    leaf1, inet = fabric.devices["leaf1"], fabric.devices["inet"]
    assert leaf1.kind == "switch" and leaf1.ports["spine1"].number == 100
    assert leaf1.caps is not None and Kind.REDIRECT in leaf1.caps.kinds
    assert inet.caps is None and inet.ports["eth0"].mac == "02:00:00:00:99:01"
    trunk = next(link for link in fabric.links if link.b.device == "spine1" and link.a.device == "leaf1")
    assert (trunk.capacity_mbps, trunk.latency_us, trunk.mtu_bytes, trunk.tags) == (
        10_000,
        10,
        9000,
        frozenset(),
    )
    cgn = next(offer for offer in fabric.offers if offer.name == "cgn@cgn1")
    assert (cgn.capability, cgn.pool, cgn.block_size) == (types.Capability.NAT, "198.51.100.0/28", 256)
    assert not next(offer for offer in fabric.offers if offer.name == "ips@ips2").is_enabled
    assert all(offer.health is types.Health.UNKNOWN and not offer.tenants for offer in fabric.offers)


def test_what_others_take_is_summed_and_what_the_chain_itself_takes_is_not() -> None:
    uses: dict[str, Any] = {
        "offer_uses": [offer_use("filter@leaf1", 0, 100, 7), offer_use("cgn@cgn1", 1, 100)],
        "link_uses": [link_use(*TRUNK, 3000, from_a_mbps=5, from_b_mbps=6)],
    }
    models.Offer.objects.update(is_shared=True)
    own_uses = {**uses, "link_uses": [link_use(*TRUNK, 3009)]}
    own = in_force(make_chain(), allocations=[allocation("198.51.100.0/32")], **own_uses)
    in_force(make_chain(name="second", priority=1), allocations=[allocation("198.51.100.1/32")], **uses)
    third = make_chain("tenant-b")
    promised = {**uses, "link_uses": [link_use(*TRUNK, 3001, from_a_mbps=1, from_b_mbps=1)]}
    plan = make_plan(third, allocations=[allocation("198.51.100.2/32")], **promised)
    for is_promised in (False, True):
        if is_promised:
            intent.change_create(actor=OPERATOR, plan=plan)
        fabric = selectors.fabric_snapshot(own)
        offers = {offer.name: offer for offer in fabric.offers}
        trunk = next(
            link for link in fabric.links if str(link.a.device) == "leaf1" and link.b.device == "spine1"
        )
        both = 2 if is_promised else 1
        assert (offers["filter@leaf1"].used_mbps, offers["filter@leaf1"].used_entries) == (
            100 * both,
            7 * both,
        )
        second_only = {"198.51.100.1/32"}
        assert offers["cgn@cgn1"].taken == (second_only | {"198.51.100.2/32"} if is_promised else second_only)
        assert offers["cgn@cgn1"].tenants == ({"tenant-a", "tenant-b"} if is_promised else {"tenant-a"})
        assert trunk.tags == ({3000, 3001} if is_promised else {3000})
        assert (trunk.used_from_a_mbps, trunk.used_from_b_mbps) == ((6, 7) if is_promised else (5, 6))


def test_the_inventory_of_a_path_is_what_the_fabric_says_of_it() -> None:
    chain = in_force(make_chain(), link_uses=[link_use(*TRUNK, 3000, from_a_mbps=5)])
    names = {"leaf1", "spine1", "cgn1"}
    whole, part = selectors.fabric_snapshot(chain), selectors.inventory_snapshot(names)
    assert part.devices == {name: whole.devices[name] for name in names} and part.vrfs == whole.vrfs
    between = [(link.a, link.b) for link in whole.links if {link.a.device, link.b.device} <= names]
    assert [(link.a, link.b) for link in part.links] == between and len(between) == 1
    assert [offer.name for offer in part.offers] == [each.name for each in whole.offers if each.device in names]
    assert inventory_digest(part, names) == inventory_digest(whole, names)
    assert inventory_digest(selectors.inventory_snapshot({"leaf1"}), names) != inventory_digest(whole, names)


def test_a_chain_as_planning_sees_it() -> None:
    rule = {"verdict": "permit", "protocol": "tcp", "source": "2001:db8::/32", "destination_ports": "1-5"}
    wide = {"verdict": "deny"}
    ping = {"verdict": "permit", "protocol": "icmp"}
    policy = {"default": "permit", "rules": [rule, wide, ping]}
    hops = [
        {"function": "ngfw", "failure_mode": "bypass", "policy": policy},
        IPS,
        {**CGN, "realm": "appliance"},
    ]
    row = make_chain(destination="outside", hops=hops, latency_budget_us=900, priority=4)
    chain = selectors.chain_snapshot(row)
    assert (chain.number, chain.tenant, chain.priority, chain.latency_budget_us) == (
        row.pk,
        "tenant-a",
        4,
        900,
    )
    assert chain.classifiers == (types.Classifier(4, "tcp", ANY_PORT, (80, 80)),)
    assert chain.source.vrf == "tenant-a" and chain.destination.vrf == "internet"
    (attachment,) = chain.source.attachments
    assert (attachment.switch, attachment.host) == (types.Endpoint("leaf1", "a1"), "a1")
    assert attachment.prefixes == ("10.10.1.0/24", "2001:db8:10:1::/64")
    firewall, ips, cgn = chain.hops
    assert not firewall.blocks and ips.blocks and cgn.realm == "appliance"
    assert firewall.policy == types.RulePolicy(
        (
            Rule(Verdict.PERMIT, Match("2001:db8::/32", "::/0", "tcp", ANY_PORT, (1, 5))),
            Rule(Verdict.DENY, Match("0.0.0.0/0", "0.0.0.0/0")),
            Rule(Verdict.DENY, Match("::/0", "::/0")),
            Rule(Verdict.PERMIT, Match("0.0.0.0/0", "0.0.0.0/0", "icmp")),
        ),
        Verdict.PERMIT,
    )
    assert ips.policy == types.IpsPolicy((b"attack-signature".hex(),))
    assert cgn.policy == types.NatPolicy(256)


def test_a_wide_destination_does_not_mean_the_tenants_own_segments() -> None:
    wide = selectors.chain_snapshot(make_chain(destination="outside", hops=[CGN]))
    own = ("10.10.1.0/24", "10.10.2.0/24", "2001:db8:10:1::/64", "2001:db8:10:2::/64")
    assert wide.excluded == own  # and not twice, though tenant-b has the same prefixes
    assert selectors.chain_snapshot(make_chain(name="narrow")).excluded == ()


def test_what_is_in_force_is_told_to_the_next_plan() -> None:
    uses = [offer_use("ngfw@a1"), offer_use("ngfw@a2"), offer_use("cgn@cgn1", 1)]
    row = in_force(make_chain(), offer_uses=uses, allocations=[{**allocation("198.51.100.3/32"), "hop": 1}])
    chain = selectors.chain_snapshot(row)
    assert chain.current == {0: ("ngfw@a1", "ngfw@a2"), 1: ("cgn@cgn1",)}
    assert (chain.revision, [(held.hop, held.public) for held in chain.pools]) == (1, [(1, "198.51.100.3/32")])


def test_states_of_one_chain_of_the_tenants_others_and_of_all() -> None:
    own = in_force(make_chain())
    sister = in_force(make_chain(name="sister", priority=1))
    foreign = in_force(make_chain("tenant-b"))
    assert selectors.chain_contributions(own) == {"leaf1": items(own)}
    others = selectors.others_on(["leaf1", "leaf2"], own)
    assert others == {"leaf1": items(sister), "leaf2": DeviceState()}
    # A stored plan is compared with what is stored: the hash must not depend on which of the two it is made from.
    stored = selectors.others_stored(["leaf1", "leaf2"], own)
    assert others_digest(stored) == others_digest(plain(others)) != others_digest({})
    assert selectors.desired_state(device("leaf1")) == items(own).merged(items(sister)).merged(items(foreign))
    assert selectors.desired_state(device("leaf2")) == DeviceState()


def test_a_target_has_ports_vrfs_and_settings_and_no_secret() -> None:
    models.Device.objects.filter(name="leaf1").update(credential="env:SECRET")
    target = selectors.target_of(device("leaf1"))
    assert selectors.targets_of(["leaf1", "no-such"]) == {"leaf1": target}
    assert (target.driver, target.settings["bridge"], target.ports["a1"].number) == (
        "fake-switch",
        "leaf1",
        1,
    )
    assert target.secret == "" and target.vrfs["tenant-b"] == 102


# --- counters and drift -----------------------------------------------------------------------


def test_counters_are_told_by_hop_direction_and_device() -> None:
    chain = make_chain(hops=[FILTER, NGFW])
    other = in_force(make_chain(name="other", priority=1))
    rules = (Rule(Verdict.PERMIT, WEB),)
    redirect = Key(chain.pk, 1, Direction.REVERSE, 2, Kind.REDIRECT, 0)
    firewall = Key(chain.pk, 1, Direction.FORWARD, 2, Kind.RULESET, 0)
    second = Key(chain.pk, 1, Direction.FORWARD, 2, Kind.RULESET, 1)
    held = DeviceState(
        {
            redirect: Redirect("a1", 0, WEB, NextHop("fw1-in")),
            firewall: RuleSet(WEB, rules, Verdict.DENY),
            second: RuleSet(WEB.reversed(), rules, Verdict.DENY),
        }
    )
    apply(make_plan(chain, target={"leaf1": state_to_json(held)}))
    counters = {
        redirect: Counter(5, 500, 0),
        firewall: Counter(3, 300, 1),
        second: Counter(4, 400, 2),
        Key(other.pk, 1, Direction.FORWARD, 1, Kind.RULESET, 0): Counter(99, 99, 99),
    }
    record.observation_record(device("leaf1"), Observation(held, counters))
    hop, steering = selectors.chain_counters(chain)
    assert (hop["hop"], hop["function"], hop["direction"], hop["device"], hop["realm"]) == (
        1, "ngfw", "forward", "leaf1", "switch",
    )  # fmt: skip
    assert (hop["packets"], hop["octets"], hop["dropped"]) == (7, 700, 3)
    assert (steering["hop"], steering["direction"], steering["stage"], steering["packets"]) == (
        -1,
        "reverse",
        2,
        5,
    )
    assert hop["observed_at"] is not None
    assert selectors.chain_counters(make_chain("tenant-b")) == []


def test_a_device_shows_wanted_beside_held_item_by_item() -> None:
    chain = in_force(make_chain())
    leaf = device("leaf1")
    view = selectors.device_view(OPERATOR, leaf.pk)
    assert not view.is_read and len(view.items) == 2 and not view.drift
    redirect, guard = sorted(items(chain), key=lambda key: key.kind != Kind.REDIRECT)
    orphan = Key(chain.pk + 1, 1, Direction.FORWARD, 0, Kind.GUARD, 0)
    changed = {redirect: Redirect("a1", 0, WEB, NextHop("b1")), orphan: Guard("a1", 0, WEB)}
    record.observation_record(leaf, Observation(DeviceState(changed), {redirect: Counter(1, 2, 3)}))
    view = selectors.device_view(OPERATOR, leaf.pk)
    assert {item.key: item.action for item in view.drift} == {
        str(redirect): "update",
        str(guard): "create",
        str(orphan): "delete",
    }
    by_key = {item.key: item for item in view.items}
    assert (by_key[str(redirect)].packets, by_key[str(redirect)].dropped) == (1, 3)
    assert by_key[str(redirect)].wanted != by_key[str(redirect)].held
    assert (by_key[str(guard)].chain_name, by_key[str(guard)].tenant) == ("web", "tenant-a")
    assert by_key[str(orphan)].chain_name == "" and by_key[str(orphan)].wanted is None


def test_the_plan_of_a_chain_is_the_one_in_force_else_the_latest() -> None:
    chain = make_chain()
    assert selectors.chain_plan(chain) is None
    make_plan(chain)
    latest = make_plan(chain)
    assert selectors.chain_plan(chain) == latest
    apply(latest)
    chain.refresh_from_db()
    make_plan(chain)
    assert selectors.chain_plan(chain) == latest


# --- query counts -----------------------------------------------------------------------------


def read_everything(chain: models.Chain) -> dict[str, int]:
    """How many queries each reader needs."""
    leaf = device("leaf1")
    readers: dict[str, Callable[[], Any]] = {
        "inventory_snapshot": lambda: selectors.inventory_snapshot(["leaf1", "leaf2", "fw1"]),
        "fabric_snapshot": lambda: selectors.fabric_snapshot(chain),
        "chain_snapshot": lambda: selectors.chain_snapshot(chain),
        "chain_contributions": lambda: selectors.chain_contributions(chain),
        "others_on": lambda: selectors.others_on(["leaf1", "leaf2"], chain),
        "desired_state": lambda: selectors.desired_state(leaf),
        "targets_of": lambda: selectors.targets_of(["leaf1", "leaf2", "fw1"]),
        "chain_counters": lambda: selectors.chain_counters(chain),
        "device_view": lambda: selectors.device_view(OPERATOR, leaf.pk),
        "chain_list": lambda: [selectors.chain_intent(row) for row in selectors.chain_list(OPERATOR)],
        "plan_list": lambda: [
            (row.tenant.name, getattr(row, "change", None)) for row in selectors.plan_list(OPERATOR)
        ],
        "change_list": lambda: [
            (row.plan.tenant.name, row.plan.chain) for row in selectors.change_list(OPERATOR)
        ],
        "finding_list": lambda: [(row.device, row.chain) for row in selectors.finding_list(OPERATOR)],
        "audit_list": lambda: [row.tenant and row.tenant.name for row in selectors.audit_list(OPERATOR)],
        "segment_list": lambda: [
            [str(each.port) for each in row.attachments.all()] for row in selectors.segment_list(OPERATOR)
        ],
        "device_list": lambda: [
            (row.site.name, row.status.condition) for row in selectors.device_list(OPERATOR)
        ],
        "offer_list": lambda: [(str(row), row.instance.health) for row in selectors.offer_list(OPERATOR)],
        "link_list": lambda: [(str(row.a), str(row.b)) for row in selectors.link_list(OPERATOR)],
        "export": export,
    }
    counts = {}
    for name, reader in readers.items():
        with CaptureQueriesContext(connection) as queries:
            reader()
        counts[name] = len(queries)
    return counts


def test_query_counts_are_the_same_with_1_and_with_50_chains() -> None:
    def one(index: int, of: str) -> models.Chain:
        port = str(1000 + index)
        classifiers = [{"protocol": "tcp", "destination_ports": port, "family": 4}]
        chain = make_chain(of, name=f"n{index}", classifiers=classifiers, hops=[NGFW, FILTER])
        uses = [offer_use("filter@leaf1", 1, 1, 1)]
        chain = in_force(chain, offer_uses=uses, link_uses=[link_use(*TRUNK, 3000 + index, from_a_mbps=1)])
        record.finding_open(code="drift", detail="x", chain=chain)
        promised = make_chain(of, name=f"p{index}", classifiers=classifiers, priority=1)
        intent.change_create(
            actor=OPERATOR, plan=make_plan(promised, offer_uses=[offer_use("filter@leaf2", 0, 1)])
        )
        return chain

    first = one(0, "tenant-a")
    few = read_everything(first)
    for index in range(1, 25):
        one(index, "tenant-a" if index % 2 else "tenant-b")
    assert models.Chain.objects.count() == 50
    assert read_everything(first) == few
    assert max(few.values()) <= 16, few
    assert offer("filter@leaf1").uses.count() == 25
