# SPDX-License-Identifier: Apache-2.0
r"""The demo's story on real packets: eight steps, each true only if receivers, functions and captures say so.

Called by `lab.demo`. What Viaduct says of itself is used to wait, never to judge.

                 spine1
               /        \
   a1 b1 -- leaf1        leaf2 -- a2 b2 inet
      fw1 ips2 /          \ fw2 ips1 cgn1
"""

from __future__ import annotations

import difflib
import ipaddress
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.client import Api, ApiError
from lab.network import Lab
from lab.watch import Server, places_visited

SERVER, OUTSIDE = "10.10.2.10", "203.0.113.10"
CLIENT = "10.10.1.10"
POOL, BLOCK_SIZE = ipaddress.ip_network("198.51.100.0/28"), 256
SIGNATURE = "X-Viaduct-Test-Attack"
RATE = 360.0
RECOVERY_S = 30.0
STRANGER = "cookie=0x57,table=0,priority=31000,in_port=1,tcp,nw_dst=192.0.2.99,tp_dst=9 actions=drop"

PERMIT_WEB = [{"verdict": "permit", "protocol": "tcp", "destination_ports": port} for port in ("80", "443")]
WEB = {
    "name": "web",
    "source": "clients",
    "destination": "outside",
    "bandwidth_mbps": 50,
    "classifiers": [{"protocol": "tcp", "destination_ports": port, "family": 4} for port in ("80", "443")],
    "hops": [
        {"function": "ngfw", "policy": {"default": "deny", "rules": PERMIT_WEB}},
        {"function": "ips", "policy": {"patterns": [{"text": SIGNATURE}]}},
        {"function": "cgn", "policy": {"block_size": BLOCK_SIZE}},
    ],
}
MEDIA_RULES = [{"verdict": "permit", "protocol": "udp", "destination_ports": "5000"},
               {"verdict": "permit", "protocol": "tcp", "destination_ports": "80"}]  # fmt: skip
FILTER_RULES = [{"verdict": "deny", "protocol": "tcp", "destination_ports": "8080"}]
APP = {
    "name": "app",
    "source": "clients",
    "destination": "servers",
    "bandwidth_mbps": 50,
    "classifiers": [
        {"protocol": "udp", "destination_ports": "5000-5009"},
        {"protocol": "tcp", "destination_ports": "80"},
        {"protocol": "tcp", "destination_ports": "8080"},
    ],
    "hops": [
        {"function": "filter", "policy": {"default": "permit", "rules": FILTER_RULES}},
        {"function": "ngfw", "policy": {"default": "deny", "rules": MEDIA_RULES}},
    ],
}


class Untrue(Exception):
    """A line of the story does not hold. The text says what was seen."""


def check(holds: bool, seen: str) -> None:
    if not holds:
        raise Untrue(seen)


@dataclass(slots=True)
class Scene:
    """Who plays: the lab, the people's access, and what was seen so far."""

    lab: Lab
    a: Api
    b: Api
    operator: Api
    servers: dict[str, Server] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    chains: dict[str, int] = field(default_factory=dict)

    @property
    def bridge(self) -> str:
        """The Open vSwitch switch next to the clients: somebody's hands are played there."""
        return self.lab.fabric.switches[0].name

    def ask(self, device: str, to: str, port: int, mark: str, **more: Any) -> Any:
        return self.lab.probe(device, to, port, payload=mark, **more)

    def arrived(self, device: str, mark: str) -> bool:
        """Did the server on the device see it?"""
        return any(mark in seen.payload for seen in self.servers[device].seen())

    def configuration(self) -> dict[str, str]:
        managed = [device.name for device in self.lab.fabric.devices.values() if device.driver]
        return {name: self.lab.configuration(name) for name in managed}

    def dropped(self, chain: str, function: str) -> int:
        """What Viaduct's API says that the function stopped."""
        rows = self.operator.get(f"chains/{self.chains[chain]}/counters/")["counters"]
        return sum(row["dropped"] for row in rows if row["function"] == function)


