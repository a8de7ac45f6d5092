# SPDX-License-Identifier: Apache-2.0
"""The FRR driver: what it writes, what it refuses, who may log in, and what it leaves behind when something fails."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napalm.base.exceptions import CommandErrorException, CommitError, LockError, MergeConfigException

from drivers.base import PortInfo, Rejected, Target, Transient, Unsupported
from drivers.diff import Change, diff
from drivers.state import ANYWHERE, EMPTY, DeviceState, Guard, Match, NextHop, Redirect
from drivers.switch import frr_delta, frr_text
from drivers.switch.flows import torn
from drivers.switch.frr import DRIVER, check, render
from drivers.switch.frr_parse import Shown
from drivers.transport.frr_box import grammar
from drivers.transport.napalm_frr import FRRDriver
from tests.drivers.contract import TIMEOUT_S, Rig
from tests.drivers.frr_rig import GOOD, Lab
from tests.drivers.hostile import COUNT
from tests.drivers.samples import Site, key, sample, state, states

GOLDEN = Path(__file__).with_name("golden")
MACS = {"a": "02:00:00:00:09:01", "b": "02:00:00:00:09:02"}
SITE = Site(DRIVER.caps.kinds, ("a", "b"), ("blue",), peers=MACS)
REDIRECT = Redirect("a", 0, Match(ANYWHERE[4], ANYWHERE[4], "tcp"), NextHop("b", 0, MACS["b"], "blue"))


def target(**interfaces: str) -> Target:
    ports = {
        name: PortInfo(
            name, number, interface=interfaces.get(name, ""), peer_mac=MACS[name],
            peer_addresses=(f"10.8.{number}.2/24", f"2001:db8:8:{number}::2/64"),
        )
        for number, name in enumerate(SITE.ports, start=1)
    }  # fmt: skip
    return Target("r1", "frr", "192.0.2.1", {"global_vrf": "blue"}, ports, {"blue": 101})


def rendered(before: DeviceState, after: DeviceState, device: Target) -> str:
    return render(diff(before, after), replace(device, held=before))


# --- text -------------------------------------------------------------------------------------


def test_the_text_is_the_reviewed_one() -> None:
    first, second = sample(SITE, revision=1), sample(SITE, revision=2)
    for name, before, after in (("made", EMPTY, first), ("changed", first, second), ("gone", second, EMPTY)):
        assert rendered(before, after, target(a="eth-a")) == (GOLDEN / f"frr-{name}.txt").read_text()


HOSTILE = (
    # Others' objects, other programs' commands, other tables.
    "flush ruleset",
    "delete table inet theirs",
    "delete table inet viaduct_switch; flush ruleset",
    "add rule inet theirs guard accept",
    "link del dev c",
    "link set dev c down",
    "link set dev b.3001 alias viaduct addrgenmode none up netns 1",
    "address replace 192.0.2.1/31 dev c",
    "address replace 192.0.2.1/24 dev c.3001",
    "neighbour replace 192.0.2.1 lladdr 02:00:00:00:00:01 dev c nud permanent",
    "pbr-map THEIRS seq 5\n match src-ip 0.0.0.0/0\n match mark 1\n set nexthop 10.8.2.2 b\nexit",
    "pbr-map SI-t-a-0 seq 5\n match src-ip 0.0.0.0/0\n match mark 1\n set vrf red\nexit",
    "pbr-map SI-t-a-0 seq 5\n match src-ip 10.0.0.0/8\n match mark 1\n set nexthop 10.8.2.2 b\nexit",
    "interface c\n no pbr-policy THEIRS\nexit",
    "interface c\n pbr-policy THEIRS\nexit",
    "interface c\n shutdown\nexit",
    "interface c\n pbr-policy SI-t-c-0",
    "ip route 0.0.0.0/0 10.8.2.2",
    "no pbr-map THEIRS seq 5",
    "write memory",
    # Ours by name, and yet nothing that we write.
    "add rule inet viaduct_switch t-a-0 accept",
    "add rule inet viaduct_switch t-a-0 meta nfproto ipv4 accept",
    'add rule inet viaduct_switch t-a-0 ip saddr 10.0.0.0/8 counter name "x" accept',
    'add rule inet viaduct_switch t-a-0 tcp dport 1 counter name "SI-c1r1f1r0p0" meta mark set 0x11 accept',
    "add rule inet viaduct_switch guard accept",
    "add rule inet viaduct_switch guard meta mark 0x56001000 accept",
    "add chain inet viaduct_switch guard { type filter hook forward priority 0; policy accept; }",
    "add chain inet viaduct_switch t-a-0 { type filter hook input priority 0; policy drop; }",
    'include "/etc/shadow"',
    "define x = 1",
    f"{GOOD}; link del dev c",
    f"{GOOD} netns 1",
    GOOD.replace("3001", "100"),
    GOOD.replace("id 3001", "id 3002"),
    "keep everything",
    "# nft",
    "# a comment",
    " ",
    "",
)


@pytest.mark.parametrize("line", HOSTILE)
def test_what_we_never_write_is_never_sent(line: str) -> None:
    text = rendered(EMPTY, sample(SITE), target(a="eth-a"))
    check(text, target())
    lines = text.splitlines()
    for at in (0, *(number for number, one in enumerate(lines, 1) if one.startswith("# ")), len(lines)):
        with pytest.raises(Rejected):
            check("\n".join([*lines[:at], line, *lines[at:]]) + "\n", target())


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
@settings(max_examples=COUNT, deadline=None, derandomize=True)
def test_no_name_of_an_interface_becomes_a_command(name: str) -> None:
    """Names come from the fabric file: what Linux cannot call an interface is refused, so no text depends on it."""
    device = Target("r1", "frr", "192.0.2.1", ports={"b": PortInfo("b", 1, interface=name)})
    try:
        assert frr_text.linux_name(device, ("b", 0)) == name
    except Unsupported:
        assert not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", name)
    else:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", name)


@given(states(SITE), states(SITE))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_every_text_is_inside_the_grammar_and_says_it_all(first: DeviceState, second: DeviceState) -> None:
    text = rendered(first, second, target(a="eth-a"))
    if not diff(first, second):
        assert text == ""
        return
    parts = grammar.sections(text)
    made = {line.split()[4] for line in parts[grammar.NFT] if line.startswith("add counter ")}
    assert {f"counter {name}" for name in made} == {
        one for one in parts[grammar.KEEP] if one.startswith("counter ")
    }


def test_a_next_hop_keeps_its_number_when_others_come_and_go() -> None:
    hops = tuple(
        ((port, tag), family) for port in ("a", "b") for tag in (0, 3000, 3001, 3777) for family in (4, 6)
    )
    every = frr_text.numbered(hops, target())
    assert len(set(every.values())) == len(hops)
    for hop in hops:
        alone = frr_text.numbered((hop,), target())
        assert alone[hop] == every[hop]
    # Two that meet on one number are kept apart.
    clash = ((("a", 3000), 4), (("a", 3350), 4))
    assert len(set(frr_text.numbered(clash, target()).values())) == 2


@pytest.mark.parametrize(
    ("device", "item", "words"),
    [
        (target(b="b" * 11), replace(REDIRECT, next=NextHop("b", 3001, "", "blue")), "15 characters"),
        (target(b="b b"), REDIRECT, "cannot be the name"),
        (replace(target(), settings={}), REDIRECT, "`global_vrf`"),
        (target(), replace(REDIRECT, next=replace(REDIRECT.next, vrf="red")), "keeps one VRF, blue"),
        (replace(target(), ports={n: replace(p, number=0) for n, p in target().ports.items()}), REDIRECT, "number"),
        (replace(target(), ports={n: replace(p, peer_addresses=()) for n, p in target().ports.items()}), REDIRECT,
         "no IPv4 address"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_said_when_planning(device: Target, item: Redirect, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        rendered(EMPTY, state([item]), device)


def test_damage_that_would_stay_is_repaired_first() -> None:
    """Tables are written whole: what is not known would be lost, and its packets would go past."""
    broken = state([REDIRECT])
    held = DeviceState({one: torn(one.kind) for one in broken})
    other = key(Guard("a", 0, REDIRECT.match), chain=9)
    with pytest.raises(Unsupported, match="must be repaired first"):
        render((Change(other, None, Guard("a", 0, REDIRECT.match)),), replace(target(), held=held))
    assert "pbr-map SI-t-a-0" in rendered(held, broken, target())


FULL = """
import resource, signal, sys
from pathlib import Path
from drivers.transport.frr_box.files import replaced
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    replaced(Path(sys.argv[1]), "x" * 10000)
except OSError as error:
    print(error.errno)
