# SPDX-License-Identifier: Apache-2.0
"""An emulated Junos box (EX/MX, or SRX): NETCONF over SSH, one shared candidate, exclusive lock, confirmed commit.

Sources: Junos XML Management Protocol Developer Guide (<load-configuration>, <commit-configuration>,
<lock-configuration>, <get-configuration>); CLI User Guide ("Activate a Junos OS Configuration but Require
Confirmation"); NETCONF 1.0 framing of RFC 4742. Arguments: "srx" for a security device.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import asyncssh
from lxml import etree

from lab.devices import junos_config as configs
from lab.devices.identity import host_key
from lab.devices.junos_check import below, errors, named
from lab.devices.junos_config import Config
from lab.devices.junos_plane import plane_of
from lab.devices.junos_schema import statements
from lab.devices.junos_startup import startup_of
from lab.devices.machine import Machine, serve_handle
from lab.devices.plane import Plane
from lab.devices.process import announce

USER, PASSWORD = "viaduct", "never-in-a-log"
END = "]]>]]>"
KEPT = 50
HELLO = (
    '<hello xmlns="urn:ietf:params:xml:ns:netconf:base:1.0"><capabilities>'
    "<capability>urn:ietf:params:netconf:base:1.0</capability>"
    "<capability>urn:ietf:params:netconf:capability:candidate:1.0</capability>"
    "<capability>urn:ietf:params:netconf:capability:confirmed-commit:1.0</capability>"
    "<capability>http://xml.juniper.net/netconf/junos/1.0</capability>"
    "</capabilities><session-id>{session}</session-id></hello>"
)
COMMITTED = "<commit-results><routing-engine><name>re0</name><{done}/></routing-engine></commit-results>"


class Fault(Exception):
    """An rpc-error for the client."""


class Junos(Machine):
    FAULTS = {
        "fail_commit": "the next commits fail with this text",
        "drops": "a loaded line that contains this is not there afterwards", "also": "this line is loaded too",
        "cut_before_commit": "cut when the commit arrives", "cut_after_commit": "it takes effect, its answer is lost",
        "timer_ends": "its timer ends just before a rollback is loaded", "locked_by": "has the exclusive lock",
        "links_down": "these interfaces have no link",
        "deaf": "it answers nobody and lets nobody in", "deny_login": "the password is refused",
    }

    def __init__(self, name: str, is_secure: bool, set_lines: str = "") -> None:
        super().__init__(name)
        self._offset_s = time.time() - time.monotonic()  # commits carry the date
        self.known = statements(is_secure)
        first: Config = {}
        configs.load_set(first, self.known, set_lines or startup_of(name, is_secure))
        self.model = "srx345" if is_secure else "mx204"
        self.first = first
        self.reset()

    def reset(self) -> None:
        """As it came."""
        self.history: list[Config] = [self.first]  # [0] is in force, [n] is `rollback n`
        self.candidate = configs.copied(self.first)
        self.owner = ""  # of the exclusive lock
        self.revert: tuple[float, Config] | None = None
        self.commits = 0
        self.comment: str | None = None
        self.committed_at = self.now()
        self.transcript.clear()
        self.faults.clear()
        self.follow()

    # --- the machine's side ---------------------------------------------------------------------

    def tick(self) -> None:
        if self.revert is not None and self.now() >= self.revert[0]:
            self._in_force(self.revert[1], None)

    def config(self) -> dict[str, Any]:
        text = [self.text(one) for one in (self.history[0], self.candidate)]
        return {
            "running": text[0], "startup": text[0], "candidate": text[1], "owner": self.owner,
            "pending": self.revert is not None, "commits": self.commits,
        }  # fmt: skip

    def operate(self, lines: list[str]) -> None:
        """set and delete lines into the shared candidate; commit, commit confirmed N, configure exclusive, exit."""
        if lines == ["factory"]:
            self.reset()
            return
        for line in lines:
            if line == "configure exclusive":
                self.lock_for("console")
            elif line == "exit":
                self.leave("console")
            elif line == "rollback 0":
                self.candidate = configs.copied(self.history[0])
            elif found := re.fullmatch(r"commit(?: confirmed (\d+))?", line):
                self.commit(int(found[1] or 0), None)
            else:
                self._may_edit("console")
                configs.load_set(self.candidate, self.known, line)

    def reboot(self) -> None:
        """What is committed stays; locks, the candidate and the timer's promise too (CLI: confirmed survives)."""
        self.owner, self.candidate = "", configs.copied(self.history[0])

    # --- configuration ----------------------------------------------------------------------------

    def text(self, config: Config) -> str:
        return "".join(f"{line}\n" for line in configs.lines(config, self.known))

    def lock_for(self, who: str) -> None:
        if by := self.faults.get("locked_by"):
            raise Fault(f"configuration database locked by: {by} terminal p0 (pid 4711) on since now, exclusive")
        if self.owner and self.owner != who:
            raise Fault(f"configuration database locked by: {self.owner} (pid 4711), exclusive")
        if not self.owner and self.candidate != self.history[0]:
            raise Fault("configuration database modified")
        self.owner = who

    def leave(self, who: str) -> None:
        """A session ends: its exclusive lock too, and what it had not committed."""
        if self.owner == who:
            self.owner, self.candidate = "", configs.copied(self.history[0])

    def _may_edit(self, who: str) -> None:
        if self.owner and self.owner != who:
            raise Fault(f"configuration database locked by: {self.owner} (pid 4711), exclusive")

    def commit(self, minutes: int, comment: str | None) -> None:
        """Of the whole shared candidate, whoever wrote it; without `minutes` it confirms what was pending."""
        if said := self.fault("fail_commit"):
            raise Fault(str(said))
        self.check()
        before, kept = self.history[0], self.revert
        self._in_force(self.candidate, comment)
        if minutes:
            self.comment = comment or f"commit confirmed, rollback in {minutes}mins"
            self.revert = (self.now() + 60 * minutes, kept[1] if kept else before)

    def check(self) -> None:
        found = list(errors(configs.expanded(self.candidate, self.known)))
        if found:
            raise Fault("\n".join([*found, "configuration check-out failed"]))

    def _in_force(self, config: Config, comment: str | None) -> None:
        is_clean = self.candidate == self.history[0]
        self.history = [configs.copied(config), *self.history][:KEPT]
        self.comment, self.revert, self.committed_at = comment, None, self.now()
        self.commits += 1
        if is_clean:
            self.candidate = configs.copied(config)
        self.follow()

    def plane(self) -> Plane:
        return plane_of(configs.expanded(self.history[0], self.known))

    # --- RPCs -------------------------------------------------------------------------------------

    def call(self, who: str, rpc: etree._Element) -> str:
        """The inside of an rpc-reply. Errors: Fault."""
        name = etree.QName(rpc).localname
        method = getattr(self, f"rpc_{name.replace('-', '_')}", None)
        if method is None:
            raise Fault(f"syntax error: {name}")
        return str(method(who, rpc))

    def rpc_lock_configuration(self, who: str, rpc: etree._Element) -> str:
        self.lock_for(who)
        return "<ok/>"

    def rpc_unlock_configuration(self, who: str, rpc: etree._Element) -> str:
        if self.owner != who:
            raise Fault("Configuration database is not open")
        self.leave(who)
        return "<ok/>"

    def rpc_load_configuration(self, who: str, rpc: etree._Element) -> str:
        self._may_edit(who)
        if rpc.get("compare") == "rollback" or rpc.get("rollback") is not None:
            number = int(rpc.get("rollback", "0"))
            if number and self.revert is not None and self.fault("timer_ends"):
                self._in_force(self.revert[1], None)
            if number >= len(self.history):
                raise Fault(f"rollback {number} does not exist")
            self.candidate = configs.copied(self.history[number])
            return "<load-configuration-results><ok/></load-configuration-results>"
        body = rpc[0]
        new = {} if rpc.get("action") == "override" else configs.copied(self.candidate)
        load = configs.load_set if etree.QName(body).localname == "configuration-set" else configs.load_text
        try:
            warnings = load(new, self.known, configs.heard(body.text or "", self.faults))
        except configs.Refused as error:
            raise Fault(str(error)) from error
        self.candidate = new
        told = "".join(_error(text, "warning") for text in warnings)
        return f"<load-configuration-results>{told}<ok/></load-configuration-results>"

    def rpc_get_configuration(self, who: str, rpc: etree._Element) -> str:
        if rpc.get("compare") == "rollback":
            number = int(rpc.get("rollback", "0"))
            if number >= len(self.history):
                raise Fault(f"rollback {number} does not exist")
            found = configs.compare(self.history[number], self.candidate, self.known)
            said = "".join(f"{line}\n" for line in found)
            text = f"<configuration-output>\n{escape(said)}</configuration-output>"
            return f"<configuration-information>{text}</configuration-information>"
        config = self.history[0] if rpc.get("database") == "committed" else self.candidate
        return f"<configuration-text>\n{escape(self.text(config))}</configuration-text>"

    def rpc_commit_configuration(self, who: str, rpc: etree._Element) -> str:
        self._may_edit(who)
        if self.fault("cut_before_commit"):
            raise ConnectionAbortedError
        if rpc.find("check") is not None:
            self.check()
            return COMMITTED.format(done="commit-check-success")
        minutes = int(rpc.findtext("confirm-timeout", "10")) if rpc.find("confirmed") is not None else 0
        self.commit(minutes, rpc.findtext("log"))
        if self.fault("cut_after_commit"):
            raise ConnectionAbortedError
        return COMMITTED.format(done="commit-success")

    def rpc_get_commit_revision_information(self, who: str, rpc: etree._Element) -> str:
        comment = "" if self.comment is None else f"<comment>{escape(self.comment)}</comment>"
        seconds = int(self.committed_at)
        return (
            f"<commit-revision-information><revision>re0-{seconds}-{self.commits}</revision><user>{USER}</user>"
            f'<client>netconf</client><date-time seconds="{seconds}">now</date-time>{comment}'
            "</commit-revision-information>"
        )

    def rpc_get_system_uptime_information(self, who: str, rpc: etree._Element) -> str:
        now = f'<current-time><date-time seconds="{int(self.now())}">now</date-time></current-time>'
        return f"<system-uptime-information>{now}</system-uptime-information>"

    def rpc_get_software_information(self, who: str, rpc: etree._Element) -> str:
        return (
            f"<software-information><host-name>{self.name}</host-name><product-model>{self.model}</product-model>"
            "<junos-version>23.4R2.13</junos-version></software-information>"
        )

    def rpc_get_interface_information(self, who: str, rpc: etree._Element) -> str:
        down = self.without_link()
        found = ""
        for name, interface in below(configs.expanded(self.history[0], self.known), "interfaces").items():
            numbers = named(interface, "unit")
            units = "".join(f"<logical-interface><name>{name}.{n}</name></logical-interface>" for n in numbers)
            found += (
                f"<physical-interface><name>{name}</name><admin-status>up</admin-status>"
                f"<oper-status>{'down' if name in down else 'up'}</oper-status><speed>1000mbps</speed><mtu>1514</mtu>"
                f"<current-physical-address>02:00:00:00:00:01</current-physical-address>{units}</physical-interface>"
            )
        return f"<interface-information>{found}</interface-information>"

    def rpc_get_firewall_information(self, who: str, rpc: etree._Element) -> str:
        found = ""
        config = configs.expanded(self.history[0], self.known)
        for family in ("family inet", "family inet6"):
            for filter_, terms in below(config, "firewall", family).items():
                counters = "".join(
                    f"<counter><counter-name>{name}</counter-name><packet-count>0</packet-count>"
                    "<byte-count>0</byte-count></counter>"
                    for parts in terms.values()
                    for name in named(below(parts, "then"), "count")
                )
                found += f"<filter-information><filter-name>{filter_[7:]}</filter-name>{counters}</filter-information>"
        return f"<firewall-information>{found}</firewall-information>"

    def rpc_close_session(self, who: str, rpc: etree._Element) -> str:
        self.leave(who)
        return "<ok/>"