def mark() -> str:
    return uuid.uuid4().hex[:12]


def before_any_chain(scene: Scene) -> str:
    """Before any chain, tenant A's client reaches its server directly."""
    scene.lab.exec(scene.bridge, ["ovs-ofctl", "-O", "OpenFlow14", "add-flow", scene.bridge, STRANGER])
    scene.before = scene.configuration()
    word = mark()
    answer = scene.ask("a1", SERVER, 80, word)
    check(answer.ok and answer.source == CLIENT, f"a1 -> a2: {answer}")
    check(scene.arrived("a2", word) and not scene.arrived("b2", word), "it did not arrive at a2 alone")
    outside = scene.ask("a1", OUTSIDE, 80, mark())
    check(not outside.connected, f"a1 reaches the outside without a chain: {outside}")
    return f"a1 -> a2 in {answer.rtt_ms:.1f} ms as {answer.source}; the outside is out of reach"


def web_chain(scene: Scene) -> str:
    """Chain web through NGFW, IPS and CGN: planned, shown, applied; packets cross all three, there and back."""
    chain = scene.a.post("chains/", WEB)
    scene.chains["web"] = chain["id"]
    plan = scene.a.plan(chain["id"])
    check(not plan["proof"]["violations"] and plan["proof"]["states"] > 1, "the plan has no proof")
    scene.a.apply(plan["id"])
    word = mark()
    with scene.lab.capture("fw1", "in", *boxes("fw1", "ips1", "cgn1"), ("inet", "eth0")) as capture:
        answer = scene.ask("a1", OUTSIDE, 80, word)
        packets = capture.finish()
    check(answer.ok, f"a1 -> outside: {answer}")
    check(scene.arrived("inet", word), "the outside did not see it")
    check(is_of_block(answer.source, answer.source_port), f"came as {answer.source}:{answer.source_port}")
    there = ["fw1:in", "fw1:out", "ips1:in", "ips1:out", "cgn1:in", "cgn1:out", "inet:eth0"]
    wanted = there + there[-2::-1]
    found = list(places_visited(packets, word))
    check(found == wanted, f"crossed {found}, not {wanted}")
    secure = scene.ask("a1", OUTSIDE, 443, mark())
    check(secure.ok, f"port 443: {secure}")
    cost = plan["placement"]["cost"]
    return f"crossed {' > '.join(found[:7])} and back, arrived from {answer.source}:{answer.source_port}; cost {cost}"


def policies_bite(scene: Scene) -> str:
    """A port that the NGFW denies stops there, a payload with the signature stops at the IPS; both are counted."""
    rules = PERMIT_WEB[:1]
    hops = [{**WEB["hops"][0], "policy": {"default": "deny", "rules": rules}}, *WEB["hops"][1:]]  # type: ignore[index, dict-item, misc]
    scene.a.patch(f"chains/{scene.chains['web']}/", {"hops": hops})
    scene.a.apply(scene.a.plan(scene.chains["web"])["id"])
    with scene.lab.capture("fw1", "in", ("fw1", "out"), ("inet", "eth0")) as capture:
        denied = scene.ask("a1", OUTSIDE, 443, mark(), timeout_s=1.5)
        packets = capture.finish()
    at = {packet.at for packet in packets if packet.destination_port == 443}
    check(not denied.connected and at == {"fw1:in"}, f"port 443: {denied.result}, seen at {sorted(at)}")
    word = mark()
    with scene.lab.capture("ips1", "in", ("ips1", "out"), ("inet", "eth0")) as capture:
        attack = scene.ask("a1", OUTSIDE, 80, f"{word} {SIGNATURE}", timeout_s=1.5)
        packets = capture.finish()
    at = {packet.at for packet in packets if word in packet.payload}
    check(
        attack.connected and not attack.ok and at == {"ips1:in"},
        f"attack: {attack.result}, seen at {sorted(at)}",
    )
    check(not scene.arrived("inet", word), "the attack arrived")
    check(scene.ask("a1", OUTSIDE, 80, mark()).ok, "allowed traffic no longer passes")
    ngfw, ips = (
        Api.wait_until(lambda name=name: scene.dropped("web", name), f"drops of the {name} in the API", 15.0)  # type: ignore[misc]
        for name in ("ngfw", "ips")
    )
    return f"443 stopped at fw1, the signature at ips1; the API counts {ngfw} and {ips} drops"


