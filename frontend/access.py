# SPDX-License-Identifier: Apache-2.0
"""Who looks at a page: session -> Actor, problems -> pages. Every view but the log-in is wrapped by `page`.

A person of several tenants acts in one at a time (`?tenant=NAME`, remembered in the session). Operators see all
tenants and narrow their lists by the same parameter, which is not remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django_htmx.http import HttpResponseClientRefresh

from chains import selectors
from chains.errors import Forbidden, NotFound, Problem
from chains.services.actor import Actor, actor_of_user

View = Callable[..., HttpResponse]
TENANT = "tenant"
TENANT_LISTS = ("overview", "chain-list", "change-list", "finding-list", "audit-list")


def page(view: View) -> View:
    """`view(request, actor, ...)` for signed-in people; a Problem becomes a page with its status."""

    @never_cache
    @reload_when_signed_out
    @login_required
    @wraps(view)
    def wrapped(request: HttpRequest, **names: Any) -> HttpResponse:
        actor = None
        try:
            actor = actor_of_request(request)
            return view(request, actor, **names)
        except Problem as problem:
            return show(request, actor, "problem", {"problem": problem}, status=problem.status)

    return wrapped


def reload_when_signed_out(view: View) -> View:
    """A fragment fetched after the session ended: the whole page is loaded anew, not the log-in into a part of it."""

    @wraps(view)
    def wrapped(request: HttpRequest, **names: Any) -> HttpResponse:
        if request.htmx and not request.user.is_authenticated:
            return HttpResponseClientRefresh()
        return view(request, **names)

    return wrapped


def operators(view: View) -> View:
    """A page of operators: to others it does not exist."""

    @wraps(view)
    def wrapped(request: HttpRequest, actor: Actor, **names: Any) -> HttpResponse:
        if not actor.is_operator:
            raise NotFound("There is no such page.")
        return view(request, actor, **names)

    return page(wrapped)


def actor_of_request(request: HttpRequest) -> Actor:
    """Errors: NotFound (no member of the tenant that is named), Forbidden (of none)."""
    asked = parameter(request, TENANT)
    remembered = str(request.session.get(TENANT, ""))
    actor = actor_of_user(request.user, request.id, asked or remembered)
    if actor is None and remembered and not asked:  # no member of it any more
        actor = actor_of_user(request.user, request.id)
    if actor is None and asked:
        raise NotFound("There is no such tenant.")
    if actor is None:
        raise Forbidden("You are a member of no tenant. Fix: ask an operator for a membership.")
    if actor.tenant is not None and actor.tenant.name != remembered and asked:
        request.session[TENANT] = actor.tenant.name
    return actor


def narrowed(request: HttpRequest, actor: Actor, rows: QuerySet[Any], field: str) -> QuerySet[Any]:
    """An operator's list, of one tenant if one is chosen. field: the way to the tenant's name."""
    asked = parameter(request, TENANT)
    return rows.filter(**{field: asked}) if actor.is_operator and asked else rows


def parameter(request: HttpRequest, name: str, default: str = "") -> str:
    """A parameter of the address, fit for a query: PostgreSQL takes no NUL."""
    return request.GET.get(name, default).replace("\0", "").strip()


def may_edit(actor: Actor) -> bool:
    """Which buttons to show; the services decide by themselves."""
    return actor.role in ("editor", "operator")


def show(
    request: HttpRequest, actor: Actor | None, name: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """A page in its frame: `frontend/<name>.html`."""
    if actor is None:
        return render(request, f"frontend/{name}.html", context, status=status)
    asked = parameter(request, TENANT)
    chosen = asked if actor.is_operator else actor.tenant.name if actor.tenant else ""
    frame = {
        "actor": actor,
        "may_edit": may_edit(actor),
        "freeze": selectors.freeze_now(),
        "tenants": tenant_names(request, actor),
        "tenant_chosen": chosen,
        "tenant_base": _switch_base(request),
        # Operators carry their choice along in the addresses of the lists.
        "tenant_query": f"?{urlencode({TENANT: asked})}" if actor.is_operator and asked else "",
    }
    return render(request, f"frontend/{name}.html", frame | context, status=status)


def _switch_base(request: HttpRequest) -> str:
    """Where choosing a tenant leads: the list one is on, else the overview."""
    name = request.resolver_match.url_name if request.resolver_match else ""
    return request.path if name in TENANT_LISTS else reverse("ui:overview")


def tenant_names(request: HttpRequest, actor: Actor) -> list[str]:
    """What the switcher offers: all tenants to operators, else one's own."""
    if actor.is_operator:
        return list(selectors.tenant_list(actor).values_list("name", flat=True))
    return list(request.user.memberships.order_by("tenant__name").values_list("tenant__name", flat=True))
