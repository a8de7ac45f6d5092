# SPDX-License-Identifier: Apache-2.0
"""OpenFlow 1.4 to one bridge, spoken by Open vSwitch's own client `ovs-ofctl`.

Called by `drivers.switch.openvswitch`. Runs the program with an argument list and text on standard
input, never a shell; the endpoint must be an address. It must not interpret flows.
"""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from drivers.base import Rejected, Transient
from drivers.transport.endpoint import credential, parse

PROGRAM = "ovs-ofctl"
# What the program says when it could not talk to the switch, as opposed to what the switch refused.
_UNREACHABLE = re.compile(
    r"connection refused|connection reset|connection dropped|timed out|no route to host|host is down"
    r"|network is unreachable|network is down|broken pipe|end of file|alarm clock",
    re.IGNORECASE,
)
# A refusal by the switch wins over a connection that it then closed.
_REFUSED = re.compile(r"OFPT_ERROR|^Error OFP|Protocol error", re.MULTILINE)
_HEAD = re.compile(r"(NXST|OFPST)_\w+ reply")
_DATAPATH = re.compile(r"\bdpid:([0-9a-f]{16})\b")


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to reach one bridge. Each call is one connection; each raises Transient or Rejected."""

    endpoint: str
    options: tuple[str, ...]
    timeout_s: float

    def datapath_id(self) -> str:
        """16 hexadecimal digits."""
        found = _DATAPATH.search(self._run("show", self.endpoint))
        if found is None:
            raise Rejected(f"{self.endpoint}: the switch does not say its datapath id")
        return found[1]

    def dump_flows(self, table: int) -> str:
        """All flows of one table with their counters, ports as numbers."""
        return self._run("--no-names", "dump-flows", self.endpoint, f"table={table}")

    def dump_groups(self) -> str:
        """All groups, whosever they are, ports as numbers."""
        return self._run("--no-names", "dump-groups", self.endpoint)

    def software(self) -> str:
        """What the switch calls its version, "" if it does not say."""
        found = re.search(r"^Software: (.*)$", self._run("dump-desc", self.endpoint), re.MULTILINE)
        return found[1].strip() if found else ""

    def configuration(self) -> str:
        """All flows and groups without counters and times, sorted."""
        lines = [
            line
            for command in ("dump-flows", "dump-groups")
            for line in self._run("--no-names", "--no-stats", command, self.endpoint).splitlines()
            if not _HEAD.match(line)
        ]
        return "".join(f"{line}\n" for line in sorted(line.strip() for line in lines))

    def bundle(self, text: str) -> None:
        """All lines in one atomic, ordered bundle: all take effect between two packets, or none does."""
        self._run("bundle", self.endpoint, "-", text=text)

    def _run(self, *arguments: str, text: str = "") -> str:
        timeout = f"--timeout={math.ceil(self.timeout_s)}"
        command = [PROGRAM, "--protocols=OpenFlow14", timeout, *self.options, *arguments]
        try:
            done = subprocess.run(
                command,
                input=text,
                capture_output=True,
                text=True,
                timeout=self.timeout_s + 1,
                env={"PATH": "/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin", "LC_ALL": "C"},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Transient(f"{self.endpoint}: no answer within {self.timeout_s:g} s") from error
        except FileNotFoundError as error:
            raise Rejected(f"{PROGRAM} is not installed; install the package openvswitch-common") from error
        if done.returncode == 0:
            return done.stdout
        said = done.stderr.strip()[:2000]
        if done.returncode < 0 or (_UNREACHABLE.search(said) and not _REFUSED.search(said)):
            raise Transient(f"{self.endpoint}: {said or 'no answer'}")
        raise Rejected(f"{self.endpoint}: {said or f'{PROGRAM} failed'}")


@contextmanager
def connect(endpoint: str, secret: str, timeout_s: float) -> Iterator[Channel]:
    """endpoint: tcp:ADDRESS:PORT, or ssl:ADDRESS:PORT with a credential. Errors: Rejected if malformed."""
    if not parse(endpoint).is_encrypted:
        yield Channel(endpoint, (), timeout_s)
        return
    with credential(secret) as files:
        options = (
            f"--private-key={files.key}",
            f"--certificate={files.certificate}",
            f"--ca-cert={files.authority}",
        )
        yield Channel(endpoint, options, timeout_s)
