# SPDX-License-Identifier: Apache-2.0
"""Who is right, the chain or the device: repaired, left or adopted, as the device's policy or an operator says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chains import models
from chains.engine.observe import observe_device, observe_devices
from chains.errors import Conflict, Forbidden
from chains.services import drift as orders
from chains.services import freeze
from chains.services.actor import Actor
from drivers import fake
from drivers.state import (
    DeviceState,
    Direction,
    Guard,
    Item,
    Key,
    Kind,
    Match,
    NextHop,
    Redirect,
    RuleSet,
    Verdict,
)
from tests.engine import world
from tests.engine.wire import Tap

pytestmark = pytest.mark.usefixtures("fabric")
STRAY = Key(4000, 3, Direction.FORWARD, 1, Kind.GUARD, 0)
STRAY_ITEM = Guard("a1", 0, Match("192.0.2.0/24", "198.51.100.0/24"))
ADA = Actor("ada", None, models.Role.OPERATOR)
NEW_MAC = "02:00:00:00:99:99"


@pytest.fixture
def chain() -> models.Chain:
    denied = {"verdict": "deny", "source": "10.10.1.7/32"}
    policy = {**world.PERMIT_WEB, "rules": [denied, *world.PERMIT_WEB["rules"]]}
    made = world.chain({**world.NGFW, "policy": policy, "device": "fw1"})
    world.apply(made)
    return made


def policy(device: str, value: str) -> None:
    models.Device.objects.filter(name=device).update(drift=value)


def by_hand(device: str, change: Callable[[Key, Item], Item | None], kind: Kind) -> Key:
    """Change, or take away, the first item of the kind that `change` does something to."""
    with fake.box(device) as box:
        items = dict(box.state)
        for key, item in box.state.items():
            after = change(key, item) if key.kind is kind else item
            if after != item:
                del items[key]
                if after is not None:
                    items[key] = after
                box.state = DeviceState(items)
                return key
    raise AssertionError(f"{device} has no such item")


def new_mac(key: Key, item: Item) -> Item:
    """Somebody gave the firewall's port another address, and told the switch."""
    assert isinstance(item, Redirect)
    return replace(item, next=replace(item.next, mac=NEW_MAC)) if item.next.mac else item


def past_the_firewall(key: Key, item: Item) -> Item:
    assert isinstance(item, Redirect)
    return replace(item, next=NextHop(vrf="tenant-a")) if item.next.mac else item


def opened(key: Key, item: Item) -> Item:
    assert isinstance(item, RuleSet)
    return replace(item, rules=(), default=Verdict.PERMIT)


def shut(key: Key, item: Item) -> Item:
    assert isinstance(item, RuleSet)
    return replace(item, rules=(), default=Verdict.DENY)


def gone(key: Key, item: Item) -> None:
    return None


def observe(name: str) -> models.DeviceStatus:
    observe_device(world.device(name).pk)
    return models.DeviceStatus.objects.get(device__name=name)


def finding(code: str = "drift") -> models.Finding:
    return models.Finding.objects.filter(code=code).latest("pk")


def wanted(chain: models.Chain, device: str) -> dict[str, Any]:
    return dict(models.Contribution.objects.get(chain=chain, device__name=device).items)


def test_what_the_proof_allows_is_adopted(chain: models.Chain, tap: Tap) -> None:
    policy("leaf1", "adopt")
    key = by_hand("leaf1", new_mac, Kind.REDIRECT)
    held = world.held("leaf1")
    status = observe("leaf1")
    chain.refresh_from_db()
    assert (world.held("leaf1"), tap.pushes) == (held, [])
    assert (status.condition, chain.status) == ("in_sync", "ready")
    assert wanted(chain, "leaf1")[str(key)]["next"]["mac"] == NEW_MAC
    assert finding().closed_at is not None
    told = finding("drift-adopted")
    assert (told.severity, told.device, told.chain, told.closed_at) == ("info", world.device("leaf1"), chain, None)
    row = models.AuditRow.objects.get(action="drift.adopted")
    assert (row.actor, row.tenant, row.detail["device"]) == ("system", chain.tenant, "leaf1")
    assert row.detail["items"][str(key)]["adopted"]["next"]["mac"] == NEW_MAC
    said = models.Condition.objects.get(chain=chain, kind="in_sync")
    assert (said.status, said.reason, said.detail) == ("true", "adopted", "as found on leaf1")


