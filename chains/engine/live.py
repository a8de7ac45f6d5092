# SPDX-License-Identifier: Apache-2.0
"""Tries a real device that an operator points at: writes items of ours, reads them back, takes them away again.

Called by `manage.py live`. The whole configuration is printed before and after and compared byte for byte; only objects
of ours are ever taken away. Nothing is written to a device on which a chain has anything, or whose family cannot print
its configuration, or while writes are frozen. The device's lease is held, so no worker writes meanwhile.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import cast

from chains import models, selectors
from chains.engine.credentials import resolve, without_secret
from chains.engine.freeze import Frozen, Gate
from chains.engine.lease import LeaseBusy, LeaseLost, Leases
from chains.engine.limits import Limits, limits
from chains.engine.specimen import Place, Specimen, specimen
from chains.engine.vault import sealed_of
from chains.errors import Conflict
from chains.selectors.usage import OPEN
from chains.services import record
from drivers.base import (
    ConfirmingSession,
    Driver,
    DriverError,
    Identity,
    Introspective,
    Observation,
    Printable,
    Rejected,
    Session,
    Target,
)
from drivers.diff import diff
from drivers.registry import driver
from drivers.state import EMPTY, DeviceState

# Every family takes what begins so for ours: one that a trial left behind is cleared away, not waited for.
LABEL, TIMER_S = "si-live", 120
PURPOSE = "live"
# How long it is tried to leave a device as it was, and how soon again: it may be restarting.
TIDY_S, PAUSE_S = 60.0, 1.0
HOSTILE = "viaduct live: a line that no driver writes"


class Stopped(Exception):
    """Somebody wants it to end: nothing more is tried, and the device is left as it was."""


def never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    ok: bool
    detail: str = ""


@dataclass(slots=True)
class Report:
    """difference: between the configurations before and after, in lines of a unified diff; () is what should be."""

    identity: Identity = field(default_factory=Identity)
    items: Specimen = field(default_factory=lambda: Specimen(EMPTY, EMPTY))
    native: str = ""
    before: str = field(default="", repr=False)
    cases: list[Case] = field(default_factory=list)
    difference: tuple[str, ...] = ()
    is_compared: bool = False

    @property
    def ok(self) -> bool:
        return self.is_compared and not self.difference and all(case.ok for case in self.cases)


@dataclass(slots=True)
class Trial:
    """One device under trial. leases: None while nothing is to be written. is_stopped: see `Stopped`."""

    device: models.Device
    family: Driver
    target: Target
    given: Limits
    leases: Leases | None = None
    is_stopped: Callable[[], bool] = never

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A new connection. Errors: DriverError kinds, without the secret."""
        try:
            with self.family.open(self.target, self.given.device_timeout_s) as session:
                yield session
        except DriverError as error:
            raise without_secret(error, self.target.secret) from None

    def held(self) -> tuple[DeviceState, str]:
        """What it holds of ours and what is pending, through a new connection."""
        seen = self.seen()
        return seen.state, seen.pending

    def seen(self) -> Observation:
        """Through a new connection."""
        with self.session() as session:
            return session.read()

    def native(self, before: DeviceState, after: DeviceState, residue: str = "") -> str:
        """residue: see `Observation`."""
        return self.family.render(diff(before, after), replace(self.target, held=before, residue=residue))

    def write(self, before: DeviceState, after: DeviceState, *, label: str = "", residue: str = "") -> None:
        """Through a new connection, written down before it is sent. label: a commit that is not confirmed yet."""
        if self.is_stopped():
            raise Stopped("stopped: what comes after it was not tried")
        native = self.native(before, after, residue)
        assert self.leases is not None, "nothing is written without the lease"
        Gate().check()
        self.leases.check()
        rows = record.writes_begin(
            [record.Push(self.device.pk, self.leases.epoch(self.device.pk), native)], purpose=PURPOSE
        )
        errors: dict[str, str] = {}
        try:
            with self.session() as session:
                session.read()
                session.validate(native)
                if label:
                    cast(ConfirmingSession, session).commit(native, label, TIMER_S)
                else:
                    session.push(native)
        except DriverError as error:
            errors[self.device.name] = str(error)[:400]
            raise
        finally:
            record.writes_end(rows, errors)


