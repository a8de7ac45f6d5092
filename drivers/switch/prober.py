# SPDX-License-Identifier: Apache-2.0
"""Probes through functions, run beside an Open vSwitch: `python -m drivers.switch.prober [--rundir DIR] [BRIDGE...]`.

What to ask is a note on the bridge in OVSDB, put there by the orchestrator (`BridgeSession.set_probes`), and what was
found is another: neither needs the orchestrator to be there. While a probe that fails over is down, its ports are
marked (`handover.mark_of`), and the switch sends to the standbys. Two processes: if the one that asks dies, the other
starts it again and it takes the marks over; if the other dies, or both are told to end, marks and flows go. It must not
touch a flow or a group that is not its own. Runs as a user who may use the sockets in DIR.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import threading
import time
from types import FrameType

from drivers.base import DriverError
from drivers.probe import ProbeResult
from drivers.switch import probe_notes
from drivers.switch.asked import Rounds
from drivers.switch.handover import FIRST_MARK, LAST_MARK, mark_of, parse_groups
from drivers.switch.keeper import keep
from drivers.switch.probe_packets import TOKEN_OCTETS
from drivers.transport import openflow, openflow_wire, ovsdb

RUNDIR = "/run/openvswitch"
# After so many losses in a row it is looked whether the flows that catch are there; it takes a while, so not at each.
DOUBTS = frozenset((-1, -10, *range(-100, -100_000, -100)))
# How often notes are read, and how old one with results may be; changes are written at once.
CLERK_S, FRESH_S = 0.5, 2.0
RETRY_S, REWRITE_S, TIMEOUT_S, LONGEST_S, IDLE_S, FAR = 0.2, 0.5, 5.0, 0.1, 0.5, float("inf")


class Bridge:
    """The probes of one bridge. `wanted` and `told` are shared with the clerk, all else is the main thread's."""

    def __init__(self, name: str, rundir: str) -> None:
        self.name = name
        self.wanted = ""
        self.told: tuple[ProbeResult, ...] = ()
        self._taken = ""
        self._path = f"{rundir}/{name}.mgmt"
        self._channel = openflow.Channel(f"unix:{self._path}", (), TIMEOUT_S)
        self._rounds = Rounds(skew_s=time.time() - time.monotonic())
        self._wire: openflow_wire.Wire | None = None
        self._marked: frozenset[int] = frozenset()
        # When flows and marks are to be written (again). At first always: what a process before left may be old.
        self._write_s = 0.0

    @property
    def wires(self) -> list[openflow_wire.Wire]:
        return [self._wire] if self._wire is not None else []

    def next_s(self) -> float:
        return min(self._rounds.next_s() if self._wire is not None else FAR, self._write_s)

    def turn(self) -> None:
        """Take new probes, read what came, send what is due, mark what is dead. A lost connection is made anew."""
        try:
            if self.wanted != self._taken:
                self._take(self.wanted)
            if time.monotonic() >= self._write_s:
                self._write()
            if self._wire is not None:
                self._exchange(self._wire)
        except DriverError as error:
            _say(f"{self.name}: {error}")
            self._hang_up()
            self._write_s = time.monotonic() + RETRY_S

    def release(self) -> None:
        """Nobody asks any more: flows that catch go, and marks with them, as nobody would ever take them away."""
        try:
            if self._rounds.asked or self._marked:
                self._take("")
                self._write()
        except DriverError as error:
            _say(f"{self.name}: what is left there stays: {error}")

    def _take(self, note: str) -> None:
        self._taken, self._write_s = note, 0.0
        try:
            probes, numbers = probe_notes.wanted(note)
        except ValueError as error:
            _say(f"{self.name}: the note with probes cannot be read ({error}); it is as if there were none")
            probes, numbers = (), {}
        self._rounds.set(probes, numbers, lambda: os.urandom(TOKEN_OCTETS), time.monotonic())

    def _write(self) -> None:
        """Flows that catch the packets, marks of what is dead; marks that nobody stands for any more go."""
        wire = self._wire or openflow_wire.connect(self._path)
        self._channel.bundle("".join(f"{line}\n" for line in self._rounds.catches()))
        held = {group.number for group in parse_groups(self._channel.dump_groups())}
        self._marked = frozenset(number - FIRST_MARK for number in held if FIRST_MARK <= number <= LAST_MARK)
        self._mark(wire)
        self._wire, self._write_s = wire, FAR
        if not self._rounds.asked:
            self._hang_up()

    def _exchange(self, wire: openflow_wire.Wire) -> None:
        for port, frame in wire.packets():
            for sending in self._rounds.arrived(port, frame, time.monotonic()):
                wire.send_packet(*sending)
        for sending in self._rounds.due(time.monotonic()):
            wire.send_packet(*sending)
        self._mark(wire)
        before = {result.name: result.streak for result in self.told}
        self.told = self._rounds.results()
        if any(one.streak in DOUBTS and one.streak != before.get(one.name) for one in self.told):
            # Somebody may have cleared the table, and our flows with it: that is no function's fault.
            self._write_s = min(self._write_s, time.monotonic() + REWRITE_S)

    def _mark(self, wire: openflow_wire.Wire) -> None:
        dead = self._rounds.dead() | self._marked & self._rounds.unknown()
        for number in sorted(dead ^ self._marked):
            wire.mark(mark_of(number), is_there=number in dead)
            _say(f"{self.name}: port {number} is {'dead, its standbys are taken' if number in dead else 'back'}")
        self._marked = dead

    def _hang_up(self) -> None:
        if self._wire is not None:
            self._wire.close()
        self._wire = None


