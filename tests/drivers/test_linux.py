# SPDX-License-Identifier: Apache-2.0
"""The linux driver on real packets: what an appliance lets pass, and over which SSH it may be told."""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.appliance.linux import DRIVER, claim
from drivers.base import Rejected, Target, Transient
from drivers.diff import diff
from drivers.nat import blocks
from drivers.state import ANY_PORT, EMPTY, Match, NatPool, Rule, RuleSet, Signatures, Verdict
from tests.drivers.linux_rig import Box, needs_root, ssh_secret
from tests.drivers.samples import state
from tests.drivers.wire import (
    CLIENT,
    CLIENT6,
    PATIENCE_S,
    SERVER,
    SERVER6,
    SILENCE_S,
    Wire,
    arrives,
    connect,
    inside,
    listen,
    udp,
)

pytestmark = [pytest.mark.lab, needs_root]

OUTWARD = Match("10.10.1.0/24", "0.0.0.0/0")
POOL = NatPool(OUTWARD, "198.51.100.0/28", 64, "in", "out")


def allow(protocol: str, port: int, family: int = 4) -> Rule:
    anywhere = "0.0.0.0/0" if family == 4 else "::/0"
    return Rule(Verdict.PERMIT, Match(anywhere, anywhere, protocol, ANY_PORT, (port, port)))


def firewall(*rules: Rule, traffic: Match = OUTWARD, default: Verdict = Verdict.DENY) -> RuleSet:
    return RuleSet(traffic, rules, default, "in", "out")


class TestClosed:
    def test_a_claimed_appliance_forwards_nothing_that_no_item_lets_pass(self, wire: Wire) -> None:
        inner, outer = udp(wire.client, CLIENT), udp(wire.server, SERVER, 53)
        assert arrives(inner, (SERVER, 53), outer)
        with DRIVER.open(wire.target, 10.0) as session:
            session.push(claim())
        assert not arrives(inner, (SERVER, 53), outer)
        wire.hold(firewall(allow("udp", 53), traffic=Match("10.99.0.0/16", "0.0.0.0/0")))
        assert not arrives(inner, (SERVER, 53), outer)

    def test_with_the_last_item_the_box_is_the_operators_own_again(self, wire: Wire) -> None:
        inner, outer = udp(wire.client, CLIENT), udp(wire.server, SERVER, 53)
        rules = ("sh", "-c", "nft list ruleset; iptables-save; ip6tables-save")
        before = wire.fw.run(*rules)
        for item in (firewall(allow("udp", 53)), Signatures(OUTWARD, ("deadbeef",), "in", "out")):
            wire.hold(item)
            assert wire.fw.run(*rules) != before
            wire.hold()
            assert wire.fw.run(*rules) == before
            assert arrives(inner, (SERVER, 53), outer)

    def test_a_mark_from_elsewhere_is_no_claim(self, wire: Wire) -> None:
        wire.hold(firewall(default=Verdict.PERMIT, traffic=Match("10.99.0.0/16", "0.0.0.0/0")))
        script = "add table ip theirs\nadd chain ip theirs p { type filter hook prerouting priority 0; }\n"
        wire.fw.run("nft", "-f", "-", text=script + "add rule ip theirs p meta mark set 0x40000000\n")
        inner, outer = udp(wire.client, CLIENT), udp(wire.server, SERVER, 54)
        assert not arrives(inner, (SERVER, 54), outer)


