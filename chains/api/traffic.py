# SPDX-License-Identifier: Apache-2.0
"""What becomes of a chain's packets now, and where they are dropped. Asking is what has it measured."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Choice
from chains.api.manners.views import ApiView
from chains.selectors.traffic import FATES, TrafficView
from chains.services.traffic import traffic_watch

DIRECTIONS = ("forward", "reverse")


class LossSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """Packets that went on from `after` and did not come to `before`. device, hop: where they ended; hop -1: at no
    function. detail: in words; evidence: the counters that show it."""

    fate = Choice(FATES)
    device = serializers.CharField()
    hop = serializers.IntegerField()
    function = serializers.CharField()
    after = serializers.CharField()
    before = serializers.CharField()
    packets = serializers.IntegerField()
    of = serializers.IntegerField()
    detail = serializers.CharField()
    evidence = serializers.CharField()


class CourseSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """One direction. fate: idle (nothing enters), flows, denied (by a policy), lost, swallowed (by a function),
    shut (at the closed door) or unknown. unread: devices on the way that did not answer."""

    direction = Choice(DIRECTIONS)
    fate = Choice(FATES)
    entered = serializers.IntegerField()
    left = serializers.IntegerField()
    losses = LossSerializer(many=True)
    unread = serializers.ListField(child=serializers.CharField())


class ChainTrafficSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """measured_at null: not measured yet; ask again after a few seconds. window_s: what the packets were counted in."""

    chain = serializers.IntegerField()
    measured_at = serializers.DateTimeField(allow_null=True)
    window_s = serializers.FloatField()
    summary = serializers.CharField(allow_blank=True)
    courses = CourseSerializer(many=True)


class ChainTrafficApi(ApiView):
    access = {"GET": Access.VIEW}

    @extend_schema(operation_id="chain_traffic", responses=ChainTrafficSerializer)
    def get(self, request: Request, id: int) -> Response:
        chain = selectors.chain_get(self.actor, id)
        traffic_watch(chain)
        return Response(shown(selectors.chain_traffic(chain)))


def shown(view: TrafficView) -> dict[str, Any]:
    """As JSON."""
    return {
        "chain": view.chain,
        "measured_at": view.measured_at,
        "window_s": round(view.window_s, 1),
        "summary": view.summary,
        "courses": [
            {
                "direction": course.direction.name.lower(),
                "fate": str(course.fate),
                "entered": course.entered,
                "left": course.left,
                "losses": [
                    {
                        "fate": str(loss.fate),
                        "device": loss.device,
                        "hop": loss.hop,
                        "function": view.functions.get(loss.hop, ""),
                        "after": loss.after,
                        "before": loss.before,
                        "packets": loss.packets,
                        "of": loss.of,
                        "detail": view.said(loss),
                        "evidence": loss.evidence,
                    }
                    for loss in course.losses
                ],
                "unread": list(course.unread),
            }
            for course in view.courses
        ],
    }
