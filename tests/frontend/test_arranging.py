# SPDX-License-Identifier: Apache-2.0
"""Diffs, reasons, items and the chain form: plain values in, plain values out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chains.errors import FieldError
from chains.models import Chain, Change, DeviceStatus, Finding, Instance, Plan, Step
from frontend import chain_form, items, native, why, words

OPENFLOW = """flow delete_strict table=0,priority=20001,in_port=1,tcp
flow add table=0,priority=20001,in_port=1,tcp actions=output:2
"""
NFT = """# rules of one chain
add chain inet viaduct c1-r1-f-1 {
    tcp dport 80 accept
}
flush chain inet viaduct claim
delete rule inet viaduct forward handle 7
# iptables
*filter
:VIADUCT-c1 - [0:0]
-A VIADUCT-c1 -j DROP
-D VIADUCT -j VIADUCT-c0
COMMIT
"""


def kinds(text: str) -> list[str]:
    return [line.kind for line in native.lines(text)]


def test_openflow_lines_have_their_signs() -> None:
    assert kinds(OPENFLOW) == ["remove", "add"]
    assert native.totals(native.lines(OPENFLOW)) == {"add": 1, "remove": 1, "change": 0}


def test_a_block_goes_with_the_statement_that_opened_it() -> None:
    assert kinds(NFT) == [
        "note", "add", "add", "add", "change", "remove", "note", "note", "add", "add", "remove", "note"
    ]  # fmt: skip


def test_every_line_is_shown_as_it_is() -> None:
    assert [line.text for line in native.lines(NFT)] == NFT.splitlines()


def test_a_text_that_brings_its_own_signs_keeps_them_once() -> None:
    found = native.lines("+ c1.r1.f.0.guard.0 {}\n- c2.r1.f.0.guard.0 {}\n~ c3.r1.f.0.guard.0 {} -> {}\n")
    assert [(line.sign, line.text[:2]) for line in found] == [("+", "c1"), ("−", "c2"), ("~", "c3")]


def candidate(*offers: str, cost: float = 0.0, excluded: str = "", **terms: float) -> dict[str, Any]:
    return {"realm": "appliance", "offers": list(offers), "cost": cost, "cost_terms": terms, "excluded": excluded}


def test_the_chosen_candidate_is_first_then_the_dearer_ones_then_the_excluded() -> None:
    hop = {
        "position": 0,
        "function": "ngfw",
        "chosen": candidate("ngfw@fw1", cost=5.0, instance=4.0, cost_fixed=1.0, links=0.0),
        "rejected": [
            candidate("ngfw@fw9", excluded="is down"),
            candidate("ngfw@fw3", cost=9.0),
            candidate("ngfw@fw2", cost=5.0),
        ],
        "reason": "cheapest",
    }
    (reason,) = why.reasons({"hops": [hop]})
    assert (reason.realm, reason.devices) == ("appliance", ("fw1",))
    assert [row.devices for row in reason.candidates] == [("fw1",), ("fw2",), ("fw3",), ("fw9",)]
    assert [row.excess for row in reason.candidates] == [None, 0.0, 4.0, None]
    assert [row.is_equal for row in reason.candidates] == [False, True, False, False]
    assert reason.candidates[0].terms == (("instance", 4.0), ("cost fixed", 1.0))


def test_no_placement_gives_no_reasons() -> None:
    assert why.reasons({}) == ()


@dataclass
class Item:
    """As chains.selectors gives it."""

    key: str
    wanted: dict[str, Any] | None
    held: dict[str, Any] | None
    action: str


MATCH = {
    "source": "10.10.1.0/24",
    "destination": "0.0.0.0/0",
    "protocol": "tcp",
    "source_ports": [0, 65535],
    "destination_ports": [80, 80],
    "dscp": -1,
}


def redirect(port: str) -> dict[str, Any]:
    target = {"port": port, "tag": 3000, "mac": "", "vrf": ""}
    return {"ingress": "a1", "tag": 0, "match": MATCH, "next": target, "precedence": 0}


def test_what_is_wrong_comes_first() -> None:
    given = [
        Item("c1.r1.f.0.redirect.0", redirect("x"), redirect("x"), ""),
        Item("c10.r1.f.0.redirect.0", redirect("x"), None, "create"),
        Item("c2.r1.f.0.redirect.0", redirect("x"), redirect("y"), "update"),
        Item("c3.r1.f.0.redirect.0", None, redirect("x"), "delete"),
        Item("c9.r1.f.0.redirect.0", redirect("x"), None, "create"),
    ]
    rows = items.rows_of(given, is_read=True)
    assert [(row.state, row.item.key.split(".")[0]) for row in rows] == [
        ("missing", "c9"),
        ("missing", "c10"),
        ("altered", "c2"),
        ("orphaned", "c3"),
        ("in_sync", "c1"),
    ]
    altered = rows[2]
    assert altered.wanted.endswith("out of x VLAN 3000") and altered.held.endswith("out of y VLAN 3000")
    assert rows[3].wanted == "" and rows[3].held


def test_nothing_is_claimed_of_a_device_that_was_never_read() -> None:
    (row,) = items.rows_of([Item("c1.r1.f.0.redirect.0", redirect("x"), None, "")], is_read=False)
    assert row.state == "unknown"


def test_items_in_words() -> None:
    assert items.words(redirect("fw1-in")) == (
        "from a1: tcp 10.10.1.0/24 to 0.0.0.0/0 port 80 out of fw1-in VLAN 3000"
    )
    rules = {"traffic": MATCH, "rules": [{}], "default": "deny", "inside": "in", "outside": "out"}
    assert items.words(rules) == "tcp 10.10.1.0/24 to 0.0.0.0/0 port 80 1 rule, else deny"
    assert items.words({"strange": 1}) == "strange=1"


def test_every_status_of_every_row_has_a_look() -> None:
    for choices in (Chain, Plan, Change, Step):
        assert not [value for value in choices.Status.values if value not in words.LOOKS]
    assert not [value for value in DeviceStatus.Condition.values if value not in words.LOOKS]
    assert not [value for value in Instance.Health.values if value not in words.LOOKS]
    assert not [value for value in Finding.Severity.values if value not in words.LOOKS]


INTENT = {
    "name": "web",
    "description": "",
    "source": "clients",
    "destination": "outside",
    "priority": 3,
    "bandwidth_mbps": 100,
    "latency_budget_us": None,
    "classifiers": [
        {"protocol": "tcp", "source_ports": "", "destination_ports": "80", "family": 4, "dscp": None}
    ],
    "hops": [
        {
            "function": "ngfw",
            "failure_mode": "block",
            "realm": "",
            "device": "",
            "policy": {"default": "deny", "rules": [{"verdict": "permit", "protocol": "tcp"}]},
        }
    ],
}


def as_posted(form: chain_form.ChainForm) -> dict[str, str]:
    """What a browser would send."""
    data = dict(form.values)
    for name in ("classifiers", "hops"):
        rows = getattr(form, name)
        data[f"{name}-count"] = str(len(rows))
        for number, row in enumerate(rows):
            data |= {f"{name}-{number}-{key}": value for key, value in row.items()}
    return data


def test_a_chain_survives_the_way_through_the_form() -> None:
    form = chain_form.posted(as_posted(chain_form.of_intent(INTENT)))
    data, errors = chain_form.data_of(form)
    assert not errors
    data["classifiers"][0].setdefault("dscp", None)
    assert data == INTENT


def test_row_buttons_change_rows_and_keep_what_was_typed() -> None:
    form = chain_form.of_intent(INTENT)
    more = chain_form.edited(form, "add-hops")
    assert more is not None and [row["function"] for row in more.hops] == ["ngfw", ""]
    swapped = chain_form.edited(more, "down-hops-0")
    assert swapped is not None and [row["function"] for row in swapped.hops] == ["", "ngfw"]
    less = chain_form.edited(swapped, "remove-hops-0")
    assert less is not None and less.hops == form.hops
    assert chain_form.edited(form, "up-hops-0") == form
    assert chain_form.edited(form, "remove-hops-99") == form
    assert chain_form.edited(form, "save") is None
    assert chain_form.edited(form, "add-values") is None


def test_what_cannot_be_read_is_said_at_its_input() -> None:
    posted = as_posted(chain_form.of_intent(INTENT))
    posted |= {"priority": "high", "hops-0-policy": '{"rules": [', "classifiers-0-dscp": "1.5"}
    form = chain_form.posted(posted)
    _, errors = chain_form.data_of(form)
    found = chain_form.with_errors(form, errors)
    assert set(found.errors) == {"priority", "hops-0-policy", "classifiers-0-dscp"}
    assert found.errors["hops-0-policy"][0].startswith("is not JSON: ")
    assert found.hops[0]["policy"] == '{"rules": ['


def test_numbers_that_are_none_are_refused() -> None:
    for text in ('{"block_size": NaN}', '{"block_size": Infinity}'):
        form = chain_form.posted(as_posted(chain_form.of_intent(INTENT)) | {"hops-0-policy": text})
        assert chain_form.data_of(form)[1]


def test_the_service_s_errors_find_their_inputs() -> None:
    form = chain_form.of_intent(INTENT)
    given = (
        FieldError("hops.0.policy.rules.2.protocol", "invalid", "is no protocol"),
        FieldError("classifiers.0", "overlap", "overlaps"),
        FieldError("classifiers.7.family", "invalid", "no such row"),
        FieldError("name", "name-taken", "is taken"),
        FieldError("", "invalid", "as a whole"),
    )
    found = chain_form.with_errors(form, given)
    assert found.errors == {
        "hops-0-policy": ("rules.2.protocol: is no protocol",),
        "classifiers-0-protocol": ("overlaps",),
        "name": ("is taken",),
    }
    assert found.general == ("classifiers.7.family: no such row", "as a whole")


def test_a_posted_count_of_rows_is_bounded() -> None:
    for count in ("999", "-1", "x", "٣", ""):
        assert len(chain_form.posted({"hops-count": count}).hops) <= 12
