# SPDX-License-Identifier: Apache-2.0
"""The kernel's settings that decide whether a router forwards. Called by `router`. Standard library only."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path("/proc/sys")


def sysctls() -> dict[str, int]:
    """By path: whether it forwards, and how each interface filters by reverse path. Errors: OSError, ValueError."""
    names = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"]
    for path in sorted((FOLDER / "net/ipv4/conf").iterdir()):
        names.append(f"net/ipv4/conf/{path.name}/rp_filter")
    return {name: int((FOLDER / name).read_text()) for name in names}