class TestRuleSet:
    def test_it_lets_pass_what_the_rules_permit_and_counts(self, wire: Wire) -> None:
        wire.hold(firewall(allow("tcp", 80), allow("udp", 53)))
        with listen(wire.server, SERVER, 80), listen(wire.server, SERVER, 81):
            connect(wire.client, SERVER, 80).close()
            with pytest.raises(TimeoutError):
                connect(wire.client, SERVER, 81, timeout_s=SILENCE_S)
        before = wire.counter()
        assert before.dropped > 0
        inner, outer = udp(wire.client, CLIENT, 5353), udp(wire.server, SERVER, 53)
        assert arrives(inner, (SERVER, 53), outer)
        assert arrives(outer, (CLIENT, 5353), inner)
        after = wire.counter()
        assert (after.packets - before.packets, after.dropped - before.dropped) == (2, 0)
        assert after.octets - before.octets == 2 * (20 + 8 + 5)

    def test_nobody_opens_against_the_direction(self, wire: Wire) -> None:
        wire.hold(firewall(default=Verdict.PERMIT))
        inner, outer = udp(wire.client, CLIENT, 7000), udp(wire.server, SERVER, 7001)
        assert not arrives(outer, (CLIENT, 7000), inner)
        with listen(wire.client, CLIENT, 80), pytest.raises(TimeoutError):
            connect(wire.server, CLIENT, 80, timeout_s=SILENCE_S)
        assert wire.counter().dropped >= 2
        assert arrives(inner, (SERVER, 7001), outer)
        assert arrives(outer, (CLIENT, 7000), inner)

    def test_a_new_policy_counts_for_live_flows_at_once(self, wire: Wire) -> None:
        wire.hold(firewall(allow("udp", 53), allow("tcp", 80)))
        inner, outer = udp(wire.client, CLIENT), udp(wire.server, SERVER, 53)
        assert arrives(inner, (SERVER, 53), outer)
        wire.hold(firewall(allow("tcp", 80)))
        assert not arrives(inner, (SERVER, 53), outer)
        wire.hold(firewall(allow("udp", 53)), revision=2)
        assert arrives(inner, (SERVER, 53), outer)

    def test_an_error_about_a_permitted_flow_comes_back(self, wire: Wire) -> None:
        wire.hold(firewall(allow("udp", 53)))
        inner = udp(wire.client, CLIENT)
        inner.connect((SERVER, 53))
        inner.send(b"nobody is there")
        with pytest.raises(ConnectionRefusedError):
            inner.recv(1)

    def test_ipv6_and_ipv4_are_items_of_their_own(self, wire: Wire) -> None:
        wire.hold(firewall(allow("udp", 53, 6), traffic=Match("2001:db8:1::/64", "::/0")))
        six = udp(wire.client, CLIENT6), udp(wire.server, SERVER6, 53)
        four = udp(wire.client, CLIENT), udp(wire.server, SERVER, 53)
        assert arrives(six[0], (SERVER6, 53), six[1])
        assert not arrives(six[0], (SERVER6, 54), udp(wire.server, SERVER6, 54))
        assert not arrives(four[0], (SERVER, 53), four[1])

    def test_several_items_share_the_arms(self, wire: Wire) -> None:
        dns = Match("10.10.1.0/24", "0.0.0.0/0", "udp", ANY_PORT, (53, 53))
        ntp = Match("10.10.1.0/24", "0.0.0.0/0", "udp", ANY_PORT, (123, 123))
        wire.hold(firewall(default=Verdict.PERMIT, traffic=dns), firewall(traffic=ntp))
        inner = udp(wire.client, CLIENT)
        assert arrives(inner, (SERVER, 53), udp(wire.server, SERVER, 53))
        assert not arrives(inner, (SERVER, 123), udp(wire.server, SERVER, 123))
        counters = wire.read().counters
        assert [(each.packets, each.dropped) for each in counters.values()] == [(1, 0), (0, 1)]


