# SPDX-License-Identifier: Apache-2.0
"""Text for nft and iptables, and back: parse(render(x)) == x on the real programs, and nothing else gets in."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers import iptables
from drivers.appliance import linux
from drivers.base import PortInfo, Rejected, Target, Unsupported
from drivers.diff import Change, diff
from drivers.nftables import render, render_base
from drivers.nftables_grammar import refused_line
from drivers.nftables_objects import Realm
from drivers.nftables_parse import DAMAGED_ITEMS, has_base, parse
from drivers.state import (
    ANY_PORT,
    EMPTY,
    DeviceState,
    Key,
    Kind,
    Match,
    NatPool,
    Rule,
    RuleSet,
    Signatures,
    Verdict,
)
from tests.drivers.linux_rig import HOSTILE, HOSTILE_IPTABLES, Box, needs_root
from tests.drivers.samples import Site, prefixes, state, states

INTERFACES = {"in": "in", "out": "eth1"}
APPLIANCE = Site(frozenset({Kind.RULESET, Kind.NATPOOL}), inside="in", outside="out")
HOST = Site(frozenset({Kind.RULESET}))
IPS = Site(frozenset({Kind.SIGNATURES}), inside="in", outside="out")
TARGET = Target("fw1", "linux", "", {"interface_out": "eth1"}, {name: PortInfo(name) for name in ("in", "out")})
OUTWARD = Match("10.10.1.0/24", "0.0.0.0/0")
EXAMPLES = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A namespace to run nft and iptables in."""
    made = Box(tmp_path_factory.mktemp("nft"))
    made.start()
    yield made
    made.stop()


def changes(*items: RuleSet | NatPool | Signatures) -> tuple[Change, ...]:
    return diff(EMPTY, state(list(items)))


def hold(box: Box, before: DeviceState, after: DeviceState, realm: Realm) -> DeviceState:
    """Send the difference to nft; what it lists."""
    text = render(diff(before, after), realm, INTERFACES)
    assert refused_line(text, realm) == 0
    box.run("nft", "-f", "-", text=text)
    return parse(box.run("nft", "-j", "list", "table", "inet", "viaduct"), realm, INTERFACES).state


@pytest.mark.lab
@needs_root
class TestRealPrograms:
    @pytest.mark.parametrize(("realm", "site"), [(Realm.APPLIANCE, APPLIANCE), (Realm.HOST, HOST)])
    @EXAMPLES
    @given(data=st.data())
    def test_any_state_goes_in_and_comes_out(
        self, bench: Box, realm: Realm, site: Site, data: st.DataObject
    ) -> None:
        bench.run("nft", "-f", "-", text="add table inet viaduct\ndelete table inet viaduct\n")
        wanted = data.draw(states(site))
        if wanted:
            assert hold(bench, EMPTY, wanted, realm) == wanted
            assert hold(bench, wanted, EMPTY, realm) == EMPTY

    @EXAMPLES
    @given(data=st.data())
    def test_any_signatures_go_in_and_come_out(self, bench: Box, data: st.DataObject) -> None:
        wanted = data.draw(states(IPS, most=2))
        for before, after in ((EMPTY, wanted), (wanted, EMPTY)):
            found: dict[Key, object] = {}
            for kind, text in linux.sections(linux.render(diff(before, after), TARGET)):
                program = linux.APPLY[kind].split()
                if kind != linux.NFT:
                    saved = iptables.saved_from(bench.run(*linux.SAVE[kind].split()))
                    bench.run(*program, text=iptables.settled(text, saved))
            for kind, family in linux.FAMILIES.items():
                saved = iptables.saved_from(bench.run(*linux.SAVE[kind].split()))
                found.update(iptables.parse(saved, family, INTERFACES).state)
            assert found == dict(after)

    @EXAMPLES
    @given(st.sampled_from([4, 6]).flatmap(prefixes), st.sampled_from(list(Realm)))
    def test_every_prefix_reads_back_as_it_was_written(self, bench: Box, prefix: str, realm: Realm) -> None:
        anywhere = "::/0" if ":" in prefix else "0.0.0.0/0"
        arms = ("", "") if realm is Realm.HOST else ("in", "out")
        rule = Rule(Verdict.PERMIT, Match(anywhere, prefix, "tcp", (0, 1023), (1024, 65535), 63))
        wanted = state([RuleSet(Match(prefix, anywhere), (rule,), Verdict.DENY, *arms)])
        bench.run("nft", "-f", "-", text="add table inet viaduct\ndelete table inet viaduct\n")
        assert hold(bench, EMPTY, wanted, realm) == wanted

    def test_a_rule_of_the_other_family_reads_back(self, bench: Box) -> None:
        anything = [Match("0.0.0.0/0", "0.0.0.0/0", protocol) for protocol in ("", "tcp", "icmp")]
        anything += [Match("::/0", "::/0", protocol) for protocol in ("", "udp", "icmpv6")]
        rules = tuple(Rule(Verdict.DENY, match) for match in anything)
        for number, source in enumerate(("10.0.0.0/8", "2001:db8::/32")):
            traffic = Match(source, "::/0" if number else "0.0.0.0/0")
            wanted = state([RuleSet(traffic, rules, Verdict.PERMIT)], revision=number)
            bench.run("nft", "-f", "-", text="add table inet viaduct\ndelete table inet viaduct\n")
            assert hold(bench, EMPTY, wanted, Realm.HOST) == wanted

    @pytest.mark.parametrize("protocol", ["", "tcp", "icmp", "icmpv6"])
    @pytest.mark.parametrize("anywhere", ["0.0.0.0/0", "::/0"])
    def test_traffic_from_anywhere_to_anywhere(self, bench: Box, protocol: str, anywhere: str) -> None:
        bench.run("nft", "-f", "-", text="add table inet viaduct\ndelete table inet viaduct\n")
        wanted = state([RuleSet(Match(anywhere, anywhere, protocol), (), Verdict.DENY)])
        assert hold(bench, EMPTY, wanted, Realm.HOST) == wanted

    def test_a_large_pool_goes_in_one_transaction(self, bench: Box) -> None:
        bench.run("nft", "-f", "-", text="add table inet viaduct\ndelete table inet viaduct\n")
        pool = NatPool(Match("10.0.0.0/20", "0.0.0.0/0"), "198.51.100.0/25", 2000, "in", "out")
        assert hold(bench, EMPTY, state([pool]), Realm.APPLIANCE) == state([pool])


