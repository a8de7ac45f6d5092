# SPDX-License-Identifier: Apache-2.0
"""Change windows, down to the devices: what has not begun waits for the opening, everything else does not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from chains import models
from chains.engine import windows as engine_windows
from chains.engine.converge import look_at_chain
from chains.engine.reconcile import run_change
from chains.errors import Conflict, Forbidden, Invalid
from chains.services import record
from chains.services.actor import SYSTEM, Actor
from chains.services.again import change_retry
from chains.services.windows import window_create, window_delete, window_update
from drivers import fake
from drivers.state import EMPTY
from tests.engine import world
from tests.engine.wire import Tap

pytestmark = pytest.mark.usefixtures("fabric")


def window(name: str = "nights", *, is_open: bool = False, **values: Any) -> models.ChangeWindow:
    """Open at this moment, or closed until three days from now. In a zone of its own."""
    now = timezone.now()
    opening = now - timedelta(hours=1) if is_open else now + timedelta(days=3)
    data = {"weekdays": [opening.weekday()], "opens_at": f"{opening:%H:%M}", "minutes": 120, "timezone": "UTC"}
    return window_create(actor=SYSTEM, data={"name": name, **data, **values})


def status(change: models.Change) -> str:
    change.refresh_from_db()
    return change.status


def test_what_has_not_begun_waits_and_says_for_what(tap: Tap) -> None:
    row = window()
    change = world.change(world.chain(world.NGFW))
    world.sweep_on(3)
    assert (status(change), change.attempts, tap.pushes) == ("pending", 0, [])
    opening = timezone.now() + timedelta(days=3)
    assert change.waits == f"the window nights opens {opening:%a %Y-%m-%d} {row.opens_at:%H:%M} UTC"
    assert change.due_at > timezone.now() + timedelta(minutes=50)
    assert [event.text for event in change.events.all()] == [change.waits]
    change_retry(actor=SYSTEM, change=change)
    assert run_change(change.pk) is False
    assert (status(change), tap.pushes) == ("pending", [])


def test_it_begins_at_the_opening_by_the_databases_clock(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    row = window()
    change = world.change(world.chain(world.NGFW))
    assert run_change(change.pk) is False
    opening = (timezone.now() + timedelta(days=3)).replace(
        hour=row.opens_at.hour, minute=row.opens_at.minute, second=0, microsecond=0
    )
    now = [opening - timedelta(seconds=1)]
    monkeypatch.setattr(engine_windows.record, "now", lambda: now[0])
    models.Change.objects.update(due_at=F("created_at"))
    assert run_change(change.pk) is False
    assert (status(change), tap.pushes) == ("pending", [])
    now[0] = opening
    models.Change.objects.update(due_at=F("created_at"))
    assert run_change(change.pk) is True
    assert (status(change), change.waits) == ("succeeded", "")


def test_a_window_that_closes_while_devices_are_asked_is_closed_for_the_first_push(
    tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = window(is_open=True)
    closing = timezone.now().replace(
        hour=row.opens_at.hour, minute=row.opens_at.minute, second=0, microsecond=0
    ) + timedelta(minutes=row.minutes)
    now = [closing - timedelta(seconds=1)]
    monkeypatch.setattr(engine_windows.record, "now", lambda: now[0])
    change = world.change(world.chain(world.NGFW))
    tap.at = lambda moment, device, number: now.__setitem__(0, closing) if moment == "validated" else None
    assert run_change(change.pk) is False
    assert (tap.pushes, world.network()) == ([], {})
    assert (change.attempts, status(change)) == (0, "running")
    assert "the window nights opens" in change.waits
    now[0] += timedelta(days=7) - timedelta(seconds=1)
    tap.at = lambda moment, device, number: None
    models.Change.objects.update(due_at=F("created_at"))
    assert run_change(change.pk) is True
    assert status(change) == "succeeded"


@pytest.mark.parametrize(
    ("scope", "waits"),
    [
        ({}, True),
        ({"tenant": "tenant-a"}, True),
        ({"site": "lab"}, True),
        ({"tenant": "tenant-a", "site": "lab"}, True),
        ({"tenant": "tenant-b"}, False),
        ({"site": "elsewhere"}, False),
        ({"tenant": "tenant-a", "site": "elsewhere"}, False),
    ],
)
def test_whose_windows_count(scope: dict[str, str], waits: bool) -> None:
    models.Site.objects.create(name="elsewhere")
    window("other-days", **scope)
    change = world.change(world.chain(world.NGFW))
    assert run_change(change.pk) is not waits
    assert (status(change) == "pending") is waits


def test_one_of_each_scope_has_to_be_open() -> None:
    window("ours", is_open=True, weekdays=list(range(7)))
    window("too", tenant="tenant-a")
    change = world.change(world.chain(world.NGFW))
    assert run_change(change.pk) is False
    assert "the window too opens" in models.Change.objects.get().waits
    window("also", tenant="tenant-a", is_open=True)
    world.sweep_on()
    assert status(change) == "succeeded"


@pytest.mark.parametrize("how", ["deleted", "edited", "another"])
def test_what_waits_is_judged_anew_at_once(how: str) -> None:
    row = window()
    change = world.change(world.chain(world.NGFW))
    assert run_change(change.pk) is False
    models.Outbox.objects.all().delete()
    if how == "deleted":
        window_delete(actor=SYSTEM, window=row)
    elif how == "edited":
        window_update(actor=SYSTEM, window=row, data={"weekdays": list(range(7)), "minutes": 10_080})
    else:
        window("now", is_open=True)
    assert models.Outbox.objects.filter(topic="change", ref=change.pk).count() == 1
    assert run_change(change.pk) is True
    assert status(change) == "succeeded"


def dies_at_a_push(moment: str, device: str, number: int) -> None:
    if moment == "push":
        raise RuntimeError("the worker dies")


def test_what_has_begun_is_finished_whatever_the_clock_says(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW))
    tap.at = dies_at_a_push
    with pytest.raises(RuntimeError):
        run_change(change.pk)
    tap.at = lambda moment, device, number: None
    window()
    world.sweep_on(2)
    assert status(change) == "succeeded", world.events(change)


def test_what_has_begun_is_taken_back_whatever_the_clock_says(tap: Tap) -> None:
    change = world.change(world.chain(world.NGFW))
    last = [step for step in change.plan.steps.all() if step.device][-1]
    tap.refuses = frozenset({last.native})
    real = models.ChangeEvent.objects.create

    def closes(**values: Any) -> models.ChangeEvent:
        """With the first trouble, in the caller's thread; then the way back breaks off."""
        if values.get("level") == "error" and not models.ChangeWindow.objects.exists():
            window()
            tap.at = dies_at_a_push
        return real(**values)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(models.ChangeEvent.objects, "create", closes)
        with pytest.raises(RuntimeError):
            run_change(change.pk)
    assert (status(change), bool(world.network())) == ("reverting", True)
    tap.at = lambda moment, device, number: None
    world.sweep_on(2)
    assert (status(change), world.network()) == ("reverted", {})


