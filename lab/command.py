# SPDX-License-Identifier: Apache-2.0
"""Running the system's programs: one call, a time limit, and an error that says what failed.

Called by everything in the lab that touches the machine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence


class CommandError(Exception):
    """A program failed, is missing or took too long. The text has its command line and its own words."""


def run(
    argv: Sequence[str],
    *,
    text: str = "",
    check: bool = True,
    timeout_s: float = 30,
    environment: Mapping[str, str] | None = None,
    folder: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run argv with `text` on its standard input. environment: added to ours. Errors: CommandError."""
    try:
        done = subprocess.run(
            list(argv),
            input=text,
            text=True,
            capture_output=True,
            timeout=timeout_s,
            env={**os.environ, **environment} if environment else None,
            cwd=folder,
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandError(f"there is no program {argv[0]}. Fix: ./run doctor names its package") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{' '.join(argv)}: no end after {timeout_s:g} s") from error
    if check and done.returncode:
        words = " | ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise CommandError(f"{' '.join(argv)}: exit {done.returncode}: {words}")
    return done


def inside(namespace: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs argv in a network namespace."""
    return ["ip", "netns", "exec", namespace, *argv]
