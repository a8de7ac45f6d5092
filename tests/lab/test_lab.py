# SPDX-License-Identifier: Apache-2.0
"""The running lab: what reaches what before any chain, what breaks when it is broken, and that nothing stays.

Skipped only where there is no root. What is asserted is what receivers and captures saw.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import Lab, LabError, spaces
from lab.__main__ import main
from lab.access import AGENT_PORT
from lab.fabric import load
from lab.network import DEMO, names
from lab.watch import Server
from lab.wiring import closed_script

pytestmark = pytest.mark.lab

SIX = "2001:db8:10:2::10"


@pytest.fixture(scope="module")
def servers(lab: Lab) -> Iterator[dict[str, Server]]:
    found = {name: lab.serve(name, tcp=(80,), udp=(5000, 5001)) for name in ("a2", "b2", "inet")}
    yield found
    for server in found.values():
        server.stop()


def wait_until(holds: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# --- before any chain ------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["10.10.2.10", SIX])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_client_reaches_its_own_server_directly(
    lab: Lab, servers: dict[str, Server], to: str, protocol: str
) -> None:
    port = 80 if protocol == "tcp" else 5000
    for tenant, other in (("a", "b"), ("b", "a")):
        payload = f"{tenant}-{protocol}-{to}"
        answer = lab.probe(f"{tenant}1", to, port, protocol=protocol, payload=payload)
        assert answer.ok
        assert answer.source == ("2001:db8:10:1::10" if ":" in to else "10.10.1.10")
        assert payload in [seen.payload for seen in servers[f"{tenant}2"].seen()]
        assert payload not in [seen.payload for seen in servers[f"{other}2"].seen()]


def test_large_transfers_pass(lab: Lab, servers: dict[str, Server]) -> None:
    """Checksum and segmentation offload through the switches: small packets would not show that it is broken."""
    answer = lab.probe("a1", "10.10.2.10", 80, payload="x" * 60_000, timeout_s=3)
    assert answer.ok
    assert len(answer.payload) == 60_000


@pytest.mark.parametrize(
    ("source", "to"),
    [
        ("a1", "203.0.113.10"),
        ("a1", "2001:db8:cb00::10"),
        ("a1", "10.10.2.99"),
        ("inet", "10.10.2.10"),
        ("inet", SIX),
    ],
)
def test_nothing_else_is_reachable(lab: Lab, servers: dict[str, Server], source: str, to: str) -> None:
    payload = f"stray-{source}-{to}"
    assert lab.probe(source, to, 5000, protocol="udp", payload=payload, timeout_s=0.3).result == "timeout"
    assert lab.probe(source, to, 80, payload=payload, timeout_s=0.3).result == "timeout"
    for server in servers.values():
        assert payload not in [seen.payload for seen in server.seen()]


def test_nobody_has_anything_of_viaduct(lab: Lab) -> None:
    for switch in lab.fabric.switches:
        flows = lab.flows(switch.name)
        assert flows
        assert all("cookie=0xb," in flow for flow in flows)


# --- management and data -----------------------------------------------------------------------------


@contextmanager
def opened(lab: Lab, *boxes: str) -> Iterator[None]:
    """Appliances that forward although nobody has let anything pass: their boot rules are taken away."""
    for name in boxes:
        lab.exec(name, ["nft", "delete", "table", "inet", "boot"])
    try:
        yield
    finally:
        for name in boxes:
            lab.exec(name, ["sh", "-c", closed_script(lab.device(name))])


@pytest.mark.parametrize("forgets", [False, True])
def test_an_appliance_without_rules_is_shut_also_after_a_restart(lab: Lab, forgets: bool) -> None:
    flow = "cookie=0x77,table=0,priority=9,in_port=1,udp,actions=set_field:02:00:00:01:01:01->eth_dst,output:11"
    ofctl = ["ovs-ofctl", "-O", "OpenFlow14"]
    lab.kill_device("fw1")
    lab.restart_device("fw1", forgets=forgets)
    lab.exec("leaf1", [*ofctl, "add-flow", "leaf1", flow])
    try:
        with lab.capture("fw1", "out", ("fw1", "in")) as capture:
            lab.probe("a1", "10.10.2.10", 5000, protocol="udp", payload="unfiltered", timeout_s=0.3)
            at = {packet.at for packet in capture.finish() if "unfiltered" in packet.payload}
    finally:
        lab.exec("leaf1", [*ofctl, "del-flows", "leaf1", "cookie=0x77/-1"])
    assert at == {"fw1:in"}


def test_management_is_not_reachable_from_the_data_path(lab: Lab) -> None:
    """An appliance forwards what is sent to its management address; a host drops it."""
    address = lab.device("fw1").management
    flow = "cookie=0x77,table=0,priority=9,in_port=1,actions=set_field:02:00:00:01:01:01->eth_dst,output:11"
    ofctl = ["ovs-ofctl", "-O", "OpenFlow14"]
    lab.exec("leaf1", [*ofctl, "add-flow", "leaf1", flow])
    try:
        capturing = lab.capture("fw1", "out", ("fw1", "in"))
        with opened(lab, "fw1"), lab.serve("fw1", udp=(7000,)) as server, capturing as capture:
            sender = "import socket; s = socket.socket(2, 2); s.bind(('10.10.1.10', 0)); "
            sender += f"s.sendto(b'hidden', ('{address}', 7000))"
            lab.exec("a1", ["python3", "-c", sender])
            assert wait_until(lambda: any("hidden" in p.payload for p in capture.packets()))
            time.sleep(0.1)
            visited = {packet.at for packet in capture.finish() if "hidden" in packet.payload}
            assert visited == {"fw1:in", "fw1:out"}, "it was sent on, as data"
            assert not server.seen()
    finally:
        lab.exec("leaf1", [*ofctl, "del-flows", "leaf1", "cookie=0x77/-1"])


def test_boxes_do_not_reach_each_other_over_management(lab: Lab) -> None:
    assert lab.probe("a1", lab.device("fw1").management, 22, timeout_s=0.5).result != "ok"
    assert not lab.probe("a1", lab.device("leaf1").management, 6640, timeout_s=0.5).connected


def test_ssh_with_verified_host_key(lab: Lab) -> None:
    credential_file = lab.folder / "cgn1.credential.json"
    assert credential_file.stat().st_mode & 0o077 == 0
    credential = json.loads(credential_file.read_text())
    ssh = [
        "ssh", "-F", "none", "-p", str(credential["port"]), "-i", credential["private_key_file"],
        "-o", f"UserKnownHostsFile={credential['known_hosts_file']}", "-o", "StrictHostKeyChecking=yes",
        "-o", "BatchMode=yes", "-o", "GlobalKnownHostsFile=none",
    ]  # fmt: skip
    who = f"{credential['user']}@{lab.device('cgn1').management}"
    done = subprocess.run([*ssh, who, "ls /sys/class/net; nft list tables"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["in", "lo", "mgmt", "out", "table", "inet", "boot"]
    other = [word.replace(credential["known_hosts_file"], "/dev/null") for word in ssh]
    assert subprocess.run([*other, who, "true"], capture_output=True).returncode != 0


# --- functions' base ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
def test_packets_cross_a_function_both_ways_and_on_to_the_other_leaf(
    lab: Lab, servers: dict[str, Server], family: int
) -> None:
    """Flows such as Viaduct writes, by hand: a1 - fw1 - (tagged) - ips1 - a2, and back through the same boxes."""
    near, far = ("ipv6_src=2001:db8:10:1::/64", "ipv6_dst=2001:db8:10:1::/64")
    protocol = "tcp6"
    if family == 4:
        near, far, protocol = "nw_src=10.10.1.0/24", "nw_dst=10.10.1.0/24", "tcp"
    there, back = f"{protocol},{near},tp_dst=80", f"{protocol},{far},tp_src=80"
    push = "push_vlan:0x8100,set_field:{}->vlan_vid,output:100"
    flows = {
        "leaf1": [
            f"in_port=1,{there},actions=set_field:02:00:00:01:01:01->eth_dst,output:11",
            f"in_port=12,{there},actions={push.format(4096 + 3000)}",
            f"in_port=100,dl_vlan=3001,{back},actions=pop_vlan,set_field:02:00:00:01:01:02->eth_dst,output:12",
            f"in_port=11,{back},actions=load:101->NXM_NX_REG0[],resubmit(,10)",
        ],
        "spine1": [
            f"in_port=1,dl_vlan=3000,{there},actions=output:2",
            f"in_port=2,dl_vlan=3001,{back},actions=output:1",
        ],
        "leaf2": [
            f"in_port=100,dl_vlan=3000,{there},actions=pop_vlan,set_field:02:00:00:01:03:01->eth_dst,output:13",
            f"in_port=14,{there},actions=load:101->NXM_NX_REG0[],resubmit(,10)",
            f"in_port=1,{back},actions=set_field:02:00:00:01:03:02->eth_dst,output:14",
            f"in_port=13,{back},actions={push.format(4096 + 3001)}",
        ],
    }
    ofctl = ["ovs-ofctl", "-O", "OpenFlow14"]
    before = {switch: lab.flows(switch) for switch in flows}
    for switch, lines in flows.items():
        text = "".join(f"cookie=0x77,table=0,priority=20001,{line}\n" for line in lines)
        lab.exec(switch, [*ofctl, "--bundle", "add-flows", switch, "-"], text=text)
    places = [("fw1", "in"), ("fw1", "out"), ("ips1", "in"), ("ips1", "out"), ("a2", "eth0")]
    try:
        with opened(lab, "fw1", "ips1"), lab.capture("a1", "eth0", *places) as capture:
            to, marker = (SIX, "six-there") if family == 6 else ("10.10.2.10", "four-there")
            assert lab.probe("a1", to, 80, payload=marker).ok
            packets = [packet for packet in capture.finish() if marker in packet.payload]
    finally:
        for switch in flows:
            lab.exec(switch, [*ofctl, "del-flows", switch, "cookie=0x77/-1"])
    visited = [packet.at for packet in packets if packet.direction == "rx"]
    assert visited == ["fw1:in", "ips1:in", "a2:eth0", "ips1:out", "fw1:out", "a1:eth0"]
    assert [packet.time_ns for packet in packets] == sorted(packet.time_ns for packet in packets)
    assert {switch: lab.flows(switch) for switch in flows} == before


# --- streams ------------------------------------------------------------------------------------------


def test_stream_counts_both_directions_and_the_denied_port(lab: Lab, servers: dict[str, Server]) -> None:
    stream = lab.stream("a1", "10.10.2.10", 5000, rate=400, denied_port=5001, denied_every=4)
    assert wait_until(lambda: any(tally.received > 100 for tally in servers["a2"].tallies()))
    count = stream.finish()
    tallies = {tally.port: tally for tally in servers["a2"].tallies() if tally.stream == stream.number}
    assert count.lost == 0
    assert count.missing == ()
    assert tallies[5000].received == count.sent
    assert tallies[5001].received == count.denied_sent == count.denied_answered, "no chain denies it here"
    assert abs(count.denied_sent - count.sent / 3) <= 1
    assert not [tally for tally in servers["b2"].tallies() if tally.stream == stream.number]


def test_stream_notices_what_is_lost(lab: Lab, servers: dict[str, Server]) -> None:
    stream = lab.stream("b1", "10.10.2.10", 5000, rate=200, drain_s=0.3)

    def received() -> int:
        return sum(tally.received for tally in servers["b2"].tallies() if tally.stream == stream.number)

    assert wait_until(lambda: received() > 20)
    lab.cut_link("leaf2", "b2")
    time.sleep(0.2)
    lab.mend_link("leaf2", "b2")
    before = received()
    assert wait_until(lambda: received() > before + 20)
    count = stream.finish()
    assert 10 <= count.lost <= 200
    assert count.longest_gap_ms >= 150
    assert len(count.missing) == min(50, count.lost)


# --- breaking -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [("leaf1", "a1"), ("spine1", "leaf2")])
def test_cut_link_stops_packets_and_mending_brings_them_back(
    lab: Lab, servers: dict[str, Server], a: str, b: str
) -> None:
    before = {switch.name: lab.flows(switch.name) for switch in lab.fabric.switches}
    lab.cut_link(a, b)
    try:
        assert not lab.probe("a1", "10.10.2.10", 80, timeout_s=0.3).ok
    finally:
        lab.mend_link(a, b)
    assert wait_until(lambda: lab.probe("a1", "10.10.2.10", 80, timeout_s=0.3).ok)
    assert {switch.name: lab.flows(switch.name) for switch in lab.fabric.switches} == before


def test_dead_device_takes_its_switch_ports_down_and_comes_back_as_it_was(lab: Lab) -> None:
    configuration = lab.configuration("ips2")

    def states() -> list[str]:
        ports = ("leaf1-ips2-in", "leaf1-ips2-out")
        database = f"--db=unix:{lab.switch_folder}/db.sock"
        return [
            lab.exec("leaf1", ["ovs-vsctl", database, "get", "interface", port, "link_state"]).stdout.strip()
            for port in ports
        ]

    assert states() == ["up", "up"]
    lab.kill_device("ips2")
    lab.kill_device("fw2")
    assert wait_until(lambda: states() == ["down", "down"])
    assert not spaces.processes([lab.namespace("ips2")])
    lab.restart_device("ips2")
    assert wait_until(lambda: states() == ["up", "up"])
    assert lab.configuration("ips2") == configuration, "though another box is still dead"
    lab.restart_device("fw2")


def test_restart_can_forget_the_packet_filter(lab: Lab) -> None:
    lab.exec("ips2", ["nft", "add", "table", "inet", "mine"])
    lab.kill_device("ips2")
    lab.restart_device("ips2")
    assert "table inet mine" in lab.configuration("ips2")
    lab.kill_device("ips2")
    lab.restart_device("ips2", forgets=True)
    assert "table inet mine" not in lab.configuration("ips2")


def test_unknown_names_are_said(lab: Lab) -> None:
    with pytest.raises(LabError, match="no device nobody"):
        lab.namespace("nobody")
    with pytest.raises(LabError, match="no link between a1 and b1"):
        lab.cut_link("a1", "b1")
    with pytest.raises(LabError, match="share one daemon"):
        lab.kill_device("leaf1")


# --- up and down --------------------------------------------------------------------------------------


def traces(name: str, folder: Path, number: int | None) -> list[str]:
    """What on this machine carries a lab's name, folder or number."""
    found = [f"namespace {path.name}" for path in spaces.FOLDER.glob(f"{name}-*")]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if f"/{name}-" in line]
    found += [f"file {path}" for path in folder.rglob("*")]
    links = [path.name for path in Path("/sys/class/net").iterdir()]
    found += [
        f"link {link}" for link in links if link == f"vdlab{number}" or link.startswith(f"vdl{number}-")
    ]
    routes = subprocess.run(["ip", "route", "show", "table", "all"], capture_output=True, text=True).stdout
    found += [f"route {line}" for line in routes.splitlines() if f"10.250.{number}." in line]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"{folder}/{name}" in words or f"{name}-" in words:
            found.append(f"process {entry.name} {words!r}")
    return found


