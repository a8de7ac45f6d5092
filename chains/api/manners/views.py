# SPDX-License-Identifier: Apache-2.0
"""The base of every REST view: authentication, access, strict query and body, one page of a list.

A view declares `access`, `listing` and `parameters`; its methods take the shape apart, call one service or one
selector, and put the answer's shape together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chains import selectors
from chains.api.authentication import BrowserSession, TokenAuthentication, actor_of
from chains.api.manners.access import Access, Declared
from chains.api.manners.fields import Empty
from chains.api.manners.lists import Filter, Listing, check_names, names_of, page, select, values_of
from chains.api.manners.once import key_of, once
from chains.api.manners.parsers import StrictJsonParser
from chains.api.manners.schema import ApiSchema
from chains.api.manners.trial import DRY_RUN, WRITES, trial
from chains.models import Tenant
from chains.services.actor import Actor


class JsonAlways(BaseContentNegotiation):
    """One representation: neither a suffix nor `?format=` nor Accept chooses another (RFC 9110 section 12.5.1)."""

    def select_parser(self, request: Request, parsers: Sequence[Any]) -> Any:
        kind = str(request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == kind), None)

    def select_renderer(
        self, request: Request, renderers: Sequence[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], str(renderers[0].media_type)


class ApiView(APIView):
    """access: by method. listing: set on lists. parameters: further query parameters, by method.

    reads_one_moment: a keyed write reads as if at one moment (it locks no row that others write).
    """

    access: ClassVar[Mapping[str, Access]] = {}
    listing: ClassVar[Listing | None] = None
    parameters: ClassVar[Mapping[str, tuple[Filter, ...]]] = {}
    reads_one_moment: ClassVar[bool] = False

    authentication_classes = (TokenAuthentication, BrowserSession)
    permission_classes = (Declared,)
    parser_classes: Sequence[Any] = (StrictJsonParser,)
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = JsonAlways
    metadata_class = None
    schema = ApiSchema()
    http_method_names = ["get", "post", "put", "patch", "delete", "head"]

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        if "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH"):
            request.META["CONTENT_LENGTH"] = "-1"  # chunked: the framework takes no length for no body
        return super().initialize_request(request, *args, **kwargs)

    def finalize_response(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().finalize_response(*args, **kwargs)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        method = "GET" if request.method == "HEAD" else str(request.method)
        listing = self.listing if method == "GET" else None
        own = self.parameters.get(method, ())
        is_tried = method in WRITES and all(each.name != DRY_RUN.name for each in own)
        check_names(request, names_of(listing, (*own, DRY_RUN) if is_tried else own))
        handler = getattr(self, method.lower(), None)
        if handler is None:
            return
        if is_tried and True in values_of(request, DRY_RUN):
            handler = trial(handler, is_one_moment=self.reads_one_moment)
        key = key_of(request)
        if key is not None:
            handler = once(key, handler, self.handle_exception, is_one_moment=self.reads_one_moment)
        # The framework asks this object for its handler right after this.
        setattr(self, method.lower(), handler)

    @property
    def actor(self) -> Actor:
        return actor_of(self.request)

    def body(self, kind: type[serializers.Serializer[Any]], *, partial: bool = False) -> dict[str, Any]:
        """The request's body as `kind` has it. Errors: ValidationError with every field at fault."""
        given = kind(data=self.sent(), partial=partial, context={"actor": self.actor})
        given.is_valid(raise_exception=True)
        return dict(given.validated_data)

    def object(self) -> dict[str, Any]:
        """The body as it came, for a service that judges it by itself. Errors: ValidationError if it is no object."""
        data = self.sent()
        if not isinstance(data, dict):
            raise serializers.ValidationError("The body must be an object.")
        return dict(data)

    def sent(self) -> Any:
        """The body as it came. Errors: ParseError if there is none."""
        data = self.request.data
        if data == {} and not int(self.request.META.get("CONTENT_LENGTH") or 0):
            raise ParseError("The body is empty.")
        return data

    def no_body(self) -> None:
        """For requests that take nothing: an empty body or {}."""
        if self.request.data != {}:
            self.body(Empty)

    def rows(self, rows: QuerySet[Any], show: Callable[[Any], Mapping[str, Any]]) -> Response:
        """One page of the rows that the query selects."""
        assert self.listing is not None, "a list view declares its listing"
        return Response(page(self.request, select(self.request, self.listing, rows), show))

    def shown(self, kind: type[serializers.BaseSerializer[Any]]) -> Callable[[Any], Mapping[str, Any]]:
        """A function that turns one row into the JSON form of `kind`."""
        context = {"request": self.request, "actor": self.actor}
        serializer = kind(context=context)
        return lambda row: cast(Mapping[str, Any], serializer.to_representation(row))

    def created(self, data: Mapping[str, Any], tag: str = "") -> Response:
        """201 with the new object and its address."""
        headers = {"Location": str(data["url"]), **({"ETag": tag} if tag else {})}
        return Response(data, status=201, headers=headers)

    def accepted(self, data: Mapping[str, Any]) -> Response:
        """202: the work goes on, its address tells how far it is."""
        return Response(data, status=202, headers={"Location": str(data["url"])})

    def tenant_of(self, data: dict[str, Any]) -> Tenant:
        """Takes `tenant` out of a body: operators must name one, everyone else must not. Errors: ValidationError."""
        name = data.pop("tenant", None)
        own = self.actor.tenant
        if own is not None:
            if name is not None:
                raise serializers.ValidationError(
                    {"tenant": ["There is no such field: yours is the token's."]}
                )
            return own
        if name is None:
            raise serializers.ValidationError({"tenant": ["Operators name the tenant."]}, code="required")
        tenant = selectors.tenant_find(name)
        if tenant is None:
            raise serializers.ValidationError({"tenant": ["There is no such tenant."]}, code="unknown")
        return tenant
