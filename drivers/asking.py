# SPDX-License-Identifier: Apache-2.0
"""Asks a function once whether it lives: ICMP echo, a TCP connection, an HTTP request. From where this process is.

Called by the host agent's prober and by workers. Every question ends at its deadline, whatever the other end does.
Nothing is learnt from the answer but that it came.
"""

from __future__ import annotations

import os
import secrets
import socket
import struct
import time

from drivers.probe import Probe, ProbeKind

ECHO, ECHO6 = (8, 0), (128, 129)
MAX_LINE_BYTES = 256


def ask(probe: Probe) -> tuple[bool | None, str]:
    """(was the answer good? None: this process cannot ask; what was seen). probe: any kind but through."""
    try:
        if probe.kind is ProbeKind.ICMP:
            return _echo(probe)
        if probe.kind is ProbeKind.TCP:
            return _connect(probe)
        if probe.kind is ProbeKind.HTTP:
            return _request(probe)
    except PermissionError as error:
        return None, f"this process may not ask: {error.strerror}"
    except TimeoutError:
        return False, f"no answer from {_end(probe)} within {probe.timeout_ms} ms"
    except OSError as error:
        return False, f"{_end(probe)}: {error.strerror or type(error).__name__}"
    return None, f"{probe.kind} is asked by a switch"


def _end(probe: Probe) -> str:
    return f"{probe.destination} port {probe.port}" if probe.port else probe.destination


def _socket(probe: Probe, kind: int, protocol: int = 0) -> socket.socket:
    family = socket.AF_INET6 if ":" in probe.destination else socket.AF_INET
    made = socket.socket(family, kind, protocol)
    if probe.source:
        made.bind((probe.source, 0))
    return made


def _left_s(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _deadline(probe: Probe) -> float:
    return time.monotonic() + probe.timeout_ms / 1000


def _connect(probe: Probe) -> tuple[bool, str]:
    began = time.monotonic()
    with _socket(probe, socket.SOCK_STREAM) as connection:
        connection.settimeout(probe.timeout_ms / 1000)
        connection.connect((probe.destination, probe.port))
    return True, f"{_end(probe)} took the connection after {_ms(began)} ms"


def _request(probe: Probe) -> tuple[bool, str]:
    deadline, began, line = _deadline(probe), time.monotonic(), b""
    host = f"[{probe.destination}]" if ":" in probe.destination else probe.destination
    with _socket(probe, socket.SOCK_STREAM) as connection:
        connection.settimeout(_left_s(deadline))
        connection.connect((probe.destination, probe.port))
        text = f"GET {probe.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: viaduct\r\nConnection: close\r\n\r\n"
        connection.sendall(text.encode("ascii"))
        while b"\n" not in line and len(line) < MAX_LINE_BYTES:
            connection.settimeout(_left_s(deadline))
            part = connection.recv(MAX_LINE_BYTES)
            if not part:
                break
            line += part
    words = line.split(b"\n")[0].split()
    is_status = len(words) >= 2 and words[0].startswith(b"HTTP/") and words[1].isdigit()
    if not is_status:
        return False, f"{_end(probe)} answered what is no HTTP"
    status = int(words[1])
    return 200 <= status < 400, f"{_end(probe)} answered {status} after {_ms(began)} ms"


def _echo(probe: Probe) -> tuple[bool, str]:
    """RFC 792 and RFC 4443 section 4. The answer carries what was sent, so no other's echo is taken for it."""
    is_v6 = ":" in probe.destination
    deadline, began, token = _deadline(probe), time.monotonic(), secrets.token_bytes(16)
    kind, answer = ECHO6 if is_v6 else ECHO
    packet = struct.pack("!BBHHH", kind, 0, 0, os.getpid() & 0xFFFF, 1) + token
    if not is_v6:  # the kernel fills in that of ICMPv6
        packet = packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]
    protocol = socket.IPPROTO_ICMPV6 if is_v6 else socket.IPPROTO_ICMP
    try:
        made = _socket(probe, socket.SOCK_DGRAM, protocol)
    except PermissionError:
        made = _socket(probe, socket.SOCK_RAW, protocol)
    with made:
        made.settimeout(_left_s(deadline))
        made.sendto(packet, (probe.destination, 0))
        while True:
            made.settimeout(_left_s(deadline))
            seen = made.recv(2048)
            start = (seen[0] & 15) * 4 if not is_v6 and seen[:1] and seen[0] >> 4 == 4 else 0
            if token in seen and seen[start] == answer:
                return True, f"{probe.destination} answered after {_ms(began)} ms"


def checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