def surroundings() -> tuple[str, list[str]]:
    """What belongs to the machine: the receive buffer's size, and mounts other than namespaces."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    kept = [line.split(" ", 2)[2] for line in mounts if "/run/netns" not in line]
    return Path("/proc/sys/net/core/rmem_default").read_text(), kept


def test_up_and_down_leave_no_trace(ground: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder whose path is longer than a Unix socket's address may be."""
    folder = tmp_path / ("deep" * 30)
    monkeypatch.setenv("VIADUCT_STATE", str(folder))
    name = f"t{os.getpid()}n"
    before = surroundings()
    lab = Lab.up(name=name, has_agents=False)
    assert names() == [name]
    assert len(traces(name, folder / "lab", lab.number)) > 20
    process = lab.popen("a1", ["sleep", "1000"])
    Lab.attach(name).down()
    assert process.wait(5) != 0
    assert traces(name, folder / "lab", lab.number) == []
    assert surroundings() == before
    lab.down()
    assert names() == []


def test_failure_half_way_leaves_no_trace(
    ground: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bridge's name that Open vSwitch refuses: by then namespaces and daemons exist."""
    monkeypatch.setenv("VIADUCT_STATE", str(tmp_path))
    path = tmp_path / "bad.yaml"
    path.write_text(DEMO.read_text().replace("bridge: spine1", 'bridge: "a/b"'))
    name = f"t{os.getpid()}f"
    links = {entry.name for entry in Path("/sys/class/net").iterdir()}
    with pytest.raises(LabError, match="ovs-ofctl"):
        Lab.up(path, name, has_agents=False)
    assert traces(name, tmp_path / "lab", None) == []
    made = [entry for entry in Path("/sys/class/net").glob("vdlab*") if entry.name not in links]

    def orphans() -> list[Path]:  # another process may be building a lab at this moment
        return [
            bridge for bridge in made if (bridge / "brif").exists() and not any((bridge / "brif").iterdir())
        ]

    assert wait_until(lambda: not orphans()), orphans()


def test_somebody_elses_namespace_of_that_name_is_left_alone(
    ground: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two checkouts on one machine: neither may remove what the other made."""
    monkeypatch.setenv("VIADUCT_STATE", str(tmp_path))
    name = f"t{os.getpid()}o"
    spaces.create([f"{name}-sw"])
    stranger = subprocess.Popen(["ip", "netns", "exec", f"{name}-sw", "sleep", "100"])
    try:
        assert wait_until(lambda: stranger.pid in spaces.processes([f"{name}-sw"]))
        with pytest.raises(LabError, match="is not ours"):
            Lab.up(name=name, has_agents=False)
        assert stranger.poll() is None
        assert (spaces.FOLDER / f"{name}-sw").exists()
        assert not (tmp_path / "lab" / name).exists()
    finally:
        stranger.kill()
        stranger.wait()
        spaces.remove([f"{name}-sw"])


def test_files_of_a_lab_from_before_a_reboot_are_all_that_is_removed(
    ground: None, lab: Lab, servers: dict[str, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may be another lab's by now: here it is that of the lab that runs."""
    monkeypatch.setenv("VIADUCT_STATE", str(tmp_path))
    stale = tmp_path / "lab" / lab.name
    stale.mkdir(parents=True)
    record = json.loads((lab.folder / "lab.json").read_text())
    (stale / "lab.json").write_text(json.dumps({**record, "boot": "another"}))
    (stale / "fabric.yaml").write_text(lab.fabric_file.read_text())
    with pytest.raises(LabError, match="ended with the machine"):
        Lab.attach(lab.name)
    assert main(["down", lab.name]) == 0
    assert not stale.exists()
    assert lab.probe("a1", "10.10.2.10", 80).ok


def test_same_name_twice_is_refused_and_the_first_lives_on(lab: Lab, servers: dict[str, Server]) -> None:
    with pytest.raises(LabError, match=f"lab {lab.name} exists"):
        Lab.up(name=lab.name, has_agents=False)
    assert lab.probe("a1", "10.10.2.10", 80).ok


@pytest.mark.parametrize("name", ["", "A", "../x", "a" * 30, "x y"])
def test_bad_names_are_refused(ground: None, name: str) -> None:
    with pytest.raises(LabError, match="is no lab name"):
        Lab.up(name=name)


def test_two_labs_side_by_side(lab: Lab, servers: dict[str, Server], tmp_path: Path) -> None:
    with Lab.up(name=f"t{os.getpid()}s", has_agents=False) as other:
        assert other.number != lab.number
        assert load(other.fabric_file).management != load(lab.fabric_file).management
        with other.serve("a2", tcp=(80,)) as server, ThreadPoolExecutor(2) as pool:
            here = pool.submit(lab.probe, "a1", "10.10.2.10", 80, payload="in-the-first")
            there = pool.submit(other.probe, "a1", "10.10.2.10", 80, payload="in-the-second")
            assert here.result().ok
            assert there.result().ok
            assert [seen.payload for seen in server.seen()] == ["in-the-second"]
            assert "in-the-second" not in [seen.payload for seen in servers["a2"].seen()]
    assert lab.probe("a1", "10.10.2.10", 80).ok, "the first lives on"


def test_agents_answer_and_come_back_after_a_power_cut(ground: None) -> None:
    with Lab.up(name=f"t{os.getpid()}g") as lab:
        for host in ("a1", "a2", "b1", "b2"):
            credential = lab.folder / f"{host}.credential.json"
            assert credential.stat().st_mode & 0o077 == 0
            assert json.loads(credential.read_text())["address"] == lab.device(host).management
            assert f"file:{credential}" in lab.fabric_file.read_text()
        address = (lab.device("a1").management, AGENT_PORT)
        socket.create_connection(address, timeout=2).close()
        lab.kill_device("a1")
        with pytest.raises(OSError, match="timed out|No route|unreachable"):
            socket.create_connection(address, timeout=0.5)
        lab.restart_device("a1")
        socket.create_connection(address, timeout=2).close()
