# SPDX-License-Identifier: Apache-2.0
"""Who may see what. Every selector that a tenant's request reaches goes through here.

A tenant sees its own rows and, where it says so, the operator's. Foreign and missing are the same NotFound.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from django.db.models import Model, Q, QuerySet

from chains.errors import Forbidden, NotFound
from chains.models import ApiToken, Role, Tenant

Row = TypeVar("Row", bound=Model)
MAX_KEY = (1 << 63) - 1


class Asker(Protocol):
    """What is needed of `services.actor.Actor`."""

    @property
    def tenant(self) -> Tenant | None: ...

    @property
    def role(self) -> Role: ...


def is_operator(actor: Asker) -> bool:
    return actor.role == Role.OPERATOR and actor.tenant is None


def owned(rows: QuerySet[Row], actor: Asker, field: str = "tenant", *, shared: bool = False) -> QuerySet[Row]:
    """The actor's part of the rows; `shared`: also those of no tenant."""
    if is_operator(actor):
        return rows
    if actor.tenant is None:
        return rows.none()
    mine = Q(**{field: actor.tenant})
    return rows.filter(mine | Q(**{f"{field}__isnull": True}) if shared else mine)


def operators_only(actor: Asker) -> None:
    """Errors: Forbidden."""
    if not is_operator(actor):
        raise Forbidden("Only operators may see this.")


def one(rows: QuerySet[Row], key: Any) -> Row:
    """The row with this primary key among those. Errors: NotFound, whatever the reason."""
    number = _number(key)
    found = rows.filter(pk=number).first() if number is not None else None
    if found is None:
        raise NotFound("Not found.")
    return found


def _number(key: Any) -> int | None:
    if isinstance(key, str):
        if not (key.isascii() and key.isdigit() and len(key) < 20):
            return None
        key = int(key)
    if isinstance(key, bool) or not isinstance(key, int) or not 0 < key <= MAX_KEY:
        return None
    return key


def tenant_list(actor: Asker) -> QuerySet[Tenant]:
    """An operator's: all; a member's: the own one."""
    rows = Tenant.objects.all()
    return rows if is_operator(actor) else rows.filter(pk=actor.tenant.pk if actor.tenant else None)


def tenant_get(actor: Asker, key: Any) -> Tenant:
    """Errors: NotFound."""
    return one(tenant_list(actor), key)


def tenant_find(name: str) -> Tenant | None:
    """By name; for what operators name. Never answer a tenant with it."""
    return Tenant.objects.filter(name=name).first() if name.isprintable() else None


def token_list(actor: Asker) -> QuerySet[ApiToken]:
    """Without secrets: there are none to show."""
    return owned(ApiToken.objects.select_related("tenant", "owner"), actor)


def token_get(actor: Asker, key: Any) -> ApiToken:
    """Errors: NotFound."""
    return one(token_list(actor), key)