class TestText:
    def test_a_rule_set_reads_like_its_policy(self) -> None:
        traffic = Match("10.10.1.0/24", "203.0.113.0/24", "tcp")
        rule = Rule(Verdict.PERMIT, Match("0.0.0.0/0", "203.0.113.10/32", "tcp", ANY_PORT, (80, 81)))
        text = render(changes(RuleSet(traffic, (rule,), Verdict.DENY, "in", "out")), Realm.APPLIANCE, INTERFACES)
        name = "add rule inet viaduct c7_r1_f_1_ruleset_0"
        assert text.removeprefix(render_base(Realm.APPLIANCE)).splitlines() == [
            "add chain inet viaduct c7_r1_f_1_ruleset_0_rules",
            "flush chain inet viaduct c7_r1_f_1_ruleset_0_rules",
            f"{name}_rules ip daddr 203.0.113.10 tcp dport 80-81 counter goto claim",
            f"{name}_rules counter drop",
            "add chain inet viaduct c7_r1_f_1_ruleset_0 { type filter hook forward priority 0; policy accept; }",
            "flush chain inet viaduct c7_r1_f_1_ruleset_0",
            f"{name} meta nfproto ipv4 meta l4proto icmp ct state related return",
            f'{name} iifname "in" oifname "eth1" ip saddr 10.10.1.0/24 ip daddr 203.0.113.0/24 '
            "meta l4proto tcp ct direction original goto c7_r1_f_1_ruleset_0_rules",
            f'{name} iifname "eth1" oifname "in" ip saddr 203.0.113.0/24 ip daddr 10.10.1.0/24 '
            "meta l4proto tcp ct direction reply counter goto claim",
            f'{name} iifname "eth1" oifname "in" ip saddr 203.0.113.0/24 ip daddr 10.10.1.0/24 '
            "meta l4proto tcp counter drop",
            f'{name} iifname "in" oifname "eth1" ip saddr 10.10.1.0/24 ip daddr 203.0.113.0/24 '
            "meta l4proto tcp counter drop",
        ]

    def test_signatures_come_first_and_go_last(self) -> None:
        both = [RuleSet(OUTWARD, (), Verdict.DENY, "in", "out"), Signatures(OUTWARD, ("deadbeef",), "in", "out")]
        there = changes(*both)
        kinds = [kind for kind, _ in linux.sections(linux.render(there, TARGET))]
        assert kinds == [linux.FOUR, linux.NFT]
        back = tuple(change.reversed() for change in there)
        assert [kind for kind, _ in linux.sections(linux.render(back, TARGET))] == [linux.NFT, linux.FOUR]

    def test_the_longest_key_fits_the_name_of_an_iptables_chain(self) -> None:
        key = Key.parse("c16777215.r4095.f.63.signatures.1023")
        assert len(iptables.chain_of(key)) == 28

    @pytest.mark.parametrize(
        "item",
        [
            RuleSet(OUTWARD, (), Verdict.DENY),
            RuleSet(OUTWARD, (), Verdict.DENY, "in", 'x" drop'),
            RuleSet(OUTWARD, (), Verdict.DENY, "in", "a-name-too-long-for-linux"),
            NatPool(Match("2001:db8::/64", "::/0"), "198.51.100.0/28", 64, "in", "out"),
            NatPool(Match("10.0.0.0/24", "0.0.0.0/0", "sctp"), "198.51.100.0/28", 64, "in", "out"),
            NatPool(Match("10.0.0.0/16", "0.0.0.0/0"), "198.51.100.0/30", 1024, "in", "out"),
            Signatures(OUTWARD, ("DEADBEEF",), "in", "out"),
            Signatures(OUTWARD, ("de|ad",), "in", "out"),
            Signatures(OUTWARD, ("deadbeef",), "in; reboot", "out"),
        ],
    )
    def test_what_an_appliance_cannot_hold_is_unsupported(self, item: RuleSet | NatPool | Signatures) -> None:
        with pytest.raises(Unsupported):
            linux.render(changes(item), TARGET)


