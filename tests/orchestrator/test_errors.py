# SPDX-License-Identifier: Apache-2.0
"""Every error of the API has one shape, whoever raised it."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.exceptions import ValidationError as ModelValidationError
from django.http import Http404
from django.test import Client, RequestFactory
from rest_framework import exceptions, serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from chains.errors import Conflict, FieldError, Invalid, NotFound
from orchestrator import errors


class RuleInput(serializers.Serializer[Any]):
    port = serializers.IntegerField(max_value=65535)


class ChainInput(serializers.Serializer[Any]):
    name = serializers.CharField()
    rules = RuleInput(many=True)
    tags = serializers.ListField(child=serializers.IntegerField(), required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["name"] == "whole":
            raise serializers.ValidationError("does not fit together")
        return attrs


def reply(raised: Exception | None = None, *, method: str = "post", **sent: Any) -> Response:
    class View(APIView):
        authentication_classes = ()
        permission_classes = (AllowAny,)

        def post(self, request: Request) -> Response:
            if raised is not None:
                raise raised
            ChainInput(data=request.data).is_valid(raise_exception=True)
            return Response({})

    request = getattr(APIRequestFactory(), method)("/api/v1/x/", **sent)
    response: Response = View.as_view()(request)
    response.render()
    return response


def content(response: Response) -> dict[str, Any]:
    assert response["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = response.data
    assert set(found) == {"type", "title", "status", "detail", "errors"}
    assert found["status"] == response.status_code
    return found


@pytest.mark.parametrize(
    ("raised", "status", "kind"),
    [
        (Invalid("no"), 400, "urn:viaduct:invalid"),
        (NotFound("gone"), 404, "urn:viaduct:not-found"),
        (Conflict("moved", code="plan-stale"), 409, "urn:viaduct:plan-stale"),
        (Http404("secret"), 404, "urn:viaduct:not-found"),
        (PermissionDenied("secret"), 403, "urn:viaduct:permission-denied"),
        (exceptions.NotAuthenticated(), 403,  # 401 needs a scheme to name
         "urn:viaduct:not-authenticated"),
        (exceptions.Throttled(wait=7), 429, "urn:viaduct:throttled"),
        (ModelValidationError({"name": ["taken"]}), 400, "urn:viaduct:invalid"),
    ],
)
def test_the_status_and_type_follow_the_exception(raised: Exception, status: int, kind: str) -> None:
    found = content(reply(raised))
    assert (found["status"], found["type"]) == (status, kind)
    assert "secret" not in str(found)


def test_domain_errors_keep_their_fields() -> None:
    raised = Invalid("bad rule", errors=(FieldError("hops.0.policy.rules.2", "port", "not a port"),))
    assert content(reply(raised))["errors"] == [
        {"field": "hops.0.policy.rules.2", "code": "port", "detail": "not a port"}
    ]


def test_nested_values_are_named_by_their_path() -> None:
    sent = {"rules": [{"port": 80}, {"port": 70000}, {}], "tags": [1, "x"]}
    fields = {(error["field"], error["code"]) for error in content(reply(data=sent))["errors"]}
    assert fields == {
        ("name", "required"),
        ("rules.1.port", "max-value"),
        ("rules.2.port", "required"),
        ("tags.1", "invalid"),
    }


def test_an_error_of_the_whole_body_has_no_field() -> None:
    found = content(reply(data={"name": "whole", "rules": []}))
    assert found["errors"] == [{"field": "", "code": "invalid", "detail": "does not fit together"}]


@pytest.mark.parametrize(
    ("method", "sent", "status"),
    [("get", {}, 405), ("post", {"content_type": "application/json", "data": "{"}, 400)],
)
def test_wrong_method_and_broken_json_have_the_shape(method: str, sent: dict[str, Any], status: int) -> None:
    assert content(reply(method=method, **sent))["status"] == status


def test_a_body_that_is_not_json_is_refused() -> None:
    assert content(reply(data="a=b", content_type="application/x-www-form-urlencoded"))["status"] == 415


def test_what_is_no_reply_stays_an_error_of_ours() -> None:
    assert errors.handle(RuntimeError("internal"), {}) is None


@pytest.mark.parametrize("address", ["/api/v1/nowhere/", "/api/nowhere", "/api/v1/chains/../../x"])
def test_unknown_addresses_under_api_answer_in_the_shape(address: str) -> None:
    response = Client().get(address)
    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["type"] == "urn:viaduct:not-found"
    assert response["X-Request-ID"]


def test_a_failure_of_ours_tells_nothing_but_where_to_look() -> None:
    response = errors.server_error(RequestFactory().get("/api/v1/chains/"))
    assert response.status_code == 500
    assert response["Content-Type"] == "application/problem+json"


def test_a_well_formed_request_id_is_kept_and_others_are_replaced() -> None:
    assert Client().get("/health/live", headers={"X-Request-ID": "abc-12345"})["X-Request-ID"] == "abc-12345"
    assert Client().get("/health/live", headers={"X-Request-ID": "a\tb"})["X-Request-ID"] != "a\tb"