class Clerk(threading.Thread):
    """Carries notes between the database and the bridges. That it waits for a database holds no probe up."""

    def __init__(self, rundir: str, names: frozenset[str]) -> None:
        super().__init__(daemon=True)
        self.bridges: dict[str, Bridge] = {}
        self.news = threading.Event()
        self._rundir = rundir
        self._names = names
        self._written: dict[str, tuple[float, tuple[ProbeResult, ...]]] = {}

    def run(self) -> None:
        while True:
            try:
                with ovsdb.connect_locally(f"{self._rundir}/db.sock", TIMEOUT_S) as database:
                    while True:
                        self._carry(database)
                        self.news.wait(CLERK_S)
                        self.news.clear()
            except DriverError as error:
                _say(f"{error}")
                time.sleep(CLERK_S)

    def _carry(self, database: ovsdb.Database) -> None:
        notes = database.notes()
        for name in self.bridges.keys() - notes.keys():
            del self.bridges[name]
        for name in notes:
            if not self._names or name in self._names:
                bridge = self.bridges.setdefault(name, Bridge(name, self._rundir))
                bridge.wanted = notes[name].get(probe_notes.PROBES, "")
                self._tell(database, bridge, notes[name].get(probe_notes.RESULTS, ""))

    def _tell(self, database: ovsdb.Database, bridge: Bridge, there: str) -> None:
        at_s, before = self._written.get(bridge.name, (0.0, ()))
        now = bridge.told if bridge.wanted else ()
        is_news = [(each.name, each.is_up) for each in now] != [(each.name, each.is_up) for each in before]
        if is_news or (now != before and time.monotonic() >= at_s + FRESH_S) or (there and not now):
            database.note(bridge.name, probe_notes.RESULTS, probe_notes.told(now))
            self._written[bridge.name] = time.monotonic(), now


def run(rundir: str, names: frozenset[str]) -> int:
    """Until SIGTERM or SIGINT, or until the keeper, which holds the other end of standard input, is gone."""
    is_over = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        is_over.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    clerk = Clerk(rundir, names)
    clerk.start()
    _say(f"asks on the bridges of {rundir}")
    before: dict[str, tuple[bool | None, ...]] = {}
    while not is_over.is_set():
        bridges = list(clerk.bridges.values())
        for bridge in bridges:
            bridge.turn()
        now = {bridge.name: tuple(result.is_up for result in bridge.told) for bridge in bridges}
        if now != before:
            before = now
            clerk.news.set()
        wires = [wire for bridge in bridges for wire in bridge.wires]
        wait_s = min([bridge.next_s() for bridge in bridges], default=FAR) - time.monotonic()
        wait_s = min(max(wait_s, 0), LONGEST_S if wires else IDLE_S)
        try:
            ready, _, _ = select.select([*wires, sys.stdin], [], [], wait_s)
        except InterruptedError:
            continue
        if sys.stdin in ready:
            _say("its keeper is gone")
            break
    for bridge in list(clerk.bridges.values()):
        bridge.release()
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"prober: {text}\n")
    sys.stderr.flush()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m drivers.switch.prober", description=__doc__)
    parser.add_argument("bridges", nargs="*", metavar="BRIDGE", help="default: every bridge that has probes")
    parser.add_argument("--rundir", default=RUNDIR, metavar="DIR", help=f"default: {RUNDIR}")
    parser.add_argument("--kept", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if not given.kept:
        return keep([sys.executable, "-m", "drivers.switch.prober", "--kept", "--rundir", given.rundir, *given.bridges])
    return run(given.rundir, frozenset(given.bridges))


if __name__ == "__main__":
    sys.exit(main())
