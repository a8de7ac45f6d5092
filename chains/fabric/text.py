# SPDX-License-Identifier: Apache-2.0
"""A document -> its canonical text: one entry a line (devices: a block), defaults left out, canonical order. Pure.

`schema.read(write(document))` is the document again, and writing that gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from chains.fabric.document import Device, Entry, Fabric, canonical

# What every YAML reader takes as text, wherever it stands. All else is quoted.
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
PREFIX = re.compile(r"\d+\.\d+\.\d+\.\d+(?:/\d+)?")
# Text to us, something else to readers of YAML 1.1.
WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
SECTIONS = ("sites", "vrfs", "tenants", "devices", "links", "functions", "prices", "offers", "segments")


def write(fabric: Fabric) -> str:
    """Canonical text, ending with a line feed."""
    fabric = canonical(fabric)
    lines = [f"fabric: {value(fabric.fabric)}"]
    if fabric.management:
        lines.append(f"management: {value(fabric.management)}")
    for section in SECTIONS:
        entries: tuple[Entry, ...] = getattr(fabric, section)
        if entries:
            lines.append(f"{section}:")
            for entry in entries:
                lines.extend(_device(entry) if isinstance(entry, Device) else (f"  - {flow(entry)}",))
    return "\n".join(lines) + "\n"


def _device(device: Device) -> Iterator[str]:
    mark = "- "
    for name, held in told(device).items():
        if name != "ports":
            yield f"  {mark}{name}: {value(held)}"
            mark = "  "
    if device.ports:
        yield "    ports:"
        yield from (f"      - {flow(port)}" for port in device.ports)


def told(entry: Entry) -> dict[str, Any]:
    """The fields that say something: those without a default, and those that differ from it."""
    found = {}
    for field in dataclasses.fields(entry):
        held = getattr(entry, field.name)
        if field.default is not dataclasses.MISSING:
            is_told = held != field.default
        else:
            is_told = bool(held) if field.default_factory is not dataclasses.MISSING else True
        if field.name != "lines" and is_told:
            found[field.name] = held
    if "tenant" in found:
        found["tenant"] = found["tenant"] or None
    return found


def flow(entry: Entry) -> str:
    return value(told(entry))


def value(held: Any) -> str:
    """In flow style."""
    if isinstance(held, Entry):
        return flow(held)
    if isinstance(held, Mapping):
        return "{" + ", ".join(f"{name}: {value(inner)}" for name, inner in held.items()) + "}"
    if isinstance(held, tuple):
        return "[" + ", ".join(value(inner) for inner in held) + "]"
    if held is None:
        return "null"
    if isinstance(held, bool):
        return "true" if held else "false"
    if isinstance(held, float):
        return str(int(held)) if held.is_integer() else repr(held)
    if isinstance(held, int):
        return str(held)
    return text(held)


def text(held: str) -> str:
    """Plain where every reader agrees, else in double quotes (JSON's are YAML's)."""
    if PREFIX.fullmatch(held) or (PLAIN.fullmatch(held) and held.lower() not in WORDS):
        return held
    return json.dumps(held, ensure_ascii=False)
