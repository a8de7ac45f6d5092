# SPDX-License-Identifier: Apache-2.0
"""A box that NAPALM's eos driver drives, by eAPI over verified HTTPS.

Called by `drivers.switch.eos`. The driver is used as it is, with what it does known: closing it aborts the session
whose name it keeps, which would take a commit back that waits for its confirmation; so it never keeps one here.
The name of a session is the label of the commit: any process finds it, confirms it or cancels it.
"""

from __future__ import annotations

import re
import ssl
import uuid
from collections import Counter as Multiset
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from napalm.base.exceptions import SessionLockedException
from napalm.eos import EOSDriver
from pyeapi.eapilib import CommandError
from pyeapi.eapilib import ConnectionError as EapiConnectionError

from drivers.base import Counter, Rejected, Target, Transient
from drivers.box import Agree, Facts
from drivers.introspection import TLS, UNVERIFIED
from drivers.switch.eos_blocks import blocks_of, paths
from drivers.transport.vendor import brief, is_verified, kinds, login_of, required

LABEL = re.compile(r"[a-z0-9-]{1,63}")
MAX_REVERT_S = 24 * 3600 - 60
# Sessions that only we open: trials and plain commits.
OURS = "si-"
# Between a label and a number: a name that was used before cannot be used again.
AGAIN = "__"
SEPARATOR = " / "


@dataclass(slots=True)
class EosBox:
    """drivers.box.Box."""

    target: Target
    device: EOSDriver
    context: ssl.SSLContext

    def running(self) -> str:
        with self._kinds("reading the running configuration"):
            return str(self.device.get_config(retrieve="running")["running"])

    def facts(self) -> Facts:
        with self._kinds("reading what it is"):
            found = self.device.get_facts()
        return Facts(str(found["model"]), str(found["os_version"]), str(found["serial_number"]))

    def proof(self) -> str:
        is_checked = self.context.verify_mode is ssl.CERT_REQUIRED and self.context.check_hostname
        return TLS if is_checked else UNVERIFIED

    def links_up(self) -> Mapping[str, bool]:
        with self._kinds("reading its interfaces"):
            return {name: bool(one["is_up"]) for name, one in self.device.get_interfaces().items()}

    def counters(self) -> Mapping[str, Counter]:
        return {}

    def startup(self) -> str:
        with self._kinds("reading the startup configuration"):
            return str(self.device.get_config(retrieve="startup")["startup"])

    def save(self) -> None:
        with self._kinds("saving"):
            self.device.device.run_commands(["write memory"])

    def trial(self, native: str, agree: Agree) -> None:
        with self._session(f"{OURS}trial-{uuid.uuid4().hex[:8]}", native, "trying the change", agree):
            pass

    def commit(self, native: str, agree: Agree) -> None:
        held = self.pending()
        if held:
            raise Rejected(
                f"{self.target.name}: the commit {held} waits for its confirmation, and would take this back"
            )
        name = f"{OURS}push-{uuid.uuid4().hex[:8]}"
        with self._session(name, native, "committing", agree):
            self.device.commit_config()
        if name in self._open_sessions():  # NAPALM does not look at what the device answered
            self._abort(name)
            raise Rejected(f"{self.target.name}: it answered the commit as if it were done, and did nothing")

    def commit_confirmed(self, native: str, label: str, revert_in_s: int, agree: Agree) -> None:
        self._check_commit(label, revert_in_s)
        held = self.pending()
        if held:
            raise Rejected(f"{self.target.name}: the commit {held} waits for its confirmation; one at a time")
        name = self._free_name(label)
        with self._session(name, native, "committing", agree):
            self.device.commit_config(revert_in=revert_in_s)
            self.device.config_session = None
        if self.pending() != label:
            if name in self._open_sessions():
                self._abort(name)
            raise Rejected(
                f"{self.target.name}: it took the commit {label}, but says nothing of taking it back"
            )

    def pending(self) -> str:
        return _label(self._pending_name())

    def confirm(self, label: str, *, is_saved: bool) -> None:
        """NAPALM's own confirmation saves."""
        with self._pending_session(label), self._kinds("confirming"):
            if is_saved:
                self.device.confirm_commit()
            else:
                name = self.device.config_session
                self.device.device.run_commands([f"configure session {name} commit"], encoding="text")

    def cancel(self, label: str) -> None:
        with self._pending_session(label), self._kinds("cancelling"):
            self.device.discard_config()

    # --- sessions -----------------------------------------------------------------------------

    def _sessions(self) -> dict[str, Any]:
        with self._kinds("reading its configuration sessions"):
            found: list[dict[str, Any]] = self.device.device.run_commands(
                ["show configuration sessions detail"]
            )
            return found[0]

    def _pending_name(self) -> str:
        """Until 4.31 a session says that it is pending; since 4.32 the answer as a whole does."""
        answer = self._sessions()
        waiting = [name for name, one in answer["sessions"].items() if "pendingCommitTimer" in one["state"]]
        return str(answer.get("commitTimerSessionName") or "".join(waiting[:1]))

    def _free_name(self, label: str) -> str:
        """A session that is over keeps its name for a while, and cannot be entered again."""
        taken = self._sessions()["sessions"]
        numbered = (f"{label}{AGAIN}{number}" if number else label for number in range(len(taken) + 1))
        return next(name for name in numbered if name not in taken)

    @contextmanager
    def _pending_session(self, label: str) -> Iterator[None]:
        name = self._pending_name()
        if not label or _label(name) != label:
            raise Rejected(f"{self.target.name}: no commit {label!r} waits for its confirmation")
        self.device.config_session = name
        try:
            yield
        finally:
            self.device.config_session = None

    @contextmanager
    def _session(self, name: str, native: str, doing: str, agree: Agree) -> Iterator[None]:
        """Loaded into a session of this name, and agreed to. The session never outlives this.

        A session replaces the running configuration: what others changed meanwhile would be undone, and so disagrees.
        """
        self._refuse_strangers()
        try:
            with self._kinds(doing):
                self._load(name, native)
                running = self.running()
                agree(running, native, "".join(f"{line}\n" for line in self._difference(running)))
                yield
        finally:
            self._leave(name)

    def _load(self, name: str, text: str) -> None:
        """A session of ours that is still open after NAPALM's patience (10 s) was left by a process that died."""
        self.device.config_session = name
        try:
            self.device.load_merge_candidate(config=text)
        except SessionLockedException:
            for other in self._open_sessions():
                if other.startswith(OURS):
                    self._abort(other)
            self.device.load_merge_candidate(config=text)

    def _leave(self, name: str) -> None:
        """Abort what is still open. A session that was committed is no longer open, and must not be touched."""
        if self.device.config_session is None:
            return
        self.device.config_session = None
        with suppress(
            Transient, Rejected
        ):  # the cause is on its way up already; who comes next clears it away
            if name in self._open_sessions():
                self._abort(name)

    def _abort(self, name: str) -> None:
        with self._kinds("aborting a session"):
            self.device.device.run_commands([f"configure session {name} abort"], encoding="text")

    def _open_sessions(self) -> dict[str, Any]:
        return {name: one for name, one in self._sessions()["sessions"].items() if one["state"] == "pending"}

    def _refuse_strangers(self) -> None:
        """Errors: Transient, with who it is."""
        for name, one in self._open_sessions().items():
            if not name.startswith(OURS):
                who = "".join(f", opened by {user}" for user in _users(one))
                raise Transient(
                    f"{self.target.name}: the configuration session {name} is open{who}; commit it, or "
                    f"`configure session {name} abort`; then try again"
                )

    def _difference(self, running: str) -> list[str]:
        """Changed lines with the lines around them, from what the session would make of the running configuration.

        It must agree with the difference that the device prints: that one has no paths, so it cannot say whose a line
        is. Errors: Rejected.
        """
        said = self.device.compare_config()
        candidate = str(self.device.get_config(retrieve="candidate")["candidate"])
        before, after = (Multiset(paths(blocks_of(text))) for text in (running, candidate))
        gone, come = before - after, after - before
        net = Multiset(path[-1] for path in come.elements())
        net.subtract(path[-1] for path in gone.elements())
        if _net(said) != {line: count for line, count in net.items() if count}:
            raise Rejected(f"{self.target.name}: its difference and its candidate configuration disagree")
        signed = [("-", path) for path in gone.elements()] + [("+", path) for path in come.elements()]
        return [f"{sign}{SEPARATOR.join(path)}" for sign, path in signed]

    def _check_commit(self, label: str, revert_in_s: int) -> None:
        if not LABEL.fullmatch(label):
            raise Rejected(f"{self.target.name}: {label!r} is no label (1 to 63 of a-z, 0-9 and -)")
        is_whole = type(revert_in_s) is int and revert_in_s % 60 == 0 and 60 <= revert_in_s <= MAX_REVERT_S
        if not is_whole:
            raise Rejected(
                f"{self.target.name}: cannot take back after {revert_in_s!r} s: whole minutes below a day"
            )

    @contextmanager
    def _kinds(self, doing: str) -> Iterator[None]:
        with kinds(self.target, doing):
            try:
                yield
            except CommandError as error:
                raise Rejected(f"{self.target.name}: {doing}: {brief(error)}") from error
            except (EapiConnectionError, HTTPException) as error:
                raise _unreachable(self.target, error) from error


