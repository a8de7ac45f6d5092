# SPDX-License-Identifier: Apache-2.0
"""A Junos box over NETCONF: NAPALM's driver, unmodified, with what it leaves open closed.

Called by `drivers.switch.junos` and `drivers.appliance.srx`. The host key is always verified (NAPALM has no option for
it). Whatever fails after the lock discards the candidate and gives the lock back. A commit, anybody's, confirms a
pending one; so nothing is committed while one is pending, and only under the exclusive lock, which Junos refuses while
somebody's edits lie in the candidate.
"""

from __future__ import annotations

import logging
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from jnpr.junos import exception as junos
from napalm.base.exceptions import NapalmException
from napalm.junos import JunOSDriver
from ncclient.operations.errors import OperationError
from ncclient.transport import session as ncclient_session
from ncclient.transport.errors import SSHUnknownHostError, TransportError

from drivers.base import Counter, Rejected, Target, Transient
from drivers.box import Agree, Facts
from drivers.junos_lines import WITHOUT_LABEL, changes_of, is_taken_back, pending_label, with_label
from drivers.transport.vendor import Login, brief, is_verified, kinds, login_of, required, ssh_proof

NETCONF_PORT = 830
# At level info it writes down all that it sends.
logging.getLogger("ncclient").setLevel(logging.WARNING)
# How long a request waits in its queue before it is sent; a tenth of a second otherwise, with each of them.
ncclient_session.TICK = 0.005
# What the driver deletes before it writes may not be there: the only warning that is none.
ABSENT = "statement not found"
STRANGER = "someone-elses"
LOST = (junos.ConnectError, junos.RpcTimeoutError, TransportError, OperationError)


