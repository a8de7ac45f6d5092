# SPDX-License-Identifier: Apache-2.0
"""Sessions with fake devices behind a socket (`drivers.fake.server`): a session is a connection.

Opened by `drivers.fake` when the target has an `address`. What went wrong on the way is Transient; a reply that is no
reply is Rejected, and ends the session.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from drivers.base import DriverError, Observation, Rejected, Target, Transient
from drivers.fake.lines import MAX_LINE_BYTES, observation_from_json, pack, unpack
from drivers.transport.endpoint import Endpoint, parse

# A device that hangs may hear of the end of a session later than we go on.
CLOSE_S = 1.0


class Line:
    """One connection, one question at a time. After an error of the connection it is over."""

    def __init__(self, plain: socket.socket, device: str, timeout_s: float) -> None:
        self._socket = plain
        self._device = device
        self._timeout_s = timeout_s
        self._is_over = False

    def ask(self, call: str, **fields: Any) -> Any:
        """The reply's value. Errors: Transient, Rejected."""
        if self._is_over:
            raise Transient(f"{self._device}: the connection was lost before")
        try:
            question = pack({"call": call, **fields})
        except ValueError as error:
            raise Rejected(f"{self._device}: {error}") from error
        is_whole = False
        try:
            reply = unpack(self._exchange(question))
            is_whole = reply.keys() in ({"value"}, {"refused"})
        except TimeoutError as error:
            raise Transient(f"{self._device}: no answer within {self._timeout_s:g} s") from error
        except OSError as error:
            raise Transient(f"{self._device}: the connection was lost ({error})") from error
        except ValueError as error:
            raise Rejected(f"{self._device}: what came is no reply ({error})") from error
        finally:
            self._is_over = not is_whole
        if not is_whole:
            raise Rejected(f"{self._device}: what came is no reply ({sorted(reply)[:5]})")
        if "refused" in reply:
            raise Rejected(str(reply["refused"]))
        return reply["value"]

    def close(self) -> None:
        """In order if possible: some devices take back what a closed session left pending."""
        self._timeout_s = min(self._timeout_s, CLOSE_S)
        with suppress(DriverError):
            self.ask("close")
        self._socket.close()

    def _exchange(self, question: bytes) -> bytes:
        """The time-out is for all of it, so that a device that drips holds nobody up. Errors: OSError, ValueError."""
        deadline = time.monotonic() + self._timeout_s
        self._socket.settimeout(self._timeout_s)
        self._socket.sendall(question)
        reply = bytearray()
        while not reply.endswith(b"\n"):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._socket.settimeout(left_s)
            part = self._socket.recv(65536)
            if not part:
                raise ConnectionError("closed before the reply")
            reply += part
            if len(reply) > MAX_LINE_BYTES:
                raise ValueError(f"more than {MAX_LINE_BYTES} octets")
        return bytes(reply)


@dataclass(frozen=True, slots=True)
class RemoteSession:
    """See `drivers.base.Session`."""

    line: Line

    def read(self) -> Observation:
        value = self.line.ask("read")
        try:
            return observation_from_json(value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Rejected(f"what was read is no reading ({type(error).__name__}: {error})"[:200]) from error

    def validate(self, native: str) -> None:
        self.line.ask("validate", native=native)

    def push(self, native: str) -> None:
        self.line.ask("push", native=native)

    def save(self) -> None:
        """drivers.base.Saving."""
        self.line.ask("save")


@dataclass(frozen=True, slots=True)
class ConfirmingRemoteSession(RemoteSession):
    """See `drivers.base.ConfirmingSession`."""

    def commit(self, native: str, label: str, revert_in_s: int) -> None:
        self.line.ask("commit", native=native, label=label, revert_in_s=revert_in_s)

    def confirm(self, label: str) -> None:
        self.line.ask("confirm", label=label)

    def cancel(self, label: str) -> None:
        self.line.ask("cancel", label=label)


@contextmanager
def connected(
    target: Target, family: str, timeout_s: float, *, is_confirming: bool
) -> Iterator[RemoteSession]:
    """family: the driver's name. Errors: Transient, Rejected."""
    endpoint = parse(f"tcp:{target.settings['address']}")
    line = Line(_reach(endpoint, target.name, timeout_s), target.name, timeout_s)
    try:
        quirks = target.settings.get("quirks", "")
        line.ask("open", device=target.name, family=family, ports=sorted(target.ports), quirks=quirks)
        yield ConfirmingRemoteSession(line) if is_confirming else RemoteSession(line)
    finally:
        line.close()


def _reach(endpoint: Endpoint, device: str, timeout_s: float) -> socket.socket:
    where = f"{endpoint.address} port {endpoint.port}"
    try:
        plain = socket.create_connection((endpoint.address, endpoint.port), timeout_s)
    except OSError as error:
        raise Transient(f"{device}: no device at {where} ({error})") from error
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain
