# SPDX-License-Identifier: Apache-2.0
"""Tenants and the people in them. Called by the API and by commands; operators only."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from chains.errors import Conflict, FieldError, Invalid
from chains.models import Membership, Role, Tenant
from chains.models.tenancy import NAME
from chains.services.actor import Actor, require_operator
from chains.services.reading import invalid, shown
from chains.services.trail import audit

MAX_AT_ONCE = 32_767


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
def tenant_update(*, actor: Actor, tenant: Tenant, **values: Any) -> Tenant:
    """values: needs_approval, changes_at_once. What waits for approval goes on waiting. Errors: Forbidden, Invalid."""
    require_operator(actor)
    errors = [fault for name, value in values.items() if (fault := bound_fault(name, value))]
    if errors:
        raise invalid(errors)
    row = Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    if not changed:
        return row
    before = {name: getattr(row, name) for name in changed}
    for name, value in changed.items():
        setattr(row, name, value)
    row.save(update_fields=list(changed))
    audit(actor, "tenant.update", f"tenant {row.name}", tenant=row, detail={"before": before, "after": changed})
    return row


def bound_fault(name: str, value: Any) -> FieldError | None:
    """What is wrong with a bound that tenants and sites have alike."""
    if name == "needs_approval":
        return None if isinstance(value, bool) else FieldError(name, "invalid", "must be true or false")
    if name != "changes_at_once":
        return FieldError(name, "unknown-field", f"there is no field {shown(name)} to change")
    is_right = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_AT_ONCE
    return None if is_right else FieldError(name, "out-of-range", f"must be 1 to {MAX_AT_ONCE}")


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
