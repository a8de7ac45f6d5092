# SPDX-License-Identifier: Apache-2.0
"""What the families that NAPALM drives say of themselves in the same words. Pure; called by their one session."""

from __future__ import annotations

import re

# The head of a running configuration: when it was printed, how long it is, by whom it was changed last.
VOLATILE = re.compile(
    r"!! IOS XR Configuration"
    r"|!!? ?(Last configuration change|Time:|NVRAM config last|Running configuration last done|Command: |device: "
    r"|Startup-config last modified)"
    r"|Building configuration|Current configuration ?:|## Last (commit|changed):|ntp clock-period "
)


def configured(running: str) -> str:
    """A running configuration without the lines in which devices print times and sizes."""
    return "".join(f"{line}\n" for line in running.splitlines() if not VOLATILE.match(line))


TLS = "its TLS certificate is signed by the authority of its credential"
SSH = "its SSH host key is the known one"
UNVERIFIED = "not verified: its setting unverified is yes"
