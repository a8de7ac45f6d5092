# SPDX-License-Identifier: Apache-2.0
"""The host agent: live flows go on, a crash leaves a whole rule set, and nobody else is obeyed."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from drivers.base import Observation, Rejected, Target, Transient
from drivers.diff import diff
from drivers.host.agent import DRIVER
from drivers.state import ANY_PORT, EMPTY, DeviceState, Match, Rule, RuleSet, Verdict
from drivers.transport.https import Agent, ServerSide, connect
from tests.drivers.linux_rig import AGENT_PORT, ROOT, Box, enrol, host_target, needs_root, start_agent
from tests.drivers.samples import Site, sample, state
from tests.drivers.wire import SILENCE_S, arrives, listen, udp
from tests.drivers.wire import connect as connect_tcp

pytestmark = [pytest.mark.lab, needs_root]

KILLS = 12
SO_RCVBUFFORCE = 33  # socket(7)
HERE, PEER = "10.10.1.10", "10.10.1.20"
OUTWARD = Match(f"{HERE}/32", f"{PEER}/32")
WEB = Rule(Verdict.PERMIT, Match("0.0.0.0/0", "0.0.0.0/0", "tcp", ANY_PORT, (80, 80)))
DNS = Rule(Verdict.PERMIT, Match("0.0.0.0/0", "0.0.0.0/0", "udp", ANY_PORT, (53, 53)))
STRICT = RuleSet(OUTWARD, (WEB, DNS), Verdict.DENY)


def push(target: Target, before: DeviceState, after: DeviceState) -> Observation:
    with DRIVER.open(target, 10.0) as session:
        session.push(DRIVER.render(diff(before, after), target))
        return session.read()


def read(target: Target) -> Observation:
    with DRIVER.open(target, 10.0) as session:
        return session.read()


@dataclass
class Pair:
    """A host with an agent, and a peer without."""

    host: Box
    peer: Box
    target: Target


@pytest.fixture
def pair(tmp_path: Path, box: Box, agent_target: Target) -> Iterator[Pair]:
    (tmp_path / "peer").mkdir()
    peer = Box(tmp_path / "peer")
    peer.start()
    box.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(peer.pid))
    for end, address in ((box, HERE), (peer, PEER)):
        end.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        end.run("ip", "link", "set", "eth0", "up")
    yield Pair(box, peer, agent_target)
    peer.stop()


class TestPackets:
    def test_a_rule_set_in_mid_flow_keeps_live_flows_and_judges_new_ones(self, pair: Pair) -> None:
        here, there = udp(pair.host, HERE, 5353), udp(pair.peer, PEER, 53)
        with listen(pair.peer, PEER, 80) as server, connect_tcp(pair.host, PEER, 80) as live:
            accepted, _ = server.accept()
            live.sendall(b"before")
            assert accepted.recv(64) == b"before"
            assert arrives(here, (PEER, 53), there)
            seen = push(pair.target, EMPTY, state([STRICT]))
            assert seen.state == state([STRICT])
            live.sendall(b"after")
            assert accepted.recv(64) == b"after"
            accepted.sendall(b"answer")
            live.settimeout(3)
            assert live.recv(64) == b"answer"
            accepted.close()
        assert arrives(here, (PEER, 53), there)
        assert arrives(there, (HERE, 5353), here)
        assert not arrives(here, (PEER, 54), udp(pair.peer, PEER, 54))
        assert read(pair.target).counters[next(iter(seen.state))].dropped == 1

    def test_no_datagram_is_lost_while_rule_sets_come_change_and_go(self, pair: Pair) -> None:
        here, there = udp(pair.host, HERE, 5353), udp(pair.peer, PEER, 53)
        there.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        end, sent = threading.Event(), 0

        def stream() -> None:
            nonlocal sent
            while not end.wait(0.001):
                here.sendto(b"%d" % sent, (PEER, 53))
                sent += 1

        sender = threading.Thread(target=stream)
        sender.start()
        held = EMPTY
        for revision in range(1, 6):
            wanted = state([replace(STRICT, rules=(WEB, DNS) * revision)], revision=revision)
            assert push(pair.target, held, wanted).state == wanted
            held = wanted
        push(pair.target, held, EMPTY)
        end.set()
        sender.join()
        there.settimeout(SILENCE_S)
        received = 0
        with suppress(TimeoutError):
            while there.recv(64):
                received += 1
        assert (received, sent > 100) == (sent, True)

    def test_nobody_opens_against_the_direction_and_the_rest_is_untouched(self, pair: Pair) -> None:
        only_tcp = replace(STRICT, traffic=replace(OUTWARD, protocol="tcp"), default=Verdict.PERMIT)
        push(pair.target, EMPTY, state([only_tcp]))
        with listen(pair.host, HERE, 80), pytest.raises(TimeoutError):
            # Reversed, the traffic is all TCP from the peer to this host.
            connect_tcp(pair.peer, HERE, 80, timeout_s=SILENCE_S)
        here, there = udp(pair.host, HERE, 7000), udp(pair.peer, PEER, 7001)
        assert arrives(there, (HERE, 7000), here)
        assert arrives(here, (PEER, 7001), there)

    def test_it_guards_the_host_where_the_traffic_ends_too(self, pair: Pair) -> None:
        inward = replace(STRICT, traffic=OUTWARD.reversed())
        push(pair.target, EMPTY, state([inward]))
        here, there = udp(pair.host, HERE, 53), udp(pair.peer, PEER, 7000)
        assert arrives(there, (HERE, 53), here)
        assert arrives(here, (PEER, 7000), there)
        assert not arrives(there, (HERE, 54), udp(pair.host, HERE, 54))


class TestCrash:
    def test_the_rules_outlive_the_agent(self, box: Box, agent_target: Target) -> None:
        push(agent_target, EMPTY, state([STRICT]))
        box.servers[-1].kill()
        box.servers[-1].wait()
        assert "c7_r1_f_1_ruleset_0_rules" in box.run("nft", "list", "table", "inet", "viaduct")
        start_agent(box)
        assert read(agent_target).state == state([STRICT])

    def test_killed_at_any_moment_the_host_holds_the_old_or_the_new(self, box: Box, agent_target: Target) -> None:
        sides = (sample(Site(DRIVER.caps.kinds), revision=1), sample(Site(DRIVER.caps.kinds), revision=2))
        before = time.monotonic()
        held = push(agent_target, EMPTY, sides[1]).state
        usual_s = time.monotonic() - before
        outcomes = set()
        for number in range(KILLS):
            wanted, agent = sides[number % 2], box.servers[-1]
            with DRIVER.open(agent_target, 10.0) as session:
                session.read()
                killer = threading.Timer(usual_s * number / KILLS, agent.kill)
                killer.start()
                with suppress(Transient):
                    session.push(DRIVER.render(diff(held, wanted), agent_target))
            killer.join()
            agent.wait()
            start_agent(box)
            found = read(agent_target).state
            assert found in (held, wanted)
            outcomes.add(found == wanted)
            held = found
        assert outcomes == {True, False}

    def test_after_a_reboot_the_host_has_its_rules_before_anyone_asks(self, box: Box, agent_target: Target) -> None:
        push(agent_target, EMPTY, state([STRICT]))
        box.servers[-1].kill()
        box.servers[-1].wait()
        box.run("nft", "flush", "ruleset")
        start_agent(box)
        assert read(agent_target).state == state([STRICT])
        assert push(agent_target, state([STRICT]), EMPTY).state == EMPTY

    def test_a_second_agent_with_the_same_state_does_not_start(self, box: Box, agent_target: Target) -> None:
        words = ["-m", "drivers.host.daemon", "run", "--state", str(box.folder / "agent")]
        done = subprocess.run(box.argv(sys.executable, *words), capture_output=True, text=True, timeout=20)
        assert (done.returncode, "another agent" in done.stderr) == (1, True)

    def test_it_ends_when_it_is_told_to(self, box: Box, agent_target: Target) -> None:
        box.servers[-1].terminate()
        assert box.servers[-1].wait(10) == 0


class TestReplay:
    def test_no_request_is_taken_twice_or_for_another_state(self, agent_target: Target) -> None:
        one = DRIVER.render(diff(EMPTY, state([STRICT])), agent_target)
        with connect(agent_target, 10.0) as agent:
            moments = []
            for _ in range(3):
                seen = agent.ask("GET", "/v1/state")
                moments.append({"native": one, "generation": seen["generation"], "base": seen["digest"]})
                agent.ask("POST", "/v1/apply", moments[-1])
            now = agent.ask("GET", "/v1/state")
            older = moments + [
                {"native": one, "generation": now["generation"], "base": moments[0]["base"]},
                {"native": one, "generation": now["generation"] + 1, "base": now["digest"]},
            ]
            for body in older * 20:
                with pytest.raises(Transient, match="read its state again"):
                    agent.ask("POST", "/v1/apply", body)
            assert agent.ask("GET", "/v1/state")["generation"] == now["generation"]

    def test_a_change_by_hand_between_read_and_push_is_noticed(self, box: Box, agent_target: Target) -> None:
        with DRIVER.open(agent_target, 10.0) as session:
            session.read()
            box.run("nft", "flush", "chain", "inet", "viaduct", "tracking")
            native = DRIVER.render(diff(EMPTY, state([STRICT])), agent_target)
            with pytest.raises(Transient, match="read its state again"):
                session.push(native)
            session.read()
            session.push(native)
            assert session.read().state == state([STRICT])

    def test_a_change_by_hand_is_damage_and_is_repaired(self, box: Box, agent_target: Target) -> None:
        wanted = state([STRICT])
        push(agent_target, EMPTY, wanted)
        box.run("nft", "flush", "chain", "inet", "viaduct", "c7_r1_f_1_ruleset_0_input")
        found = read(agent_target).state
        assert found != wanted
        assert push(agent_target, found, wanted).state == wanted
        box.run("nft", "add", "chain", "inet", "viaduct", "stranger")
        box.run("nft", "add", "set", "inet", "viaduct", "s", "{ type ipv4_addr ; }")
        seen = read(agent_target)
        assert seen.state == wanted
        assert seen.attached == ("chain inet viaduct stranger, 0 rules", "set inet viaduct s")
        for work in ("validate", "push"):
            with DRIVER.open(agent_target, 10.0) as session, pytest.raises(Rejected, match="remove"):
                getattr(session, work)(DRIVER.render(diff(wanted, EMPTY), agent_target))
        box.run("nft", "delete", "chain", "inet", "viaduct", "stranger")
        box.run("nft", "delete", "set", "inet", "viaduct", "s")
        assert push(agent_target, wanted, EMPTY).attached == ()


class TestTrust:
    def test_another_token_is_refused(self, agent_target: Target) -> None:
        fields = {**json.loads(agent_target.secret), "token": "vdh_canary"}
        with pytest.raises(Rejected, match="token") as caught:
            read(replace(agent_target, secret=json.dumps(fields)))
        assert "canary" not in str(caught.value)

    def test_another_certificate_is_refused(self, tmp_path: Path, agent_target: Target) -> None:
        (tmp_path / "other").mkdir()
        other = enrol(Box(tmp_path / "other"))
        fields = {**json.loads(agent_target.secret), "certificate": other["certificate"]}
        with pytest.raises(Rejected, match="certificate"):
            read(replace(agent_target, secret=json.dumps(fields)))

    def test_the_credential_of_another_host_is_refused(self, agent_target: Target) -> None:
        with pytest.raises(Rejected, match="credential is the one of host 'a1'"):
            read(replace(agent_target, name="b1"))
        renamed = {**json.loads(agent_target.secret), "name": "b1"}
        with pytest.raises(Rejected, match="certificate"):
            read(replace(agent_target, name="b1", secret=json.dumps(renamed)))

    @pytest.mark.parametrize("secret", ["", "{}", "[]", "canary-4711", '{"certificate": "canary"}'])
    def test_a_bad_credential_is_refused_and_not_shown(self, secret: str) -> None:
        with pytest.raises(Rejected) as caught:
            read(Target("a1", "host", "127.0.0.1", secret=secret))
        assert "canary" not in str(caught.value)

    def test_plain_http_and_old_tls_are_not_spoken(self, box: Box, agent_target: Target) -> None:
        where = ("127.0.0.1", box.ports[AGENT_PORT])
        with socket.create_connection(where, 5) as plain:
            plain.sendall(b"GET /v1/health HTTP/1.1\r\n\r\n")
            assert b"HTTP" not in plain.recv(100)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(where, 5) as plain, pytest.raises(ssl.SSLError):
            old.wrap_socket(plain)

    @pytest.mark.parametrize(
        ("method", "path", "body", "text"),
        [
            ("GET", "/v1/secrets", None, "no such resource"),
            ("PUT", "/v1/state", {}, "no such resource"),
            ("POST", "/v1/apply", {"native": "x"}, "needs exactly"),
            ("POST", "/v1/apply", {"native": "x", "generation": True, "base": ""}, "needs exactly"),
            ("POST", "/v1/validate", {"native": "x", "file": "/etc/passwd"}, "needs exactly"),
            ("POST", "/v1/validate", {"native": "y" * 17_000_000}, "larger than|no agent"),
        ],
    )
    def test_requests_outside_the_protocol_are_refused(
        self, agent_target: Target, method: str, path: str, body: dict[str, object] | None, text: str
    ) -> None:
        with connect(agent_target, 10.0) as agent, pytest.raises((Rejected, Transient), match=text):
            agent.ask(method, path, body)
        assert read(agent_target).state == EMPTY

    def test_the_log_and_the_state_folder_hold_no_token(self, box: Box, agent_target: Target) -> None:
        push(agent_target, EMPTY, state([STRICT]))
        token = json.loads(agent_target.secret)["token"]
        files = [file for file in box.folder.rglob("*") if file.is_file()]
        assert (box.folder / "servers.log").read_text()
        assert not [file for file in files if token in file.read_text(errors="replace")]
        own = [file for file in (box.folder / "agent").iterdir() if file.name != "lock"]
        assert {file.stat().st_mode & 0o077 for file in own} == {0}

    def test_enrolling_again_ends_the_old_credential(self, box: Box, agent_target: Target) -> None:
        fresh = enrol(box)
        box.servers[-1].kill()
        box.servers[-1].wait()
        start_agent(box)
        with pytest.raises(Rejected):
            read(agent_target)
        assert read(host_target(box, fresh)).state == EMPTY


class TestStart:
    def test_it_needs_nothing_but_the_standard_library(self) -> None:
        """So it starts fast, and on a host that has no more."""
        code = (
            "import sys; before = set(sys.modules); import drivers.host.daemon; "
            "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) - sys.stdlib_module_names == {"drivers"}

    def test_conntrack_runs_before_the_first_rule_set(self, box: Box, agent_target: Target) -> None:
        assert "ct state established" in box.run("nft", "list", "table", "inet", "viaduct")

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (["enroll", "--state", "{}", "--name", "a/../b", "--address", "10.0.0.1"], "cannot be the name"),
            (["enroll", "--state", "{}", "--name", "a", "--address", "nowhere"], "nowhere"),
            (["run", "--state", "{}/missing"], "missing"),
        ],
    )
    def test_bad_arguments_are_one_clear_line(self, tmp_path: Path, words: list[str], text: str) -> None:
        argv = [sys.executable, "-m", "drivers.host.daemon", *(word.format(tmp_path) for word in words)]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=20)
        assert done.returncode == 1
        assert (done.stderr.count("\n"), text in done.stderr) == (1, True)


def test_a_slow_caller_does_not_hold_up_the_others(box: Box, agent_target: Target) -> None:
    with socket.create_connection(("127.0.0.1", box.ports[AGENT_PORT])):
        before = time.monotonic()
        assert read(agent_target).state == EMPTY
        assert time.monotonic() - before < 5


def test_an_answer_that_breaks_off_is_transient(tmp_path: Path) -> None:
    box = Box(tmp_path)
    credential = enrol(box)
    side = ServerSide(tmp_path / "agent" / "certificate.pem", tmp_path / "agent" / "key.pem")

    def answer(server: socket.socket) -> None:
        plain, _ = server.accept()
        with side.secured(plain) as secure:
            secure.recv(4096)
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

    with socket.create_server(("127.0.0.1", 0)) as server:
        box.ports = {AGENT_PORT: server.getsockname()[1]}
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        with pytest.raises(Transient):
            read(host_target(box, credential))
        thread.join()


def test_one_connection_serves_many_requests(agent_target: Target) -> None:
    with connect(agent_target, 10.0) as agent:
        assert isinstance(agent, Agent)
        assert {agent.ask("GET", "/v1/health")["name"] for _ in range(50)} == {"a1"}
