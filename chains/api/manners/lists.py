# SPDX-License-Identifier: Apache-2.0
"""Lists: which query parameters there are, what they mean, and one page of the answer.

A view declares `Listing`; here its parameters are read strictly (an unknown one is an error: a misspelt filter
must not answer with everything), applied to the selector's rows, and described for OpenAPI by `manners.schema`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet
from rest_framework.request import Request
from rest_framework.utils.urls import remove_query_param, replace_query_param

from chains.api.manners.parsers import plain_text
from chains.errors import FieldError, Invalid

DEFAULT_LIMIT = 50
MAX_LIMIT = 1000
MAX_OFFSET = (1 << 31) - 1
MAX_TEXT = 255


@dataclass(frozen=True, slots=True)
class Filter:
    """One query parameter. path: the ORM lookup, "" if the view itself uses the value.

    kind: text, integer, flag or one of `choices`. A repeated parameter means "or", except for a flag.
    """

    name: str
    path: str = ""
    kind: str = "text"
    choices: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """search: ORM paths that `q` looks into. ordering: public name -> ORM path; default as the view orders."""

    filters: tuple[Filter, ...] = ()
    search: tuple[str, ...] = ()
    ordering: Mapping[str, str] = field(default_factory=dict)
    default: tuple[str, ...] = ("id",)


def names_of(listing: Listing | None, extra: tuple[Filter, ...]) -> frozenset[str]:
    """Every parameter that the view knows."""
    found = {each.name for each in extra}
    if listing is not None:
        found |= {"limit", "offset"} | {each.name for each in listing.filters}
        found |= {"q"} if listing.search else set()
        found |= {"ordering"} if listing.ordering else set()
    return frozenset(found)


def check_names(request: Request, known: frozenset[str]) -> None:
    """Errors: Invalid for an unknown parameter, or for text that could not be stored."""
    errors: list[FieldError] = []
    for name, values in request.query_params.lists():
        label = name[:63] if plain_text(name) else "?"
        if name not in known:
            text = f"There is no query parameter {label!r} here; known: {', '.join(sorted(known)) or 'none'}."
            errors.append(FieldError(label, "unknown", text))
        elif any(len(value) > MAX_TEXT or not plain_text(value) for value in values):
            errors.append(FieldError(label, "invalid", f"At most {MAX_TEXT} characters, without NUL."))
    if errors:
        raise Invalid("The query is not valid.", code="invalid-query", errors=tuple(errors[:20]))


def refuse(name: str, text: str) -> Invalid:
    return Invalid(
        "The query is not valid.", code="invalid-query", errors=(FieldError(name, "invalid", text),)
    )


def values_of(request: Request, parameter: Filter) -> list[Any]:
    """All values of the parameter, converted; [] if it is absent. Errors: Invalid."""
    texts = request.query_params.getlist(parameter.name)
    if parameter.kind == "flag" and len(texts) > 1:
        raise refuse(parameter.name, "Given more than once.")
    return [_converted(parameter, text) for text in texts]


def single(request: Request, name: str, *, default: int, low: int, high: int) -> int:
    """One bounded integer parameter. Errors: Invalid."""
    texts = request.query_params.getlist(name)
    if not texts:
        return default
    if len(texts) > 1 or not re.fullmatch(r"[0-9]{1,19}", texts[0]) or not low <= int(texts[0]) <= high:
        raise refuse(name, f"One integer from {low} to {high}.")
    return int(texts[0])


def select(request: Request, listing: Listing, rows: QuerySet[Any]) -> QuerySet[Any]:
    """The rows that the filters and `q` leave, in the order asked for; ties by id. Errors: Invalid."""
    for parameter in listing.filters:
        values = values_of(request, parameter)
        if values and parameter.path:
            rows = rows.filter(Q(**{f"{parameter.path}__in": values}))
    words = request.query_params.getlist("q") if listing.search else []
    for word in filter(None, words):
        rows = rows.filter(_any(listing.search, word))
    return rows.order_by(*_order(request, listing))


def page(
    request: Request, rows: QuerySet[Any], show: Callable[[Any], Mapping[str, Any]]
) -> Mapping[str, Any]:
    """{"count", "next", "previous", "results"}; `show` turns one row into its JSON form. Errors: Invalid."""
    limit = single(request, "limit", default=DEFAULT_LIMIT, low=1, high=MAX_LIMIT)
    offset = single(request, "offset", default=0, low=0, high=MAX_OFFSET)
    count = rows.count()
    found = list(rows[offset : offset + limit]) if offset < count else []
    address = request.build_absolute_uri()
    following = previous = None
    if offset + limit < count:
        following = _address(address, limit, offset + limit)
    if offset > 0:
        previous = _address(address, limit, max(0, min(offset, count) - limit))
    return {"count": count, "next": following, "previous": previous, "results": [show(row) for row in found]}


def _address(address: str, limit: int, offset: int) -> str:
    address = str(replace_query_param(address, "limit", limit))
    if offset == 0:
        return str(remove_query_param(address, "offset"))
    return str(replace_query_param(address, "offset", offset))


def _any(paths: tuple[str, ...], word: str) -> Q:
    found = Q()
    for path in paths:
        found |= Q(**{f"{path}__icontains": word})
    return found


def _order(request: Request, listing: Listing) -> list[str]:
    asked = [name for text in request.query_params.getlist("ordering") for name in text.split(",")]
    if not listing.ordering or not asked:
        return [*listing.default, "id"]
    found: list[str] = []
    for name in asked:
        path = listing.ordering.get(name.removeprefix("-"))
        if path is None or name.startswith("--"):
            raise refuse(
                "ordering", f"One of {', '.join(sorted(listing.ordering))}, '-' before it to reverse."
            )
        found.append(f"-{path}" if name.startswith("-") else path)
    return [*found, "id"]


def _converted(parameter: Filter, text: str) -> Any:
    if parameter.choices:
        if text not in parameter.choices:
            raise refuse(parameter.name, f"One of {', '.join(parameter.choices)}.")
        return text
    if parameter.kind == "integer":
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise refuse(parameter.name, "An integer.")
        return int(text)
    if parameter.kind == "flag":
        if text not in ("true", "false"):
            raise refuse(parameter.name, "true or false.")
        return text == "true"
    return text