class TestSignatures:
    def test_a_payload_with_a_pattern_is_stopped_both_ways(self, wire: Wire) -> None:
        wire.hold(Signatures(OUTWARD, (b"EVIL-1".hex(), "deadbeef"), "in", "out"))
        inner, outer = udp(wire.client, CLIENT, 6000), udp(wire.server, SERVER, 53)
        assert arrives(inner, (SERVER, 53), outer, b"good")
        assert not arrives(inner, (SERVER, 53), outer, b"some EVIL-1 text")
        assert not arrives(outer, (CLIENT, 6000), inner, b"\xde\xad\xbe\xef")
        assert arrives(outer, (CLIENT, 6000), inner, b"\xde\xad")
        seen = wire.counter()
        assert (seen.packets, seen.octets, seen.dropped) == (2, 28 + 4 + 28 + 2, 2)

    def test_beside_a_rule_set_both_must_agree(self, wire: Wire) -> None:
        wire.hold(firewall(allow("udp", 53)), Signatures(OUTWARD, ("deadbeef",), "in", "out"))
        inner, outer = udp(wire.client, CLIENT), udp(wire.server, SERVER, 53)
        assert arrives(inner, (SERVER, 53), outer)
        assert not arrives(inner, (SERVER, 53), outer, b"\xde\xad\xbe\xef")
        assert not arrives(inner, (SERVER, 54), udp(wire.server, SERVER, 54))

    def test_a_pattern_across_two_fragments_of_a_buffer_is_found(self, wire: Wire, tmp_path: Path) -> None:
        """sendfile(2) puts the file's page beside what was written: one packet, two fragments in memory."""
        wire.hold(Signatures(OUTWARD, (b"ABCDEFGH".hex(),), "in", "out"))
        (tmp_path / "rest").write_bytes(b"EFGH" + b"y" * 100)
        with listen(wire.server, SERVER, 80) as server, connect(wire.client, SERVER, 80) as one:
            peer, _ = server.accept()
            peer.settimeout(4 * SILENCE_S)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            one.sendall(b"x" * 600 + b"ABCD")
            with (tmp_path / "rest").open("rb") as rest:
                one.sendfile(rest)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            with peer, pytest.raises(TimeoutError):
                peer.recv(4096)
        assert wire.counter().dropped > 0


class TestNat:
    def test_every_subscriber_uses_its_own_block_and_no_port_more(self, wire: Wire) -> None:
        wire.hold(POOL)
        outer = udp(wire.server, SERVER, 53)
        wire.client.run("ip", "addr", "add", "10.10.1.77/24", "dev", "eth0")
        expected = {block.subscriber: block for block in blocks(POOL)}
        for subscriber in (CLIENT, "10.10.1.77"):
            seen = set()
            for number in range(96):
                inner = udp(wire.client, subscriber, 20000 + number)
                inner.sendto(b"%d" % number, (SERVER, 53))
                inner.close()
            outer.settimeout(SILENCE_S)
            with pytest.raises(TimeoutError):
                while True:
                    seen.add(outer.recvfrom(64)[1])
            block = expected[subscriber]
            assert {address for address, _ in seen} == {block.public}
            assert {port for _, port in seen} == set(range(block.first_port, block.last_port + 1))

    def test_answers_come_back_and_strangers_do_not(self, wire: Wire) -> None:
        wire.hold(POOL)
        inner, outer = udp(wire.client, CLIENT), udp(wire.server, SERVER, 53)
        inner.sendto(b"who am I?", (SERVER, 53))
        _, public = outer.recvfrom(64)
        assert arrives(outer, public, inner)
        stranger = udp(wire.server, SERVER, 54)
        for to in (public, ("198.51.100.9", 2000), inner.getsockname()):
            assert not arrives(stranger, to, inner)
        seen = wire.counter()
        assert (seen.packets, seen.dropped) == (2, 3)

    def test_tcp_and_echo_are_translated_into_the_block_too(self, wire: Wire) -> None:
        wire.hold(POOL)
        block = next(one for one in blocks(POOL) if one.subscriber == CLIENT)
        with listen(wire.server, SERVER, 80) as server, connect(wire.client, SERVER, 80):
            address, port = server.accept()[1]
            assert address == block.public
            assert block.first_port <= port <= block.last_port
        with inside(wire.server):
            seen = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        seen.settimeout(PATIENCE_S)
        wire.client.run("ping", "-c1", "-W3", SERVER)
        packet, (address, _) = seen.recvfrom(2048)
        assert address == block.public
        assert block.first_port <= struct.unpack("!H", packet[24:26])[0] <= block.last_port

    def test_flows_of_another_pool_do_not_go_on_under_it(self, wire: Wire) -> None:
        wire.hold(POOL)
        inner, outer = udp(wire.client, CLIENT, 7000), udp(wire.server, SERVER, 53)
        assert arrives(inner, (SERVER, 53), outer)
        wire.hold(replace(POOL, public="192.0.2.0/28"))
        assert not arrives(inner, (SERVER, 53), outer)
        assert arrives(udp(wire.client, CLIENT, 7001), (SERVER, 53), outer)

    def test_nothing_leaves_untranslated(self, wire: Wire) -> None:
        """A flow from before the pool has no translation, and another protocol cannot have one."""
        wire.hold(firewall(default=Verdict.PERMIT))
        inner, outer = udp(wire.client, CLIENT, 7000), udp(wire.server, SERVER, 53)
        assert arrives(inner, (SERVER, 53), outer)
        wire.hold(POOL)
        assert not arrives(inner, (SERVER, 53), outer)
        with inside(wire.client):
            other = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)
        with inside(wire.server):
            far = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)
        other.sendto(b"gre", (SERVER, 0))
        far.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            far.recv(64)


