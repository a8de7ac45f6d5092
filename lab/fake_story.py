# SPDX-License-Identifier: Apache-2.0
"""The demo's story without packets: the same fabric on the fake drivers, walked with `drivers.forward`.

Called by `lab.demo` where the lab cannot run. Planning, API, workers and transactions are the real ones;
what is judged is what the fake devices hold, never what Viaduct says of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivers import fake
from drivers.forward import Network, Outcome, Trace, on_host, walk
from drivers.packets import packets
from drivers.state import DeviceState, Match
from lab.client import Api
from lab.fabric import Fabric, load, parse, write
from lab.story import APP, RECOVERY_S, WEB, check

OUTSIDE = "203.0.113.10/32"


@dataclass(slots=True)
class Scene:
    """The fake fabric and the people's access."""

    fabric: Fabric
    fabric_file: Path
    store: str
    a: Api = None  # type: ignore[assignment]
    b: Api = None  # type: ignore[assignment]
    operator: Api = None  # type: ignore[assignment]
    chains: dict[str, int] = field(default_factory=dict)

    def states(self) -> dict[str, DeviceState]:
        found = {}
        for name in self.fabric.devices:
            with fake.box(name, self.store) as held:
                found[name] = held.state
        return found

    def fates(self, switch: str, port: str, match: Match) -> tuple[Trace, ...]:
        """What becomes of packets that a host sends; hosts at both ends included."""
        peers = {}
        for link in self.fabric.links:
            a, b = (link.a.device, link.a.port), (link.b.device, link.b.port)
            peers[a], peers[b] = b, a
        kinds = {name: device.kind for name, device in self.fabric.devices.items()}
        network = Network(kinds, peers, self.states())
        traces = walk(network, (switch, port), packets(match), is_reply=False)
        end = {"a1": "a2", "b1": "b2"}[port]
        return tuple(part for trace in traces for part in on_host(network, end, trace, is_reply=False))

    def passed(self, switch: str, port: str, match: Match) -> tuple[Outcome, list[str]]:
        """The one fate of these packets, and the devices whose functions they passed."""
        fates = self.fates(switch, port, match)
        check(len(fates) == 1, f"not one fate but {[trace.outcome for trace in fates]}")
        return fates[0].outcome, [device for device, _ in fates[0].functions]


def prepare(folder: Path, source: Path) -> Scene:
    """The same fabric file with fake drivers."""
    real = load(source)
    store = str(folder / "devices")
    devices = []
    for entry in real.raw["devices"]:
        played = dict(entry)
        if entry["driver"]:
            played |= {"driver": f"fake-{entry['kind']}", "settings": {"store": store}}
        devices.append(played)
    fabric = parse({**real.raw, "devices": devices})
    path = folder / "fabric.yaml"
    write(fabric, path)
    return Scene(fabric, path, store)


def web(port: int) -> Match:
    return Match("10.10.1.10/32", OUTSIDE, "tcp", (40000, 40000), (port, port))


def app(port: int, protocol: str = "udp") -> Match:
    return Match("10.10.1.10/32", "10.10.2.10/32", protocol, (40000, 40000), (port, port))


def nothing_held(scene: Scene) -> str:
    """Before any chain the devices hold nothing of ours."""
    check(not any(scene.states().values()), "a device holds something")
    outcome, functions = scene.passed("leaf1", "a1", app(80, "tcp"))
    check(outcome is Outcome.BASE and not functions, f"{outcome} through {functions}")
    return "packets are left to the operator's own forwarding"


def applied(scene: Scene, tenant: Api, name: str, data: dict[str, Any]) -> Any:
    chain = tenant.post("chains/", data)
    scene.chains[name] = chain["id"]
    plan = tenant.plan(chain["id"])
    tenant.apply(plan["id"])
    return plan


def web_chain(scene: Scene) -> str:
    applied(scene, scene.a, "web", WEB)
    outcome, functions = scene.passed("leaf1", "a1", web(80))
    check((outcome, functions) == (Outcome.ROUTED, ["fw1", "ips1", "cgn1"]), f"{outcome} through {functions}")
    return f"would cross {' > '.join(functions)}"


