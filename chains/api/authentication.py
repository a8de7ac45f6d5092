# SPDX-License-Identifier: Apache-2.0
"""Who calls: a bearer token `vdt_<key>.<secret>`, or the session of a person who logged in to the pages.

Named by the settings and by every view. The tenant comes from the token or the membership and from nowhere else.
Doubt means no: what cannot be read is refused, never treated as anonymous.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from chains.errors import Forbidden
from chains.models import ApiToken
from chains.services.actor import Actor, actor_of_token, actor_of_user
from chains.services.tokens import token_find

SESSION_TENANT = "tenant"  # which of a person's tenants the pages show: a membership is looked up each time
REFUSED = "The token is unknown, expired or revoked."


@dataclass(frozen=True, slots=True)
class Caller:
    """What `request.user` is for a token: no person, but authenticated."""

    name: str
    is_authenticated: bool = True
    is_active: bool = True
    is_anonymous: bool = False

    def __str__(self) -> str:
        return self.name


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer vdt_<key>.<secret>` (RFC 6750)."""

    def authenticate(self, request: Request) -> tuple[Caller, ApiToken] | None:
        header = get_authorization_header(request)
        if not header:
            return None
        scheme, _, credentials = header.partition(b" ")
        if scheme.lower() != b"bearer":
            raise AuthenticationFailed("Only bearer tokens are taken here.")
        try:
            plaintext = credentials.strip().decode("ascii")
        except UnicodeDecodeError:
            raise AuthenticationFailed(REFUSED) from None
        token = token_find(plaintext)
        if token is None:
            raise AuthenticationFailed(REFUSED)
        return Caller(actor_of_token(token).name), token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="viaduct"'


class BrowserSession(SessionAuthentication):
    """The pages' own session. Writes need the CSRF token, as a browser sends the cookie by itself."""


def actor_of(request: Request) -> Actor:
    """The one who acts, with the request's id. Errors: Forbidden for a person without a membership."""
    identity = str(getattr(request, "id", ""))
    if isinstance(request.auth, ApiToken):
        return actor_of_token(request.auth, identity)
    actor = actor_of_user(request.user, identity, str(request.session.get(SESSION_TENANT, "")))
    if actor is None:
        raise Forbidden(
            "You are not a member of this tenant. Fix: choose another, or ask an operator for a membership."
        )
    return actor


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "vdt_<key>.<secret>"}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = BrowserSession
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
