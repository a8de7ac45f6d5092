# SPDX-License-Identifier: Apache-2.0
"""Request bodies, read strictly: bounded, and only what PostgreSQL and every JSON reader can hold.

Called by the framework when a view reads `request.data`. It knows no resource. Errors: ParseError (400),
TooLarge (413).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

from chains.fabric.nodes import MAX_OCTETS

MAX_BODY_OCTETS = 1 << 20
MAX_DEPTH = 16
MAX_INTEGER = (1 << 63) - 1  # PostgreSQL's bigint


class TooLarge(APIException):
    """RFC 9110 section 15.5.14."""

    status_code = 413
    default_code = "too-large"


def read_bounded(stream: Any, limit_octets: int) -> bytes:
    """The whole stream. Errors: TooLarge if there is more than the limit, whatever the headers claimed."""
    body: bytes = stream.read(limit_octets + 1)
    if len(body) > limit_octets:
        raise TooLarge(f"The body is larger than {limit_octets} octets.")
    return body


def plain_text(text: str) -> bool:
    """Can PostgreSQL and UTF-8 hold it? NUL and lone surrogates cannot be stored or sent."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


class StrictJsonParser(BaseParser):
    """JSON as RFC 8259 and I-JSON (RFC 7493) have it: UTF-8, no duplicate names, no NaN, numbers that fit."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        body = read_bounded(stream, MAX_BODY_OCTETS)
        try:
            value = json.loads(
                body.decode("utf-8"),
                object_pairs_hook=_object,
                parse_constant=_constant,
                parse_int=_integer,
                parse_float=_float,
            )
        except UnicodeDecodeError:
            raise ParseError("The body is not UTF-8.") from None
        except RecursionError:
            raise ParseError(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
        except json.JSONDecodeError as error:
            raise ParseError(f"The body is not JSON: {error.msg} at line {error.lineno}.") from None
        _check(value, MAX_DEPTH)
        return value


class YamlParser(BaseParser):
    """A fabric file (RFC 9512), handed on as text: its own reader parses it and names lines."""

    media_type = "application/yaml"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> str:
        body = read_bounded(stream, MAX_OCTETS)
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            raise ParseError("The body is not UTF-8.") from None
        if not plain_text(text):
            raise ParseError("The body holds a NUL character.")
        return text


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ParseError("The body has an object with the same name twice.")
    return found


def _constant(name: str) -> NoReturn:
    raise ParseError(f"{name} is not JSON.")


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) > MAX_INTEGER:
        raise ParseError("The body has a number that does not fit into 64 bits.")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ParseError("The body has a number that is too large.")
    return number


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        if not plain_text(value):
            raise ParseError("The body has a text with a NUL or a lone surrogate.")
    elif isinstance(value, Mapping | list):
        if depth == 0:
            raise ParseError(f"The body is nested deeper than {MAX_DEPTH} levels.")
        inner = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
        for each in inner:
            _check(each, depth - 1)