def _label(session: str) -> str:
    head, again, number = session.rpartition(AGAIN)
    return head if again and number.isdigit() else session


def _net(difference: str) -> dict[str, int]:
    """A unified difference as line -> how many more there will be. Separators do not count."""
    found: Multiset[str] = Multiset()
    for line in difference.splitlines():
        text = line[1:].strip()
        if line[:1] in ("+", "-") and text and not text.startswith("!"):
            found[text] += 1 if line[0] == "+" else -1
    return {line: count for line, count in found.items() if count}


def _users(session: Mapping[str, Any]) -> list[str]:
    instances = session.get("instances", {})
    return sorted({str(one.get("user", "")) for one in instances.values()} - {""})


def _unreachable(target: Target, error: Exception) -> Transient | Rejected:
    if isinstance(error.__context__, ssl.SSLCertVerificationError):
        return Rejected(
            f"{target.name}: its certificate is not signed by the authority of the credential, or names another "
            f"machine ({brief(error.__context__)})"
        )
    if str(error).startswith("Unauthorized"):
        return Rejected(f"{target.name}: it refused the user or password of the credential")
    return Transient(f"{target.name}: no answer from eAPI: {brief(error)}")


def _context(target: Target, authority_file: str) -> ssl.SSLContext:
    if is_verified(target):
        return ssl.create_default_context(cafile=required(target, authority_file, "authority_file"))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@contextmanager
def opened(target: Target, timeout_s: float) -> Iterator[EosBox]:
    """Errors: Transient, Rejected."""
    login = login_of(target)
    context = _context(target, login.authority_file)
    device = EOSDriver(
        target.management,
        login.user,
        login.password,
        timeout=timeout_s,
        optional_args={
            "transport": "https",
            "port": login.port or 443,
            "context": context,
            "enforce_verification": is_verified(target),
        },
    )
    box = EosBox(target, device, context)
    with box._kinds("logging in"):
        device.open()
    try:
        yield box
    finally:
        device.config_session = None
        device.close()
