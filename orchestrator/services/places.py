# SPDX-License-Identifier: Apache-2.0
"""Where an instance keeps its files: the state folder, and the places outside it when that one will not do.

Called by the other modules of this package and by the settings. It creates only private folders, and never
changes the permissions of a folder that it did not create.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SOCKET_PATH_BYTES = 107  # sun_path of unix(7), less the final zero byte


class ServiceError(Exception):
    """An embedded service cannot run here. The text names the cause and the fix, in one line."""


def state_folder() -> Path:
    """The folder of this instance: VIADUCT_STATE, else var/ of the checkout. Absolute; need not exist yet."""
    return Path(os.environ.get("VIADUCT_STATE") or CHECKOUT / "var").absolute()


def is_reachable_by_all(folder: Path) -> bool:
    """May any user enter `folder`? Parents that do not exist yet are made by us, enterable."""
    existing = (parent for parent in (folder, *folder.parents) if parent.exists())
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in existing)


def make_private(folder: Path, owner: int | None = None) -> Path:
    """Create `folder` with mode 0700, or accept it if it is already ours.

    Errors: ServiceError if someone else owns it, as anyone may create folders under a shared temporary one.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if owner is not None and folder.lstat().st_uid != owner:
        os.chown(folder, owner, -1, follow_symlinks=False)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != (os.geteuid() if owner is None else owner):
        raise ServiceError(f"{folder} belongs to someone else. Fix: remove it")
    folder.chmod(0o700)
    return folder


def mark(state: Path) -> str:
    """A short name for `state`, the same at every start, for what must lie outside it."""
    return hashlib.sha256(os.fsencode(state)).hexdigest()[:12]


def socket_folder(preferred: Path, longest_name: str) -> Path:
    """`preferred`, unless a socket's path there would exceed what the kernel takes; then a short folder."""
    if len(os.fsencode(preferred / longest_name)) <= SOCKET_PATH_BYTES:
        return preferred
    return Path(tempfile.gettempdir()) / f"viaduct-{os.geteuid()}-{mark(preferred)}"