class TestDamage:
    """What a hand did to our objects is seen, and the difference repairs it."""

    @pytest.mark.parametrize(
        "command",
        [
            "nft add rule inet viaduct c7_r1_f_1_ruleset_0_rules tcp flags syn accept",
            "nft insert rule inet viaduct opening ct mark set 5 accept",
            "nft flush chain inet viaduct c7_r1_f_1_ruleset_0_rules",
            "nft flush chain inet viaduct c7_r1_f_1_ruleset_0",
            "nft insert rule inet viaduct c7_r1_f_1_ruleset_0_rules accept",
            "nft flush chain inet viaduct closing",
            "nft delete table inet viaduct",
            "iptables -F FORWARD",
            "iptables -F VIADUCT7r1f1i1",
            "iptables -D VIADUCT7r1f1i1 -j MARK --or-mark 0x40000000",
        ],
    )
    def test_it_is_repaired(self, wire: Wire, command: str) -> None:
        wanted = wire.hold(firewall(allow("udp", 53)), Signatures(OUTWARD, ("deadbeef",), "in", "out"))
        wire.fw.run(*command.split())
        with DRIVER.open(wire.target, 10.0) as session:
            found = session.read().state
            assert found != wanted
            session.push(DRIVER.render(diff(found, wanted), wire.target))
            assert session.read().state == wanted
        inner, outer = udp(wire.client, CLIENT), udp(wire.server, SERVER, 53)
        assert arrives(inner, (SERVER, 53), outer)
        assert not arrives(inner, (SERVER, 53), outer, b"\xde\xad\xbe\xef")
        assert not arrives(inner, (SERVER, 54), udp(wire.server, SERVER, 54))

    def test_a_rule_that_we_never_write_in_a_chain_of_ours_is_rejected(self, wire: Wire) -> None:
        wire.hold(firewall(allow("udp", 53)), Signatures(OUTWARD, ("deadbeef",), "in", "out"))
        wire.fw.run("iptables", "-A", "VIADUCT7r1f1i1", "-p", "tcp", "-j", "ACCEPT")
        with pytest.raises(Rejected, match="remove"):
            wire.read()


