# SPDX-License-Identifier: Apache-2.0
"""Fake devices as files, so that several processes see the same ones. Called by `drivers.fake.box` only.

A process that is killed at any moment leaves the device as it was before or after, never half.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from drivers.base import Rejected
from drivers.fake.device import Box

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@contextmanager
def stored(name: str, folder: str, clock: Callable[[], float]) -> Iterator[Box]:
    """The device, locked for as long as the block runs; what the block changes is kept, also when it raises.

    Errors: Rejected if the name cannot be a file's.
    """
    if NAME.fullmatch(name) is None:
        raise Rejected(f"{name[:80]!r} is no name of a device")
    path = Path(folder) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    # The lock is a file of its own: the device's file is replaced as a whole.
    with open(path.parent / f"{name}.lock", "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        held = Box.load(text) if text else Box()
        held.wake(clock())
        try:
            yield held
        finally:
            after = held.dump()
            if after != text:
                draft = path.parent / f"{name}.draft"
                draft.write_text(after, encoding="utf-8")
                os.replace(draft, path)
