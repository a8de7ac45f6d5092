# SPDX-License-Identifier: Apache-2.0
"""The second person: approve a change that waits for one, or call off what nobody has begun."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.changes import ChangeSerializer
from chains.api.manners.access import Access
from chains.api.manners.fields import Empty
from chains.api.manners.views import ApiView
from chains.services import approval


class ChangeApproveApi(ApiView):
    access = {"POST": Access.EDIT}

    @extend_schema(
        operation_id="change_approve",
        request=Empty,
        responses={202: ChangeSerializer},
        description="It is due now. By another person than the one who asked for it (a token counts as its owner), "
        "and by an operator where a site demands it: else 403. 409 if it does not wait, or its plan is stale.",
    )
    def post(self, request: Request, id: int) -> Response:
        self.no_body()
        approval.change_approve(actor=self.actor, change=selectors.change_get(self.actor, id))
        return self.accepted(self.shown(ChangeSerializer)(selectors.change_get(self.actor, id)))


class ChangeCancelApi(ApiView):
    access = {"POST": Access.EDIT}

    @extend_schema(
        operation_id="change_cancel",
        request=Empty,
        responses=ChangeSerializer,
        description="While it waits for approval, or is pending and nobody has begun it; else 409. The chain stays as "
        "it is, also one that was to be deleted.",
    )
    def post(self, request: Request, id: int) -> Response:
        self.no_body()
        approval.change_cancel(actor=self.actor, change=selectors.change_get(self.actor, id))
        return Response(self.shown(ChangeSerializer)(selectors.change_get(self.actor, id)))