class TestStrangers:
    """What others put among ours is told, and nothing is written until it is gone; beside ours, it is only told."""

    @pytest.mark.parametrize(
        ("command", "line"),
        [
            ("nft add chain inet viaduct stranger", "chain inet viaduct stranger, 0 rules"),
            ("nft add set inet viaduct s { type ipv4_addr ; }", "set inet viaduct s"),
            ("nft add map inet viaduct m { type ipv4_addr : verdict ; }", "map inet viaduct m"),
            ("iptables -N VIADUCTx", "iptables chain VIADUCTx"),
        ],
    )
    def test_among_ours(self, wire: Wire, command: str, line: str) -> None:
        wanted = wire.hold(firewall(allow("udp", 53)), Signatures(OUTWARD, ("deadbeef",), "in", "out"))
        assert wire.read().attached == ()
        wire.fw.run(*command.split())
        with DRIVER.open(wire.target, 10.0) as session:
            seen = session.read()
            assert (seen.state, seen.attached) == (wanted, (line,))
            native = DRIVER.render(diff(wanted, EMPTY), wire.target)
            for work in (session.validate, session.push):
                with pytest.raises(Rejected, match="remove it"):
                    work(native)
            assert session.read() == seen

    def test_nobody_writes_without_having_looked(self, wire: Wire) -> None:
        wanted = wire.hold(firewall(allow("udp", 53)))
        wire.fw.run("nft", "add", "chain", "inet", "viaduct", "stranger")
        with DRIVER.open(wire.target, 10.0) as session, pytest.raises(Rejected, match="remove it"):
            session.push(DRIVER.render(diff(wanted, EMPTY), wire.target))
        assert wire.read().state == wanted

    def test_before_ours(self, wire: Wire) -> None:
        """A rule that iptables asks first keeps packets from the signatures: told, and repaired by nobody."""
        wanted = wire.hold(firewall(allow("udp", 53)), Signatures(OUTWARD, ("deadbeef",), "in", "out"))
        wire.fw.run("iptables", "-A", "FORWARD", "-p", "tcp", "-j", "ACCEPT")
        assert wire.read().attached == ()
        wire.fw.run("iptables", "-I", "FORWARD", "-p", "udp", "-j", "ACCEPT")
        seen = wire.read()
        assert (seen.state, seen.attached) == (wanted, ("iptables -A FORWARD -p udp -j ACCEPT",))


class TestPartialFailure:
    def test_what_was_sent_before_the_failure_is_undone(self, linux_target: Target, box: Box) -> None:
        first = state([Signatures(OUTWARD, ("deadbeef",), "in", "out")])
        second = state([Signatures(OUTWARD, ("c0ffee00",), "in", "out")])
        bad = "add rule inet viaduct c1_r1_f_1_ruleset_0 ct direction original goto c1_r1_f_1_ruleset_0_rules\n"
        with DRIVER.open(linux_target, 10.0) as session:
            for before, after in ((EMPTY, first), (first, second)):
                native = DRIVER.render(diff(before, after), linux_target)
                with pytest.raises(Rejected):
                    session.validate(native + bad)
                with pytest.raises(Rejected, match="undone"):
                    session.push(native + bad)
                assert session.read().state == before
                session.push(native)
                assert session.read().state == after


class TestSsh:
    def test_another_host_key_is_refused(self, linux_target: Target, box: Box, ssh_keys: Path) -> None:
        swapped = replace(linux_target, secret=ssh_secret(box, ssh_keys, host_key="other_key"))
        with pytest.raises(Rejected, match="host key is not the known one"), DRIVER.open(swapped, 5.0):
            pass

    def test_an_unknown_host_key_is_refused(self, linux_target: Target, tmp_path: Path) -> None:
        (tmp_path / "nobody").write_text("")
        fields = {**json.loads(linux_target.secret), "known_hosts_file": str(tmp_path / "nobody")}
        with pytest.raises(Rejected, match="is not known"), DRIVER.open(
            replace(linux_target, secret=json.dumps(fields)), 5.0
        ):
            pass

    def test_a_key_that_is_not_authorized_is_refused(self, linux_target: Target, ssh_keys: Path) -> None:
        fields = {**json.loads(linux_target.secret), "private_key_file": str(ssh_keys / "other_key")}
        with pytest.raises(Rejected, match="refused the user or key"), DRIVER.open(
            replace(linux_target, secret=json.dumps(fields)), 5.0
        ):
            pass

    @pytest.mark.parametrize("secret", ["", "{}", "[]", "canary-4711", '{"user": "root", "port": "x"}'])
    def test_a_bad_credential_is_refused_and_not_shown(self, secret: str) -> None:
        target = Target("fw1", "linux", "127.0.0.1", secret=secret)
        with pytest.raises(Rejected) as caught, DRIVER.open(target, 5.0):
            pass
        assert "canary" not in str(caught.value)

    def test_a_silent_device_is_transient_in_time(self, linux_target: Target) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            fields = {**json.loads(linux_target.secret), "port": silent.getsockname()[1]}
            with pytest.raises(Transient), DRIVER.open(replace(linux_target, secret=json.dumps(fields)), 0.5):
                pass
