# SPDX-License-Identifier: Apache-2.0
"""Reads untrusted plain data (parsed JSON) field by field and collects every error instead of stopping at the first.

Used by `services.chain_data` and `services.policy`. Takes nothing on trust: types, lengths, ranges and
alphabets are checked; what is not known is refused with the nearest name that is.
"""

from __future__ import annotations

import difflib
import ipaddress
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from chains.errors import FieldError, Invalid

PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
PREFIX = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:/[0-9]{1,3})?")


def shown(value: object) -> str:
    """A value fit for an error text: ASCII, one line, short."""
    text = ascii(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


def invalid(errors: Sequence[FieldError], code: str = "") -> Invalid:
    """The one exception for all errors; a single one is told in full."""
    first = errors[0]
    told = f"{first.field}: {first.detail}" if first.field else first.detail
    detail = told if len(errors) == 1 else f"{len(errors)} values are not valid; {told}"
    return Invalid(detail, code=code, errors=tuple(errors))


def nearest(name: str, known: Collection[str]) -> str:
    """ "; did you mean X?" or the list of what is known."""
    close = difflib.get_close_matches(name[:100], sorted(known), 1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"


def is_line(text: str) -> bool:
    """No control, separator, formatting or unassigned character: str.isprintable covers all ten line separators."""
    return text.isprintable()


class Fields:
    """One object of the request. path: where it is in the body; errors: shared by all readers of one request."""

    def __init__(self, data: Any, path: str, errors: list[FieldError], known: Collection[str]) -> None:
        self._path = path
        self._errors = errors
        self._data: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        if not isinstance(data, Mapping):
            self.fail("", "invalid", f"must be an object with {', '.join(known)}, not {shown(data)}")
        # Ten are enough to understand; a body of 100,000 names must not cost 100,000 comparisons.
        for name in itertools.islice(self._data, len(known) + 10):
            if name not in known:
                self.fail(
                    "", "unknown-field", f"there is no field {shown(name)}; {nearest(str(name), known)}"
                )

    def where(self, name: str) -> str:
        return ".".join(part for part in (self._path, name) if part)

    def fail(self, name: str, code: str, detail: str) -> None:
        self._errors.append(FieldError(self.where(name), code, detail))

    def has(self, name: str) -> bool:
        return name in self._data

    def raw(self, name: str) -> Any:
        return self._data.get(name)

    def text(self, name: str, *, default: str | None = None, longest: int = 255) -> str:
        """One line of printable text; required if there is no default."""
        value = self._data.get(name, default)
        if value is None or (value == "" and default is None):
            self.fail(name, "required", "is required")
        elif not isinstance(value, str):
            self.fail(name, "invalid", f"must be text, not {shown(value)}")
        elif len(value) > longest:
            self.fail(name, "too-long", f"is {len(value)} characters long; at most {longest}")
        elif not is_line(value):
            self.fail(name, "invalid", f"has a control, separator or invisible character: {shown(value)}")
        else:
            return value
        return ""

    def integer(self, name: str, low: int, high: int, *, default: int) -> int:
        value = self._data.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(name, "invalid", f"must be a whole number, not {shown(value)}")
        elif not low <= value <= high:
            self.fail(name, "out-of-range", f"must be {low} to {high}")
        else:
            return value
        return default

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.raw(name)
        if value is None and not self.has(name):
            return default
        if not isinstance(value, bool):
            self.fail(name, "invalid", "must be true or false")
            return default
        return value

    def choice(self, name: str, known: Collection[str], *, default: str | None = None) -> str:
        value = self._data.get(name, default)
        if value is None:
            self.fail(name, "required", f"is required; one of {', '.join(known)}")
        elif not isinstance(value, str) or value not in known:
            options = ", ".join(f'"{option}"' for option in known)
            self.fail(name, "invalid", f"must be one of {options}, not {shown(value)}")
        else:
            return value
        return ""

    def entries(self, name: str, low: int, high: int) -> Iterator[tuple[str, Any]]:
        """(path, value) of each entry of a list; nothing is read of a list that is too long."""
        value = self._data.get(name, [])
        if not isinstance(value, list | tuple):
            self.fail(name, "invalid", f"must be a list, not {shown(value)}")
        elif not low <= len(value) <= high:
            self.fail(name, "out-of-range", f"needs {low} to {high} entries, not {len(value)}")
        else:
            for index, entry in enumerate(value):
                yield f"{self.where(name)}.{index}", entry

    def ports(self, name: str, protocol: str) -> str:
        """ "80", "8000-8100" or "" for any, in normal form; only with a protocol that has ports."""
        value = self._data.get(name, "")
        found = PORTS.fullmatch(value) if isinstance(value, str) else None
        if value == "":
            return ""
        if found is None:
            self.fail(name, "invalid", f'must be text like "80" or "8000-8100", not {shown(value)}')
            return ""
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last <= 65535:
            self.fail(name, "out-of-range", "must be 0 to 65535, the lower port first")
        elif (first, last) == (0, 65535):
            return ""
        elif protocol not in ("tcp", "udp", "sctp"):
            self.fail(name, "invalid", "ports need the protocol tcp, udp or sctp")
        else:
            return str(first) if first == last else f"{first}-{last}"
        return ""

    def prefix(self, name: str) -> str:
        """An IPv4 or IPv6 prefix in normal form, "" for any."""
        value = self._data.get(name, "")
        if value == "":
            return ""
        if not isinstance(value, str):
            self.fail(name, "invalid", f"must be text, not {shown(value)}")
            return ""
        prefix, fault = normal_prefix(value)
        if fault:
            self.fail(name, "invalid", fault)
        return prefix


def normal_prefix(text: str) -> tuple[str, str]:
    """(prefix in normal form, "") or ("", what is wrong and the fix). A bare address means that one address."""
    if PREFIX.fullmatch(text) is None:
        return "", f"{shown(text)} is not a prefix such as 10.0.0.0/24 or 2001:db8::/64"
    try:
        return str(ipaddress.ip_network(text)), ""
    except ValueError:
        pass
    try:
        return "", f"{shown(text)} has host bits set; write {ipaddress.ip_network(text, strict=False)}"
    except ValueError:
        return "", f"{shown(text)} is not a prefix such as 10.0.0.0/24 or 2001:db8::/64"
