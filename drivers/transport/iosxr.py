# SPDX-License-Identifier: Apache-2.0
"""IOS-XR over NETCONF: NAPALM's `iosxr_netconf` driver, logged in safely, with confirmed commits.

Called by `drivers.switch.iosxr`. What NAPALM does (load, compare, commit, discard, getters) is left to it. Two things
it cannot do are ours. It accepts any host key: ncclient's IOS-XR handler answers "yes" for the user, even when
`hostkey_verify` is set. And it has no confirmed commit: ours is the one of RFC 6241 section 8.4, with the label as
`persist`, so that any session can confirm or cancel it. NETCONF has no way to ask what is pending: a list that
nothing uses holds the label inside the commit, goes back with it, and is removed by the commit that confirms.
A stranger's pending commit is seen only when the device refuses ours.
"""

from __future__ import annotations

import logging
import re
import selectors
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import paramiko
from napalm.iosxr_netconf.iosxr_netconf import IOSXRNETCONFDriver
from ncclient import NCClientError
from ncclient.devices.iosxr import IosxrDeviceHandler
from ncclient.manager import Manager
from ncclient.operations.rpc import RPCError
from ncclient.transport.errors import AuthenticationError, SSHUnknownHostError
from ncclient.transport.ssh import SSHSession

from drivers.base import Counter, Rejected, Target, Transient
from drivers.box import Agree, Facts
from drivers.transport.vendor import Login, brief, is_verified, kinds, login_of, required, ssh_proof

PORT = 830
CLI = "http://cisco.com/ns/yang/Cisco-IOS-XR-cli-cfg"
CONFIRMED = "urn:ietf:params:netconf:capability:confirmed-commit:1.1"
PENDING = "ipv4 access-list SI-pending"
BUSY = {"lock-denied", "in-use"}
# Where a line of the difference begins, after its mark.
COLUMN = 3
# It logs every configuration that it sends and gets.
logging.getLogger("ncclient").setLevel(logging.WARNING)


