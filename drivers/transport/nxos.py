# SPDX-License-Identifier: Apache-2.0
"""A Cisco NX-OS device over NX-API (HTTPS), by NAPALM's `nxos` driver. Called by `drivers.switch.nxos`.

One method of the driver is off: `rollback`, which it calls by itself when a line is refused, and which would take the
whole device back to a checkpoint; it does not notice when that checkpoint could not be written. Its difference is its
own reckoning and never empty for a removal: a second opinion, no more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from napalm.base.exceptions import ConnectionException, MergeConfigException
from napalm.nxapi_plumbing.errors import NXAPIAuthError, NXAPIConnectionError, NXAPIError
from napalm.nxos.nxos import NXOSDriver

from drivers.base import Counter, Rejected, Target, Transient
from drivers.box import Facts
from drivers.introspection import TLS, UNVERIFIED
from drivers.switch.routemaps import MAP
from drivers.switch.stanzas import split
from drivers.transport.vendor import brief, is_verified, kinds, login_of, required

# An entry's head and count; name and number are put in.
COUNTED = r"(?m)^route-map %s, \w+, sequence %s *\n(?:[ \t].*\n)*?[ \t]+Policy routing matches: (\d+) packets"


class Driver(NXOSDriver):  # type: ignore[misc]
    """NAPALM's, without its way of taking the whole device back."""

    def rollback(self) -> None:
        """Called by `commit_config` when a line is refused; our own objects are put back by us."""


@contextmanager
def opened(target: Target, timeout_s: float) -> Iterator[Wire]:
    """Errors: Transient, Rejected."""
    login = login_of(target)
    authority = required(target, login.authority_file, "an authority_file")
    driver = Driver(
        target.management,
        login.user,
        login.password,
        timeout=int(max(1, timeout_s)),
        optional_args={
            "transport": "https",
            "port": login.port or 443,
            "ssl_verify": authority if is_verified(target) else False,
        },
    )
    with _kinds(target, "logging in"):
        driver.open()
    try:
        yield Wire(target, driver)
    finally:
        driver.close()


@contextmanager
def _kinds(target: Target, doing: str) -> Iterator[None]:
    with kinds(target, doing):
        try:
            yield
        except (NXAPIError, ConnectionException, MergeConfigException) as error:
            raise _judged(target, doing, error) from error
        except ValueError as error:  # no JSON: a proxy, a login page, half an answer
            raise Transient(f"{target.name}: {doing}: the answer is no NX-API: {brief(error)}") from error


def _judged(target: Target, doing: str, error: BaseException) -> Rejected | Transient:
    """NAPALM wraps what happened; the reason is further down."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    if any(isinstance(one, NXAPIAuthError) for one in chain):
        return Rejected(f"{target.name}: the device refused the user or password of the credential")
    if any("CERTIFICATE_VERIFY_FAILED" in str(one) for one in chain):
        return Rejected(
            f"{target.name}: its certificate is not of the known authority; is this another machine?"
        )
    if any(isinstance(one, NXAPIConnectionError | ConnectionException | OSError) for one in chain):
        return Transient(f"{target.name}: {doing}: {brief(chain[-1])}")
    reason = next((one for one in chain if isinstance(one, NXAPIError)), error)
    return Rejected(f"{target.name}: {doing}: {brief(reason)}")


@dataclass(slots=True)
class Wire:
    """drivers.switch.stepwise.Wire."""

    target: Target
    driver: Driver
    # The running configuration as it was read last: it says which entry is whose.
    seen: str = ""

    def running(self) -> str:
        with _kinds(self.target, "reading the running configuration"):
            said = str(self.driver.get_config(retrieve="running")["running"])
        if "version " not in said:
            raise Transient(f"{self.target.name}: the running configuration came incomplete; try again")
        self.seen = said
        return said

    def startup(self) -> str:
        with _kinds(self.target, "reading the startup configuration"):
            return str(self.driver.get_config(retrieve="startup")["startup"])

    def facts(self) -> Facts:
        with _kinds(self.target, "asking for its version"):
            said = self.driver._send_command("show version")
        version = said.get("nxos_ver_str") or said.get("sys_ver_str") or ""
        return Facts(
            f"Cisco NX-OS {said.get('chassis_id', '')}".strip(),
            str(version),
            str(said.get("proc_board_id", "")),
        )

    def proof(self) -> str:
        """Every request of the client asks with this."""
        return TLS if self.driver.device.api.verify else UNVERIFIED

    def difference(self, lines: tuple[str, ...]) -> str:
        """What netutils does not find in the running configuration. It takes no header twice: such lines are split."""
        with _kinds(self.target, "comparing"):
            said = []
            for some in _without_repeats(lines):
                self.driver.load_merge_candidate(config=_text(some))
                try:
                    said.append(str(self.driver.compare_config()))
                except IndexError as error:
                    raise Rejected(f"{self.target.name}: its difference cannot be computed: {brief(error)}") from error
                finally:
                    self.driver.discard_config()
        return "".join(f"{line}\n" for text in said for line in text.splitlines())

    def send(self, lines: tuple[str, ...], agree: Callable[[str], None]) -> None:
        agree(self.difference(lines))
        with _kinds(self.target, "committing"):
            self.driver.load_merge_candidate(config=_text(lines))
            try:
                self.driver.commit_config()
            finally:
                self.driver.discard_config()

    def save(self) -> None:
        with _kinds(self.target, "saving"):
            self.driver._copy_run_start()

    def pending(self) -> str:
        return ""

    def counters(self) -> Mapping[str, Counter]:
        """Packets of each entry of a route map, octets it does not say. Only where `pbr-statistics` was asked for.

        Sources: Nexus 9000 Unicast Routing Configuration Guide, "Configuring Policy-Based Routing"; ntc-templates,
        cisco_nxos show route-map (how an entry is headed).
        """
        if "route-map SI-" not in self.seen:
            return {}
        try:
            with _kinds(self.target, "asking what it counted"):
                said = str(self.driver._send_command("show route-map pbr-statistics", raw_text=True))
        except Rejected:  # a release that does not know the command counts nothing, and is read all the same
            return {}
        found: dict[str, Counter] = {}
        for stanza in split(self.seen):
            head = MAP.fullmatch(stanza.header)
            match = next((line.split()[-1] for line in stanza.lines if line.startswith("match ")), "")
            counted = head and re.search(COUNTED % (re.escape(head["name"]), head["number"]), said)
            if counted and match:
                packets, is_drop = int(counted[1]), "set interface null0" in stanza.lines
                found[match] = Counter(packets, 0, packets if is_drop else 0)
        return found

    def links_up(self) -> Mapping[str, bool]:
        with _kinds(self.target, "asking for its interfaces"):
            said = self.driver._send_command("show interface brief")
        rows = said.get("TABLE_interface", {}).get("ROW_interface", [])
        rows = [rows] if isinstance(rows, dict) else rows
        return {str(row["interface"]): row.get("state") == "up" for row in rows}


def _without_repeats(lines: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    held: list[str] = []
    for line in lines:
        if not line.startswith(" ") and line in held:
            yield tuple(held)
            held = []
        held.append(line)
    yield tuple(held)


def _text(lines: tuple[str, ...]) -> str:
    return "".join(f"{line}\n" for line in lines)