def look(device: models.Device, place: Place) -> Report:
    """Log in, read and render; nothing is written. Errors: Conflict, DriverError kinds."""
    trial = _trial(device)
    _may_be_tried(trial.device)
    return _looked(trial, place)


def try_out(
    device: models.Device,
    place: Place,
    keep: Callable[[str], None],
    *,
    may_close: bool = False,
    is_stopped: Callable[[], bool] = never,
) -> Report:
    """All cases, then the device as it was. keep: is given the configuration before anything is written. may_close:
    also if the first push of all stops packets that no item is about. is_stopped: asked before each write; from then on
    nothing is tried any more.

    Errors: Conflict if it may not be tried now, DriverError kinds before the first write.
    """
    trial = _trial(device)
    try:
        with Leases([device.pk], trial.given, wait_s=trial.given.lease_wait_s) as trial.leases:
            _may_be_tried(device)
            Gate().check()
            report = _looked(trial, place)
            if report.identity.first_push and not may_close:
                raise Conflict(f"{device.name}: {report.identity.first_push}. Fix: add --may-close.", code="closes")
            keep(report.before)
            trial.is_stopped = is_stopped
            _cases(trial, report)
            return report
    except LeaseBusy:
        raise Conflict(f"A worker writes to {device.name} at this moment: try again.", code="busy") from None
    except Frozen as frozen:
        raise Conflict(f"Nothing may be written now: {frozen}.", code="frozen") from None


def _trial(device: models.Device) -> Trial:
    secret = resolve(device.credential, device.name, sealed_of([device.credential]))
    target = replace(selectors.target_of(device), secret=secret)
    return Trial(device, driver(device.driver), target, limits())


def _may_be_tried(device: models.Device) -> None:
    """Errors: Conflict."""
    if models.Contribution.objects.filter(device=device).exists():
        told = f"Chains have items on {device.name}: it carries traffic. Fix: try a device that no chain uses."
        raise Conflict(told, code="in-use")
    if models.Change.objects.filter(status__in=OPEN, plan__steps__device=device).exists():
        raise Conflict(f"A change that writes to {device.name} is under way or waits.", code="change-under-way")


def _looked(trial: Trial, place: Place) -> Report:
    report, name = Report(), trial.device.name
    if not trial.family.caps.is_writable:
        raise Conflict(f"{name}: its family is read and verified only.", code="read-only")
    with trial.session() as session:
        seen = session.read()
        report.items = specimen(trial.family, trial.target, place)
        report.native = trial.native(EMPTY, report.items.first)
        if isinstance(session, Introspective):
            report.identity = session.login(report.native)
        if not isinstance(session, Printable):
            told = f"{name}: its family cannot print all that is configured: nothing could prove that it is restored."
            raise Conflict(told, code="not-printable")
        report.before = session.configuration()
    if seen.state or seen.pending:
        ours = f"{len(seen.state)} items of ours are there already"
        what = f"the commit {seen.pending} is pending" if seen.pending else ours
        raise Conflict(f"{name}: {what}. Fix: remove them, or let a worker do it.", code="not-clean")
    if report.identity.missing:
        raise Conflict(f"{name}: {'; '.join(report.identity.missing)}", code="missing")
    if not report.items.first:
        raise Conflict(f"{name}: no item fits: {'; '.join(report.items.left_out) or 'name its ports'}.", code="empty")
    return report


