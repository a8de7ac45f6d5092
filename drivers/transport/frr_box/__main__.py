# SPDX-License-Identifier: Apache-2.0
"""The device's end of the FRR driver: one command that reads and writes what Viaduct owns on an FRR/Linux router.

Copy this folder to the router as /usr/local/lib/viaduct_frr, and make it the ForceCommand of Viaduct's account:
`ForceCommand env PYTHONPATH=/usr/local/lib python3 -m viaduct_frr`. Such a key can then do nothing else. The verb is
the argument, or $SSH_ORIGINAL_COMMAND; text comes on the standard input.

  read      everything that the driver looks at, as one JSON object
  facts     of NAPALM's `get_facts` and `get_interfaces`, as JSON
  check     would this text be taken? nothing changes
  diff      what would change: FRR's part by frr-reload.py, nftables' in an empty network namespace
  apply     do it: links, then FRR, wait for the kernel, then ONE nftables transaction, then what is not kept goes
  save      what is in force and ours, into what this router starts with
  rollback  all of FRR's configuration, and our table, as before the last apply (for NAPALM's `rollback`)
  restore   after a reboot, before interfaces come up: our nftables table as it was, so that the router comes back shut.
            viaduct-frr.service in this folder runs it
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn, TextIO

from .grammar import Refused, sections
from .router import HOOK, Router

REFUSED, BUSY = 3, 4
READER_S = 8.0


def fail(code: int, said: str) -> NoReturn:
    sys.stderr.write(f"{said}\n")
    sys.exit(code)


def _locked(lock: TextIO, within_s: float) -> bool:
    """Whoever reads waits a little for whoever writes."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--pathspace", default="", help="FRR's -N: several FRRs on one machine")
    options.add_argument("--state", type=Path, default=Path("/var/lib/viaduct"))
    options.add_argument("--hook", type=Path, default=HOOK, help="what runs `restore` when this machine starts")
    options.add_argument("verb", nargs="?", default=os.environ.get("SSH_ORIGINAL_COMMAND", ""))
    given = options.parse_args()
    router = Router(given.pathspace, given.state, given.hook)
    verb = given.verb
    if verb not in ("read", "facts", "check", "diff", "apply", "save", "rollback", "restore"):
        fail(REFUSED, "this account reads and writes Viaduct's objects, nothing else")
    try:
        router.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (router.state / "lock").open("w") as lock:
            if not _locked(lock, READER_S if verb in ("read", "facts") else 0.0):
                fail(BUSY, "somebody else is writing to this router")
            if verb in ("check", "diff", "apply"):
                parts = sections(sys.stdin.read())
                said = getattr(router, verb)(parts)
            else:
                said = getattr(router, verb)()
    except Refused as error:
        fail(REFUSED, str(error))
    except (subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
        fail(REFUSED, f"{type(error).__name__}: {error}")
    sys.stdout.write(said if isinstance(said, str) else json.dumps(said))


if __name__ == "__main__":
    main()
