# SPDX-License-Identifier: Apache-2.0
"""The freeze switch on the pages: operators set and lift it; everybody sees it in the frame and the overview."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from chains.errors import Invalid
from chains.services import freeze as switch
from chains.services.actor import Actor
from frontend.access import operators, show


@operators
def freeze(request: HttpRequest, actor: Actor) -> HttpResponse:
    if request.method != "POST":
        return show(request, actor, "freeze", {"reason": ""})
    reason = request.POST.get("reason", "")
    try:
        switch.freeze_set(actor=actor, reason=reason)
    except Invalid as problem:
        return show(request, actor, "freeze", {"reason": reason, "problem": problem}, status=422)
    return redirect("ui:overview")


@require_POST
@operators
def unfreeze(request: HttpRequest, actor: Actor) -> HttpResponse:
    if switch.freeze_lift(actor=actor):
        messages.success(request, "The freeze is lifted: what waited goes on.")
    return redirect("ui:overview")
