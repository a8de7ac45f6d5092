# SPDX-License-Identifier: Apache-2.0
"""The agent's prober: asks what it was told to, again and again, and remembers what it found. A thread for each probe.

Called by the daemon only. Probes are on disk, so a restart asks on; results are not: they begin anew.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from drivers.asking import ask
from drivers.host.enrolment import write_file
from drivers.probe import Probe, ProbeKind, ProbeResult, judged, probes_from_json, probes_to_json

PROBES_FILE = "probes.json"
# More questions a second than that would be a load of their own.
MOST = 64


class Prober:
    """One per process. asks: for a test."""

    def __init__(self, state: Path, asks: Callable[[Probe], tuple[bool | None, str]] = ask) -> None:
        self._file = state / PROBES_FILE
        self._asks = asks
        self._lock = threading.Lock()
        self._running: dict[Probe, threading.Event] = {}
        self._results: dict[str, ProbeResult] = {}

    def resume(self) -> None:
        """Ask what was asked before the process ended. A file that is damaged is no probe."""
        try:
            probes = probes_from_json(json.loads(self._file.read_text()))
        except (OSError, ValueError):
            return
        self._start(probes)

    def set(self, probes: tuple[Probe, ...]) -> None:
        """Exactly these from now on; one that is asked already, word for word, keeps its result. Errors: ValueError."""
        if len(probes) > MOST:
            raise ValueError(f"{len(probes)} probes; this agent asks at most {MOST}")
        through = [probe.name for probe in probes if probe.kind is ProbeKind.THROUGH]
        if through:
            raise ValueError(f"{', '.join(through)}: a host cannot send through a function; a switch at both arms can")
        if set(probes) == set(self._running):
            return
        write_file(self._file, json.dumps(probes_to_json(probes)).encode())
        self._start(probes)

    def results(self) -> tuple[ProbeResult, ...]:
        with self._lock:
            return tuple(self._results[name] for name in sorted(self._results))

    def stop(self) -> None:
        self._start(())

    def _start(self, probes: tuple[Probe, ...]) -> None:
        with self._lock:
            for probe in [old for old in self._running if old not in probes]:
                self._running.pop(probe).set()
                self._results.pop(probe.name, None)
            for probe in [new for new in probes if new not in self._running]:
                self._running[probe] = threading.Event()
                self._results[probe.name] = ProbeResult(probe.name)
                name = f"probe-{probe.name}"
                threading.Thread(target=self._run, args=(probe, self._running[probe]), name=name, daemon=True).start()

    def _run(self, probe: Probe, stopped: threading.Event) -> None:
        due = time.monotonic()
        while not stopped.is_set():
            is_good, evidence = self._asks(probe)
            with self._lock:
                if stopped.is_set():
                    return  # somebody set other probes while this one was on its way
                before = self._results[probe.name]
                self._results[probe.name] = after(before, probe, is_good, evidence)
            due = max(due + probe.interval_ms / 1000, time.monotonic())
            stopped.wait(due - time.monotonic())


def after(before: ProbeResult, probe: Probe, is_good: bool | None, evidence: str) -> ProbeResult:
    """One answer later. Who cannot ask learns nothing: what it said before is not kept."""
    if is_good is None:
        return ProbeResult(probe.name, at_s=time.time(), evidence=evidence)
    return judged(before, probe, is_good=is_good, now_s=time.time(), evidence=evidence)
