# SPDX-License-Identifier: Apache-2.0
"""A file that is replaced as a whole. Called by `router`, on the router. Standard library only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

MODE = 0o640


def replaced(file: Path, text: str) -> None:
    """The file holds this text, or what it held before: whatever fails, and wherever the power goes.

    Owner and mode stay; a new file belongs to its folder's owner. Errors: OSError, and then it is as it was.
    """
    place = file.resolve()
    try:
        held = place.stat()
        mode = held.st_mode & 0o7777
    except FileNotFoundError:
        held, mode = place.parent.stat(), MODE
    handle, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
    try:
        with os.fdopen(handle, "w") as new:
            new.write(text)
            new.flush()
            os.fchown(new.fileno(), held.st_uid, held.st_gid)
            os.fchmod(new.fileno(), mode)
            os.fsync(new.fileno())
        os.replace(name, place)
    except BaseException:
        os.unlink(name)
        raise
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
