# SPDX-License-Identifier: Apache-2.0
"""Which numbered packet left or entered which interface, and when: the judge's only evidence, cheap enough for
thousands a second.

Run as a program in the machine's own namespace (`python lab/witness.py FILE PORTS NAME=NAMESPACE,INTERFACE,out ...`),
started by `lab.scenarios.load`. It opens one packet(7) socket in each namespace and writes fixed records to FILE when
its standard input ends. PORTS: where servers listen; what comes from there is an answer. `out`: only what leaves
there, `in`: only what enters, `both`. Standard library only; it judges nothing. A packet that a full buffer cost is
counted and told: a witness that slept proves nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import socket
import struct
import sys
import time

CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE, SO_TIMESTAMPNS, SO_ATTACH_FILTER = 33, 35, 26
SOL_PACKET, PACKET_STATISTICS = 263, 6
# Room for minutes: it is taken only while it is needed.
BUFFER_BYTES = 256 << 20
# On a machine that is busy with all that is watched, the witness comes first.
NICE = -15
EVERYTHING = 0x0003
IPV4, IPV6, VLAN = 0x0800, 0x86DD, 0x8100
TCP, UDP = 6, 17
# As in lab.traffic and lab.connections: mark, stream, number.
MARK, STREAM = b"VDT1", struct.Struct("!4sII")
# CLOCK_REALTIME in ns, stream, number, place, flags.
RECORD = struct.Struct("<QIIHH")
IS_TCP, IS_OUTGOING, IS_ANSWER = 1, 2, 4
# Classic BPF: pass packets of one packet type only (4 is PACKET_OUTGOING), 400 octets of each.
SKF_PKTTYPE, OUTGOING, SNAP = 0xFFFFF004, 4, 400
SIDES = {"out": ((0x15, 0, 1, OUTGOING), SNAP, 0), "in": ((0x15, 0, 1, OUTGOING), 0, SNAP)}


def tap(namespace: str, interface: str, side: str) -> socket.socket:
    """This thread stays in the namespace. Errors: OSError, KeyError."""
    library = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}") as handle:
        if library.setns(handle.fileno(), CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), namespace)
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    if side != "both":
        jump, yes, no = SIDES[side]
        steps = ((0x30, 0, 0, SKF_PKTTYPE), jump, (0x06, 0, 0, yes), (0x06, 0, 0, no))
        code = b"".join(struct.pack("=HBBI", *step) for step in steps)
        kept = ctypes.create_string_buffer(code)
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(steps), ctypes.addressof(kept)))
    sock.bind((interface, EVERYTHING))
    sock.setblocking(False)
    return sock


def drain(sock: socket.socket, place: int, served: frozenset[int], into: bytearray) -> None:
    """Everything that waits, as records."""
    while True:
        try:
            data, messages, _, address = sock.recvmsg(SNAP, 64)
        except BlockingIOError:
            return
        except OSError:  # the interface went down: it may come back
            return
        marks = find(data, served)
        if not marks:
            continue
        stamp = time.time_ns()
        for level, kind, value in messages:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = struct.unpack("=qq", value[:16])
                stamp = seconds * 1_000_000_000 + nanoseconds
        outgoing = IS_OUTGOING if address[2] == OUTGOING else 0
        for stream, number, flags in marks:
            into += RECORD.pack(stamp, stream, number, place, flags | outgoing)


def find(data: bytes, served: frozenset[int]) -> list[tuple[int, int, int]]:
    """(stream, number, flags) of each numbered message in a frame. An answer is what comes from a server's port."""
    at = 12
    kind = (data[at] << 8) | data[at + 1] if len(data) > 14 else 0
    at += 2
    if kind == VLAN:
        kind, at = (data[at + 2] << 8) | data[at + 3], at + 4
    if kind == IPV4:
        protocol, at = data[at + 9], at + (data[at] & 15) * 4
    elif kind == IPV6:
        protocol, at = data[at + 6], at + 40
    else:
        return []
    if protocol not in (TCP, UDP) or len(data) < at + 8:
        return []
    source, destination = (data[at] << 8) | data[at + 1], (data[at + 2] << 8) | data[at + 3]
    flags = IS_ANSWER if source in served and destination not in served else 0
    if protocol == UDP:
        at += 8
        if len(data) < at + STREAM.size or data[at : at + 4] != MARK:
            return []
        _, stream, number = STREAM.unpack_from(data, at)
        return [(stream, number, flags)]
    found = []
    while (at := data.find(MARK, at)) >= 0 and len(data) >= at + STREAM.size:
        _, stream, number = STREAM.unpack_from(data, at)
        found.append((stream, number, flags | IS_TCP))
        at += STREAM.size
    return found


def missed(sock: socket.socket) -> int:
    """Packets that found the buffer full, packet(7)."""
    return int(struct.unpack("=II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1])


def main(arguments: list[str]) -> int:
    path, ports, *places = arguments
    with contextlib.suppress(PermissionError):  # then its buffers must do
        os.nice(NICE)
    served = frozenset(int(port) for port in ports.split(","))
    taps: dict[socket.socket, int] = {}
    for number, argument in enumerate(places):
        name, _, place = argument.partition("=")
        namespace, interface, side = place.split(",")
        taps[tap(namespace, interface, side)] = number
    sys.stdout.write('{"event": "ready"}\n')
    sys.stdout.flush()
    records = bytearray()
    with open(path, "wb") as file:
        over = False
        while not over:
            ready, _, _ = select.select([*taps, sys.stdin], [], [])
            over = sys.stdin in ready
            for sock, number in taps.items():
                if over or sock in ready:
                    drain(sock, number, served, records)
            if len(records) > 1 << 20 or over:
                file.write(records)
                records.clear()
    names = [argument.partition("=")[0] for argument in places]
    offset_ns = time.monotonic_ns() - time.time_ns()
    lost = sum(missed(sock) for sock in taps)
    sys.stdout.write(json.dumps({"event": "done", "places": names, "missed": lost, "offset_ns": offset_ns}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
