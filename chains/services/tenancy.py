# SPDX-License-Identifier: Apache-2.0
"""Tenants and the people in them. Called by the API and by commands; operators only."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from chains.errors import Conflict, FieldError, Invalid
from chains.models import Membership, Role, Tenant
from chains.models.tenancy import NAME
from chains.services.actor import Actor, require_operator
from chains.services.reading import invalid
from chains.services.trail import audit


@transaction.atomic
def tenant_create(*, actor: Actor, name: str) -> Tenant:
    """Errors: Forbidden, Invalid, Conflict if the name is taken."""
    require_operator(actor)
    try:
        NAME(name)
    except ValidationError as error:
        raise Invalid(error.messages[0], errors=(FieldError("name", "invalid", error.messages[0]),)) from None
    try:
        with transaction.atomic():
            tenant = Tenant.objects.create(name=name)
    except IntegrityError:
        detail = f"there is already a tenant {name}"
        raise Conflict(
            detail, code="name-taken", errors=(FieldError("name", "name-taken", detail),)
        ) from None
    audit(actor, "tenant.create", f"tenant {name}", tenant=tenant)
    return tenant


@transaction.atomic
def operator_create(*, actor: Actor, username: str, password: str) -> User:
    """A person who signs in to the pages and operates everything; an existing one gets the password.

    The password is not looked at: who calls has checked it. Errors: Forbidden, Invalid.
    """
    require_operator(actor)
    user, is_new = _person(username, password)
    user.is_superuser = user.is_staff = True
    user.save()
    audit(actor, "operator.create" if is_new else "operator.password", f"user {username}", tenant=None)
    return user


@transaction.atomic
def member_create(*, actor: Actor, username: str, password: str, tenant: Tenant, role: Role) -> User:
    """A person of one tenant who signs in to the pages; an existing one gets password and role.

    Errors: Forbidden, Invalid, Conflict if the name is an operator's.
    """
    require_operator(actor)
    if User.objects.filter(username=username, is_superuser=True).exists():
        raise Conflict(f"{username} is an operator", code="name-taken")
    user, _ = _person(username, password)
    user.save()
    member_set(actor=actor, user=user, tenant=tenant, role=role)
    return user


def _person(username: str, password: str) -> tuple[User, bool]:
    """An active person with this password, not saved, and whether it is new. Errors: Invalid."""
    errors = []
    try:
        User.username_validator(username)
    except ValidationError as error:
        errors.append(FieldError("username", "invalid", error.messages[0]))
    if not 1 <= len(username) <= 150:
        errors.append(FieldError("username", "invalid", "1 to 150 characters"))
    if errors:
        raise invalid(errors)
    user, is_new = User.objects.get_or_create(username=username)
    user.is_active = True
    user.set_password(password)
    return user, is_new


@transaction.atomic
def member_set(*, actor: Actor, user: User, tenant: Tenant, role: Role) -> Membership:
    """The person's role in the tenant: viewer or editor. Errors: Forbidden, Invalid."""
    require_operator(actor)
    if role not in (Role.VIEWER, Role.EDITOR):
        raise Invalid("A member is a viewer or an editor; operators are of no tenant.")
    member, _ = Membership.objects.update_or_create(user=user, tenant=tenant, defaults={"role": role})
    audit(actor, "member.set", f"user {user.get_username()}", tenant=tenant, detail={"role": str(role)})
    return member
