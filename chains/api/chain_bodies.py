# SPDX-License-Identifier: Apache-2.0
"""The shape of a chain in requests and replies.

Requests are only described here: `services.chain_data` judges them for this interface and the pages alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from chains import selectors
from chains.api.manners.fields import Address, Body, Choice, Flag, Integer, Name, Text
from chains.models import Chain, Classifier, Condition, Function, Hop, Realm

MAX_HOPS = 12
MAX_INSTANCES = 300
MAX_STANDBY = 32
MAX_CLASSIFIERS = 16
MAX_BANDWIDTH_MBPS = 10_000_000
MAX_LATENCY_US = 10_000_000
PROTOCOLS = ("", "tcp", "udp", "sctp", "icmp", "icmpv6")
FAMILIES = (0, 4, 6)

_TEXT = {"type": "string", "maxLength": 63}
_RULE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["verdict"],
    "properties": {
        "verdict": {"type": "string", "enum": ["permit", "deny"]},
        "protocol": {"type": "string", "enum": list(PROTOCOLS)},
        "source": {**_TEXT, "description": "A prefix, empty for any."},
        "destination": {**_TEXT, "description": "A prefix, empty for any."},
        "source_ports": {**_TEXT, "description": '"80", "8000-8100" or empty for any.'},
        "destination_ports": {**_TEXT, "description": '"80", "8000-8100" or empty for any.'},
    },
}
_POLICY = {
    "anyOf": [
        {
            "type": "object",
            "title": "Filter policy",
            "additionalProperties": False,
            "properties": {
                "default": {"type": "string", "enum": ["deny", "permit"]},
                "rules": {"type": "array", "maxItems": 200, "items": _RULE},
            },
        },
        {
            "type": "object",
            "title": "IPS policy",
            "additionalProperties": False,
            "properties": {
                "patterns": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"text": {"type": "string"}, "hex": {"type": "string"}},
                    },
                },
            },
        },
        {
            "type": "object",
            "title": "NAT policy",
            "additionalProperties": False,
            "properties": {
                "block_size": {"type": "integer", "minimum": 0, "maximum": 65536},
                "blocks": {"type": "integer", "minimum": 0, "maximum": 8},
                "addresses": {"type": "integer", "minimum": 0, "maximum": 65536},
            },
        },
        {"type": "object", "title": "Tap policy", "additionalProperties": False},
    ]
}


@extend_schema_field(_POLICY)
class Policy(serializers.JSONField):
    """An object; which names it may have depends on the function's capability (services.policy)."""

    default_error_messages = {"object": "An object."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("object")
        return dict(data)


class ClassifierInputSerializer(Body):
    """Which packets between the chain's segments. family 0: both. Ports: "80", "8000-8100", "" for any."""

    family = Choice(FAMILIES, default=0)
    protocol = Choice(PROTOCOLS, default="")
    source_ports = Text(max_length=11, default="", allow_blank=True)
    destination_ports = Text(max_length=11, default="", allow_blank=True)
    dscp = Integer(min_value=0, max_value=63, default=None, allow_null=True)


class TailHopInputSerializer(Body):
    """One function. realm and device pin it, "" leaves the choice to placement."""

    function = Name()
    failure_mode = Choice(Hop.FailureMode, default=Hop.FailureMode.BLOCK.value)
    policy = Policy(default=dict)
    realm = Choice(Realm, blank=True, default="")
    device = Text(max_length=63, default="", allow_blank=True)


class BranchInputSerializer(Body):
    """Packets that leave the hop with this DSCP go on by these hops instead of the rest of the chain."""

    dscp = Integer(min_value=0, max_value=63)
    hops = TailHopInputSerializer(many=True, max_length=MAX_HOPS - 1, default=list)


class HopInputSerializer(TailHopInputSerializer):
    """One function. instances: how many share the traffic; standby: how many more are kept ready."""

    instances = Integer(min_value=1, max_value=MAX_INSTANCES, default=1)
    standby = Integer(min_value=0, max_value=MAX_STANDBY, default=0)
    branch = BranchInputSerializer(default=None, allow_null=True)


class ChainInputSerializer(Body):
    """A whole chain. tenant: operators only; everyone else's comes from the token."""

    tenant = Name(required=False)
    name = Name()
    description = Text(max_length=255, default="", allow_blank=True)
    source = Name(help_text="Name of the segment where traffic starts.")
    destination = Name(help_text="Name of the segment where it goes.")
    priority = Integer(min_value=0, max_value=15, default=0)
    bandwidth_mbps = Integer(min_value=1, max_value=MAX_BANDWIDTH_MBPS, default=10)
    latency_budget_us = Integer(min_value=1, max_value=MAX_LATENCY_US, default=None, allow_null=True)
    shares_fate = Flag(default=False, help_text="Let no packet in while a hop that blocks has nobody to serve it.")
    classifiers = ClassifierInputSerializer(many=True, max_length=MAX_CLASSIFIERS, allow_empty=False)
    hops = HopInputSerializer(many=True, max_length=MAX_HOPS, allow_empty=False)


# What PUT takes for a name that is not there; None is refused by the service as missing.
BLANK: Mapping[str, Any] = {
    "name": None,
    "description": "",
    "source": None,
    "destination": None,
    "priority": 0,
    "bandwidth_mbps": 10,
    "latency_budget_us": None,
    "shares_fate": False,
    "classifiers": [],
    "hops": [],
}


class ChainUpdateSerializer(ChainInputSerializer):
    """As when creating; a chain never changes its tenant."""

    tenant = None  # type: ignore[assignment]


def ports_text(first: int, last: int) -> str:
    """The inverse of how ports are written: "" for any, "80", "8000-8100"."""
    if (first, last) == (0, 65535):
        return ""
    return str(first) if first == last else f"{first}-{last}"


class ClassifierSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    source_ports = serializers.SerializerMethodField()
    destination_ports = serializers.SerializerMethodField()
    dscp = serializers.SerializerMethodField()

    class Meta:
        model = Classifier
        fields = ("family", "protocol", "source_ports", "destination_ports", "dscp")

    def get_source_ports(self, row: Classifier) -> str:
        return ports_text(row.source_port_first, row.source_port_last)

    def get_destination_ports(self, row: Classifier) -> str:
        return ports_text(row.destination_port_first, row.destination_port_last)

    def get_dscp(self, row: Classifier) -> int | None:
        return None if row.dscp < 0 else row.dscp


class TailHopSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    function = serializers.CharField(source="function.name")
    capability = Choice(Function.Capability, source="function.capability")
    failure_mode = Choice(Hop.FailureMode)
    realm = Choice(Realm, blank=True)
    device = serializers.SerializerMethodField()
    policy = serializers.DictField()

    class Meta:
        model = Hop
        fields = ("position", "function", "capability", "failure_mode", "policy", "realm", "device")

    def get_device(self, row: Hop) -> str:
        return row.device.name if row.device else ""


class BranchSerializer(serializers.Serializer):  # type: ignore[type-arg]
    """Packets that leave the hop with this DSCP go on by these hops instead of the rest of the chain."""

    dscp = serializers.IntegerField()
    hops = TailHopSerializer(many=True)


class HopSerializer(TailHopSerializer):
    """instances share the traffic by parts of the source's prefixes; standby more are kept ready."""

    branch = serializers.SerializerMethodField()

    class Meta:
        model = Hop
        fields = (*TailHopSerializer.Meta.fields, "instances", "standby", "branch")

    @extend_schema_field(BranchSerializer(allow_null=True))
    def get_branch(self, row: Hop) -> Any:
        if row.branch_dscp < 0:
            return None
        tail = [other for other in self.context["hops"] if other.branch_of == row.position]
        return {"dscp": row.branch_dscp, "hops": TailHopSerializer(tail, many=True).data}


class ConditionSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """One question about the chain, as it is answered now. since: when the answer last changed.
    generation: of the intent that it is about."""

    kind = Choice(Condition.Kind)
    status = Choice(Condition.Answer)
    since = serializers.DateTimeField()

    class Meta:
        model = Condition
        fields = ("kind", "status", "reason", "detail", "generation", "since")


class ChainSerializer(serializers.ModelSerializer):  # type: ignore[type-arg]
    """status is that of `observed_generation`; it is READY only when devices were read back to hold it, and unknown
    while the last reading of one of them is too old."""

    url = Address("chain")
    display = serializers.CharField(source="name")
    tenant = serializers.CharField(source="tenant.name")
    source = serializers.CharField(source="source.name")
    destination = serializers.CharField(source="destination.name")
    status = Choice(Chain.Status)
    classifiers = ClassifierSerializer(many=True)
    hops = serializers.SerializerMethodField()

    @extend_schema_field(HopSerializer(many=True))
    def get_hops(self, row: Chain) -> Any:
        every = list(row.hops.all())
        own = [hop for hop in every if hop.branch_of is None]
        return HopSerializer(own, many=True, context={"hops": every}).data

    def to_representation(self, row: Chain) -> dict[str, Any]:
        shown = dict(super().to_representation(row))
        now = {"status": "status_now", "status_reason": "status_reason_now"}
        return shown | {name: getattr(row, of) for name, of in now.items() if hasattr(row, of)}

    class Meta:
        model = Chain
        fields = (
            "id",
            "url",
            "display",
            "tenant",
            "name",
            "description",
            "source",
            "destination",
            "priority",
            "bandwidth_mbps",
            "latency_budget_us",
            "shares_fate",
            "classifiers",
            "hops",
            "generation",
            "observed_generation",
            "revision",
            "is_wanted",
            "status",
            "status_reason",
            "status_at",
            "created_at",
            "updated_at",
        )


class ChainDetailSerializer(ChainSerializer):
    """With what is known of it, question by question."""

    conditions = serializers.SerializerMethodField()

    class Meta:
        model = Chain
        fields = (*ChainSerializer.Meta.fields, "conditions")

    @extend_schema_field(ConditionSerializer(many=True))
    def get_conditions(self, row: Chain) -> Any:
        return ConditionSerializer(selectors.condition_list(row), many=True).data