def _cases(trial: Trial, report: Report) -> None:
    """Each case begins and ends with what the one before left. The first that fails is the last; then we tidy up."""
    first, second = report.items.first, report.items.second
    steps: list[tuple[str, Callable[[], None]]] = [
        ("hostile text is refused", lambda: _hostile(trial, first)),
        ("what was pushed is read back", lambda: _moves(trial, EMPTY, first)),
        ("items change under their keys", lambda: _moves(trial, first, second)),
        ("the reverse restores", lambda: _moves(trial, second, first)),
        ("one item goes and the others stay", lambda: _one_goes(trial, first)),
        ("all of ours goes", lambda: _moves(trial, trial.held()[0], EMPTY)),
    ]
    if trial.family.caps.has_confirmed_commit:
        steps += [
            ("an unconfirmed commit is cancelled by another session", lambda: _cancelled(trial, first)),
            ("a commit is confirmed by another session", lambda: _confirmed(trial, first)),
        ]
    try:
        for name, step in steps:
            try:
                step()
            except (DriverError, Frozen, LeaseLost, Stopped) as error:
                report.cases.append(Case(name, False, str(error) or type(error).__name__))
                break
            report.cases.append(Case(name, True))
    finally:
        _tidy(trial, report)


def _tidy(trial: Trial, report: Report) -> None:
    """Whatever happened: nothing of ours stays, and the configuration is compared.

    A device that does not answer or refuses is asked again until `TIDY_S` is over; who wants it to end waits for that.
    """
    trial.is_stopped = never
    deadline = time.monotonic() + TIDY_S
    while True:
        try:
            after = _tidied(trial)
            break
        except (Frozen, LeaseLost) as error:
            said = str(error) or type(error).__name__
        except DriverError as error:
            said = str(error)
            if time.monotonic() < deadline:
                time.sleep(PAUSE_S)
                continue
        report.cases.append(Case("the device is as it was", False, said))
        return
    lines = difflib.unified_diff(report.before.splitlines(), after.splitlines(), "before", "after", lineterm="")
    report.difference = tuple(lines) if after != report.before else ()
    report.is_compared = True
    said = "" if not report.difference else f"{len(report.difference)} lines of difference"
    report.cases.append(Case("the device is as it was", not report.difference, said))


def _tidied(trial: Trial) -> str:
    """Takes away what is there of ours; the configuration after it. Errors: DriverError kinds, Frozen, LeaseLost."""
    pending = trial.held()[1]
    if pending == LABEL:
        with trial.session() as session:
            cast(ConfirmingSession, session).cancel(LABEL)
    seen = trial.seen()
    if seen.state:
        trial.write(seen.state, EMPTY, residue=seen.residue)
    with trial.session() as session:
        return cast(Printable, session).configuration()


def _hostile(trial: Trial, first: DeviceState) -> None:
    native = trial.native(EMPTY, first)
    for text in (f"{native}{HOSTILE}\n", f"{HOSTILE}\n{native}"):
        with trial.session() as session:
            session.read()
            try:
                session.validate(text)
            except Rejected:
                continue
        raise Rejected(f"{trial.device.name}: took a line that nobody writes")
    _must_hold(trial, EMPTY)


def _moves(trial: Trial, before: DeviceState, after: DeviceState) -> None:
    trial.write(before, after)
    _must_hold(trial, after)


def _one_goes(trial: Trial, first: DeviceState) -> None:
    rest = DeviceState(dict(list(first.items())[1:]))
    _moves(trial, first, rest)


def _cancelled(trial: Trial, first: DeviceState) -> None:
    trial.write(EMPTY, first, label=LABEL)
    _must_hold(trial, first, LABEL)
    with trial.session() as session:
        cast(ConfirmingSession, session).cancel(LABEL)
    _must_hold(trial, EMPTY)


def _confirmed(trial: Trial, first: DeviceState) -> None:
    trial.write(EMPTY, first, label=LABEL)
    with trial.session() as session:
        cast(ConfirmingSession, session).confirm(LABEL)
    _must_hold(trial, first)
    _moves(trial, first, EMPTY)


def _must_hold(trial: Trial, wanted: DeviceState, pending: str = "") -> None:
    """Errors: Rejected."""
    state, found = trial.held()
    if state != wanted:
        told = ", ".join(f"{change.action} {change.key}" for change in diff(state, wanted))
        raise Rejected(f"{trial.device.name}: reads back otherwise than written: {told}"[:400])
    if found != pending:
        raise Rejected(f"{trial.device.name}: pending is {found!r}, not {pending!r}")
