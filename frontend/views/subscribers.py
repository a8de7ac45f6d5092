# SPDX-License-Identifier: Apache-2.0
"""Who had a public port at a moment: a question and its answer, on the operators' page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from chains.errors import Invalid
from chains.services.actor import Actor
from chains.services.subscribers import NAMES, PROTOCOLS, subscriber_ask
from frontend.access import operators, show


@operators
def subscriber(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Sent by POST: what is asked stays out of addresses, and so out of logs and histories."""
    values = {name: request.POST.get(name, "").strip() for name in NAMES}
    context = {"values": values, "protocols": PROTOCOLS}
    if request.method != "POST":
        return show(request, actor, "subscriber", context)
    try:
        answer = subscriber_ask(actor=actor, data=values)
    except Invalid as problem:
        return show(request, actor, "subscriber", {**context, "problem": problem}, status=422)
    return show(request, actor, "subscriber", {**context, "answer": answer})
