# SPDX-License-Identifier: Apache-2.0
"""How a state looks: every word that a status may have -> tone and icon.

Used by the template tags, which always show the word as well: status is never by colour alone. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Look:
    """tone: ok, warn, bad, info or idle (a CSS class `is-<tone>`). icon: a name in the sprite."""

    tone: str
    icon: str
    is_moving: bool = False


OK = Look("ok", "circle-check")
WAITING = Look("info", "clock")
MOVING = Look("info", "loader-2", is_moving=True)
WARNING = Look("warn", "alert-triangle")
REVERTED = Look("warn", "arrow-back-up")
BAD = Look("bad", "alert-octagon")
UNKNOWN = Look("idle", "help-circle")

LOOKS: Mapping[str, Look] = MappingProxyType(
    {
        "draft": Look("idle", "pencil"),
        "pending": WAITING,
        "applying": MOVING,
        "ready": OK,
        "degraded": WARNING,
        "error": BAD,
        "unknown": UNKNOWN,
        "refused": Look("bad", "ban"),
        "applied": OK,
        "stale": Look("idle", "history"),
        "waiting": Look("warn", "clock"),
        "cancelled": Look("idle", "ban"),
        "running": MOVING,
        "succeeded": OK,
        "reverting": Look("warn", "loader-2", is_moving=True),
        "reverted": REVERTED,
        "failed": BAD,
        "sent": MOVING,
        "done": OK,
        "in_sync": OK,
        "drifted": Look("warn", "git-compare"),
        "unreachable": Look("bad", "plug-connected-x"),
        "idle": Look("idle", "clock"),
        "flows": OK,
        "denied": Look("info", "ban"),
        "lost": BAD,
        "swallowed": BAD,
        "shut": Look("bad", "ban"),
        "up": OK,
        "down": Look("bad", "circle-x"),
        "info": Look("info", "info-circle"),
        "warning": WARNING,
        "critical": BAD,
        "missing": Look("bad", "circle-minus"),
        "altered": Look("warn", "git-compare"),
        "orphaned": Look("warn", "circle-plus"),
        "open": WARNING,
        "closed": OK,
        "low": OK,
        "medium": Look("warn", "alert-triangle"),
        "high": BAD,
        "holds": OK,
        "violated": BAD,
        "draining": Look("warn", "logout"),
        "deleting": Look("warn", "trash"),
        "proposed": Look("info", "clipboard-check"),
        "in force": OK,
        "past": Look("idle", "history"),
    }
)
REALM_ICONS: Mapping[str, str] = MappingProxyType(
    {"switch": "switch", "appliance": "server-2", "host": "device-desktop", "external": "world"}
)


ANSWERS: Mapping[str, str] = MappingProxyType({"true": "yes", "false": "no", "unknown": "unknown"})
# A no that is nobody's trouble: it is not asked for yet, or on its way.
CALM_REASONS = frozenset({"never-applied", "edited", "deleting", "change-under-way", "nothing-to-do"})


def look_of_condition(kind: str, answer: str, reason: str) -> Look:
    """An answer of a chain's condition. That something moves is neither good nor bad."""
    if answer == "unknown":
        return UNKNOWN
    if kind == "progressing" and answer == "true":
        return MOVING
    if answer == "true":
        return OK
    if reason in CALM_REASONS:
        return Look("idle", "circle-dashed")
    return WAITING if reason.startswith("waits") else BAD if reason == "parked" else WARNING


def look_of(word: str) -> Look:
    """A word that nobody foresaw looks unknown, and is shown as it is."""
    return LOOKS.get(word, UNKNOWN)
