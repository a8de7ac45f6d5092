# SPDX-License-Identifier: Apache-2.0
"""The way of one packet through a chain, hop by hop, both ways. Reads only: no packet is sent."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Choice
from chains.api.manners.lists import Filter
from chains.api.manners.views import ApiView
from chains.errors import FieldError, Invalid
from chains.selectors.trace import Packet, TraceView

PROTOCOLS = ("tcp", "udp", "sctp", "icmp", "icmpv6")
WITH_PORTS = ("tcp", "udp", "sctp")
STATES = ("wanted", "held")
OUTCOMES = ("routed", "base", "denied", "guarded", "closed", "loop", "lost", "copied")
LAST_PORT = 65535
QUESTION = (
    Filter("source", description="Address where the packet starts. Required."),
    Filter("destination", description="Address where it is to go. Required."),
    Filter("protocol", choices=PROTOCOLS, description="Default tcp."),
    Filter("port", description="Destination port; any if it is left out."),
    Filter("source_port", description="Any if it is left out."),
    Filter(
        "states", choices=STATES, description="As devices are wanted to send it (default), or were read to."
    ),
)


class TraceStepSerializer(serializers.Serializer[object]):
    """One device. port: where the packet came in, "" where it starts. item: what decided, "" if nothing of the
    chain's; hop: of the chain, -1 for none."""

    device = serializers.CharField()
    port = serializers.CharField(allow_blank=True)
    item = serializers.CharField(allow_blank=True)
    hop = serializers.IntegerField()
    function = serializers.CharField(allow_blank=True)
    action = serializers.CharField()


class TraceCourseSerializer(serializers.Serializer[object]):
    """One fate of the packet, or of a part of what was asked for. leaves_as: after translations."""

    direction = Choice(("forward", "reverse"))
    packet = serializers.CharField()
    leaves_as = serializers.CharField()
    outcome = Choice(OUTCOMES)
    device = serializers.CharField()
    detail = serializers.CharField()
    steps = TraceStepSerializer(many=True)


class ChainTraceSerializer(serializers.Serializer[object]):
    """detail: why there is no course, "" if there is one."""

    chain = serializers.IntegerField()
    states = Choice(STATES)
    detail = serializers.CharField(allow_blank=True)
    courses = TraceCourseSerializer(many=True)


class ChainTraceApi(ApiView):
    access = {"GET": Access.VIEW}
    parameters = {"GET": QUESTION}

    @extend_schema(operation_id="chain_trace", responses=ChainTraceSerializer)
    def get(self, request: Request, id: int) -> Response:
        chain = selectors.chain_get(self.actor, id)
        given = {name: values for name, values in request.query_params.lists()}
        packet, states = packet_of(given)
        return Response(shown(selectors.chain_trace(chain, packet, states)))


def packet_of(given: dict[str, list[str]]) -> tuple[Packet, str]:
    """What was asked, and of which states. Errors: Invalid, with an entry for each fault."""
    errors = [
        FieldError(name, "invalid", "Given more than once.")
        for name, values in given.items()
        if len(values) > 1
    ]
    one = {name: values[0] for name, values in given.items()}
    source, destination = _address("source", one, errors), _address("destination", one, errors)
    if source and destination and source.version != destination.version:
        errors.append(FieldError("destination", "invalid", "Of another address family than the source."))
    protocol = _choice("protocol", PROTOCOLS, one, errors)
    states = _choice("states", STATES, one, errors)
    ports = [_port(name, one, protocol, errors) for name in ("source_port", "port")]
    if errors or not source or not destination:
        raise Invalid("The query is not valid.", code="invalid-query", errors=tuple(errors))
    return Packet(str(source), str(destination), protocol, *ports), states


def _address(
    name: str, one: dict[str, str], errors: list[FieldError]
) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if not one.get(name):
        errors.append(FieldError(name, "required", "Must be given: an IPv4 or IPv6 address."))
        return None
    try:
        found = ipaddress.ip_address(one[name])
    except ValueError:
        errors.append(FieldError(name, "invalid", "Must be an IPv4 or IPv6 address."))
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.scope_id:
        errors.append(FieldError(name, "invalid", "An address without a zone."))
        return None
    return found


def _choice(name: str, choices: tuple[str, ...], one: dict[str, str], errors: list[FieldError]) -> str:
    value = one.get(name, choices[0])
    if value not in choices:
        errors.append(FieldError(name, "invalid", f"Must be one of {', '.join(choices)}."))
    return value


def _port(name: str, one: dict[str, str], protocol: str, errors: list[FieldError]) -> int | None:
    text = one.get(name, "")
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > LAST_PORT:
        errors.append(FieldError(name, "invalid", f"Must be 0 to {LAST_PORT}."))
    elif protocol not in WITH_PORTS:
        errors.append(FieldError(name, "invalid", f"{protocol} has no ports."))
    else:
        return int(text)
    return None


def shown(view: TraceView) -> dict[str, Any]:
    """As JSON."""
    return {
        "chain": view.chain,
        "states": view.states,
        "detail": view.detail,
        "courses": [
            {
                "direction": course.direction.name.lower(),
                "packet": course.packet,
                "leaves_as": course.leaves_as,
                "outcome": str(course.outcome),
                "device": course.device,
                "detail": course.detail,
                "steps": [
                    {
                        name: getattr(step, name)
                        for name in ("device", "port", "item", "hop", "function", "action")
                    }
                    for step in course.steps
                ],
            }
            for course in view.courses
        ],
    }
