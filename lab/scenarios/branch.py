# SPDX-License-Identifier: Apache-2.0
r"""A function marks what it holds for suspicious, and only that takes a tail of its own.

              spine1     spine2
              /    \     /    \
   a1 -- leaf1      \___/      leaf2 -- a2
   fw1 ips2                    ips1

The chain: fw1, ips1; what leaves ips1 with DSCP 10 goes on through ips2. ips1 marks the packets of half of the clients.
Expected: theirs cross ips2 as well, the others' do not, every answer comes back by ips1 and fw1; the branch comes and
goes under traffic, and nothing is lost.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from lab.scenarios import arena
from lab.scenarios.judge import Journey, journeys, judge
from lab.scenarios.script import Play, Scenario, check
from lab.scenarios.words import CLASSIFIERS, ips, ngfw

RATE, FAST_RATE = 1000, 200
FLOWS, FAST_FLOWS = 310, 62
MARK = 10
SUSPECTS = ip_network("10.10.1.128/25")
MAIN, TAIL = ("fw1", "ips1"), ("fw1", "ips1", "ips2")
RULES = f"""table inet suspicious {{
chain colour {{
type filter hook forward priority 10; policy accept;
ip saddr {SUSPECTS} ip dscp set {MARK}
}}
}}
"""


def begin(play: Play) -> str:
    """1. A chain without a branch; ips1 marks half of the clients already, and nothing comes of it."""
    stage = play.stage
    play.kept["chain"] = stage.chain("branch", _hops(False), classifiers=CLASSIFIERS)
    stage.lab.exec("ips1", ["nft", "-f", "-"], text=RULES)
    traffic = play.kept["traffic"] = stage.flowing_now(rate=play.times(RATE, FAST_RATE))
    traffic.flow_on(200)
    play.kept["sample"] = traffic.sample(play.times(FLOWS, FAST_FLOWS), arena.CLIENTS)
    play.kept["rounds"] = {"before": _round(play)}
    return "datagrams cross fw1 and ips1"


def comes(play: Play) -> str:
    """2. The branch comes while datagrams flow."""
    stage = play.stage
    stage.edit(play.kept["chain"], hops=_hops(True))
    stage.allow(*(frozenset({box}) for box in MAIN), only=False)
    stage.wait_ready(play.kept["chain"])
    play.kept["traffic"].flow_on(200)
    play.kept["rounds"]["with"] = _round(play)
    return "the chain is ready"


def goes(play: Play) -> str:
    """3. The branch goes while datagrams flow."""
    stage = play.stage
    stage.edit(play.kept["chain"], hops=_hops(False))
    stage.wait_ready(play.kept["chain"])
    play.kept["traffic"].flow_on(200)
    play.kept["rounds"]["after"] = _round(play)
    stage.lab.exec("ips1", ["nft", "delete", "table", "inet", "suspicious"])
    return "the chain is ready"


def settle(play: Play) -> str:
    """4. The way of each flow in each round, and of every datagram that flowed meanwhile."""
    seen = play.kept["traffic"].stop()
    verdict, trips = judge(seen, play.stage.eras), journeys(seen)
    play.outcome.add(verdict)
    check(verdict.lost == 0 and verdict.duplicated == 0, f"{play.outcome.line()}: {'; '.join(verdict.notes)}")
    check(verdict.bypassed == 0 and verdict.misordered == 0, "; ".join(verdict.notes))
    suspects = {stream for stream, client in play.kept["clients"].items() if ip_address(client) in SUSPECTS}
    check(0 < len(suspects) < len(play.kept["clients"]), "both kinds of clients are there")
    for name, number in play.kept["rounds"].items():
        for stream, client in play.kept["clients"].items():
            _check_trip(trips[stream, number], stream in suspects and name == "with", f"{client} {name} the branch")
    return f"{len(suspects)} of {len(play.kept['clients'])} flows took the branch while it was there"


def _hops(has_branch: bool) -> list[dict[str, Any]]:
    branch = {"dscp": MARK, "hops": [ips("ips2")]}
    return [ngfw("fw1"), ips("ips1", **({"branch": branch} if has_branch else {}))]


def _round(play: Play) -> int:
    """The number of a round in which every flow was answered."""
    sample = play.kept["sample"]
    answered = sample.round()
    check(all(answered.values()), f"{sum(answered.values())} of {len(answered)} flows were answered")
    streams = sorted(answered)
    play.kept["clients"] = {stream: arena.CLIENTS[at % len(arena.CLIENTS)] for at, stream in enumerate(streams)}
    return int(sample.rounds) - 1


def _check_trip(trip: Journey, is_marked: bool, where: str) -> None:
    wanted = TAIL if is_marked else MAIN
    check(tuple(trip.visits) == wanted, f"{where}: crossed {' > '.join(trip.visits)}, not {' > '.join(wanted)}")
    check(tuple(trip.answer_visits) == MAIN[::-1], f"{where}: the answer crossed {' > '.join(trip.answer_visits)}")


SCENARIO = Scenario(
    name="branch",
    title="What a function marks takes a branch",
    expects="marked packets cross the branch's function as well, others and all answers do not; 0 lost",
    fabric=arena.write,
    steps=(begin, comes, goes, settle),
)
