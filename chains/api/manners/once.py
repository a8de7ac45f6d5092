# SPDX-License-Identifier: Apache-2.0
"""`Idempotency-Key`: a write that is sent again with its key is answered again, and done once.

Called by `manners.views` for every write. Authentication and access come first; what they refuse is not kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import ProtectedError, RestrictedError
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.crypto import salted_hmac
from rest_framework.exceptions import APIException
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from chains.api.authentication import actor_of
from chains.api.manners.moment import in_transaction
from chains.api.manners.trial import WRITES
from chains.errors import Invalid, Problem
from chains.models import ApiToken
from chains.services.replies import Key, Reply, reply_claim, reply_keep

WELL_FORMED = re.compile(r"[!-~]{1,128}")
SALT = "viaduct.asked-once.1"
HEADERS = ("Location", "ETag")
# What is an answer and no accident: kept like any other. Everything else rolls back, key included.
REFUSALS = (
    Problem, APIException, ValidationError, ProtectedError, RestrictedError, Http404, PermissionDenied,
)  # fmt: skip
Handler = Callable[..., HttpResponseBase]


def key_of(request: Request) -> Key | None:
    """Reads the body. Errors: Invalid for a malformed key, ParseError, TooLarge."""
    value = request.headers.get("Idempotency-Key")
    if value is None or request.method not in WRITES:
        return None
    if not WELL_FORMED.fullmatch(value):
        raise Invalid("Idempotency-Key is 1 to 128 visible ASCII characters.", code="invalid-idempotency-key")
    asked = [request.method, request.get_full_path(), request.META.get("CONTENT_LENGTH") in (None, "", "0")]
    text = json.dumps([*asked, request.data], sort_keys=True, separators=(",", ":"))
    # Keyed: a body may hold a secret, which a plain hash in the database would let somebody guess.
    return Key(_owner(request), value, salted_hmac(SALT, text, algorithm="sha256").hexdigest())


def _owner(request: Request) -> str:
    """The token, or the person in the tenant they act in: nobody is answered with what another one asked."""
    tenant = actor_of(request).tenant
    who = f"token:{request.auth.pk}" if isinstance(request.auth, ApiToken) else f"user:{request.user.pk}"
    return f"{who}/tenant:{tenant.pk if tenant else 0}"


def once(
    key: Key, handler: Handler, refuse: Callable[[Exception], Response], *, is_one_moment: bool = False
) -> Handler:
    """The handler, run at most once for the key, in one transaction with the reply that is kept.

    refuse: turns an error into its reply. is_one_moment: the handler's reads are to see one moment.
    """

    def run(request: Request, *names: Any, **values: Any) -> HttpResponseBase:
        def answered() -> HttpResponseBase:
            kept = reply_claim(key)
            if kept is not None:
                return _again(kept)
            try:
                with transaction.atomic():
                    response = handler(request, *names, **values)
            except REFUSALS as error:
                response = refuse(error)
            reply = _reply(response)
            reply_keep(key, reply)
            return _again(reply)

        return in_transaction(answered, is_one_moment=is_one_moment)

    return run


def _reply(response: HttpResponseBase) -> Reply:
    assert isinstance(response, Response), "writes answer with data"
    body = b"" if response.data is None else JSONRenderer().render(response.data)
    headers = {name: response.headers[name] for name in HEADERS if name in response.headers}
    if body:
        headers["Content-Type"] = response.content_type or JSONRenderer.media_type
    return Reply(response.status_code, headers, body)


def _again(reply: Reply) -> HttpResponse:
    response = HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))
    if not reply.body:
        del response.headers["Content-Type"]
    return response
