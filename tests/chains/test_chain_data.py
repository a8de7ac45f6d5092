# SPDX-License-Identifier: Apache-2.0
"""What a chain may say, value by value, and that everything else is refused with its place and nothing written."""

from __future__ import annotations

from typing import Any

import pytest

from chains.errors import Invalid
from chains.models import Chain, Hop, Segment
from chains.selectors import chain_get, chain_intent
from chains.services.intent import chain_create
from tests.builders import CGN, FILTER, IPS, NGFW, OPERATOR, chain_data, make_chain, tenant

pytestmark = pytest.mark.usefixtures("fabric")

# Each starts a new line or command somewhere: on devices, in logs, in terminals.
SEPARATORS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
HOSTILE = [*SEPARATORS, "\0", "\t", "\x1b[2J", "\u202e", "\u200b", "\ufeff", "\ud800", "\U000e0001"]
MARKUP = [
    "a; drop table",
    "$(reboot)",
    "{{ 7*7 }}",
    "`id`",
    "../../etc",
    "a b",
    "A",
    "-a",
    "a-",
    "é",
    "ａ",
    "x" * 64,
]


def rule(**values: Any) -> dict[str, Any]:
    return {"function": "ngfw", "policy": {"rules": [{"verdict": "permit", **values}]}}


def refused(**values: Any) -> dict[str, str]:
    """The faulty fields with their codes."""
    with pytest.raises(Invalid) as caught:
        make_chain(**values)
    assert not Chain.objects.exists()
    for error in caught.value.errors:
        assert (
            error.detail and error.detail.isascii() and error.detail.isprintable() and len(error.detail) < 400
        )
    return {error.field: error.code for error in caught.value.errors}


@pytest.mark.parametrize("text", [*HOSTILE, *MARKUP, ""], ids=ascii)
def test_a_name_is_lower_case_letters_digits_and_hyphens_to_the_very_end(text: str) -> None:
    assert list(refused(name=text)) == ["name"]
    if text in HOSTILE:
        assert list(refused(name=f"web{text}")) == ["name"]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
@pytest.mark.parametrize("field", ["description", "source", "destination"])
def test_no_text_takes_a_separator_or_an_invisible_character(field: str, text: str) -> None:
    assert list(refused(**{field: f"x{text}y"})) == [field]