def _error(text: str, severity: str = "error") -> str:
    return (
        f"<rpc-error><error-type>protocol</error-type><error-tag>operation-failed</error-tag>"
        f"<error-severity>{severity}</error-severity><error-message>{escape(text)}</error-message></rpc-error>"
    )


# --- SSH ------------------------------------------------------------------------------------------


class Guard(asyncssh.SSHServer):
    def __init__(self, machine: Junos) -> None:
        self._machine = machine

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        if self._machine.faults.get("deaf"):
            conn.abort()

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD) and not self._machine.fault("deny_login")


async def converse(machine: Junos, process: asyncssh.SSHServerProcess[str], session: int) -> None:
    """One NETCONF session until it is closed or cut."""
    who = f"{USER} netconf-{session}"
    process.stdout.write(HELLO.format(session=session) + END)
    try:
        await process.stdin.readuntil(END)
        while True:
            request = etree.fromstring((await process.stdin.readuntil(END)).removesuffix(END).encode())
            with machine.lock:
                machine.tick()
                machine.hear(_heard(request[0]))
                try:
                    inside = machine.call(who, request[0])
                except Fault as error:
                    inside = _error(str(error))
            number = request.get("message-id")
            head = f'<rpc-reply xmlns="urn:ietf:params:xml:ns:netconf:base:1.0" message-id="{number}">'
            process.stdout.write(f"{head}{inside}</rpc-reply>{END}")
            if etree.QName(request[0]).localname == "close-session":
                break
    except (asyncio.IncompleteReadError, ConnectionAbortedError, BrokenPipeError, asyncssh.Error):
        process.channel.get_connection().abort()
    finally:
        with machine.lock:
            machine.leave(who)
        process.exit(0)


