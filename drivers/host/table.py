# SPDX-License-Identifier: Apache-2.0
"""The agent's hold on this host's table `inet viaduct`: read it, and change it one generation at a time.

Called by the daemon only. Every change is one nft transaction, so a crash at any moment leaves the old
or the new rule set. The generation is counted up on disk before nft runs, so no request is ever good twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import Any

from drivers.base import Observation
from drivers.host.enrolment import write_file
from drivers.nftables import render_base
from drivers.nftables_grammar import refused_line
from drivers.nftables_objects import Realm
from drivers.nftables_parse import parse

GENERATION_FILE, SAVED_FILE = "generation", "table.nft"
NFT_TIMEOUT_S = 20.0
_VOLATILE = re.compile(r'"(handle|packets|bytes)": \d+')
# netdevice(7).
_SIOCGIFFLAGS, _IFF_RUNNING = 0x8913, 0x40


class Refused(Exception):
    """The text is outside the grammar, or nft refused it."""


class Stale(Exception):
    """The request was made for another state of this host than the one it has: read again."""


class Table:
    """One per process; changes are made one after the other."""

    def __init__(self, state: Path) -> None:
        self._file = state / GENERATION_FILE
        self._saved = state / SAVED_FILE
        self._lock = threading.Lock()
        self._nft = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "nft"
        self.generation = int(self._file.read_text()) if self._file.exists() else 0

    def prepare(self) -> None:
        """Make the base of the table; what is there stays. After a reboot: what was there. Errors: Refused."""
        if self._saved.exists() and not self.listing():
            self._change(self._saved.read_text())
        self._change(render_base(Realm.HOST))

    def listing(self) -> str:
        """The table as nft's JSON, "" if there is none. Errors: Refused."""
        done = self._run("-j", "list", "table", "inet", "viaduct")
        if done.returncode == 0:
            return done.stdout
        if "No such file or directory" in done.stderr:
            return ""
        raise Refused(done.stderr.strip())

    def read(self) -> tuple[Observation, int, str]:
        """Items and counters, generation, digest: of one moment. Errors: Refused, drivers.base.Rejected."""
        with self._lock:
            text = self.listing()
            return parse(text, Realm.HOST, {}), self.generation, digest(text)

    def validate(self, native: str) -> None:
        """Without effect. Errors: Refused."""
        self._check(native)
        self._must_be_ours(self.listing())
        done = self._run("-c", "-f", "-", text=native)
        if done.returncode != 0:
            raise Refused(done.stderr.strip())

    def apply(self, native: str, generation: int, base: str) -> tuple[int, str]:
        """Make the changes if this host still is at `generation` and holds what `base` is the digest of.

        Returns the new generation and digest. Errors: Refused, Stale; then nothing has changed.
        """
        self._check(native)
        with self._lock:
            listing = self.listing()
            self._must_be_ours(listing)
            if generation != self.generation or base != digest(listing):
                raise Stale(f"this host is at generation {self.generation}; read its state again")
            write_file(self._file, str(generation + 1).encode())
            self.generation = generation + 1
            self._change(native)
            self._save()
            return self.generation, digest(self.listing())

    def foreign(self) -> int:
        """How many tables of others there are."""
        done = self._run("-j", "list", "tables")
        entries: list[dict[str, Any]] = json.loads(done.stdout)["nftables"] if done.returncode == 0 else []
        tables = [entry["table"] for entry in entries if "table" in entry]
        return sum((one["family"], one["name"]) != ("inet", "viaduct") for one in tables)

    def _must_be_ours(self, listing: str) -> None:
        """Where somebody else has put something into the table, nothing is written. Errors: Refused."""
        strangers = parse(listing, Realm.HOST, {}).attached
        if strangers:
            raise Refused(f"{', '.join(strangers)[:400]} is not ours; remove it")

    def _save(self) -> None:
        """Keep the rule set for the next boot, so that the host does not come up without it."""
        done = self._run("--stateless", "list", "table", "inet", "viaduct")
        if done.returncode == 0:
            write_file(self._saved, done.stdout.encode())

    def _check(self, native: str) -> None:
        number = refused_line(native, Realm.HOST)
        if number:
            raise Refused(f"line {number} is not something that this agent may do")

    def _change(self, native: str) -> None:
        done = self._run("-f", "-", text=native)
        if done.returncode != 0:
            raise Refused(done.stderr.strip())

    def _run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self._nft, *arguments], input=text, text=True, capture_output=True, timeout=NFT_TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Refused(f"could not run nft ({type(error).__name__}); is nftables installed?") from error


def digest(listing: str) -> str:
    """Of what the table holds, whatever its counters and handles are."""
    return hashlib.sha256(_VOLATILE.sub("", listing).encode()).hexdigest()


def links_up() -> dict[str, bool]:
    """Interface -> has it a carrier? Asked by ioctl: /sys may be mounted for another network namespace."""
    links = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for _, name in socket.if_nameindex():
            request = struct.pack("16sH22x", name.encode(), 0)
            try:
                flags = struct.unpack("16sH22x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
            except OSError:
                # The interface went away since the list was made.
                continue
            links[name] = bool(flags & _IFF_RUNNING)
    return links
