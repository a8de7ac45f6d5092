# SPDX-License-Identifier: Apache-2.0
"""A Cisco IOS-XE device over SSH and SCP, by NAPALM's `ios` driver. Called by `drivers.switch.ios`.

One method of the driver is off: `rollback`, which it calls by itself when a line is refused, and which would replace
the whole running configuration. The device must have `file prompt quiet` already: the driver would write it into the
configuration, save it there, and forget it. The file that is merged has a name of its own for each session: two workers
with one name would commit each other's lines. The name says when it was given: what a lost connection left behind is
deleted by a later session, and nobody's work that goes on.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from napalm.base.exceptions import ConnectionException
from napalm.ios.ios import IOSDriver
from netmiko.exceptions import NetmikoBaseException, NetmikoTimeoutException, ReadTimeout

from drivers.base import Counter, Rejected, Target, Transient
from drivers.box import Facts
from drivers.transport.vendor import Login, brief, is_verified, kinds, login_of, required, ssh_proof

COUNTED = re.compile(
    r"(?:ip|ipv6) address[^:]*: (?P<list>\S+).*?"
    r"Policy routing matches: (?P<packets>\d+) packets, (?P<octets>\d+) bytes",
    re.DOTALL,
)
LINK = re.compile(r"^(?P<name>\S+) is .*, line protocol is (?P<state>\w+)", re.MULTILINE)
# What a session writes to flash: the lines, and the whole running configuration as it was before.
LEFT = re.compile(r"(?<!\S)viaduct-([0-9a-f]{8})[0-9a-f]{8}(?:-before)?\.txt(?!\S)")
# No session takes as long, whatever two clocks say.
STALE_S = 3600.0
REFUSED = re.compile(r"^% ?(?!Warning)\S.*$", re.MULTILINE)


class Driver(IOSDriver):  # type: ignore[misc]
    """NAPALM's, without its way of taking the whole device back."""

    def rollback(self) -> None:
        """Called by `commit_config` when the device says "Invalid input"; our own objects are put back by us."""


@contextmanager
def opened(target: Target, timeout_s: float) -> Iterator[Wire]:
    """Errors: Transient, Rejected."""
    login = login_of(target)
    known = required(target, login.known_hosts_file, "a known_hosts_file")
    token = f"{int(time.time()):08x}{secrets.token_hex(4)}"
    driver = Driver(
        target.management,
        login.user,
        login.password,
        timeout=timeout_s,
        optional_args={
            "port": login.port or 22,
            "ssh_strict": is_verified(target),
            "system_host_keys": False,
            # A client that takes any key would write it down there as known.
            "alt_host_keys": bool(known) and is_verified(target),
            "alt_key_file": known if is_verified(target) else "",
            "use_keys": bool(login.private_key_file),
            "key_file": login.private_key_file or None,
            "allow_agent": False,
            "global_delay_factor": float(target.settings.get("pace", "0.1")),
            "conn_timeout": timeout_s,
            "auto_file_prompt": False,
            "merge_cfg": f"viaduct-{token}.txt",
            "rollback_cfg": f"viaduct-{token}-before.txt",
        },
    )
    with _kinds(target, "logging in"):
        driver.open()
    try:
        wire = Wire(target, driver, login)
        wire.clear()
        yield wire
    finally:
        # A connection that is gone cannot be closed in good order; whoever used it knows already.
        with suppress(OSError, EOFError, NetmikoBaseException, ConnectionException):
            driver.close()


@contextmanager
def _kinds(target: Target, doing: str) -> Iterator[None]:
    with kinds(target, doing):
        try:
            yield
        except (NetmikoTimeoutException, ReadTimeout, ConnectionException) as error:
            said = f"{brief(error)} {brief(error.__context__) if error.__context__ else ''}"
            if "not found in known_hosts" in said or "Host key for server" in said:
                raise Rejected(
                    f"{target.name}: the SSH host key is not the known one; is this another machine?"
                ) from error
            raise Transient(f"{target.name}: {doing}: {brief(error)}") from error
        except ValueError as error:  # how Netmiko says that a transfer or a prompt was not what it expects
            raise Rejected(f"{target.name}: {doing}: {brief(error)}") from error


