# SPDX-License-Identifier: Apache-2.0
"""Who may call what. Every view says it for every method; what is not said is refused.

Read by `manners.views` before a view's body runs, and by the tests, which fail for a view that says nothing.
"""

from __future__ import annotations

from enum import StrEnum

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from chains.models import Role
from chains.services.actor import Actor


class Access(StrEnum):
    """view: every role. edit: editors of the tenant, and operators. operate: operators alone."""

    VIEW = "view"
    EDIT = "edit"
    OPERATE = "operate"


ROLES = {
    Access.VIEW: frozenset({Role.VIEWER, Role.EDITOR, Role.OPERATOR}),
    Access.EDIT: frozenset({Role.EDITOR, Role.OPERATOR}),
}


def is_allowed(actor: Actor, access: Access | None) -> bool:
    """None: nothing was declared, so no."""
    if access == Access.OPERATE:
        return actor.is_operator
    return access is not None and actor.role in ROLES[access]


class Declared(BasePermission):
    """The role fits what the view declares for this method."""

    message = "Your role does not allow this."

    def has_permission(self, request: Request, view: APIView) -> bool:
        method = "GET" if request.method == "HEAD" else str(request.method)
        if not (request.user and request.user.is_authenticated):
            return False
        if method.lower() not in view.http_method_names or not hasattr(view, method.lower()):
            return True  # the framework answers 405
        return is_allowed(view.actor, view.access.get(method))  # type: ignore[attr-defined]