def _heard(rpc: etree._Element) -> str:
    """One RPC as the transcript has it: its name, what it says, and the text that it loads, line by line."""
    said = [f"{name}={text}" for name, text in rpc.attrib.items()]
    said += [f"{etree.QName(one).localname}{'=' + one.text if one.text else ''}" for one in rpc]
    return " ".join([etree.QName(rpc).localname, *said])


async def _serve(machine: Junos, directory: Path, handle: int, address: str, port: int) -> None:
    key, public = host_key(directory)
    sessions = iter(range(1, 1 << 30))

    async def start(process: asyncssh.SSHServerProcess[str]) -> None:
        if process.subsystem != "netconf":
            process.exit(1)
            return
        await converse(machine, process, next(sessions))

    server = await asyncssh.listen(
        address, port, server_host_keys=[str(key)], server_factory=lambda: Guard(machine), process_factory=start
    )
    announce(directory, handle=handle, port=server.get_port(), host_key=public, user=USER, password=PASSWORD)
    await server.wait_closed()


def serve(name: str, directory: Path, arguments: list[str]) -> None:
    """arguments: "srx" for a security device, or a file with the first configuration's set lines, NETCONF's port and
    address, and, as JSON, the namespace's names of the device's interfaces: then packets go as what is committed says.
    """
    is_secure = "srx" in arguments
    given = [] if is_secure else arguments
    first, port, address, names = (*given, *("", "0", "127.0.0.1", "")[len(given) :])
    machine = Junos(name, is_secure, Path(first).read_text() if first else "")
    if names:
        machine.cable(names, machine.plane)
    handle = serve_handle(machine).server_address[1]
    asyncio.run(_serve(machine, directory, int(handle), address, int(port)))
