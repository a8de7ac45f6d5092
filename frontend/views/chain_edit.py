# SPDX-License-Identifier: Apache-2.0
"""The form for a chain's intent: new and edit. Row buttons post back and give the same form with other rows."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.safestring import mark_safe

from chains import selectors
from chains.errors import FieldError, Forbidden, Problem
from chains.services import intent
from chains.services.actor import Actor
from frontend import chain_form
from frontend.access import may_edit, page, parameter, show
from frontend.chain_form import ChainForm

PROTOCOLS = ("tcp", "udp", "sctp", "icmp", "icmpv6")
REALMS = ("switch", "appliance", "host")
SEGMENT_INPUTS = (("source", "From segment"), ("destination", "To segment"))
NUMBER_INPUTS = (
    ("bandwidth_mbps", "Bandwidth (Mb/s)", "Reserved on links and functions, in each direction."),
    ("latency_budget_us", "Latency budget (µs)", "One way, at most; empty is no limit."),
    ("priority", "Priority", "0 to 15. Where chains overlap, the higher one takes the packets."),
)
# Row buttons swap the form in place where scripts run; without them they are plain submits.
SWAP = mark_safe('hx-post="" hx-target="#chain-form" hx-select="#chain-form" hx-swap="outerHTML"')


@page
def chain_new(request: HttpRequest, actor: Actor) -> HttpResponse:
    _check_editor(actor)
    tenant = _tenant(request, actor)
    if request.method != "POST":
        return _form(request, actor, tenant, chain_form.blank(), None)
    form = chain_form.posted(request.POST)
    changed = chain_form.edited(form, request.POST.get("action", ""))
    if changed is not None:
        return _form(request, actor, tenant, changed, None)
    data, errors = chain_form.data_of(form)
    if tenant is None:
        errors = (FieldError("", "required", "Choose the tenant whose chain this is."), *errors)
    if errors:
        return _form(request, actor, tenant, chain_form.with_errors(form, errors), None, status=422)
    try:
        chain = intent.chain_create(actor=actor, tenant=tenant, data=data)
    except Problem as problem:
        return _refused(request, actor, tenant, form, None, problem)
    messages.success(request, f"Chain {chain.name} is saved. Nothing is on any device yet: plan it next.")
    return redirect("ui:chain", id=chain.pk)


@page
def chain_edit(request: HttpRequest, actor: Actor, id: int) -> HttpResponse:
    _check_editor(actor)
    chain = selectors.chain_get(actor, id)
    if request.method != "POST":
        form = chain_form.of_intent(selectors.chain_intent(chain))
        return _form(request, actor, chain.tenant, form, chain)
    form = chain_form.posted(request.POST)
    changed = chain_form.edited(form, request.POST.get("action", ""))
    if changed is not None:
        return _form(request, actor, chain.tenant, changed, chain)
    data, errors = chain_form.data_of(form)
    if errors:
        return _form(request, actor, chain.tenant, chain_form.with_errors(form, errors), chain, status=422)
    given = request.POST.get("generation", "")
    generation = int(given) if given.isascii() and given.isdigit() else None
    try:
        saved = intent.chain_update(actor=actor, chain=chain, data=data, generation=generation)
    except Problem as problem:
        return _refused(request, actor, chain.tenant, form, chain, problem)
    if saved.generation == chain.generation:
        messages.info(request, "Nothing was changed.")
    else:
        messages.success(request, "Saved. The devices still hold the old path: plan and apply the edit next.")
    return redirect("ui:chain", id=chain.pk)


def _check_editor(actor: Actor) -> None:
    if not may_edit(actor):
        raise Forbidden("Viewers read only. Fix: ask an operator for the role editor.")


def _tenant(request: HttpRequest, actor: Actor) -> Any:
    """Whose chain it becomes: one's own; an operator names it."""
    if not actor.is_operator:
        return actor.tenant
    name = request.POST.get("tenant") or parameter(request, "tenant")
    return selectors.tenant_find(name) if name else None


def _refused(
    request: HttpRequest, actor: Actor, tenant: Any, form: ChainForm, chain: Any, problem: Problem
) -> HttpResponse:
    """The service's objections in the form; what is no matter of the form goes to the frame."""
    if problem.status not in (400, 409):
        raise problem
    return _form(request, actor, tenant, chain_form.with_problem(form, problem), chain, status=422)


def _form(
    request: HttpRequest, actor: Actor, tenant: Any, form: ChainForm, chain: Any, status: int = 200
) -> HttpResponse:
    segments = selectors.segment_list(actor)
    functions = list(selectors.function_list(actor))
    context = {
        "form": form,
        "chain": chain,
        "tenant": tenant,
        "segments": [row for row in segments if tenant is None or row.tenant_id in (None, tenant.pk)],
        "functions": functions,
        "examples": chain_form.examples(),
        "generation": request.POST.get("generation") or (chain.generation if chain else ""),
        "protocols": PROTOCOLS,
        "realms": REALMS,
        "segment_inputs": SEGMENT_INPUTS,
        "number_inputs": NUMBER_INPUTS,
        "swap": SWAP,
    }
    return show(request, actor, "chain_form", context, status=status)
