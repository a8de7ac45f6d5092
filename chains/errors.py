# SPDX-License-Identifier: Apache-2.0
"""What services and selectors raise when a request cannot be met. Rendered as problem+json by the project."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """field: dotted path into the request body ("hops.0.policy.rules.2"), "" for the whole."""

    field: str
    code: str
    detail: str


class Problem(Exception):
    """status: HTTP status. code: stable, lower-case with hyphens. detail: the cause and the fix."""

    status = 400
    code = "invalid"

    def __init__(self, detail: str, *, code: str = "", errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.code
        self.errors = errors


class Invalid(Problem):
    """The request is well-formed but makes no sense."""


class NotFound(Problem):
    """No such object, or it is another tenant's: the two must look the same."""

    status = 404
    code = "not-found"


class Forbidden(Problem):
    status = 403
    code = "forbidden"


class Conflict(Problem):
    """The object is not in the state that the request needs."""

    status = 409
    code = "conflict"
