# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.chaos.farm PORT STORE LOG`: the fake devices behind a socket, with a log of what was written when.

The log is the devices' own history, which the verdict believes before any row: one JSON line a write, when it
arrived and when it was answered. The devices' clock is fast: a confirm timer of minutes ends within seconds.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from drivers import fake
from drivers.base import DriverError
from drivers.fake.server import LOOPBACK, Server
from drivers.fake.session import ConfirmingFakeSession, FakeSession
from drivers.state import DeviceState

HASTE = 10
_lock = threading.Lock()


def main(arguments: list[str]) -> None:
    port, store, log = arguments
    began = time.time()
    fake.clock = lambda: began + (time.time() - began) * HASTE
    with open(log, "a", encoding="utf-8") as file, Server(store, LOOPBACK, int(port)) as server:

        def note(line: dict[str, Any]) -> None:
            with _lock:
                file.write(f"{json.dumps(line)}\n")
                file.flush()

        FakeSession.push = _noted("push", FakeSession.push, note)  # type: ignore[method-assign]
        for name in ("push", "commit", "confirm", "cancel"):
            noted = _noted(name, getattr(ConfirmingFakeSession, name), note)
            if name in vars(ConfirmingFakeSession):
                setattr(ConfirmingFakeSession, name, noted)
        server.serve_forever(0.05)


def _noted(what: str, call: Callable[..., None], note: Callable[[dict[str, Any]], None]) -> Callable[..., None]:
    """digest: of the bytes of a push or commit, as the orchestrator writes it down. label: of a commit.

    is_vain: the device holds the same as before.
    """

    def write(session: FakeSession, text: str, *rest: Any) -> None:
        line: dict[str, Any] = {"device": session.target.name, "what": what, "began": time.time(), "error": ""}
        if what in ("push", "commit"):
            line |= {"digest": hashlib.sha256(text.encode()).hexdigest(), "label": rest[0] if rest else ""}
        else:
            line |= {"digest": "", "label": text}
        before = _state(session)
        try:
            call(session, text, *rest)
        except DriverError as error:
            line["error"] = str(error)[:200]
            raise
        finally:
            note({**line, "ended": time.time(), "is_vain": _state(session) == before})

    return write


def _state(session: FakeSession) -> DeviceState:
    with fake.box(session.target.name, session.target.settings["store"]) as held:
        return held.state


if __name__ == "__main__":
    main(sys.argv[1:])