def test_the_next_plan_starts_from_what_was_adopted(chain: models.Chain) -> None:
    """Adopt, edit, apply: the network is as a fresh plan would make it. Delete: it is empty."""
    policy("leaf1", "adopt")
    by_hand("leaf1", new_mac, Kind.REDIRECT)
    observe("leaf1")
    world.edit(chain, hops=[{**world.NGFW, "device": "fw2"}])
    assert world.apply(chain).status == "succeeded"
    assert finding("drift-adopted").closed_at is not None
    reached = [sorted(map(repr, state.values())) for state in world.network().values()]
    assert not any(NEW_MAC in text for texts in reached for text in texts)
    world.delete(chain)
    world.sweep_on(2)
    assert world.network() == {}
    fresh = world.chain({**world.NGFW, "device": "fw2"})
    world.apply(fresh)
    again = [sorted(map(repr, state.values())) for state in world.network().values()]
    assert [[untagged(text) for text in texts] for texts in again] == [
        [untagged(text) for text in texts] for texts in reached
    ]


def untagged(text: str) -> str:
    """Stage tags are whichever were free."""
    return text.replace("tag=3001", "tag=3000").replace("tag=3002", "tag=3000").replace("tag=3003", "tag=3000")


def test_a_repeated_edit_keeps_what_was_adopted_in_the_base(chain: models.Chain) -> None:
    """The same intent planned again: the plan knows what the device really holds, and is not stale."""
    policy("leaf1", "adopt")
    key = by_hand("leaf1", new_mac, Kind.REDIRECT)
    observe("leaf1")
    made = world.plan(chain)
    assert made.base["leaf1"][str(key)]["next"]["mac"] == NEW_MAC
    assert world.apply(chain).status == "succeeded"
    assert NEW_MAC not in repr(world.held("leaf1"))


@pytest.mark.parametrize(
    ("device", "change", "kind", "because"),
    [
        ("leaf1", past_the_firewall, Kind.REDIRECT, "function"),
        ("leaf1", gone, Kind.GUARD, "only a redirect can be missed"),
        ("leaf1", gone, Kind.REDIRECT, "closed door"),
        ("fw1", opened, Kind.RULESET, "policy denies"),
        ("fw1", gone, Kind.RULESET, "a function is missing"),
    ],
)
def test_what_the_proof_forbids_is_left_and_critical(
    chain: models.Chain, tap: Tap, device: str, change: Any, kind: Kind, because: str
) -> None:
    policy(device, "adopt")
    before = wanted(chain, device)
    by_hand(device, change, kind)
    held = world.held(device)
    status = observe(device)
    chain.refresh_from_db()
    assert (world.held(device), tap.pushes, wanted(chain, device)) == (held, [], before)
    assert (status.condition, chain.status) == ("drifted", "degraded")
    found = finding()
    assert (found.severity, found.closed_at) == ("critical", None)
    assert "neither adopted nor repaired" in found.detail
    assert because in " ".join(found.witness["because"])
    assert not models.AuditRow.objects.filter(action="drift.adopted").exists()


def test_a_stricter_policy_may_be_adopted(chain: models.Chain) -> None:
    policy("fw1", "adopt")
    key = by_hand("fw1", shut, Kind.RULESET)
    assert observe("fw1").condition == "in_sync"
    assert wanted(chain, "fw1")[str(key)]["rules"] == []


def test_all_of_a_devices_drift_or_nothing(chain: models.Chain) -> None:
    policy("leaf1", "adopt")
    before = wanted(chain, "leaf1")
    by_hand("leaf1", new_mac, Kind.REDIRECT)
    by_hand("leaf1", gone, Kind.GUARD)
    observe("leaf1")
    assert wanted(chain, "leaf1") == before
    assert finding().severity == "critical"


def test_orphans_have_no_owner(chain: models.Chain, tap: Tap) -> None:
    policy("leaf1", "adopt")
    with fake.box("leaf1") as box:
        box.state = DeviceState({**box.state, STRAY: STRAY_ITEM})
    by_hand("leaf1", new_mac, Kind.REDIRECT)
    assert observe("leaf1").condition == "drifted"
    assert NEW_MAC in repr(wanted(chain, "leaf1"))
    assert (STRAY in world.held("leaf1"), tap.pushes) == (True, [])
    assert finding().witness == {"missing": [], "altered": [], "orphaned": [str(STRAY)]}
    assert "nobody could adopt" in finding().detail
    policy("leaf1", "enforce")
    assert observe("leaf1").condition == "in_sync"
    assert STRAY not in world.held("leaf1")
    assert NEW_MAC in repr(world.held("leaf1"))


def test_an_edited_chain_adopts_nothing(chain: models.Chain) -> None:
    policy("leaf1", "adopt")
    world.edit(chain, hops=[{**world.NGFW, "device": "fw2"}])
    by_hand("leaf1", new_mac, Kind.REDIRECT)
    observe("leaf1")
    assert "edited since" in finding().detail


def test_the_policy_of_one_device_is_its_own(chain: models.Chain, tap: Tap) -> None:
    policy("leaf1", "report")
    by_hand("leaf1", new_mac, Kind.REDIRECT)
    by_hand("fw1", opened, Kind.RULESET)
    devices = [world.device(name).pk for name in ("leaf1", "fw1")]
    observe_devices(devices)
    assert [name for name, _ in tap.pushes] == ["fw1"]
    assert models.Finding.objects.get(code="drift", closed_at=None).device == world.device("leaf1")