@dataclass(slots=True)
class Wire:
    """drivers.switch.stepwise.Wire."""

    target: Target
    driver: Driver
    login: Login

    def running(self) -> str:
        with _kinds(self.target, "reading the running configuration"):
            return _whole(self.target, self.driver.get_config(retrieve="running")["running"])

    def startup(self) -> str:
        with _kinds(self.target, "reading the startup configuration"):
            return str(self.driver.get_config(retrieve="startup")["startup"])

    def facts(self) -> Facts:
        said = self._ask("show version")
        version = re.search(r"Version (\S+?),?(?:\s|$)", said)
        serial = re.search(r"Processor board ID (\S+)", said)
        platform = re.search(r"^[Cc]isco (\S+) .*processor", said, re.MULTILINE)
        names = [found[1] if found else "" for found in (platform, version, serial)]
        return Facts(f"Cisco IOS-XE {names[0]}".strip(), names[1], names[2])

    def proof(self) -> str:
        connection = self.driver.device
        return ssh_proof(self.login, connection.remote_conn_pre.get_transport(), connection.host, connection.port)

    def clear(self) -> None:
        """Files of sessions that lost their connection; only such as they are named, and old enough."""
        with _kinds(self.target, "looking for files that were left"):
            said = str(self.driver.device.send_command("dir"))
            now = time.time()
            self._forget(*(found[0] for found in LEFT.finditer(said) if now - int(found[1], 16) > STALE_S))

    def difference(self, lines: tuple[str, ...]) -> str:
        with _kinds(self.target, "comparing"):
            self._load(lines)
            try:
                return self._compared()
            finally:
                self._forget(self.driver.merge_cfg)

    def send(self, lines: tuple[str, ...], agree: Callable[[str], None]) -> None:
        with _kinds(self.target, "committing"):
            self._load(lines)
            try:
                agree(self._compared())
                self.driver.commit_config()
            finally:
                self._forget(self.driver.merge_cfg, self.driver.rollback_cfg)

    def _compared(self) -> str:
        """Without NAPALM's signs. It hides behind an echo of the file that the device refused a line of it."""
        said = str(self.driver.compare_config())
        bare = "".join(f"{line[1:] if line[:1] in '+-' else line}\n" for line in said.splitlines())
        if "incremental-diff failed" in said:
            raise Rejected(f"{self.target.name}: Invalid input detected: the device does not take a line of the text")
        if "error 5" in said or REFUSED.search(bare):
            raise Rejected(f"{self.target.name}: it refuses the lines: {brief(RuntimeError(said))}")
        return bare

    def save(self) -> None:
        with _kinds(self.target, "saving"):
            self.driver.device.save_config()

    def pending(self) -> str:
        with _kinds(self.target, "asking for a pending commit"):
            found = self.driver._get_pending_commits()
        return f"user {found.get('user', 'unknown')}".strip() if found else ""

    def counters(self) -> Mapping[str, Counter]:
        found: dict[str, Counter] = {}
        for part in self._ask("show route-map").split("\nroute-map "):
            counted = COUNTED.search(part)
            if counted:
                packets, octets = int(counted["packets"]), int(counted["octets"])
                is_drop = "interface Null0" in part and "next-hop" not in part
                found[counted["list"]] = Counter(packets, octets, packets if is_drop else 0)
        return found

    def links_up(self) -> Mapping[str, bool]:
        said = self._ask("show interfaces | include line protocol")
        return {found["name"]: found["state"] == "up" for found in LINK.finditer(said)}

    def _ask(self, command: str) -> str:
        with _kinds(self.target, command):
            said = str(self.driver.device.send_command(command))
        if REFUSED.search(said):
            raise Rejected(f"{self.target.name}: {command}: {brief(RuntimeError(said))}")
        return said

    def _load(self, lines: tuple[str, ...]) -> None:
        """The file must end with `end`, or the device cannot compare it ("error 5")."""
        self.driver.load_merge_candidate(config="".join(f"{line}\n" for line in (*lines, "end")))

    def _forget(self, *names: str) -> None:
        """No file is left on the device. A connection that is gone keeps them; the next session has other names."""
        with suppress(OSError, EOFError, NetmikoBaseException):
            for name in names:
                self.driver.device.send_command(f"delete /force {self.driver._gen_full_path(name)}")


def _whole(target: Target, text: str) -> str:
    """A configuration that was cut off must not be taken for one that holds nothing."""
    if not text.rstrip().endswith("end"):
        raise Transient(f"{target.name}: the running configuration came incomplete; try again")
    return text
