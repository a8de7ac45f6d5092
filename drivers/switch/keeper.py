# SPDX-License-Identifier: Apache-2.0
"""Starts a program again whenever it dies, and lets it know when nobody does so any more.

Called by `drivers.switch.prober`: what it left on a switch must not outlive both. The program's standard input is a
pipe that ends when the keeper does, however it died. It must not know what the program does.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

AGAIN_S = 0.2
# One that dies at once is broken: it is not started more often than this.
SHORTEST_S = 2.0
END_S = 10.0


def keep(argv: Sequence[str]) -> int:
    """Until SIGTERM or SIGINT, which the program gets too. Its exit status, or 1 if it had to be killed."""
    is_over, child = False, None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal is_over
        is_over = True
        if child is not None:
            child.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    status = 0
    while not is_over:
        began_s = time.monotonic()
        child = subprocess.Popen(argv, stdin=subprocess.PIPE)
        if is_over:  # the signal came while there was nobody to hand it to
            child.terminate()
        while (ended := _status(child)) is None and not is_over:
            continue
        status = _ended(child) if ended is None else ended
        if not is_over:
            sys.stderr.write(f"keeper: it died ({status}) and is started again\n")
            time.sleep(AGAIN_S if time.monotonic() > began_s + SHORTEST_S else SHORTEST_S)
    return status


def _status(child: subprocess.Popen[bytes]) -> int | None:
    """None while it lives; looked at often, as a signal does not end a wait (PEP 475)."""
    try:
        return child.wait(0.2)
    except subprocess.TimeoutExpired:
        return None


def _ended(child: subprocess.Popen[bytes]) -> int:
    try:
        return child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return 1