def policies_bite(scene: Scene) -> str:
    hops = [{"function": "ngfw", "policy": {"default": "deny", "rules": WEB["hops"][0]["policy"]["rules"][:1]}}]  # type: ignore[index]
    scene.a.patch(f"chains/{scene.chains['web']}/", {"hops": [*hops, *WEB["hops"][1:]]})  # type: ignore[index]
    scene.a.apply(scene.a.plan(scene.chains["web"])["id"])
    outcome, functions = scene.passed("leaf1", "a1", web(443))
    check((outcome, functions) == (Outcome.DENIED, ["fw1"]), f"{outcome} after {functions}")
    return "port 443 would be stopped at fw1"


def tenant_b(scene: Scene) -> str:
    plan = applied(scene, scene.b, "app", APP)
    outcome, functions = scene.passed("leaf1", "b1", app(5000))
    check(outcome is Outcome.ROUTED and functions[-1] == "fw2", f"{outcome} through {functions}")
    check(scene.passed("leaf1", "a1", app(5000))[0] is Outcome.BASE, "tenant A's packets are steered too")
    check(scene.passed("leaf1", "b1", app(8080, "tcp"))[0] is Outcome.DENIED, "8080 passes the filter")
    return f"{plan['placement']['hops'][0]['chosen']['offers'][0]} and fw2; tenant A's like packets are not met"


def hop_moves(scene: Scene) -> str:
    chain = scene.chains["app"]
    hops = [APP["hops"][0], {**APP["hops"][1], "realm": "host"}]  # type: ignore[index, dict-item]
    scene.b.patch(f"chains/{chain}/", {"hops": hops})
    plan = scene.b.plan(chain)
    scene.b.apply(plan["id"])
    outcome, functions = scene.passed("leaf1", "b1", app(5000))
    check(outcome is Outcome.ROUTED and functions[-1] == "b2", f"{outcome} through {functions}")
    return f"now through {' > '.join(functions)}; {plan['proof']['states']} states were proved on the way"


def ips_dies(scene: Scene) -> str:
    offers = {f"{o['function']}@{o['device']}": o["id"] for o in scene.operator.results("offers/?limit=100")}
    with fake.box("ips1", scene.store) as dead:
        dead.faults.is_unreachable = True
    with fake.box("leaf2", scene.store) as neighbour:
        neighbour.links_down = ["ips1-in", "ips1-out"]
    Api.wait_until(lambda: status(scene, "web") == "degraded", "Viaduct to notice", RECOVERY_S)
    scene.operator.patch(f"offers/{offers['ips@ips2']}/", {"is_enabled": True})
    Api.wait_until(lambda: "ips2" in scene.passed("leaf1", "a1", web(80))[1], "the chain to move", RECOVERY_S)
    Api.wait_until(lambda: status(scene, "web") == "ready", "the chain to be ready", RECOVERY_S)
    return f"now through {' > '.join(scene.passed('leaf1', 'a1', web(80))[1])}"


def drift(scene: Scene) -> str:
    with fake.box("leaf1", scene.store) as held:
        wanted = held.state
        lost = next(key for key in wanted if key.kind == "redirect")
        held.state = DeviceState({key: item for key, item in wanted.items() if key != lost})
        held.foreign.append("a stranger's flow")
    Api.wait_until(lambda: scene.states()["leaf1"] == wanted, "the item to come back", RECOVERY_S)
    with fake.box("leaf1", scene.store) as held:
        check(held.foreign == ["a stranger's flow"], "the stranger's flow was touched")
        held.foreign.clear()
    return f"{lost} was repaired; the stranger's flow is untouched"


def all_gone(scene: Scene) -> str:
    for tenant, name in ((scene.a, "web"), (scene.b, "app")):
        tenant.delete(f"chains/{scene.chains[name]}/")
    with fake.box("ips1", scene.store) as back:
        back.faults.is_unreachable = False
    Api.wait_until(lambda: not any(scene.states().values()), "all devices to be empty", 60.0)
    return "no device holds anything of ours"


STEPS: Sequence[tuple[str, Callable[[Scene], str]]] = (
    ("before any chain", nothing_held),
    ("chain web: NGFW, IPS, CGN", web_chain),
    ("denied port", policies_bite),
    ("tenant B, same addresses", tenant_b),
    ("a hop moves", hop_moves),
    ("the IPS dies", ips_dies),
    ("drift", drift),
    ("chains deleted", all_gone),
)


def status(scene: Scene, name: str) -> str:
    found = scene.operator.get(f"chains/{scene.chains[name]}/")["status"]
    return str(found["value"] if isinstance(found, dict) else found)