def test_a_second_look_at_what_is_left_writes_nothing(chain: models.Chain) -> None:
    policy("leaf1", "adopt")
    by_hand("leaf1", gone, Kind.GUARD)
    observe("leaf1")
    first = models.Finding.objects.filter(pk=finding().pk).values().get()
    rows = list(models.Condition.objects.values_list("pk", "status", "reason", "since"))
    audits = models.AuditRow.objects.count()
    observe("leaf1")
    assert models.Finding.objects.filter(pk=finding().pk).values().get() == first
    assert list(models.Condition.objects.values_list("pk", "status", "reason", "since")) == rows
    assert models.AuditRow.objects.count() == audits


@pytest.mark.parametrize("what", ["frozen", "blind", "half-done"])
def test_nothing_is_adopted_when_it_may_not_be(chain: models.Chain, tap: Tap, what: str) -> None:
    policy("leaf1", "adopt")
    before = wanted(chain, "leaf1")
    if what == "half-done":
        world.half_done(chain, tap)
    by_hand("leaf1", new_mac, Kind.REDIRECT)
    programmed = list(models.Device.objects.exclude(driver=""))
    if what == "frozen":
        freeze.freeze_set(actor=ADA, reason="hands off")
    elif what == "blind":
        for device in programmed:
            with fake.box(device.name) as box:
                box.faults.is_unreachable = device.name not in ("leaf1", "fw1", "a1")
    observe_devices([device.pk for device in programmed])
    assert wanted(chain, "leaf1") == before
    assert not models.AuditRow.objects.filter(action="drift.adopted").exists()


# --- an operator's order ----------------------------------------------------------------------


def test_an_order_to_adopt_is_carried_out_once(chain: models.Chain, settings: Any) -> None:
    settings.VIADUCT_DRIFT = "report"
    by_hand("leaf1", new_mac, Kind.REDIRECT)
    observe("leaf1")
    orders.drift_order(actor=ADA, device=world.device("leaf1"), what="adopt")
    assert observe("leaf1").condition == "in_sync"
    assert models.AuditRow.objects.get(action="drift.adopted").actor == "ada"
    by_hand("leaf1", gone, Kind.GUARD)
    observe("leaf1")
    assert finding().witness.get("order") is None
    assert observe("leaf1").condition == "drifted"


def test_an_order_to_enforce_overrules_the_policy(chain: models.Chain, settings: Any) -> None:
    policy("leaf1", "adopt")
    before = world.held("leaf1")
    by_hand("leaf1", past_the_firewall, Kind.REDIRECT)
    observe("leaf1")
    orders.drift_order(actor=ADA, device=world.device("leaf1"), what="enforce")
    assert observe("leaf1").condition == "in_sync"
    assert world.held("leaf1") == before
    row = models.AuditRow.objects.get(action="drift.enforce")
    assert (row.actor, row.subject) == ("ada", "device leaf1")


def test_an_order_that_the_proof_forbids_is_answered_and_over(chain: models.Chain, settings: Any) -> None:
    settings.VIADUCT_DRIFT = "report"
    by_hand("leaf1", gone, Kind.GUARD)
    observe("leaf1")
    orders.drift_order(actor=ADA, device=world.device("leaf1"), what="adopt")
    observe("leaf1")
    assert "order" not in finding().witness
    assert finding().severity == "critical"


def test_an_order_waits_for_a_device_that_falls_silent(chain: models.Chain, settings: Any) -> None:
    settings.VIADUCT_DRIFT = "report"
    before = world.held("leaf1")
    by_hand("leaf1", gone, Kind.GUARD)
    observe("leaf1")
    orders.drift_order(actor=ADA, device=world.device("leaf1"), what="enforce")
    for is_silent in (True, False):
        with fake.box("leaf1") as box:
            box.faults.is_unreachable = is_silent
        observe("leaf1")
    assert world.held("leaf1") == before


def test_who_may_order_and_when(chain: models.Chain) -> None:
    editor = Actor("eve", chain.tenant, models.Role.EDITOR)
    device = world.device("leaf1")
    with pytest.raises(Forbidden):
        orders.drift_order(actor=editor, device=device, what="adopt")
    with pytest.raises(Conflict) as refused:
        orders.drift_order(actor=ADA, device=device, what="adopt")
    assert refused.value.code == "no-drift"
    policy("leaf1", "report")
    by_hand("leaf1", gone, Kind.GUARD)
    observe("leaf1")
    freeze.freeze_set(actor=ADA, reason="hands off")
    with pytest.raises(Conflict) as refused:
        orders.drift_order(actor=ADA, device=device, what="adopt")
    assert refused.value.code == "frozen"
