# SPDX-License-Identifier: Apache-2.0
"""The second person on the pages: approve a change that waits, or call off what nobody has begun."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from chains import selectors
from chains.services import approval
from chains.services.actor import Actor
from frontend.access import page


@require_POST
@page
def change_approve(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    approval.change_approve(actor=actor, change=selectors.change_get(actor, id))
    messages.success(request, "Approved: it is due now.")
    return redirect("ui:change", id=id)


@require_POST
@page
def change_cancel(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    approval.change_cancel(actor=actor, change=selectors.change_get(actor, id))
    messages.success(request, "Cancelled: nothing was sent to any device.")
    return redirect("ui:change", id=id)