class TestGrammar:
    @given(data=st.data())
    @settings(max_examples=50, deadline=None)
    def test_everything_that_is_rendered_is_taken(self, data: st.DataObject) -> None:
        realm, site = data.draw(st.sampled_from([(Realm.APPLIANCE, APPLIANCE), (Realm.HOST, HOST)]))
        first, second = data.draw(states(site)), data.draw(states(site))
        assert refused_line(render(diff(first, second), realm, INTERFACES), realm) == 0

    @pytest.mark.parametrize("realm", list(Realm))
    @pytest.mark.parametrize("line", [*HOSTILE, "", "# comment", "add table ip x", "\x00", "list ruleset"])
    def test_nothing_else_is(self, realm: Realm, line: str) -> None:
        base = render_base(realm)
        assert refused_line(f"{base}{line}\n", realm) == base.count("\n") + 1
        assert refused_line(f"{line}\n{base}", realm) == 1
        assert refused_line(base[:-1], realm) == 1

    def test_a_host_takes_no_text_for_an_appliance(self) -> None:
        text = render(changes(RuleSet(OUTWARD, (), Verdict.DENY, "in", "out")), Realm.APPLIANCE, INTERFACES)
        assert refused_line(text, Realm.HOST) == 1

    def test_a_rule_goes_to_no_other_item(self) -> None:
        for realm, own in ((Realm.HOST, "c1_r1_f_1_ruleset_0"), (Realm.APPLIANCE, "c1_r1_f_1_ruleset_0")):
            rule = f"add rule inet viaduct {own} counter goto "
            assert refused_line(f"{render_base(realm)}{rule}{own}_rules\n", realm) == 0
            assert refused_line(f"{render_base(realm)}{rule}c2_r1_f_1_ruleset_0_rules\n", realm) != 0

    @given(text=st.text(alphabet=st.sampled_from('c17_r.f rulesetaddchiv{};"\n\\$ip#'), max_size=80))
    def test_random_text_is_refused(self, text: str) -> None:
        rule = f"add rule inet viaduct c1_r1_f_1_ruleset_0 {text}\x01\n"
        assert refused_line(render_base(Realm.HOST) + rule, Realm.HOST)

    @pytest.mark.parametrize("text", [*HOSTILE_IPTABLES, "add table inet viaduct\n", "# nft\n"])
    def test_sections_are_checked_too(self, text: str) -> None:
        with pytest.raises(Rejected):
            linux.sections(text)