class JunosBox:
    """drivers.box.Box."""

    def __init__(self, driver: Any, target: Target, login: Login) -> None:
        self._login = login
        self._driver = driver
        self._target = target

    def running(self) -> str:
        with self._kinds("reading the configuration"):
            return str(self._driver.get_config(retrieve="running")["running"])

    def facts(self) -> Facts:
        with self._kinds("reading the version"):
            said = self._driver.device.rpc.get_software_information()
            return Facts(said.findtext("product-model", ""), said.findtext("junos-version", ""))

    def startup(self) -> None:
        """A commit is what it starts with."""

    def save(self) -> None:
        """Nothing to do: a commit is what it starts with."""

    def proof(self) -> str:
        device = self._driver.device
        return ssh_proof(self._login, device._conn._session.transport, self._target.management, device._port)

    def trial(self, native: str, agree: Agree) -> None:
        with self._kinds("checking the configuration"), self._locked():
            self._load(native)
            self._compared(native, agree)
            self._driver.device.cu.commit_check()
            self._driver.discard_config()

    def commit(self, native: str, agree: Agree) -> None:
        with self._kinds("committing"), self._locked():
            if name := self._pending():
                raise Transient(f"{self._target.name}: commit {name} is pending, and ours would confirm it; try later")
            self._load(native)
            self._compared(native, agree)
            self._driver.commit_config()

    def commit_confirmed(self, native: str, label: str, revert_in_s: int, agree: Agree) -> None:
        """No message: Junos then says in its place that a confirmation is awaited."""
        with self._kinds("committing"), self._locked():
            if name := self._pending():
                raise Rejected(f"{self._target.name}: commit {name} is pending; confirm or cancel it first")
            said = self._driver.device.rpc.get_commit_revision_information(detail=True)
            self._load(with_label(native, label, said.findtext("revision", "none")))
            self._compared(native, agree)
            self._driver.commit_config(revert_in=revert_in_s)

    def pending(self) -> str:
        with self._kinds("asking for pending commits"):
            return self._pending()

    def confirm(self, label: str, *, is_saved: bool) -> None:
        with self._kinds("confirming"), self._locked():
            self._must_be_pending(label)
            # The label goes with the confirmation. If the commit was taken back a moment ago it is absent: refused.
            self._load(WITHOUT_LABEL, ignoring=False)
            self._driver.commit_config()

    def cancel(self, label: str) -> None:
        """The one place where going back is right: what it takes back is exactly the pending commit.

        The timer may end in between: then the way back is our change itself, and would be committed for good. So what
        it would do is looked at first: the label goes, as nobody can commit while we hold the lock.
        """
        with self._kinds("cancelling"), self._locked():
            pending = self._last_changes()
            self._must_be_pending(label)
            self._driver.device.cu.rollback(rb_id=1)
            if not is_taken_back(pending, changes_of(self._driver.compare_config())):
                raise self._over(label)
            self._driver.ignore_warning = False
            self._driver.commit_config()

    def counters(self) -> Mapping[str, Counter]:
        with self._kinds("reading counters"):
            said = self._driver.device.rpc.get_firewall_information()
        found: dict[str, Counter] = {}
        if not hasattr(said, "iter"):
            return found  # a box without filters answers nothing at all
        for one in said.iter("counter"):
            packets, octets = (int(one.findtext(name, "0")) for name in ("packet-count", "byte-count"))
            found[str(one.findtext("counter-name", "")).strip()] = Counter(packets, octets)
        return found

    def links_up(self) -> Mapping[str, bool]:
        with self._kinds("reading the interfaces"):
            return {name: bool(one["is_up"]) for name, one in self._driver.get_interfaces().items()}

    def _compared(self, native: str, agree: Agree) -> None:
        """Under the lock: what is running now is what the candidate is compared with."""
        agree(self.running(), native, changes_of(self._driver.compare_config()))

    def _load(self, native: str, *, ignoring: bool = True) -> None:
        self._driver.ignore_warning = ABSENT if ignoring else False
        self._driver.load_merge_candidate(config=native)

    def _pending(self) -> str:
        """Ours by the label that the last commit brought; the device says whether that commit waits."""
        if not self._driver.has_pending_commit():
            return ""
        label = pending_label(self._last_changes())
        # It may have been taken back between the two questions.
        return label or (STRANGER if self._driver.has_pending_commit() else "")

    def _last_changes(self) -> str:
        return changes_of(self._driver.device.cu.diff(rb_id=1) or "")

    def _must_be_pending(self, label: str) -> None:
        if self._pending() != label:
            raise self._over(label)

    def _over(self, label: str) -> Rejected:
        return Rejected(f"{self._target.name}: no commit {label} is pending; it was taken back or confirmed before")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The exclusive lock, given back with a clean candidate whatever happens."""
        self._driver._lock()
        try:
            yield
        finally:
            if self._driver.locked:
                with suppress(NapalmException, junos.RpcError, *LOST):
                    self._driver.ignore_warning = False
                    self._driver.discard_config()

    @contextmanager
    def _kinds(self, doing: str) -> Iterator[None]:
        with kinds(self._target, doing):
            try:
                yield
            except LOST as error:
                raise Transient(f"{self._target.name}: {doing}: {brief(error)}") from error
            except junos.RpcError as error:
                raise Rejected(f"{self._target.name}: {doing}: {brief(error)}") from error


@contextmanager
def connect(target: Target, timeout_s: float) -> Iterator[JunosBox]:
    """Errors: Transient, Rejected."""
    login = login_of(target)
    known = required(target, login.known_hosts_file, "known_hosts_file") if is_verified(target) else ""
    with tempfile.NamedTemporaryFile("w", prefix="viaduct-ssh-", suffix=".conf") as config:
        # Not the worker's own ~/.ssh/config: nothing but this says where known hosts are.
        config.write(f'Host *\n  UserKnownHostsFile "{known}"\n' if known else "Host *\n")
        config.flush()
        options = {
            "port": login.port or NETCONF_PORT,
            "key_file": login.private_key_file or None,
            "ssh_config_file": config.name,
        }
        driver = JunOSDriver(target.management, login.user, login.password or None, int(timeout_s) or 1, options)
        device = driver.device
        device._hostkey_verify = bool(known)
        device._look_for_keys = device._allow_agent = False
        device._conn_open_timeout = timeout_s
        with kinds(target, "logging in"):
            _open(driver, target)
    try:
        yield JunosBox(driver, target, login)
    finally:
        with suppress(NapalmException, junos.RpcError, *LOST):
            driver.close()


def _open(driver: Any, target: Target) -> None:
    try:
        driver.open()
        # Small requests wait for the answer's acknowledgement otherwise (Nagle against delayed ACK).
        driver.device._conn._session.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except junos.ConnectAuthError as error:
        raise Rejected(f"{target.name}: the device refused the user, password or key of the credential") from error
    except junos.ConnectError as error:
        # A wrong key looks like a refused connection to PyEZ.
        if isinstance(error.__context__, SSHUnknownHostError):
            raise Rejected(
                f"{target.name}: its SSH host key is not the one in known_hosts; is this another machine?"
            ) from error
        raise Transient(f"{target.name}: logging in: {brief(error)}") from error
