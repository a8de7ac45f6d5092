# SPDX-License-Identifier: Apache-2.0
"""Many emulated EOS switches in a few processes: a process for each of a hundred is too much for two cores.

`started` is called by `vendors`; `python -m tests.bench.switches FIRST_CONFIGURATION DIRECTORY...` is one of the
processes: a thread of `lab.devices.eos.serve` for each directory, named as its device, until standard input ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab.devices import eos
from lab.devices.process import READY, START_S, Emulated

PROCESSES = 2


@contextmanager
def started(count: int, folder: Path, first: str) -> Iterator[list[Emulated]]:
    """first: the configuration of each. Errors: RuntimeError with what a process printed."""
    file = folder / "first.cfg"
    file.write_text(first)
    directories = [folder / f"leaf{number:03d}" for number in range(1, count + 1)]
    for directory in directories:
        directory.mkdir()
    with ExitStack() as stack:
        pids: dict[Path, int] = {}
        for number in range(min(PROCESSES, count)):
            mine = directories[number::PROCESSES]
            child = stack.enter_context(_child(file, mine, folder / f"log{number}"))
            pids |= dict.fromkeys(mine, child.pid)
        _wait(directories, folder)
        ready = {directory: json.loads((directory / READY).read_text()) for directory in directories}
        yield [Emulated(directory.name, ready[directory], pids[directory]) for directory in directories]


@contextmanager
def _child(first: Path, directories: Sequence[Path], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """It ends with us: standard input is a pipe that nothing is written to."""
    command = [sys.executable, "-m", "tests.bench.switches", str(first), *map(str, directories)]
    with log.open("wb") as said:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        assert child.stdin is not None, "asked for above"
        child.stdin.close()


def _wait(directories: Sequence[Path], folder: Path) -> None:
    deadline = time.monotonic() + START_S
    while not all((directory / READY).exists() for directory in directories):
        if time.monotonic() > deadline:
            said = "".join(log.read_text()[-1000:] for log in sorted(folder.glob("log*")))
            raise RuntimeError(f"the emulated switches did not start: {said}")
        time.sleep(0.05)


def main(arguments: Sequence[str]) -> None:
    first, *directories = arguments
    for directory in map(Path, directories):
        threading.Thread(target=eos.serve, args=(directory.name, directory, [first]), daemon=True).start()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main(sys.argv[1:])