def tenant_b(scene: Scene) -> str:
    """Tenant B, same addresses: a filter on a switch and an NGFW. Nobody ever sees the other's packets."""
    chain = scene.b.post("chains/", APP)
    scene.chains["app"] = chain["id"]
    plan = scene.b.plan(chain["id"])
    realms = [hop["chosen"]["realm"] for hop in plan["placement"]["hops"]]
    check(realms == ["switch", "appliance"], f"placed in {realms}")
    scene.b.apply(plan["id"])
    foreign = {"a": ("fw2", "b1", "b2"), "b": ("fw1", "ips1", "cgn1", "a1", "a2", "inet")}
    own = {"a": mark(), "b": mark()}
    ports = [*boxes("fw1", "fw2", "ips1", "cgn1"), *((h, "eth0") for h in ("a1", "a2", "b1", "b2", "inet"))]
    with scene.lab.capture(*ports[0], *ports[1:]) as capture:
        answers = [
            scene.ask("a1", OUTSIDE, 80, own["a"]),
            scene.ask("a1", SERVER, 80, own["a"]),
            scene.ask("b1", SERVER, 80, own["b"]),
            scene.ask("b1", "2001:db8:10:2::10", 80, own["b"]),
            scene.ask("b1", SERVER, 5000, own["b"], protocol="udp"),
        ]
        refused = scene.ask("b1", SERVER, 8080, own["b"])
        packets = capture.finish()
    check(all(answer.ok for answer in answers), f"not all arrived: {[a.result for a in answers]}")
    check(not refused.connected, f"8080 passed the filter: {refused}")
    check(not any(p.destination_port == 8080 and p.at.startswith("fw2") for p in packets), "8080 got to fw2")
    met = {
        name: {packet.at.split(":")[0] for packet in packets if own[name] in packet.payload} for name in own
    }
    for name, others in foreign.items():
        check(not met[name] & set(others), f"tenant {name}'s packets were seen at {met[name] & set(others)}")
    check({"fw2", "b2"} <= met["b"] and {"fw1", "ips1", "cgn1"} <= met["a"], f"seen at {met}")
    switch = plan["placement"]["hops"][0]["chosen"]["offers"][0]
    return f"{switch} and ngfw on fw2, IPv4 and IPv6; A seen at {sorted(met['a'])}, B at {sorted(met['b'])}"


def hop_moves(scene: Scene) -> str:
    """A hop moves from the appliance to the host realm under traffic: none lost, none past the function."""
    chain = scene.chains["app"]
    hops = [APP["hops"][0], {**APP["hops"][1], "realm": "host"}]  # type: ignore[index, dict-item]
    scene.b.patch(f"chains/{chain}/", {"hops": hops})
    plan = scene.b.plan(chain)
    check(plan["placement"]["hops"][1]["chosen"]["realm"] == "host", "the plan does not move the hop")
    with scene.lab.capture("fw2", "in") as capture:
        stream = scene.lab.stream("b1", SERVER, 5000, rate=RATE, denied_port=5001, denied_every=3)
        Api.wait_until(lambda: len(capture.packets()) > RATE / 2, "the stream to cross fw2", 10.0)
        scene.b.apply(plan["id"])
        moved_ns = time.monotonic_ns()
        settled = len(scene.servers["b2"].tallies())
        Api.wait_until(lambda: received(scene, stream.number) >= RATE * 4, "the stream to go on", 20.0)
        count = stream.finish()
        packets = capture.finish()
    late = [packet for packet in packets if packet.time_ns > moved_ns and packet.protocol == "udp"]
    wrong = sum(
        t.received for t in scene.servers["b2"].tallies() if (t.stream, t.port) == (stream.number, 5001)
    )
    check(count.sent > 2 * RATE and settled > 0, f"too short a stream: {count}")
    check(
        count.lost == 0 and count.duplicates == 0, f"lost {count.lost} of {count.sent}: {count.missing[:10]}"
    )
    check(
        count.denied_answered == 0 and wrong == 0, f"{wrong} of {count.denied_sent} denied datagrams arrived"
    )
    check(packets != () and not late, f"{len(late)} packets still crossed fw2 after the move")
    return (
        f"{count.sent} sent at {count.sent / count.seconds:.0f}/s, 0 lost; "
        f"0 of {count.denied_sent} denied ones arrived; "
        f"{len(packets)} crossed fw2 before, none after"
    )