def test_a_cut_chain_and_drift_wait_for_no_window() -> None:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    window()
    with fake.box("leaf1") as box:
        box.state = EMPTY
    world.sweep_on(2)
    assert world.held("leaf1")
    models.Instance.objects.filter(offer=world.offer("ngfw@fw1")).update(health="down")
    world.sweep_on()
    moved = models.Change.objects.latest("id")
    assert (moved.is_urgent, moved.status) == (True, "succeeded"), (moved.waits, world.events(moved))


def test_a_deletion_waits_for_its_window() -> None:
    chain = world.chain(world.NGFW)
    world.apply(chain)
    before = world.network()
    row = window()
    world.delete(chain)
    world.sweep_on(3)
    assert world.network() == before
    window_delete(actor=SYSTEM, window=row)
    world.sweep_on()
    assert world.network() == {}


def test_windows_that_never_meet_say_so() -> None:
    later = timezone.now() + timedelta(days=4)
    window("ours")
    window("theirs", tenant="tenant-a", weekdays=[later.weekday()], minutes=30)
    change = world.change(world.chain(world.NGFW))
    assert run_change(change.pk) is False
    assert (status(change), "ours, theirs" in change.waits) == ("pending", True)
    assert change.due_at <= record.now() + timedelta(seconds=engine_windows.LOOK_AGAIN_S)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": "Nights"}, "name"),
        ({"weekdays": []}, "weekdays"),
        ({"weekdays": [7]}, "weekdays.0"),
        ({"weekdays": [1, 1]}, "weekdays.1"),
        ({"weekdays": [True]}, "weekdays.0"),
        ({"opens_at": "24:00"}, "opens_at"),
        ({"opens_at": "2:00"}, "opens_at"),
        ({"minutes": 0}, "minutes"),
        ({"minutes": 10_081}, "minutes"),
        ({"timezone": "Europe/Berlim"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"tenant": "nobody"}, "tenant"),
        ({"site": "\0"}, "site"),
        ({"colour": "red"}, ""),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(values: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        window(**{"name": "nights", **values})
    assert [error.field for error in refused.value.errors] == [field]
    assert not models.ChangeWindow.objects.exists()


def test_operators_write_windows_and_the_audit_says_what() -> None:
    row = window(tenant="tenant-a")
    with pytest.raises(Conflict, match="already a window nights"):
        window()
    window_update(actor=SYSTEM, window=row, data={"minutes": 90})
    window_update(actor=SYSTEM, window=row, data={"minutes": 90})
    window_delete(actor=SYSTEM, window=row)
    rows = models.AuditRow.objects.filter(action__startswith="window").order_by("id")
    assert [each.action for each in rows] == ["window.create", "window.update", "window.delete"]
    assert (rows[1].detail["before"]["minutes"], rows[1].detail["after"]["minutes"]) == (120, 90)
    editor = models.Tenant.objects.get(name="tenant-a")
    with pytest.raises(Forbidden):
        window_create(actor=Actor("ann", editor, models.Role.EDITOR), data={})


def test_a_move_that_waits_for_its_window_gives_way_when_the_function_dies(tap: Tap) -> None:
    """Switched off, it still served: the move could wait. Dead, it does not."""
    chain = world.chain(world.IPS)
    models.Offer.objects.update(is_enabled=True)
    world.apply(chain)
    used = models.Use.objects.get(chain=chain).offer
    window()
    models.Offer.objects.filter(pk=used.pk).update(is_enabled=False)
    world.sweep_on()
    waiting = models.Change.objects.order_by("-pk")[0]
    world.sweep_on()
    assert (status(waiting), waiting.is_urgent) == ("pending", False)
    assert "the window nights opens" in waiting.waits
    models.Instance.objects.filter(offer=used).update(health="down", health_reason="no link")
    look_at_chain(chain.pk)
    assert status(waiting) == "cancelled"
    urgent = models.Change.objects.order_by("-pk")[0]
    assert run_change(urgent.pk) is True
    assert (status(urgent), urgent.is_urgent) == ("succeeded", True)
    assert not models.Use.objects.filter(chain=chain, offer=used).exists()
