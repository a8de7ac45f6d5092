# SPDX-License-Identifier: Apache-2.0
"""Network namespaces of one lab: made in one batch, emptied of processes, removed.

Called by `lab.network`. It ends only processes that live in namespaces it is given.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from lab.command import CommandError, inside, run

FOLDER = Path("/run/netns")
CLONE_NEWNET = 0x40000000
END_S = 5.0


def create(names: Collection[str]) -> None:
    """Errors: CommandError, also if one exists already."""
    batch(f"netns add {name}" for name in names)


def batch(lines: Iterable[str]) -> None:
    """One `ip -batch` for all lines. Errors: CommandError, which names the line."""
    run(["ip", "-batch", "-"], text="\n".join(lines) + "\n")


def batch_in(namespace: str, lines: Iterable[str]) -> None:
    """The same inside a namespace."""
    run(["ip", "-n", namespace, "-batch", "-"], text="\n".join(lines) + "\n")


def script(namespace: str, text: str) -> None:
    """A shell script inside a namespace. Errors: CommandError."""
    run(inside(namespace, ["sh", "-s"]), text=text)


def enter(namespace: str) -> None:
    """Move this thread, for good, into a namespace: setns(2). Errors: OSError."""
    with (FOLDER / namespace).open() as handle:
        library = ctypes.CDLL(None, use_errno=True)
        if library.setns(handle.fileno(), CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), namespace)


def processes(names: Collection[str]) -> dict[int, str]:
    """Process id -> namespace, for every process in one of these. One pass over /proc."""
    wanted: dict[tuple[int, int], str] = {}
    for name in names:
        try:
            found = (FOLDER / name).stat()
        except FileNotFoundError:
            continue
        wanted[found.st_dev, found.st_ino] = name
    result: dict[int, str] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            place = os.stat(f"/proc/{entry.name}/ns/net")
        except OSError:  # ended meanwhile, or not ours to look at
            continue
        if (place.st_dev, place.st_ino) in wanted:
            result[int(entry.name)] = wanted[place.st_dev, place.st_ino]
    result.pop(os.getpid(), None)
    return result


def empty(names: Collection[str]) -> None:
    """End every process in these namespaces and wait until they are gone. Errors: CommandError."""
    deadline = time.monotonic() + END_S
    while found := processes(names):
        for number in found:
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise CommandError(f"processes {sorted(found)} in {sorted(set(found.values()))} do not end")
        time.sleep(0.005)


def remove(names: Iterable[str]) -> None:
    """Delete the namespaces that exist; their interfaces go with them."""
    lines = [f"netns del {name}" for name in names if (FOLDER / name).exists()]
    if lines:
        batch(lines)
