# SPDX-License-Identifier: Apache-2.0
"""What if: a question about the network as it is, and the fate of every chain it touches. Nothing is touched."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

from chains import selectors
from chains.engine.whatif import reserve_ask, what_if_ask
from chains.errors import Invalid
from chains.services.actor import Actor
from frontend.access import operators, parameter, show

REALMS = ("switch", "appliance", "host")
NAMES = ("drained", "lost", "off", "tenant", "factor", "offer", "count")


@operators
def whatif(request: HttpRequest, actor: Actor) -> HttpResponse:
    values = {name: parameter(request, name) for name in NAMES}
    context: dict[str, Any] = {
        "values": values,
        "devices": selectors.device_list(actor).exclude(kind="external").values_list("name", flat=True),
        "links": [str(row.a) for row in selectors.link_list(actor)],
        "realms": REALMS,
        "tenants": selectors.tenant_list(actor).values_list("name", flat=True),
        "offers": [str(row) for row in selectors.offer_list(actor).filter(realm="appliance")],
    }
    try:
        if parameter(request, "reserve"):
            context["failures"] = reserve_ask(actor=actor)
            context["has_reserve"] = True
        elif any(values[name] for name in ("drained", "lost", "off", "tenant", "offer")):
            context["outcome"] = what_if_ask(actor=actor, data=_question(values))
    except Invalid as problem:
        return show(request, actor, "what_if", {**context, "problem": problem}, status=422)
    return show(request, actor, "what_if", context)


def _question(values: dict[str, str]) -> dict[str, Any]:
    """As the API takes it. A figure that is none becomes one that is refused."""
    found: dict[str, Any] = {name: [values[name]] for name in ("drained", "lost", "off") if values[name]}
    if values["tenant"]:
        found["factors"] = {values["tenant"]: _figure(values["factor"] or "2")}
    if values["offer"]:
        found["added"] = {values["offer"]: int(_figure(values["count"] or "1"))}
    return found


def _figure(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return -1.0
    return value if value == value and abs(value) < 1e9 else -1.0
