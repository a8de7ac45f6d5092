# SPDX-License-Identifier: Apache-2.0
"""Who asks, and what they may do. Built by the API and the pages from a token or a session, never from a body."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import AbstractBaseUser

from chains.errors import Forbidden, NotFound
from chains.models import ApiToken, Membership, Role, Tenant


@dataclass(frozen=True, slots=True)
class Actor:
    """name: for the audit. tenant: None for an operator only.

    person: who stands behind it, `user:<id>` also where a token of theirs acts; "" if nobody knows, MACHINE for
    what nobody asked for. Two names may be one person, so approval compares this.
    """

    name: str
    tenant: Tenant | None
    role: Role
    request_id: str = ""
    person: str = ""

    @property
    def is_operator(self) -> bool:
        """Operators are of no tenant: a role alone, in a tenant, gives nothing outside it."""
        return self.role == Role.OPERATOR and self.tenant is None


SYSTEM = Actor("system", None, Role.OPERATOR)
MACHINE = "machine"
PERSON = "user:"


def person_of(user_id: int | None) -> str:
    return f"{PERSON}{user_id}" if user_id else ""


def actor_of_token(token: ApiToken, request_id: str = "") -> Actor:
    person = person_of(token.owner_id)
    return Actor(f"token:{token.name}", token.tenant, Role(token.role), request_id, person)


def actor_of_user(user: AbstractBaseUser, request_id: str = "", tenant_name: str = "") -> Actor | None:
    """A signed-in person: superusers are operators; others act in one of their tenants (the first if none is named).

    None if the person is not active, or no member of that tenant.
    """
    if not getattr(user, "is_active", False):
        return None
    if getattr(user, "is_superuser", False):
        return Actor(user.get_username(), None, Role.OPERATOR, request_id, person_of(user.pk))
    memberships = Membership.objects.filter(user_id=user.pk).select_related("tenant").order_by("tenant__name")
    if tenant_name:
        memberships = memberships.filter(tenant__name=tenant_name)
    member = memberships.first()
    if member is None:
        return None
    # A member with the operator's role acts in their own tenant only: that is an editor.
    role = Role.EDITOR if member.role == Role.OPERATOR else Role(member.role)
    return Actor(user.get_username(), member.tenant, role, request_id, person_of(user.pk))


def require_operator(actor: Actor) -> None:
    """Errors: Forbidden."""
    if not actor.is_operator:
        raise Forbidden("Only operators may do this.")


def require_editor(actor: Actor, tenant_id: int) -> None:
    """May the actor write in this tenant? Errors: NotFound if it is not theirs, Forbidden if they only read."""
    if actor.is_operator:
        return
    if actor.tenant is None or actor.tenant.pk != tenant_id:
        raise NotFound("Not found.")
    if actor.role != Role.EDITOR:
        raise Forbidden("Viewers read only. Fix: use a token or an account with the role editor.")
