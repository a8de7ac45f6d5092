# SPDX-License-Identifier: Apache-2.0
"""Undo: the chain's intent as it was before a finished change, planned anew. Nothing is applied by it."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Body, Flag
from chains.api.manners.views import ApiView
from chains.api.plans import PlanSerializer
from chains.engine.planner import plan_chain
from chains.services import again


class UndoSerializer(Body):
    """force: although the chain was edited since."""

    force = Flag(default=False)


class ChangeUndoApi(ApiView):
    access = {"POST": Access.EDIT}

    @extend_schema(
        operation_id="change_undo",
        request=UndoSerializer,
        responses={201: PlanSerializer},
        description="An edit back to what the plan before it wanted, and its plan, to be applied like any other. 409 "
        "if there is none, if the chain was edited since and `force` is not given, or if it wanted the same.",
    )
    def post(self, request: Request, id: int) -> Response:
        force = self.body(UndoSerializer)["force"] if request.data != {} else False
        change = selectors.change_get(self.actor, id)
        chain = again.change_undo(actor=self.actor, change=change, force=force)
        plan = plan_chain(chain, self.actor.name)
        return self.created(self.shown(PlanSerializer)(selectors.plan_get(self.actor, plan.pk)))
