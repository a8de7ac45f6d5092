# SPDX-License-Identifier: Apache-2.0
"""Test log-in: ask a worker to log in to a device, and what came of it. Operators only; no device is asked here."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chains import selectors
from chains.api.manners.access import Access
from chains.api.manners.fields import Address, Choice, Empty
from chains.api.manners.views import ApiView
from chains.models import Device, LoginTest
from chains.services import logins

NEVER = "never"


class LoginTestSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """The last one. status: never (nobody asked), pending, succeeded, failed. verified: how it proved who it is.

    missing: prerequisites, each with the exact line to add on the device. items: of ours that it was read to hold.
    """

    status = Choice((NEVER, *LoginTest.Status.values))
    asked_at = serializers.DateTimeField(allow_null=True)
    missing = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = LoginTest
        fields: tuple[str, ...] = (
            "status",
            "asked_by",
            "asked_at",
            "ended_at",
            "platform",
            "version",
            "serial",
            "verified",
            "missing",
            "items",
            "error",
        )


class DeviceLoginSerializer(serializers.Serializer):  # type: ignore[type-arg]
    url = Address("device-test-login")
    device = serializers.CharField(source="name")
    login = LoginTestSerializer()


def login_of(row: Device) -> LoginTest:
    """The device's test, or one that says that nobody asked."""
    found: LoginTest | None = getattr(row, "login_test", None)
    return found or LoginTest(status=NEVER)


class DeviceTestLoginApi(ApiView):
    access = {"GET": Access.OPERATE, "POST": Access.OPERATE}

    @extend_schema(operation_id="device_test_login_get", responses=DeviceLoginSerializer)
    def get(self, request: Request, id: int) -> Response:
        return Response(self._shape(selectors.device_get(self.actor, id)))

    @extend_schema(
        operation_id="device_test_login",
        request=Empty,
        responses={202: DeviceLoginSerializer},
        description="A worker opens a new connection, reads, and records what the device says of itself or why it did "
        "not let us in; poll the same address until status is not pending. Nothing is written to the device. 409 if "
        "it is not managed.",
    )
    def post(self, request: Request, id: int) -> Response:
        self.no_body()
        device = selectors.device_get(self.actor, id)
        logins.login_ask(actor=self.actor, device=device)
        return self.accepted(self._shape(selectors.device_get(self.actor, id)))

    def _shape(self, row: Device) -> dict[str, Any]:
        row.login = login_of(row)  # type: ignore[attr-defined]
        return dict(self.shown(DeviceLoginSerializer)(row))
