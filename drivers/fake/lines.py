# SPDX-License-Identifier: Apache-2.0
"""What fake devices say over a socket: one JSON object a line, of bounded length. Pure; both ends use it.

A request is {"call": NAME, ...}, a reply {"value": ...} or {"refused": TEXT}. A device that does not answer closes
the connection instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drivers.base import Counter, Observation
from drivers.codec import state_from_json, state_to_json
from drivers.state import Key

MAX_LINE_BYTES = 16 * 1024 * 1024


def pack(message: Mapping[str, Any]) -> bytes:
    """With its line feed. Errors: ValueError if it is too long to be sent."""
    line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"{len(line)} octets are more than {MAX_LINE_BYTES}")
    return line


def unpack(line: bytes) -> dict[str, Any]:
    """Errors: ValueError unless it is one JSON object."""
    try:
        message = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message


def observation_to_json(seen: Observation) -> dict[str, Any]:
    return {
        "state": state_to_json(seen.state),
        "counters": {str(key): [it.packets, it.octets, it.dropped] for key, it in seen.counters.items()},
        "links_up": dict(seen.links_up),
        "foreign": seen.foreign,
        "attached": list(seen.attached),
        "pending": seen.pending,
        "is_saved": seen.is_saved,
    }


def observation_from_json(data: Mapping[str, Any]) -> Observation:
    """Inverse of `observation_to_json`. Errors: ValueError, KeyError, TypeError, AttributeError."""
    return Observation(
        state=state_from_json(data["state"]),
        counters={Key.parse(key): Counter(*map(int, values)) for key, values in data["counters"].items()},
        links_up={str(port): bool(is_up) for port, is_up in data["links_up"].items()},
        foreign=int(data["foreign"]),
        attached=tuple(str(line) for line in data["attached"]),
        pending=str(data["pending"]),
        is_saved=bool(data["is_saved"]),
    )
