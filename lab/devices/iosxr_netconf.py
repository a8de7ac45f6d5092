# SPDX-License-Identifier: Apache-2.0
"""NETCONF as IOS-XR speaks it: RFC 6241 over SSH (RFC 6242), chunked after the hello, CLI text in `<cli>`.

Called by `lab.devices.iosxr`. Operations: get-config, edit-config, lock, unlock, commit, cancel-commit,
discard-changes, get-cli-config-diff, get (inventory and interfaces), close-session, kill-session.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from xml.sax.saxutils import escape

import asyncssh
from lxml import etree

from lab.devices.iosxr import Refused, Router

BASE = "urn:ietf:params:xml:ns:netconf:base:1.0"
CLI = "http://cisco.com/ns/yang/Cisco-IOS-XR-cli-cfg"
DIFF = "http://cisco.com/ns/yang/Cisco-IOS-XR-cli-diff-act"
INTERFACES = "http://cisco.com/ns/yang/Cisco-IOS-XR-pfi-im-cmd-oper"
UPTIME = "http://cisco.com/ns/yang/Cisco-IOS-XR-shellutil-oper"
INVENTORY = "http://cisco.com/ns/yang/Cisco-IOS-XR-invmgr-oper"
CAPABILITIES = (
    "urn:ietf:params:netconf:base:1.0",
    "urn:ietf:params:netconf:base:1.1",
    "urn:ietf:params:netconf:capability:candidate:1.0",
    "urn:ietf:params:netconf:capability:rollback-on-error:1.0",
)
CONFIRMED = "urn:ietf:params:netconf:capability:confirmed-commit:1.1"
END = b"]]>]]>"
CHUNK = re.compile(rb"\n#(\d{1,10})\n")
MAX_CHUNK = 4096


class Gone(Exception):
    """The connection ends here."""


class Talk:
    """One session."""

    def __init__(self, router: Router, number: int, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.router, self.number, self.process = router, number, process

    async def run(self) -> None:
        offered = [*CAPABILITIES]
        if "unconfirmed" not in self.router.quirks:
            offered.append(CONFIRMED)
        if "old" not in self.router.quirks:
            offered.append(f"{CLI}?module=Cisco-IOS-XR-cli-cfg&revision=2019-11-11")
        said = "".join(f"<capability>{escape(one)}</capability>" for one in offered)
        hello = f"<capabilities>{said}</capabilities><session-id>{self.number}</session-id>"
        self.process.stdout.write(f'<hello xmlns="{BASE}">{hello}</hello>'.encode() + END)
        await self.process.stdin.readuntil(END)
        while True:
            reply = self._answer(await self._message())
            if reply:
                self._send(reply)
            if reply.endswith(b"<!--bye-->"):
                return

    async def _message(self) -> bytes:
        """RFC 6242 4.2."""
        found = b""
        stream = self.process.stdin
        while True:
            head = await stream.readexactly(3)
            while not head.endswith(b"\n") or len(head) < 4:
                head += await stream.readexactly(1)
            if head == b"\n##\n":
                return found
            size = CHUNK.fullmatch(head)
            if size is None:
                raise Gone
            found += await stream.readexactly(int(size[1]))

    def _send(self, text: bytes) -> None:
        """In chunks: a reply is not one write."""
        for start in range(0, len(text), MAX_CHUNK):
            part = text[start : start + MAX_CHUNK]
            self.process.stdout.write(b"\n#%d\n%b" % (len(part), part))
        self.process.stdout.write(b"\n##\n")

    def _answer(self, text: bytes) -> bytes:
        rpc = etree.fromstring(text, etree.XMLParser(resolve_entities=False, no_network=True))
        head = f'<rpc-reply xmlns="{BASE}" message-id="{escape(rpc.get("message-id", ""))}">'
        asked = rpc[0]
        name = etree.QName(asked).localname
        with self.router.lock:
            self.router.tick()
            self.router.hear(f"<{name}>")
            if self.router.fault("silent"):
                return b""
            is_commit = name in ("commit", "cancel-commit")
            if is_commit and self.router.fault("cut_before_commit"):
                raise Gone
            try:
                body = self._done(name, asked)
            except Refused as error:
                body = (
                    f"<rpc-error><error-type>application</error-type><error-tag>{error.tag}</error-tag>"
                    f"<error-severity>error</error-severity><error-message>{escape(str(error))}</error-message></rpc-error>"
                )
            else:
                if is_commit and self.router.fault("cut_after_commit"):
                    raise Gone
        bye = "<!--bye-->" if name == "close-session" else ""
        return f"{head}{body}</rpc-reply>{bye}".encode()

    def _done(self, name: str, asked: etree._Element) -> str:
        """The reply's inside. Errors: Refused."""
        if name == "get-config":
            return self._config(asked)
        if name == "get-cli-config-diff":
            return f'<cli-diff xmlns="{DIFF}">{escape(self.router.compare())}</cli-diff>'
        if name == "get":
            return f"<data>{self._state()}</data>"
        if name == "commit":
            self._commit(asked)
        else:
            self._simple(name, asked)
        return "<ok/>"

    def _simple(self, name: str, asked: etree._Element) -> None:
        router, number = self.router, self.number
        operations: dict[str, Callable[[], None]] = {
            "edit-config": lambda: router.edit(number, self._lines(asked)),
            "lock": lambda: router.take_lock(number),
            "unlock": lambda: router.drop_lock(number),
            "discard-changes": lambda: router.discard(number),
            "cancel-commit": lambda: router.cancel(number, _value(asked, "persist-id")),
            "kill-session": lambda: router.ended(int(_value(asked, "session-id"))),
            "close-session": lambda: None,
        }
        if name not in operations:
            raise Refused("operation-not-supported", f"{name} is not supported")
        operations[name]()

    def _config(self, asked: etree._Element) -> str:
        if asked.find(f".//{{{CLI}}}cli") is None or "old" in self.router.quirks:
            return "<data/>"
        is_running = asked.find(f"{{{BASE}}}source/{{{BASE}}}running") is not None
        text = self.router.shown(self.router.running if is_running else self.router.candidate)
        return f'<data><cli xmlns="{CLI}">{escape(text)}</cli></data>' if text else "<data/>"

    def _lines(self, asked: etree._Element) -> list[str]:
        payload = asked.find(f".//{{{CLI}}}cli")
        if payload is None or "old" in self.router.quirks:
            raise Refused("unknown-element", "cli")
        if _value(asked, "error-option") != "rollback-on-error":
            raise Refused("bad-element", "error-option: this emulator knows rollback-on-error only")
        return (payload.text or "").splitlines()

    def _commit(self, asked: etree._Element) -> None:
        is_trial = asked.find(f"{{{BASE}}}confirmed") is not None
        if is_trial and "unconfirmed" in self.router.quirks:
            raise Refused("operation-not-supported", "confirmed")
        timeout_s = int(_value(asked, "confirm-timeout") or "600") if is_trial else None
        self.router.commit(
            self.number,
            timeout_s=timeout_s,
            persist=_value(asked, "persist"),
            persist_id=_value(asked, "persist-id"),
        )

    def _state(self) -> str:
        """What NAPALM's get_facts and get_interfaces ask for, both at once."""
        names, states = [], []
        for name, is_up in self.router.interfaces():
            state = "im-state-up" if is_up else "im-state-down"
            names.append(f"<interface><interface-name>{name}</interface-name><description/></interface>")
            states.append(
                f"<interface><interface-name>{name}</interface-name><line-state>{state}</line-state><state>{state}"
                "</state><mac-address><address>0200.0000.00fe</address></mac-address><bandwidth>1000000</bandwidth>"
                "<mtu>1514</mtu></interface>"
            )
        return (
            f'<system-time xmlns="{UPTIME}"><uptime><host-name>{self.router.name}</host-name><uptime>86400</uptime>'
            f'</uptime></system-time><interfaces xmlns="{INTERFACES}"><interfaces>{"".join(names)}</interfaces>'
            f'<interface-xr>{"".join(states)}</interface-xr></interfaces><inventory xmlns="{INVENTORY}"><entities>'
            "<entity><name>Rack 0</name><attributes><inv-basic-bag><software-revision>7.5.2</software-revision>"
            "<model-name>IOS-XRv 9000</model-name><serial-number>EMULATED</serial-number></inv-basic-bag></attributes>"
            "</entity></entities></inventory>"
        )


def _value(asked: etree._Element, name: str) -> str:
    return str(asked.findtext(f".//{{{BASE}}}{name}") or "").strip()


def listen(router: Router, key_file: Path, ready: Callable[[int], None], user: str, password: str) -> None:
    """SSH with the subsystem `netconf` on a free port of loopback. Never returns."""
    numbers = count(101)

    class Server(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, given: str) -> bool:
            with router.lock:
                router.hear("<log-in>")
                return not router.fault("refuse_login") and (username, given) == (user, password)

    async def talk(process: asyncssh.SSHServerProcess[bytes]) -> None:
        session = Talk(router, next(numbers), process)
        try:
            if process.subsystem == "netconf":
                await session.run()
        except (Gone, asyncio.IncompleteReadError, asyncssh.Error, OSError, etree.XMLSyntaxError):
            process.channel.get_connection().abort()
        finally:
            with router.lock:
                router.ended(session.number)
            process.exit(0)

    async def main() -> None:
        server = await asyncssh.create_server(
            Server, "127.0.0.1", 0, server_host_keys=[str(key_file)], process_factory=talk, encoding=None
        )
        ready(server.get_port())
        await asyncio.Event().wait()

    asyncio.run(main())