def ips_dies(scene: Scene) -> str:
    """The IPS dies: nothing passes unfiltered, and with a second instance traffic recovers without a person."""
    offers = {f"{o['function']}@{o['device']}": o["id"] for o in scene.operator.results("offers/?limit=100")}
    scene.lab.kill_device("ips1")
    died = time.monotonic()
    with scene.lab.capture("inet", "eth0") as capture:
        blocked = [scene.ask("a1", OUTSIDE, 80, mark(), timeout_s=0.7).connected for _ in range(2)]
        scene.a.wait_until(lambda: status(scene, "web") == "degraded", "Viaduct to notice", RECOVERY_S)
        noticed = time.monotonic() - died
        blocked.append(scene.ask("a1", OUTSIDE, 80, mark(), timeout_s=0.7).connected)
        passed = [p for p in capture.finish() if p.destination_port in (80, 443)]
    check(not any(blocked) and not passed, f"{len(passed)} packets passed unfiltered")
    scene.operator.patch(f"offers/{offers['ips@ips2']}/", {"is_enabled": True})
    freed = time.monotonic()
    Api.wait_until(
        lambda: scene.ask("a1", OUTSIDE, 80, mark(), timeout_s=0.4).ok, "traffic to recover", RECOVERY_S
    )
    recovered = time.monotonic() - freed
    Api.wait_until(lambda: status(scene, "web") == "ready", "the chain to be ready", RECOVERY_S)
    word, attack = mark(), mark()
    with scene.lab.capture("fw1", "in", *boxes("fw1", "ips2", "cgn1"), ("inet", "eth0")) as capture:
        allowed = scene.ask("a1", OUTSIDE, 80, word)
        stopped = scene.ask("a1", OUTSIDE, 80, f"{attack} {SIGNATURE}", timeout_s=1.5)
        packets = capture.finish()
    order = list(places_visited(packets, word))[:7]
    check(allowed.ok and order[2:4] == ["ips2:in", "ips2:out"], f"{allowed.result}, crossed {order}")
    check(stopped.connected and not scene.arrived("inet", attack), "the attack passes the second IPS")
    return (
        f"0 packets passed meanwhile, noticed in {noticed:.1f} s; "
        f"through ips2 {recovered:.1f} s after it was offered"
    )


def drift(scene: Scene) -> str:
    """A flow of ours is deleted by hand: found and repaired. A stranger's flow is untouched."""
    bridge = scene.bridge
    wanted = scene.lab.flows(bridge)
    ours = [
        line for line in wanted if "in_port=1," in line and "cookie=0xd5" in line and "nw_dst" not in line
    ]
    check(len(ours) > 0, "no flow of ours to delete")
    scene.lab.exec(
        bridge, ["ovs-ofctl", "-O", "OpenFlow14", "--strict", "del-flows", bridge, strictly(ours[0])]
    )
    check(ours[0] not in scene.lab.flows(bridge), "the flow is still there")
    began = time.monotonic()
    Api.wait_until(lambda: scene.lab.flows(bridge) == wanted, "the flow to come back", RECOVERY_S)
    took = time.monotonic() - began
    found = Api.wait_until(
        lambda: [f for f in scene.operator.results("findings/?limit=100") if f["code"] == "drift"],
        "a finding",
        10.0,
    )
    check(any(bridge in finding["detail"] for finding in found), f"findings: {found}")
    check(any("cookie=0x57," in line for line in scene.lab.flows(bridge)), "the stranger's flow is gone")
    check(scene.ask("a1", OUTSIDE, 80, mark()).ok, "traffic does not pass")
    return f"repaired after {took:.1f} s, with a finding; the stranger's flow is untouched"