def test_a_description_may_be_in_any_language() -> None:
    assert make_chain(description="Büro 東京 → Ωmega").description == "Büro 東京 → Ωmega"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "name"),
    ({"name": 7}, "name"),
    ({"name": ["web"]}, "name"),
    ({"name": "x" * 100_000}, "name"),
    ({"description": "x" * 256}, "description"),
    ({"source": "nowhere"}, "source"),
    ({"source": "clients\0"}, "source"),
    ({"destination": "clients"}, "destination"),
    ({"priority": 32}, "priority"),
    ({"priority": -1}, "priority"),
    ({"priority": True}, "priority"),
    ({"priority": "1"}, "priority"),
    ({"priority": 1.5}, "priority"),
    ({"priority": 10**400}, "priority"),
    ({"bandwidth_mbps": 0}, "bandwidth_mbps"),
    ({"bandwidth_mbps": 1 << 40}, "bandwidth_mbps"),
    ({"latency_budget_us": 0}, "latency_budget_us"),
    ({"classifiers": []}, "classifiers"),
    ({"classifiers": [{}] * 17}, "classifiers"),
    ({"classifiers": "tcp"}, "classifiers"),
    ({"classifiers": {"protocol": "tcp"}}, "classifiers"),
    ({"classifiers": ["tcp"]}, "classifiers.0"),
    ({"classifiers": [None]}, "classifiers.0"),
    ({"classifiers": [{"protocol": "TCP"}]}, "classifiers.0.protocol"),
    ({"classifiers": [{"protocol": 6}]}, "classifiers.0.protocol"),
    ({"classifiers": [{"family": 5}]}, "classifiers.0.family"),
    ({"classifiers": [{"family": "4"}]}, "classifiers.0.family"),
    ({"classifiers": [{"protocol": "icmp", "family": 6}]}, "classifiers.0.family"),
    ({"classifiers": [{"dscp": 64}]}, "classifiers.0.dscp"),
    ({"classifiers": [{"destination_ports": "80"}]}, "classifiers.0.destination_ports"),
    ({"classifiers": [{"protocol": "tcp", "destination_ports": 80}]}, "classifiers.0.destination_ports"),
    ({"classifiers": [{"protocol": "tcp", "destination_ports": "65536"}]}, "classifiers.0.destination_ports"),
    ({"classifiers": [{"protocol": "tcp", "destination_ports": "90-80"}]}, "classifiers.0.destination_ports"),
    ({"classifiers": [{"protocol": "tcp", "destination_ports": "80\n"}]}, "classifiers.0.destination_ports"),
    ({"classifiers": [{"protocol": "tcp", "destination_ports": "٨٠"}]}, "classifiers.0.destination_ports"),
    ({"classifiers": [{"protocol": "tcp", "destination_ports": "80,443"}]}, "classifiers.0.destination_ports"),
    ({"classifiers": [{"protocol": "tcp"}, {"protocol": "tcp", "source_ports": "5"}]}, "classifiers.1"),
    ({"classifiers": [{}, {"family": 6}]}, "classifiers.1"),
    ({"hops": []}, "hops"),
    ({"hops": [NGFW] * 13}, "hops"),
    ({"hops": [{}]}, "hops.0.function"),
    ({"hops": [NGFW, {"function": ""}]}, "hops.1.function"),
    ({"source": ""}, "source"),
    ({"destination": ""}, "destination"),
    ({"hops": [{"function": "ngfv"}]}, "hops.0.function"),
    ({"hops": [{"function": {"name": "ngfw"}}]}, "hops.0.function"),
    ({"hops": [{**NGFW, "failure_mode": "open"}]}, "hops.0.failure_mode"),
    ({"hops": [{**NGFW, "realm": "cloud"}]}, "hops.0.realm"),
    ({"hops": [{**NGFW, "device": "leaf1"}]}, "hops.0.device"),
    ({"hops": [{**NGFW, "device": "fw1", "realm": "host"}]}, "hops.0.device"),
    ({"hops": [{**NGFW, "policy": []}]}, "hops.0.policy"),
    ({"hops": [{**NGFW, "policy": "permit"}]}, "hops.0.policy"),
    ({"hops": [{**NGFW, "policy": {"default": "allow"}}]}, "hops.0.policy.default"),
    ({"hops": [{**NGFW, "policy": {"rules": [{"verdict": "permit"}] * 201}}]}, "hops.0.policy.rules"),
    ({"hops": [rule(verdict="accept")]}, "hops.0.policy.rules.0.verdict"),
    ({"hops": [rule(source="10.0.0.1/24")]}, "hops.0.policy.rules.0.source"),
    ({"hops": [rule(source="10.0.0.0/33")]}, "hops.0.policy.rules.0.source"),
    ({"hops": [rule(source="010.0.0.0/8")]}, "hops.0.policy.rules.0.source"),
    ({"hops": [rule(source="10.0.0.0/255.0.0.0")]}, "hops.0.policy.rules.0.source"),
    ({"hops": [rule(source="fe80::%eth0/64")]}, "hops.0.policy.rules.0.source"),
    ({"hops": [rule(source="10.0.0.0/8\n")]}, "hops.0.policy.rules.0.source"),
    ({"hops": [rule(source=167772160)]}, "hops.0.policy.rules.0.source"),
    ({"hops": [rule(source="10.0.0.0/8", destination="2001:db8::/32")]}, "hops.0.policy.rules.0"),
    ({"hops": [rule(protocol="icmpv6", source="10.0.0.0/8")]}, "hops.0.policy.rules.0"),
    ({"hops": [rule(protocol="icmp", destination_ports="8")]}, "hops.0.policy.rules.0.destination_ports"),
    ({"hops": [{"function": "ips"}]}, "hops.0.policy.patterns"),
    ({"hops": [{"function": "ips", "policy": {"patterns": [{"text": "abc"}]}}]}, "hops.0.policy.patterns.0.text"),
    ({"hops": [{"function": "ips", "policy": {"patterns": [{"text": "é" * 33}]}}]}, "hops.0.policy.patterns.0.text"),
    ({"hops": [{"function": "ips", "policy": {"patterns": [{"text": "ab\ncd"}]}}]}, "hops.0.policy.patterns.0.text"),
    ({"hops": [{"function": "ips", "policy": {"patterns": [{"hex": "abcde"}]}}]}, "hops.0.policy.patterns.0.hex"),
    ({"hops": [{"function": "ips", "policy": {"patterns": [{"hex": "zz" * 4}]}}]}, "hops.0.policy.patterns.0.hex"),
    ({"hops": [{"function": "ips", "policy": {"patterns": [{}]}}]}, "hops.0.policy.patterns.0"),
    ({"hops": [{"function": "ips", "policy": {"patterns": [{"text": "x", "hex": "0"}]}}]}, "hops.0.policy.patterns.0"),
    ({"hops": [{"function": "ips", "policy": {"patterns": [{"text": "same"}] * 2}}]}, "hops.0.policy.patterns.1"),
    ({"hops": [{"function": "cgn", "policy": {"block_size": 15}}]}, "hops.0.policy.block_size"),
    ({"hops": [{"function": "cgn", "policy": {"block_size": 70_000}}]}, "hops.0.policy.block_size"),
    ({"hops": [{**CGN, "failure_mode": "bypass"}]}, "hops.0.failure_mode"),
    ({"hops": [CGN, NGFW, CGN]}, "hops.2.policy"),
    ({"destination": "outside"}, "destination"),
    ({"destination": "outside", "hops": [CGN], "classifiers": [{}]}, "classifiers.0.family"),
    ({"destination": "outside", "hops": [CGN], "classifiers": [{"family": 6}]}, "classifiers.0.family"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "field"), WRONG, ids=[f"{index}-{field}" for index, (_, field) in enumerate(WRONG)]
)
def test_a_wrong_value_is_named_by_its_place(values: dict[str, Any], field: str) -> None:
    assert field in refused(**values)


