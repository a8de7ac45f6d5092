# SPDX-License-Identifier: Apache-2.0
"""OpenFlow 1.4 on a bridge's own socket: packets out, packets in, and groups that say by being there.

Called by `drivers.switch.prober`, which has no time to start a program for each packet. Everything else is said by
`drivers.transport.openflow`. Numbers: OpenFlow Switch Specification 1.4.0, sections 7.1 to 7.3.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from drivers.base import Transient

VERSION = 5
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, SET_CONFIG, PACKET_IN, PACKET_OUT, GROUP_MOD = 0, 1, 2, 3, 9, 10, 13, 15
GROUP_ADD, GROUP_DELETE, GROUP_INDIRECT = 0, 2, 2
NO_BUFFER = ANY = 0xFFFFFFFF
FROM_CONTROLLER = 0xFFFFFFFD
IN_PORT_FIELD = 0x80000004
MAX_PACKET_OCTETS = 512
SEND_S = 1.0
_HEADER = struct.Struct(">BBHI")


@dataclass(slots=True)
class Wire:
    """One connection. Every method raises Transient if it is lost."""

    stream: socket.socket
    _buffer: bytearray = field(default_factory=bytearray)

    def fileno(self) -> int:
        return self.stream.fileno()

    def close(self) -> None:
        self.stream.close()

    def greet(self) -> None:
        """A connection that listens hears of packets only if it asks for some of their octets (ovs-ofctl(8))."""
        self._send(HELLO, b"")
        self._send(SET_CONFIG, struct.pack(">HH", 0, MAX_PACKET_OCTETS))

    def send_packet(self, port: int, frame: bytes) -> None:
        action = struct.pack(">HHIH6x", 0, 16, port, 0)
        self._send(PACKET_OUT, struct.pack(">IIH6x", NO_BUFFER, FROM_CONTROLLER, len(action)) + action + frame)

    def mark(self, group: int, *, is_there: bool) -> None:
        """A group with one bucket that does nothing; to make one that is there, or take away none, is no harm."""
        bucket = struct.pack(">HHII4x", 16, 0, ANY, ANY) if is_there else b""
        command = GROUP_ADD if is_there else GROUP_DELETE
        self._send(GROUP_MOD, struct.pack(">HBxI", command, GROUP_INDIRECT, group) + bucket)

    def packets(self) -> Iterator[tuple[int, bytes]]:
        """(port, frame) of what has come since, without waiting."""
        self.stream.setblocking(False)
        while True:
            try:
                octets = self.stream.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                raise Transient(f"the bridge's connection was lost ({error})") from error
            if not octets:
                raise Transient("the bridge closed the connection")
            self._buffer += octets
        while len(self._buffer) >= _HEADER.size:
            _, kind, length, number = _HEADER.unpack_from(self._buffer)
            if length < _HEADER.size:
                raise Transient("the bridge does not speak OpenFlow")
            if len(self._buffer) < length:
                return
            body = bytes(self._buffer[_HEADER.size : length])
            del self._buffer[:length]
            if kind == ECHO_REQUEST:
                self._send(ECHO_REPLY, body, number)
            elif kind == PACKET_IN:
                yield _packet_in(body)

    def _send(self, kind: int, body: bytes, number: int = 1) -> None:
        try:
            self.stream.settimeout(SEND_S)
            self.stream.sendall(_HEADER.pack(VERSION, kind, _HEADER.size + len(body), number) + body)
        except OSError as error:
            raise Transient(f"the bridge's connection was lost ({error})") from error


def _packet_in(body: bytes) -> tuple[int, bytes]:
    """buffer 4, length 2, reason 1, table 1, cookie 8, then the match, padded to eight, and two octets of padding."""
    _, length = struct.unpack_from(">HH", body, 16)
    port, at = 0, 20
    while at + 4 <= 16 + length:
        (head,) = struct.unpack_from(">I", body, at)
        if head == IN_PORT_FIELD:
            (port,) = struct.unpack_from(">I", body, at + 4)
        at += 4 + (head & 0xFF)
    return port, body[16 + (length + 7) // 8 * 8 + 2 :]


def connect(path: str) -> Wire:
    """To a bridge's management socket, /run/openvswitch/BRIDGE.mgmt. Errors: Transient."""
    stream = socket.socket(socket.AF_UNIX)
    try:
        stream.settimeout(SEND_S)
        stream.connect(path)
    except OSError as error:
        stream.close()
        raise Transient(f"{path}: {error.strerror or error}") from error
    made = Wire(stream)
    made.greet()
    return made
