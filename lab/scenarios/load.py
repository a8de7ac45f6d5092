# SPDX-License-Identifier: Apache-2.0
"""Handles on a scenario's traffic programs: the witness, long TCP connections, sampled flows.

Called by `lab.scenarios.stage`. It starts programs and reads what they say; `lab.scenarios.judge` makes sense of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab.command import inside
from lab.scenarios.judge import Sighting, Sightings
from lab.watch import FOLDER, PYTHON, Program, TrafficError

UDP_PORT, TCP_PORT = 5000, 9000
RECORD = np.dtype([("time", "<u8"), ("stream", "<u4"), ("number", "<u4"), ("place", "<u2"), ("flags", "<u2")])
IS_TCP, IS_OUTGOING, IS_ANSWER = 1, 2, 4


class Witness(Program):
    """Numbered packets at many ports. places: name -> (namespace, interface, in|out|both)."""

    def __init__(self, file: Path, places: Mapping[str, tuple[str, str, str]]) -> None:
        words = [f"{name}={','.join(place)}" for name, place in places.items()]
        ports = f"{UDP_PORT},{TCP_PORT}"
        super().__init__([*PYTHON, str(FOLDER / "witness.py"), str(file), ports, *words])
        self._file = file
        self.wait_for("ready")

    def finish(self) -> Sightings:
        """Everything that was seen, in order of time. Errors: TrafficError if it missed a packet itself."""
        self.stop(60.0)
        told = self.wait_for("done")
        if told["missed"]:
            raise TrafficError(f"the witness missed {told['missed']} packets: this run proves nothing")
        found = np.fromfile(self._file, dtype=RECORD)
        self._file.unlink()
        found = found[np.argsort(found["time"], kind="stable")]
        places, offset_ns = told["places"], int(told["offset_ns"])
        rows = zip(*(found[name].tolist() for name in ("time", "stream", "number", "place", "flags")), strict=True)
        return [
            Sighting(
                time_ns + offset_ns, stream, number, places[place],
                bool(flags & IS_TCP), bool(flags & IS_OUTGOING), bool(flags & IS_ANSWER),
            )
            for time_ns, stream, number, place, flags in rows
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One long TCP connection. ended: why it is no more, "" if it lives."""

    number: int
    port: int
    sent: int
    answered: int
    longest_gap_s: float
    ended: str

    @property
    def is_alive(self) -> bool:
        return not self.ended and self.answered == self.sent


class Connections(Program):
    """Long TCP connections, each with a message every so often."""

    def __init__(self, namespace: str, to: str, count: int, every_s: float) -> None:
        words = ["hold", "--to", to, "--port", str(TCP_PORT), "--count", str(count), "--every-s", str(every_s)]
        super().__init__(inside(namespace, [*PYTHON, str(FOLDER / "connections.py"), *words]))
        self.wait_for("started", timeout_s=30.0)

    def finish(self) -> tuple[Line, ...]:
        self.stop(30.0)
        return tuple(Line(**line) for line in self.wait_for("done")["lines"])


class Echo(Program):
    """The other end of `Connections`."""

    def __init__(self, namespace: str) -> None:
        words = ["serve", "--port", str(TCP_PORT)]
        super().__init__(inside(namespace, [*PYTHON, str(FOLDER / "connections.py"), *words]))
        self.wait_for("ready")


class Sample(Program):
    """Many UDP flows from many addresses. Each round sends one datagram of every flow."""

    def __init__(self, namespace: str, to: str, sources: Sequence[str], count: int) -> None:
        words = ["sample", "--to", to, "--port", str(UDP_PORT), "--sources", ",".join(sources)]
        words += ["--count", str(count), "--patience-s", "2"]
        super().__init__(inside(namespace, [*PYTHON, str(FOLDER / "connections.py"), *words]))
        self.rounds = 0
        self.wait_for("ready")

    def round(self) -> dict[int, bool]:
        """Flow's stream -> was it answered in this round?"""
        after = len(self.lines())
        self.write("\n")
        told = self.wait_for("round", after=after, timeout_s=30.0)
        self.rounds += 1
        return {flow["stream"]: flow["answered"] == told["number"] for flow in told["flows"]}