def test_what_is_not_known_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Invalid) as caught:
        make_chain(classifers=[])
    assert "did you mean classifiers?" in caught.value.errors[0].detail
    assert refused(hops=[{**NGFW, "failmode": "block", "tenant": "tenant-b"}]) == {"hops.0": "unknown-field"}
    assert refused(tenant="tenant-b", status="ready", generation=7) == {"": "unknown-field"}


def test_all_faults_are_told_at_once() -> None:
    hops = [{"function": "x"}, {**NGFW, "realm": "y"}]
    found = refused(name="A", priority=99, hops=hops, classifiers=[{"family": 1}])
    assert set(found) == {"name", "priority", "hops.0.function", "hops.1.realm", "classifiers.0.family"}


def test_a_body_of_100000_unknown_names_costs_little() -> None:
    assert len(refused(**{f"x{index}": index for index in range(100_000)})) == 1


@pytest.mark.parametrize("data", [None, [], "chain", 7, {"name": {}}])
def test_a_body_that_is_no_chain_is_refused(data: Any) -> None:
    with pytest.raises(Invalid):
        chain_create(actor=OPERATOR, tenant=tenant(), data=data)


def test_values_are_stored_in_normal_form_and_shown_as_they_can_be_sent_back() -> None:
    policy = {
        "rules": [
            {
                "verdict": "permit",
                "source": "2001:DB8:0::/32",
                "protocol": "tcp",
                "destination_ports": "0443-0443",
            },
            {"verdict": "deny", "destination": "10.0.0.1"},
        ]
    }
    classifiers = [{"protocol": "udp", "source_ports": "0-65535", "destination_ports": "53-60", "dscp": 46}]
    hops = [
        {"function": "ngfw", "policy": policy},
        {"function": "ips", "policy": {"patterns": [{"hex": "DEADBEEF"}]}},
    ]
    chain = make_chain(classifiers=classifiers, hops=hops, latency_budget_us=500)
    shown = chain_intent(chain_get(OPERATOR, chain.pk))
    assert shown["classifiers"] == [
        {"protocol": "udp", "source_ports": "", "destination_ports": "53-60", "family": 0, "dscp": 46}
    ]
    any_rule = {"protocol": "", "source": "", "destination": "", "source_ports": "", "destination_ports": ""}
    assert shown["hops"][0]["policy"] == {
        "default": "deny",
        "rules": [
            {
                **any_rule,
                "verdict": "permit",
                "protocol": "tcp",
                "source": "2001:db8::/32",
                "destination_ports": "443",
            },
            {**any_rule, "verdict": "deny", "destination": "10.0.0.1/32"},
        ],
    }
    assert shown["hops"][1]["policy"] == {"patterns": [{"hex": "deadbeef"}]}
    again = make_chain("tenant-b", **{**shown, "name": "again"})
    assert chain_intent(chain_get(OPERATOR, again.pk)) == {**shown, "name": "again"}


def test_every_function_takes_its_policy() -> None:
    chain = make_chain(destination="outside", hops=[FILTER, NGFW, IPS, CGN])
    assert list(chain.hops.values_list("function__name", flat=True)) == ["filter", "ngfw", "ips", "cgn"]
    assert set(chain.hops.values_list("failure_mode", flat=True)) == {Hop.FailureMode.BLOCK}


def test_a_host_is_pinned_only_by_the_chain_whose_segments_live_there() -> None:
    assert make_chain(hops=[{**NGFW, "device": "a1", "realm": "host"}]).hops.get().device.name == "a1"
    Chain.objects.all().delete()
    foreign = refused(hops=[{**NGFW, "device": "b1"}])
    assert foreign == refused(hops=[{**NGFW, "device": "no-such-host"}]) == {"hops.0.device": "unknown"}


def test_a_wide_source_that_contains_other_segments_is_refused() -> None:
    """On the way back everything to the other segments would be caught."""
    Segment.objects.filter(name="outside").update(
        vrf=Segment.objects.get(tenant__name="tenant-a", name="servers").vrf
    )
    assert refused(source="outside", destination="servers") == {"source": "invalid"}


def test_the_data_that_tests_start_from_is_right() -> None:
    assert make_chain(**chain_data()).generation == 1