def all_gone(scene: Scene) -> str:
    """Chains are deleted: every device is exactly what it was at the first step."""
    for tenant, name in ((scene.a, "web"), (scene.b, "app")):
        tenant.delete(f"chains/{scene.chains[name]}/")
        Api.wait_until(lambda n=name: scene.chains[n] not in ids(scene), f"chain {name} to be gone", 60.0)  # type: ignore[misc]
    scene.lab.restart_device("ips1")
    try:
        Api.wait_until(
            lambda: scene.configuration() == scene.before, "all devices to be as before", RECOVERY_S
        )
    except ApiError as late:
        raise Untrue("; ".join(differences(scene.before, scene.configuration())) or str(late)) from late
    word = mark()
    answer = scene.ask("a1", SERVER, 80, word)
    check(answer.ok and answer.source == CLIENT, f"a1 -> a2: {answer}")
    return f"{len(scene.before)} devices hold what they held before, byte for byte"


def encore(scene: Scene) -> Iterator[None]:
    """For whoever looks around afterwards: both chains in force again, and a little traffic at every step."""
    for tenant, data in ((scene.a, WEB), (scene.b, APP)):
        chain = tenant.post("chains/", data)
        tenant.apply(tenant.plan(chain["id"])["id"])
    with scene.lab.stream("b1", SERVER, 5000, rate=10.0, denied_port=5001, denied_every=10):
        while True:
            scene.ask("a1", OUTSIDE, 80, "good morning", timeout_s=0.5)
            yield


STEPS: Sequence[tuple[str, Callable[[Scene], str]]] = (
    ("before any chain", before_any_chain),
    ("chain web: NGFW, IPS, CGN", web_chain),
    ("denied port and signature", policies_bite),
    ("tenant B, same addresses", tenant_b),
    ("a hop moves under traffic", hop_moves),
    ("the IPS dies", ips_dies),
    ("drift", drift),
    ("chains deleted", all_gone),
)


def boxes(*names: str) -> list[tuple[str, str]]:
    return [(name, port) for name in names for port in ("in", "out")]


def is_of_block(address: str, port: int) -> bool:
    """Is it the block of a1's address? RFC 7422: the n-th subscriber has the n-th block."""
    index = int(ipaddress.ip_address(CLIENT)) - int(ipaddress.ip_address("10.10.1.0"))
    first = 1024 + index * BLOCK_SIZE
    return ipaddress.ip_address(address) in POOL and first <= port < first + BLOCK_SIZE


def received(scene: Scene, stream: int) -> int:
    return sum(t.received for t in scene.servers["b2"].tallies() if (t.stream, t.port) == (stream, 5000))


def status(scene: Scene, name: str) -> str:
    found = scene.operator.get(f"chains/{scene.chains[name]}/")["status"]
    return str(found["value"] if isinstance(found, dict) else found)


def ids(scene: Scene) -> list[int]:
    return [row["id"] for row in scene.operator.results("chains/?limit=100")]


def strictly(flow: str) -> str:
    """The match part of a dumped flow, for a strict delete."""
    match = flow.split(" actions=")[0].replace(" ", "")
    kept = [
        part for part in match.split(",") if not part.startswith(("cookie=", "duration=", "send_flow_rem"))
    ]
    return ",".join(kept)


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The first lines that differ, device by device."""
    found = []
    for name in before:
        old, new = before[name].splitlines(), after[name].splitlines()
        changed = difflib.unified_diff(old, new, n=0, lineterm="")
        lines = [line for line in changed if line[:2] not in ("--", "++", "@@")]
        if lines:
            found.append(f"{name}: {' | '.join(lines[:4])}")
    return found
