# SPDX-License-Identifier: Apache-2.0
"""A NAPALM driver for FRR on Linux: routing by vtysh, links by ip, classification by nftables, all behind one command.

Anybody who uses NAPALM may take it; Viaduct's box (`drivers.transport.frr`) does. The router runs
`drivers/transport/frr_box`, best as the ForceCommand of the account. The candidate is text with that grammar's
sections, kept here until it is committed; the difference is computed on the router. Replacing a whole configuration is
not offered, a commit that takes itself back neither.

optional_args: port, key_file, known_hosts_file, ssh_strict (default True: no unknown host key), entry (the command
before the verb, for an account without ForceCommand).
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any, NoReturn

import paramiko
from napalm.base import NetworkDriver
from napalm.base.exceptions import (
    CommandErrorException,
    CommitError,
    ConnectAuthError,
    ConnectionException,
    LockError,
    MergeConfigException,
)

from drivers.transport.frr_box.grammar import Refused, sections

REFUSED, BUSY = 3, 4
CHUNK_BYTES = 65536
CONNECT_S = 5.0
_VERSION = re.compile(r"FRRouting (\S+)")


class UnknownHost(paramiko.SSHException):
    """Nobody has said that this host key is the router's."""


class _OnlyKnown(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> NoReturn:
        raise UnknownHost(f"the SSH host key of {hostname} is not in the known_hosts file")


class FRRDriver(NetworkDriver):  # type: ignore[misc]
    """See napalm.base.NetworkDriver for what each method promises."""

    def __init__(
        self,
        hostname: str,
        username: str,
        password: str,
        timeout: int = 60,
        optional_args: dict[str, Any] | None = None,
    ) -> None:
        options = optional_args or {}
        self.hostname, self.username, self.password, self.timeout = hostname, username, password, timeout
        self.port = int(options.get("port") or 22)
        self.key_file = options.get("key_file") or None
        self.known_hosts_file = options.get("known_hosts_file") or ""
        self.is_strict = bool(options.get("ssh_strict", True))
        self.entry = str(options.get("entry") or "")
        self.candidate = ""
        self._client: paramiko.SSHClient | None = None

    def open(self) -> None:
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(_OnlyKnown() if self.is_strict else paramiko.AutoAddPolicy())
        try:
            if self.known_hosts_file and self.is_strict:  # else paramiko writes down whatever key it is shown
                client.load_host_keys(self.known_hosts_file)
            client.connect(
                self.hostname,
                port=self.port,
                username=self.username,
                password=self.password or None,
                key_filename=self.key_file,
                timeout=min(self.timeout, CONNECT_S),
                banner_timeout=self.timeout,
                auth_timeout=self.timeout,
                allow_agent=False,
                look_for_keys=False,
            )
        except (paramiko.BadHostKeyException, UnknownHost):
            client.close()
            raise
        except paramiko.hostkeys.InvalidHostKey as error:
            client.close()
            raise UnknownHost(f"{self.known_hosts_file} cannot be read: a line in it is no host key") from error
        except paramiko.AuthenticationException as error:
            client.close()
            raise ConnectAuthError(f"{self.hostname} refused {self.username}") from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            client.close()
            raise ConnectionException(f"no SSH at {self.hostname} port {self.port}: {error}") from error
        self._client = client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def is_alive(self) -> dict[str, bool]:
        transport = self._client.get_transport() if self._client else None
        return {"is_alive": transport is not None and transport.is_active()}

    def run(self, verb: str, text: str = "") -> str:
        """One verb of the router's command. Errors: ConnectionException, LockError, CommandErrorException."""
        deadline = time.monotonic() + self.timeout
        transport = self._client.get_transport() if self._client else None
        if transport is None:
            raise ConnectionException(f"the SSH connection to {self.hostname} is closed")
        try:
            with transport.open_session(timeout=self.timeout) as channel:
                channel.exec_command(f"{self.entry} {verb}".strip())
                code, output, errors = self._converse(channel, text, deadline)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise ConnectionException(f"lost {self.hostname} during {verb}: {error}") from error
        if code == BUSY:
            raise LockError(errors.strip())
        if code:
            raise CommandErrorException(errors.strip() or f"{verb} ended with {code}")
        return output

    def _converse(self, channel: paramiko.Channel, text: str, deadline: float) -> tuple[int, str, str]:
        channel.settimeout(self.timeout)
        try:
            channel.sendall(text.encode())
            channel.shutdown_write()
        except OSError:
            pass  # refused before it was read: the answer says why
        parts = []
        for receive in (channel.recv, channel.recv_stderr):
            data = bytearray()
            while chunk := self._received(channel, receive, deadline):
                data += chunk
            parts.append(data.decode())
        if not channel.status_event.wait(max(0.0, deadline - time.monotonic())):
            raise TimeoutError("no exit status")
        return channel.recv_exit_status(), parts[0], parts[1]

    @staticmethod
    def _received(channel: paramiko.Channel, receive: Any, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("time-out")
        channel.settimeout(left)
        return bytes(receive(CHUNK_BYTES))

    # --- configuration ------------------------------------------------------------------------

    def load_merge_candidate(self, filename: str | None = None, config: str | None = None) -> None:
        """Nothing goes to the router: what it thinks of the text, `compare_config` asks."""
        text = Path(filename).read_text() if filename else config or ""
        try:
            if text:
                sections(text)
        except Refused as error:
            raise MergeConfigException(str(error)) from error
        self.candidate = text

    def compare_config(self) -> str:
        """Errors: MergeConfigException if the router would not take it."""
        try:
            return self.run("diff", self.candidate).rstrip("\n") if self.candidate else ""
        except CommandErrorException as error:
            raise MergeConfigException(str(error)) from error

    def commit_config(self, message: str = "", revert_in: int | None = None) -> None:
        if message or revert_in is not None:
            raise NotImplementedError("FRR on Linux keeps no commit message and takes nothing back by itself")
        if not self.candidate:
            return
        try:
            self.run("apply", self.candidate)
        except CommandErrorException as error:
            raise CommitError(str(error)) from error
        self.candidate = ""

    def has_pending_commit(self) -> bool:
        return False

    def discard_config(self) -> None:
        self.candidate = ""

    def rollback(self) -> None:
        """All of FRR's configuration, others' work too, as it was before the last commit."""
        self.run("rollback")

    # --- reading ------------------------------------------------------------------------------

    def observed(self) -> str:
        """Everything that the router shows, as JSON text: see `frr_box.router.Router.read`."""
        return self.run("read")

    def get_config(
        self, retrieve: str = "all", full: bool = False, sanitized: bool = False, format: str = "text"
    ) -> dict[str, str]:
        running = json.loads(self.observed())["frr"] if retrieve in ("all", "running") else ""
        candidate = self.candidate if retrieve in ("all", "candidate") else ""
        return {"running": running, "candidate": candidate, "startup": ""}

    def get_facts(self) -> dict[str, Any]:
        facts = json.loads(self.run("facts"))
        found = _VERSION.search(facts["version"])
        return {
            "vendor": "FRRouting",
            "model": "Linux",
            "os_version": found[1] if found else "",
            "hostname": facts["hostname"],
            "fqdn": facts["hostname"],
            "serial_number": "",
            "uptime": facts["uptime"],
            "interface_list": [link["ifname"] for link in facts["links"]],
        }

    def get_interfaces(self) -> dict[str, dict[str, Any]]:
        return {
            link["ifname"]: {
                "is_up": "LOWER_UP" in link["flags"],
                "is_enabled": "UP" in link["flags"],
                "description": link.get("ifalias", ""),
                "last_flapped": -1.0,
                "speed": -1.0,
                "mtu": link["mtu"],
                "mac_address": link.get("address", ""),
            }
            for link in json.loads(self.run("facts"))["links"]
        }
