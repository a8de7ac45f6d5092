# SPDX-License-Identifier: Apache-2.0
"""The one shape of every error under /api and /health: application/problem+json (RFC 9457).

    {"type": "urn:viaduct:invalid", "title": "Bad Request", "status": 400, "detail": "...",
     "errors": [{"field": "hops.0.policy", "code": "required", "detail": "..."}]}

Named by the settings and the addresses. Pages keep Django's own error pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied
from django.core.exceptions import ValidationError as ModelValidationError
from django.db.models import ProtectedError, RestrictedError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from django.views.csrf import csrf_failure as csrf_failure_page
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from chains.errors import FieldError, Problem

CONTENT_TYPE = "application/problem+json"
WHOLE_BODY = ("non_field_errors", NON_FIELD_ERRORS)


def body(status: int, code: str, detail: str, errors: Sequence[FieldError] = ()) -> dict[str, Any]:
    return {
        "type": f"urn:viaduct:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "errors": [{"field": error.field, "code": error.code, "detail": error.detail} for error in errors],
    }


def problem(status: int, code: str, detail: str) -> HttpResponse:
    return JsonResponse(body(status, code, detail), status=status, content_type=CONTENT_TYPE)


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's exception handler. None for what is no reply: that becomes a 500 without its text."""
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    headers: dict[str, str] = {}
    if isinstance(error, Problem):
        content = body(error.status, error.code, error.detail, error.errors)
    elif isinstance(error, ModelValidationError):
        content = _invalid(tuple(_model_errors(error)))
    elif isinstance(error, ProtectedError | RestrictedError):
        content = body(409, "in-use", "Other objects still refer to this one. Fix: remove them first.")
    elif isinstance(error, exceptions.ValidationError):
        content = _invalid(tuple(flatten(error.detail)))
    elif isinstance(error, exceptions.APIException):
        code = str(error.get_codes() if isinstance(error.detail, str) else error.default_code)
        content = body(error.status_code, code.replace("_", "-"), str(error.detail))
        if getattr(error, "auth_header", None):
            headers["WWW-Authenticate"] = error.auth_header
        if getattr(error, "wait", None):
            headers["Retry-After"] = f"{error.wait:.0f}"
    else:
        return None
    set_rollback()
    return Response(content, status=content["status"], headers=headers, content_type=CONTENT_TYPE)


def _invalid(errors: Sequence[FieldError]) -> dict[str, Any]:
    count = len(errors)
    detail = errors[0].detail if count == 1 else f"{count} values are not valid."
    return body(400, "invalid", detail, errors)


def flatten(detail: Any, path: tuple[str, ...] = ()) -> Iterator[FieldError]:
    """REST framework's nested dicts and lists -> dotted paths into the request body."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            yield from flatten(inner, path if name in WHOLE_BODY else (*path, str(name)))
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            # A list of texts belongs to one field; a list of dicts has one entry for each element sent.
            yield from flatten(inner, path if isinstance(inner, str) else (*path, str(index)))
    else:
        code = str(getattr(detail, "code", "invalid")).replace("_", "-")
        yield FieldError(".".join(path), code, str(detail))


def _model_errors(error: ModelValidationError) -> Iterator[FieldError]:
    if not hasattr(error, "error_dict"):
        for inner in error.error_list:
            yield FieldError("", (inner.code or "invalid").replace("_", "-"), inner.messages[0])
        return
    for name, inner_errors in error.error_dict.items():
        for inner in inner_errors:
            field = "" if name in WHOLE_BODY else name
            yield FieldError(field, (inner.code or "invalid").replace("_", "-"), inner.messages[0])


def _wants_json(request: HttpRequest) -> bool:
    return request.path.startswith(("/api/", "/health/"))


def api_not_found(request: HttpRequest, rest: str = "") -> HttpResponse:
    """Catches what no address under /api takes, so that a missing slash is not answered with a redirect."""
    return problem(404, "not-found", "No such address.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _wants_json(request):
        return problem(404, "not-found", "Not found.")
    return defaults.page_not_found(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _wants_json(request):
        return problem(400, "bad-request", "The request could not be read.")
    return defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _wants_json(request):
        return problem(403, "forbidden", "Not allowed.")
    return defaults.permission_denied(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if _wants_json(request):
        return problem(500, "internal", "It failed here. The log knows this request by its X-Request-ID.")
    return defaults.server_error(request)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    if _wants_json(request):
        return problem(403, "csrf", "The request carries a session but no valid CSRF token.")
    return csrf_failure_page(request, reason)