class TestParse:
    def test_no_table_is_an_empty_device(self) -> None:
        assert parse("", Realm.HOST, {}).state == EMPTY
        assert not has_base("", Realm.APPLIANCE)

    @pytest.mark.parametrize("text", ["nonsense", "[]", "{}", '{"nftables": [{"quota": {}}]}', '{"nftables": [1]}'])
    def test_what_nft_never_says_is_rejected(self, text: str) -> None:
        with pytest.raises(Rejected):
            parse(text, Realm.HOST, {})

    @pytest.mark.parametrize(
        "expression",
        [
            {"xt": None},
            {"match": {"op": "!=", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}},
            {"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": 0}},
            {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "flags"}}, "right": 2}},
            {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 7}},
            {"jump": {"target": "closing"}},
        ],
    )
    def test_a_rule_that_we_never_write_damages_its_item(self, expression: dict[str, object]) -> None:
        chain = {"chain": {"family": "inet", "table": "viaduct", "name": "c1_r1_f_1_ruleset_0", "handle": 1}}
        rule = {"rule": {"chain": "c1_r1_f_1_ruleset_0", "handle": 2, "expr": [expression, {"drop": None}]}}
        found = parse(json.dumps({"nftables": [chain, rule]}), Realm.HOST, {}).state
        assert dict(found) == {Key.parse("c1.r1.f.1.ruleset.0"): DAMAGED_ITEMS[Kind.RULESET]}

    def test_an_item_in_pieces_is_damaged_and_can_be_taken_away(self) -> None:
        chain = {"chain": {"family": "inet", "table": "viaduct", "name": "c1_r1_f_1_ruleset_0_rules", "handle": 1}}
        found = parse(json.dumps({"nftables": [chain]}), Realm.HOST, {}).state
        assert dict(found) == {Key.parse("c1.r1.f.1.ruleset.0"): DAMAGED_ITEMS[Kind.RULESET]}
        text = render(diff(found, EMPTY), Realm.HOST, {})
        assert "delete chain inet viaduct c1_r1_f_1_ruleset_0_rules\n" in text

    def test_damaged_signatures_are_taken_out_of_both_families(self) -> None:
        key = Key.parse("c1.r1.f.1.signatures.0")
        found = DeviceState({key: DAMAGED_ITEMS[Kind.SIGNATURES]})
        kinds = [kind for kind, text in linux.sections(linux.render(diff(found, EMPTY), TARGET))]
        assert kinds == [linux.NFT, linux.FOUR, linux.SIX]


class TestSettled:
    SAVED = """*filter
:FORWARD ACCEPT [0:0]
:VIADUCT7r1f1i0 - [0:0]
[0:0] -A FORWARD -i a -o b -j VIADUCT7r1f1i0
[0:0] -A FORWARD -i x -o y -j VIADUCT7r1f1i0
[5:400] -A FORWARD -j ACCEPT
[2:80] -A VIADUCT7r1f1i0 -j MARK --set-xmark 0x40000000/0x40000000
COMMIT
"""

    def test_what_the_device_has_goes_first(self) -> None:
        saved = iptables.saved_from(self.SAVED)
        text = iptables.script([":VIADUCT7r1f1i0 - [0:0]", "-I FORWARD -i a -o b -j VIADUCT7r1f1i0"])
        assert iptables.settled(text, saved).splitlines()[1:-1] == [
            "-D FORWARD -i a -o b -j VIADUCT7r1f1i0",
            "-D FORWARD -i x -o y -j VIADUCT7r1f1i0",
            ":VIADUCT7r1f1i0 - [0:0]",
            "-I FORWARD -i a -o b -j VIADUCT7r1f1i0",
        ]
        assert saved.foreign == 1

    def test_what_it_has_not_is_not_taken_away(self) -> None:
        gone = iptables.script(["-D FORWARD -i a -o b -j VIADUCT9r1f1i0", "-F VIADUCT9r1f1i0", "-X VIADUCT9r1f1i0"])
        assert iptables.settled(gone, iptables.saved_from(self.SAVED)) == ""

    def test_restoring_writes_what_was_there(self) -> None:
        before, now = iptables.saved_from(self.SAVED), iptables.saved_from("")
        assert iptables.restoring({"VIADUCT7r1f1i0", "VIADUCT9r1f1i0"}, before, now).splitlines()[1:-1] == [
            ":VIADUCT7r1f1i0 - [0:0]",
            "-A VIADUCT7r1f1i0 -j MARK --set-xmark 0x40000000/0x40000000",
            "-I FORWARD -i x -o y -j VIADUCT7r1f1i0",
            "-I FORWARD -i a -o b -j VIADUCT7r1f1i0",
        ]
        assert "-X VIADUCT7r1f1i0" in iptables.restoring({"VIADUCT7r1f1i0"}, now, before)