class _Session(SSHSession):  # type: ignore[misc]
    """Knows no host but the credential's: the person's own list of known hosts is not asked.

    ncclient looks at what is to be sent ten times a second, which makes every request take 0.1 s: this one wakes it.
    """

    def __init__(self, handler: IosxrDeviceHandler) -> None:
        super().__init__(handler)
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)

    def load_known_hosts(self, filename: str | None = None) -> None:
        pass

    def send(self, message: str) -> None:
        super().send(message)
        with suppress(OSError):  # closed meanwhile: the error comes with the answer
            self._waker.send(b".")

    def close(self) -> None:
        super().close()
        self._waker.close()
        self._woken.close()

    def _transport_register(self, selector: selectors.BaseSelector, event: int) -> None:
        super()._transport_register(selector, event)
        selector.register(self._woken, selectors.EVENT_READ)
        wait = selector.select

        def select(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            ready = wait(timeout)
            others = [one for one in ready if one[0].fileobj is not self._woken]
            if len(others) < len(ready):
                self._woken.recv(4096)
            return others

        selector.select = select  # type: ignore[method-assign]


class _Handler(IosxrDeviceHandler):  # type: ignore[misc]
    """Without the answer "yes" to whatever host key."""

    def add_additional_ssh_connect_params(self, kwargs: dict[str, Any]) -> None:
        pass


class Driver(IOSXRNETCONFDriver):  # type: ignore[misc]
    """NAPALM's, opened over a session whose other end is known, before anything is said to it."""

    def open_known(self, target: Target, login: Login, timeout_s: float) -> None:
        handler = _Handler({"name": "iosxr"})
        session = _Session(handler)
        known = paramiko.HostKeys(login.known_hosts_file) if is_verified(target) else None

        def is_known(host: str, _fingerprint: str) -> bool:
            shown = session.transport.get_remote_server_key()
            names = (host, f"[{host}]:{self.port}")
            return known is None or any(known.check(name, shown) for name in names)

        try:
            session.connect(
                host=self.hostname,
                port=self.port,
                timeout=timeout_s,
                username=self.username,
                password=self.password or None,
                key_filename=self.key_file,
                allow_agent=False,
                look_for_keys=False,
                unknown_host_cb=is_known,
            )
        except (NCClientError, paramiko.SSHException, OSError, EOFError):
            if session.transport is not None:
                session.close()
            raise
        self.device = Manager(session, handler, timeout=timeout_s)


@dataclass(slots=True)
class XrBox:
    """drivers.box.Box."""

    target: Target
    driver: Driver
    login: Login
    is_lost: bool = field(default=False, init=False)

    def running(self) -> str:
        with self._asking("reading the configuration"):
            text = str(self.driver.get_config(retrieve="running")["running"])
        if not text:
            raise Rejected(f"{self.target.name}: the device gave no configuration as CLI text")
        return text

    def facts(self) -> Facts:
        with self._asking("reading what it is"):
            found = self.driver.get_facts()
        platform = f"{found['vendor']} {found['model']}".strip()
        return Facts(platform, str(found["os_version"]), str(found["serial_number"]))

    def startup(self) -> None:
        """A commit is what it starts with."""

    def save(self) -> None:
        """Nothing to do: a commit is what it starts with."""

    def proof(self) -> str:
        session = self.driver.device._session
        return ssh_proof(self.login, session.transport, self.driver.hostname, self.driver.port)

    def trial(self, native: str, agree: Agree) -> None:
        self._can_confirm()
        with self._asking("the device refused the configuration"), self._loaded(native):
            self._compared(native, agree)

    def commit(self, native: str, agree: Agree) -> None:
        with self._asking("the device refused the commit"), self._loaded(native):
            self._compared(native, agree)
            self.driver.commit_config()

    def commit_confirmed(self, native: str, label: str, revert_in_s: int, agree: Agree) -> None:
        self._can_confirm()
        waiting = self.pending()
        if waiting:
            raise Rejected(f"{self.target.name}: the commit {waiting} is not confirmed yet")
        marker = f"no {PENDING}\n{PENDING}\n 10 remark {label}\n"
        with self._asking("the device refused the commit"), self._loaded(marker + native):
            self._compared(native, agree)
            self.driver.device.commit(confirmed=True, timeout=str(revert_in_s), persist=label)
            self._committed()

    def pending(self) -> str:
        found = re.search(rf"^{PENDING}\n\s+\d+ remark (\S+)$", self.running(), re.MULTILINE)
        return found[1] if found else ""

    def confirm(self, label: str, *, is_saved: bool) -> None:
        self._require(label)
        with self._asking("confirming"), self._loaded(f"no {PENDING}\n"):
            try:
                self.driver.device.commit(persist_id=label)
            except RPCError as error:
                if error.tag in BUSY:
                    raise
                # Somebody's commit at the console confirmed it for us: then a plain commit is taken, and only then.
                self.driver.device.commit()
            self._committed()

    def cancel(self, label: str) -> None:
        self._require(label)
        with self._asking(f"nothing that could be taken back is pending under {label}"):
            try:
                self.driver.device.cancel_commit(persist_id=label)
            except RPCError as error:
                if error.tag not in BUSY:
                    with self._loaded(f"no {PENDING}\n"):
                        self.driver.commit_config()
                raise

    def counters(self) -> Mapping[str, Counter]:
        return {}

    def links_up(self) -> Mapping[str, bool]:
        with self._asking("reading the interfaces"):
            return {name: bool(found["is_up"]) for name, found in self.driver.get_interfaces().items()}

    def _compared(self, native: str, agree: Agree) -> None:
        """Under the lock: what is running now is what the candidate is compared with."""
        agree(self.running(), native, "".join(f"{line}\n" for line in flat(self.driver.compare_config())))

    def _require(self, label: str) -> None:
        waiting = self.pending()
        if waiting != label:
            raise Rejected(f"{self.target.name}: no commit {label} is pending; it was taken back, or confirmed before")

    def _can_confirm(self) -> None:
        if CONFIRMED not in self.driver.device.server_capabilities:
            raise Rejected(f"{self.target.name}: the device does not offer NETCONF :confirmed-commit:1.1; upgrade it")

    @contextmanager
    def _loaded(self, native: str) -> Iterator[None]:
        """The candidate, locked. A load that fails keeps the lock: whatever happens, nothing of it is left."""
        try:
            with self._watched():
                self.driver.load_merge_candidate(config=native)
                yield
        finally:
            if self.driver.locked and not self.is_lost:
                with suppress(NCClientError, OSError, EOFError):
                    self.driver.discard_config()

    @contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        with _kinds(self.target, doing), self._watched():
            yield

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Is the connection gone? A request sent while ncclient takes notice is waited for until its time is out."""
        try:
            yield
        except RPCError:
            raise
        except (NCClientError, OSError, EOFError):
            self.is_lost = True
            raise

    def _committed(self) -> None:
        """As NAPALM's own commit leaves it."""
        self.driver.pending_changes = False
        self.driver._unlock()


def flat(difference: str) -> Iterator[str]:
    """Each changed line of XR's difference after the lines that it stands in, with " > " between."""
    path: list[tuple[int, str]] = []
    for number, raw in enumerate(difference.splitlines()):
        found = re.match(r"(<-|\+>|[-+#])?( *)(.*)", raw)
        text = found[3].strip() if found else ""
        if found is None or not text or text == "end" or text.startswith("!"):
            continue
        mark = {"<-": "-", "+>": "+"}.get(found[1] or "", found[1] or "")
        # NAPALM strips the text, and with it the first line's indentation.
        column = COLUMN if number == 0 and not mark else len(mark) + len(found[2])
        while path and path[-1][0] >= column:
            path.pop()
        path.append((column, text))
        if mark in ("+", "-"):
            yield mark + " > ".join(line for _, line in path)


@contextmanager
def connected(target: Target, timeout_s: float) -> Iterator[XrBox]:
    """Errors: Transient, Rejected."""
    login = login_of(target)
    required(target, login.known_hosts_file, "known_hosts_file, with the line that `ssh-keyscan -p 830` prints")
    more = {"port": login.port or PORT, "key_file": login.private_key_file or None}
    driver = Driver(target.management, login.user, login.password, timeout=timeout_s, optional_args=more)
    with _kinds(target, "logging in"):
        driver.open_known(target, login, timeout_s)
    box = XrBox(target, driver, login)
    try:
        if CLI not in driver.device.server_capabilities and not any(
            str(one).startswith(CLI + "?") for one in driver.device.server_capabilities
        ):
            raise Rejected(
                f"{target.name}: this release takes no CLI text over NETCONF (model Cisco-IOS-XR-cli-cfg); upgrade to "
                "IOS-XR 7.1 or later"
            )
        yield box
    finally:
        # A session that is gone has nothing left to close.
        with suppress(NCClientError, OSError, EOFError):
            if box.is_lost:
                driver.device._session.close()
            else:
                driver.close()


@contextmanager
def _kinds(target: Target, doing: str) -> Iterator[None]:
    """ncclient's errors as ours, the rest as `vendor.kinds` has them."""
    with kinds(target, doing):
        try:
            yield
        except SSHUnknownHostError as error:
            raise Rejected(
                f"{target.name}: the SSH host key is not the known one; is this another machine? If the device is new, "
                "add its key to the known_hosts_file of the credential"
            ) from error
        except AuthenticationError as error:
            raise Rejected(f"{target.name}: the device refused the user, password or key of the credential") from error
        except RPCError as error:
            if error.tag in BUSY:
                said = f"somebody else is configuring it ({brief(error)})"
                raise Transient(
                    f"{target.name}: {said}; if that session is gone, `show configuration sessions` names it and "
                    "`clear configuration sessions ID` ends it"
                ) from error
            raise Rejected(f"{target.name}: {doing}: {brief(error)}") from error
        except NCClientError as error:
            raise Transient(f"{target.name}: {doing}: {brief(error)}") from error
