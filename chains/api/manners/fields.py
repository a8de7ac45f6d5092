# SPDX-License-Identifier: Apache-2.0
"""Serializer fields that take one JSON type each and convert nothing, and bodies that refuse unknown names.

The framework's own fields read "1", true and 1.0 as integers and drop what they do not know; an orchestrator
must not guess. Used by the resource modules. No reads, no writes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import TextChoices
from rest_framework import serializers

MAX_UNKNOWN = 20  # how many unknown names one reply lists
NAME_PATTERN = r"\A[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z"


class Address(serializers.HyperlinkedIdentityField):
    """Where the object itself is found. Replies only."""

    def __init__(self, name: str = "", **options: Any) -> None:
        options.pop("view_name", None)
        super().__init__(view_name=f"api:{name.removeprefix('api:')}", lookup_url_kwarg="id", **options)


class Text(serializers.CharField):
    """A JSON string, kept as it is: nothing is trimmed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": False, **options})

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class Name(serializers.RegexField):
    """Lower-case letters, digits and inner hyphens, 1 to 63."""

    def __init__(self, **options: Any) -> None:
        super().__init__(NAME_PATTERN, **{"max_length": 63, "trim_whitespace": False, **options})
        self.error_messages["invalid"] = "Lower-case letters, digits and inner hyphens, 1 to 63."

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class Integer(serializers.IntegerField):
    """A JSON integer within its bounds (64 bits at most: the parser saw to that)."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return int(data)


class Number(serializers.FloatField):
    """A finite JSON number."""

    def to_internal_value(self, data: Any) -> float:
        if not isinstance(data, int | float) or isinstance(data, bool) or not math.isfinite(data):
            self.fail("invalid")
        return float(data)


class Flag(serializers.BooleanField):
    """true or false, nothing else."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return bool(data)


class Choice(serializers.ChoiceField):
    """One of the values, of the same type: 4 is not "4".

    kinds: an enumeration, which the description then names once for all its uses, or plain values.
    blank: "" is a value too.
    """

    def __init__(
        self, kinds: type[TextChoices] | Sequence[Any], *, blank: bool = False, **options: Any
    ) -> None:
        self.component = ""
        values: Sequence[Any] = tuple(kinds)
        if isinstance(kinds, type):
            self.component = kinds.__qualname__.replace(".", "") + ("OrNone" if blank else "")
            values = tuple(kinds.values)
        super().__init__(choices=("", *values) if blank else values, **options)

    def to_internal_value(self, data: Any) -> Any:
        for value in self.choices:
            if type(value) is type(data) and value == data:
                return value
        return self.fail("invalid_choice", input=str(data)[:63])


class Body(serializers.Serializer):  # type: ignore[type-arg]
    """A request body. Unknown and read-only names are errors, not noise."""

    def to_internal_value(self, data: Any) -> Any:
        unknown: dict[str, list[str]] = {}
        if isinstance(data, Mapping):
            known = {name for name, field in self.fields.items() if not field.read_only}
            names = [str(name)[:63] for name in data if name not in known]
            unknown = {name: ["There is no such field."] for name in names[:MAX_UNKNOWN]}
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            if unknown and isinstance(error.detail, dict):
                raise serializers.ValidationError({**error.detail, **unknown}, code="unknown") from None
            raise
        if unknown:
            raise serializers.ValidationError(unknown, code="unknown")
        return value


class Empty(Body):
    """A request that takes no fields."""
