# SPDX-License-Identifier: Apache-2.0
"""API tokens: `vdt_<key_id>.<secret>`. Only an HMAC of the secret is kept; the plain text is returned once.

Called by the API's authentication, the pages and a command. 256 random bits need no slow hash; the key of
the HMAC comes from SECRET_KEY, so a copy of the database alone proves nothing and reveals nothing.
"""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from chains.errors import FieldError, NotFound
from chains.models import ApiToken, Role, Tenant
from chains.services.actor import PERSON, Actor, require_editor, require_operator
from chains.services.reading import invalid, is_line
from chains.services.trail import audit

SALT = "viaduct.api-token.1"
TOKEN = re.compile(r"vdt_(?P<key_id>[0-9a-f]{16})\.(?P<secret>[A-Za-z0-9_-]{43})")
MAX_DAYS = 366
LAST_USED_GRAIN = timedelta(minutes=1)
NO_DIGEST = "0" * 64


@transaction.atomic
def token_create(
    *, actor: Actor, name: str, tenant: Tenant | None, role: Role, days: int = 90, owner: User | None = None
) -> tuple[ApiToken, str]:
    """A token and its plain text, which nobody can show again.

    owner: the person behind it; without one it is who makes it. Operators make any; an editor makes viewers and
    editors of the own tenant. Errors: Invalid, Forbidden, NotFound.
    """
    if tenant is None or role == Role.OPERATOR:
        require_operator(actor)
    else:
        require_editor(actor, tenant.pk)
    errors = list(_faults(name, tenant, role, days))
    if errors:
        raise invalid(errors)
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        key_id=key_id,
        digest=_digest(key_id, secret),
        name=name,
        tenant=tenant,
        role=role,
        owner_id=owner.pk if owner else _person_id(actor),
        expires_at=timezone.now() + timedelta(days=days),
    )
    detail = {"key_id": key_id, "role": str(role), "days": days}
    audit(actor, "token.create", f"token {name}", tenant=tenant, detail=detail)
    return token, f"vdt_{key_id}.{secret}"


def token_find(plaintext: str) -> ApiToken | None:
    """The valid token behind the text, with its tenant; None if it is malformed, unknown, expired or revoked."""
    found = TOKEN.fullmatch(plaintext)
    if found is None:
        return None
    token = ApiToken.objects.select_related("tenant").filter(key_id=found["key_id"]).first()
    # Compared even if there is no such key, so that the time does not tell.
    digest = token.digest if token else NO_DIGEST
    is_right = hmac.compare_digest(digest, _digest(found["key_id"], found["secret"]))
    now = timezone.now()
    if token is None or not is_right or token.revoked_at is not None or token.expires_at <= now:
        return None
    if token.last_used_at is None or token.last_used_at < now - LAST_USED_GRAIN:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token


@transaction.atomic
def token_revoke(*, actor: Actor, token: ApiToken) -> ApiToken:
    """From the next request on the token is worth nothing. Twice is harmless. Errors: NotFound, Forbidden."""
    if token.tenant_id is None:
        if not actor.is_operator:
            raise NotFound("Not found.")
    else:
        require_editor(actor, token.tenant_id)
    changed = ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())
    if changed:
        detail = {"key_id": token.key_id}
        audit(actor, "token.revoke", f"token {token.name}", tenant=token.tenant, detail=detail)
    token.refresh_from_db()
    return token


def tokens_expired(days: int = 30) -> int:
    """Remove tokens that ended more than `days` ago; returns how many. For the sweep."""
    limit = timezone.now() - timedelta(days=days)
    return ApiToken.objects.filter(Q(expires_at__lt=limit) | Q(revoked_at__lt=limit)).delete()[0]


def _person_id(actor: Actor) -> int | None:
    return int(actor.person.removeprefix(PERSON)) if actor.person.startswith(PERSON) else None


def _digest(key_id: str, secret: str) -> str:
    return salted_hmac(SALT, f"{key_id}.{secret}", algorithm="sha256").hexdigest()


def _faults(name: object, tenant: Tenant | None, role: object, days: object) -> list[FieldError]:
    faults = []
    if not isinstance(name, str) or not 1 <= len(name) <= 63 or not is_line(name):
        faults.append(FieldError("name", "invalid", "one line of 1 to 63 printable characters"))
    if role not in Role.values:
        faults.append(FieldError("role", "invalid", f"one of {', '.join(Role.values)}"))
    elif (role == Role.OPERATOR) != (tenant is None):
        faults.append(FieldError("tenant", "invalid", "none for an operator, one for every other role"))
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= MAX_DAYS:
        faults.append(FieldError("days", "out-of-range", f"1 to {MAX_DAYS}"))
    return faults