"""


def test_a_full_disk_leaves_a_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "frr.conf"
    file.write_text("hostname r1\n")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", FULL, str(file)], cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) == errno.EFBIG
    assert file.read_text() == "hostname r1\n" and list(tmp_path.iterdir()) == [file]


def test_a_chain_that_goes_later_may_look_as_if_it_moved() -> None:
    """A difference of two listings is free to: the chains are there before and after, until they are swept away."""
    shown = Shown({"links": [], "nft": [{"chain": {"name": "t-b-4094"}}]}, (), {}, 0)
    nothing = "# links\n# frr\n# nft\n# keep\n"
    assert frr_delta.differs(shown, nothing, "-nft \tchain t-b-4094 {\n+nft \tchain t-b-4094 {") == ""
    assert "not meant" in frr_delta.differs(shown, nothing, "+nft \tchain t-b-3000 {")


# --- the router -------------------------------------------------------------------------------


@contextmanager
def napalm(rig: Rig) -> Iterator[FRRDriver]:
    login = json.loads(rig.target.secret)
    options = {"port": login["port"], "key_file": login["private_key_file"]}
    driver = FRRDriver(
        "127.0.0.1", "root", "", 30, {**options, "known_hosts_file": login["known_hosts_file"]}
    )
    driver.open()
    try:
        yield driver
    finally:
        driver.close()


def test_it_is_a_napalm_driver(open_frr: Rig) -> None:
    native = open_frr.render(EMPTY, sample(open_frr.site))
    with napalm(open_frr) as driver:
        facts = driver.get_facts()
        assert (facts["vendor"], facts["os_version"]) == ("FRRouting", "8.4.4") and "eth-a" in facts[
            "interface_list"
        ]
        assert driver.get_interfaces()["eth-a"]["is_up"]
        driver.load_merge_candidate(config=native)
        shown = driver.compare_config().splitlines()
        assert "+link b.3001" in shown and any("pbr-policy SI-t-a-0" in line for line in shown)
        driver.discard_config()
        assert driver.compare_config() == "" and "SI-" not in driver.get_config()["running"]
        driver.load_merge_candidate(config=native)
        driver.commit_config()
        assert "SI-t-a-0" in driver.get_config()["running"]
        driver.load_merge_candidate(config=native)
        assert driver.compare_config() == ""
        driver.rollback()
        assert "SI-t-a-0" not in driver.get_config()["running"]
        with pytest.raises(MergeConfigException):
            driver.load_merge_candidate(config="flush ruleset\n")
        with pytest.raises(NotImplementedError):
            driver.commit_config(revert_in=60)


def test_the_account_can_do_nothing_else(open_frr: Rig) -> None:
    with napalm(open_frr) as driver:
        for command in ("id", "read; id", "apply $(id)", "--state /tmp read", ""):
            with pytest.raises(CommandErrorException, match="nothing else"):
                driver.run(command)
        with pytest.raises(CommandErrorException, match="not something that Viaduct writes"):
            driver.run("apply", "# links\nlink del dev c\n# frr\n# nft\n# keep\n")


def test_two_writers_do_not_meet(open_frr: Rig, frr: Lab) -> None:
    lock = frr.router.folder / "state" / frr.router.name / "lock"
    native = open_frr.render(EMPTY, sample(open_frr.site))
    holder = frr.box.serve("flock", "--no-fork", str(lock), "sleep", "60")
    try:
        with napalm(open_frr) as driver:
            driver.load_merge_candidate(config=native)
            with pytest.raises(LockError):
                while True:  # until flock has it
                    driver.commit_config()
                    driver.load_merge_candidate(config=native)
    finally:
        holder.kill()
        holder.wait()


def test_only_the_known_router_with_the_known_key(open_frr: Rig, frr: Lab) -> None:
    login = json.loads(open_frr.target.secret)
    other_key = {**login, "private_key_file": str(frr.folder / "other_key")}
    unknown = {**login, "known_hosts_file": str(frr.folder / "unknown")}
    (frr.folder / "unknown").write_text(
        (frr.folder / "known_host_key").read_text().replace("127.0.0.1", "192.0.2.1")
    )
    damaged = {**login, "known_hosts_file": str(frr.folder / "client_key.pub")}
    for secret, words in (
        (frr.secret("other_key"), "not the known one"),
        (json.dumps(other_key), "refused"),
        (json.dumps({**login, "known_hosts_file": ""}), "known_hosts_file"),
        (json.dumps(unknown), "not in the known_hosts file"),
        (json.dumps(damaged), "cannot be read"),
    ):
        with (
            pytest.raises(Rejected, match=words),
            DRIVER.open(replace(open_frr.target, secret=secret), TIMEOUT_S),
        ):
            pass
    gone = json.dumps({**login, "port": 1})
    with pytest.raises(Transient), DRIVER.open(replace(open_frr.target, secret=gone), 2.0):
        pass


def test_what_stands_in_the_way_is_said_before_anything_is_touched(open_frr: Rig, frr: Lab) -> None:
    native, router = open_frr.render(EMPTY, sample(open_frr.site)), frr.router
    router.vtysh("configure terminal", "pbr-map THEIRS seq 5", "match mark 5", "set nexthop 10.8.3.2 c", "exit",
                 "interface eth-a", "pbr-policy THEIRS", "exit")  # fmt: skip
    router.run("ip", "-batch", "-", text="link add link b name b.3001 type vlan id 3001\n")
    router.run(
        "sh", text="echo 0 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv4/conf/b/rp_filter"
    )
    theirs = frr.theirs()
    try:
        with pytest.raises(Rejected) as caught:
            open_frr.push(native)
        for words in (
            "eth-a has pbr-policy THEIRS",
            "b.3001 is there already",
            "net.ipv4.ip_forward=1",
            "rp_filter=2",
        ):
            assert words in str(caught.value)
        assert frr.theirs() == theirs and open_frr.read().state == EMPTY
    finally:
        router.run(
            "sh", text="echo 1 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv4/conf/b/rp_filter"
        )


def test_a_push_that_fails_leaves_nothing_behind(open_frr: Rig, frr: Lab) -> None:
    first, second = sample(open_frr.site, revision=1), sample(open_frr.site, revision=2)
    good = open_frr.render(EMPTY, first)
    for bad in (
        good.replace("10.8.2.2 b\n", "10.8.2.2 nosuch\n"),
        good.replace("address replace 198", "address replace 998"),
    ):
        assert bad != good
        with napalm(open_frr) as driver:
            driver.load_merge_candidate(config=bad)
            with pytest.raises(CommitError):
                driver.commit_config()
        assert open_frr.read() == replace(open_frr.read(), state=EMPTY, attached=())
        assert "b.3001" not in frr.router.run("ip", "link")
    open_frr.push(good)
    worse = open_frr.render(first, second).replace("dport 80-83 counter", "dport 83-80 counter")
    with napalm(open_frr) as driver:
        driver.load_merge_candidate(config=worse)
        with pytest.raises(CommitError, match="nft"):
            driver.commit_config()
    assert open_frr.read().state == first and "eth-a.3002" not in frr.router.run("ip", "link")


DAMAGE = (
    "nft flush chain inet viaduct_switch guard",
    "nft flush chain inet viaduct_switch classify",
    "nft flush chain inet viaduct_switch t-a-0",
    'nft insert rule inet viaduct_switch guard meta mark 0x56002000 oifname "c" rt ip nexthop 10.8.3.2 accept',
    "nft delete table inet viaduct_switch",
    "ip link del b.3001",
    "ip address flush dev b.3001",
    "ip neighbour flush dev b.3001 nud permanent",
)


def test_damage_is_seen_and_repaired(open_frr: Rig, frr: Lab) -> None:
    wanted = sample(open_frr.site)
    open_frr.push(open_frr.render(EMPTY, wanted))
    for damage in DAMAGE:
        frr.router.run("sh", "-e", text=damage)
        held = open_frr.read().state
        assert diff(held, wanted), damage
        assert open_frr.move(held, wanted) == wanted, damage


def test_a_route_of_others_in_a_table_of_ours_is_seen_and_told(open_frr: Rig, frr: Lab) -> None:
    """pbrd's table is the kernel's: FRR knows nothing of the route, and packets would follow it."""
    wanted = state([REDIRECT])
    open_frr.push(open_frr.render(EMPTY, wanted))
    table = re.findall(r"fwmark 0x56\w+ iif eth-a lookup (\d+)", frr.router.run("ip", "rule"))[0]
    route = ("10.8.3.0/24", "via", "10.8.3.2", "table", table)
    frr.router.run("ip", "route", "add", *route)
    try:
        seen = open_frr.read()
    finally:
        frr.router.run("ip", "route", "del", *route)
    assert [item == torn(one.kind) for one, item in seen.state.items()] == [True]
    assert seen.attached == (f"ip -4 route 10.8.3.0/24 in table {table} is not ours",)
    assert open_frr.read().state == wanted


def test_strange_text_among_ours_is_named(open_frr: Rig, frr: Lab) -> None:
    wanted = sample(open_frr.site)
    for strange, words in (
        ("rule inet viaduct_switch t-a-0 tcp dport 22 accept", "never writes"),
        ("rule inet viaduct_switch t-a-0 ct state new drop", "never writes"),
        ("chain inet viaduct_switch mine", "mine"),
        ("set inet viaduct_switch mine { type ipv4_addr; }", "mine"),
    ):
        frr.reset()
        open_frr.push(open_frr.render(EMPTY, wanted))
        frr.router.run("nft", "-f", "-", text=f"add {strange}\n")
        with pytest.raises(Rejected, match=words):
            open_frr.read()


def test_what_nothing_needs_any_more_is_told_and_goes_with_the_next_push(open_frr: Rig, frr: Lab) -> None:
    frr.router.vtysh(
        "configure terminal", "pbr-map SI-t-b-0 seq 7", "match mark 1442848768", "set nexthop 10.8.2.2 b"
    )
    assert open_frr.read().attached == ("pbr-map SI-t-b-0 is left over",)
    wanted = state([REDIRECT])
    assert open_frr.move(EMPTY, wanted) == wanted
    assert open_frr.read().attached == ()


def test_what_a_restart_would_not_bring_is_seen_and_saved(open_frr: Rig, frr: Lab) -> None:
    """Somebody put an old file back, or the disk was full: FRR's part and our table, each for itself."""
    wanted, router = sample(open_frr.site), frr.router
    table = router.folder / "state" / router.name / "table.nft"
    conf = Path("/etc/frr") / router.name / "frr.conf"
    assert open_frr.move(EMPTY, wanted) == wanted and open_frr.read().is_saved
    router.vtysh("configure terminal", "ip route 203.0.113.128/25 blackhole")
    try:
        assert open_frr.read().is_saved, "what its operator has not saved is his"
        for file, stale in ((conf, "hostname r1\n"), (table, ""), (table, "table inet viaduct_switch {\n}\n")):
            file.write_text(stale)
            seen = open_frr.read()
            assert seen.state == wanted and not seen.is_saved, stale
            with open_frr.driver.open(open_frr.target, TIMEOUT_S) as session:
                session.save()  # type: ignore[attr-defined]
                assert session.read().is_saved
        assert conf.read_text().startswith("hostname r1\n") and "203.0.113" not in conf.read_text()
        stale = conf.read_text()
        assert open_frr.move(wanted, EMPTY) == EMPTY and open_frr.read().is_saved
        assert conf.read_text() == "hostname r1\n"
        conf.write_text(stale)
        assert open_frr.read().is_saved, "without our table its packets have no mark, and it leads nothing"
    finally:
        router.vtysh("configure terminal", "no ip route 203.0.113.128/25 blackhole")
        router.vtysh("write memory")
