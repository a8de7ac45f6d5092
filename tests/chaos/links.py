# SPDX-License-Identifier: Apache-2.0
"""The management link of each device: a TCP proxy that can be cut, stalled, or lose what comes back.

What waits in a stalled link for longer than a device's time-out is thrown away with its connection: a link that
delivers after the sender gave up would write with a lease that nobody holds, and no device can tell.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

PATIENCE_S = 0.9
RESET = struct.pack("ii", 1, 0)


class Link:
    """Between one device's address, `port`, and the farm."""

    def __init__(self, farm_port: int) -> None:
        self._farm_port = farm_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._is_cut = self._is_stalled = self._loses_replies = self._is_over = False
        # Called with the asker's port when a reading that a write follows is about to be delivered.
        self.on_reading: Callable[[int], None] | None = None
        threading.Thread(target=self._accept, name=f"link-{self.port}", daemon=True).start()

    def cut(self) -> None:
        """Every connection breaks in the middle of whatever it does; no new one until it heals."""
        self._is_cut = True
        self._drop()

    def stall(self) -> None:
        """Nothing moves any more, and nobody is told."""
        self._is_stalled = True

    def lose_replies(self) -> None:
        """The device hears and does; its answers get lost, and the connection with them."""
        self._loses_replies = True

    def heal(self) -> None:
        self._is_cut = self._is_stalled = self._loses_replies = False
        self.on_reading = None

    def close(self) -> None:
        self._is_over = True
        self._listener.close()
        self._drop()

    def _accept(self) -> None:
        while not self._is_over:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        if self._is_cut:
            _reset(near)
            return
        try:
            far = socket.create_connection(("127.0.0.1", self._farm_port), 2.0)
        except OSError:
            _reset(near)
            return
        pair = (near, far)
        with self._lock:
            self._pairs.add(pair)
        with suppress(OSError, ValueError):
            self._pump(near, far)
        with self._lock:
            self._pairs.discard(pair)
        _reset(near)
        _reset(far)

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        """Until either end closes. Errors: OSError, ValueError if the link is cut meanwhile."""
        for each in (near, far):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        calls = ["", ""]
        while not self._is_cut and not self._is_over:
            for ready in select.select((near, far), (), (), 0.1)[0]:
                data = ready.recv(65536)
                if not data or (ready is far and self._loses_replies) or not self._passes():
                    return
                if ready is near:
                    calls = [calls[1], _call(data)]
                elif calls == ["validate", "read"] and (trap := self.on_reading) is not None:
                    trap(near.getpeername()[1])
                (far if ready is near else near).sendall(data)

    def _passes(self) -> bool:
        """False if it stood still for too long: then the connection ends, and what waited with it."""
        until = time.monotonic() + PATIENCE_S
        while self._is_stalled and not self._is_cut:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return not self._is_cut

    def _drop(self) -> None:
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            for each in pair:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


def _call(question: bytes) -> str:
    """Of a question that came in one piece; "" of any other."""
    try:
        return str(json.loads(question).get("call", ""))
    except (ValueError, AttributeError):
        return ""


def _reset(each: socket.socket) -> None:
    with suppress(OSError):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    each.close()
