# SPDX-License-Identifier: Apache-2.0
"""Packets as they pass interfaces of several namespaces, on one clock, as JSON lines.

Run as a program in the lab's own namespace (`python -m lab.capture NAME=NAMESPACE,INTERFACE ...`),
started by `lab.watch`. It opens one packet(7) socket in each namespace; the kernel's own time stamps
put packets of different namespaces into order. Standard library only, so that it starts quickly.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import socket
import struct
import sys
import time
from ipaddress import ip_address
from typing import Any

CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35  # socket(7); the message is a struct timespec
SOL_PACKET, PACKET_AUXDATA = 263, 8  # packet(7): the kernel keeps the VLAN tag beside the packet
TP_STATUS_VLAN_VALID = 0x10
AUXDATA = struct.Struct("=IIIHHHH")
BUFFER_BYTES = 8 << 20
EVERYTHING = 0x0003
IPV4, IPV6, VLAN = 0x0800, 0x86DD, 0x8100
PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6"}
ICMPV6_ECHO = (128, 129)
PAYLOAD_BYTES = 256


def tap(namespace: str, interface: str) -> socket.socket:
    """A packet socket on an interface. This thread stays in the namespace. Errors: OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}") as handle:
        if library.setns(handle.fileno(), CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), namespace)
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    sock.bind((interface, EVERYTHING))
    sock.setblocking(False)
    return sock


def read(sock: socket.socket, name: str) -> bool:
    """Print one packet; False if none waits."""
    try:
        data, messages, _, address = sock.recvmsg(65535, 256)
    except BlockingIOError:
        return False
    except OSError:  # the interface went down: it may come back
        return True
    stamp, tag = time.time_ns(), 0
    for level, kind, value in messages:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("=qq", value[:16])
            stamp = seconds * 1_000_000_000 + nanoseconds
        elif (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, _ = AUXDATA.unpack(value[: AUXDATA.size])
            tag = tci & 0xFFF if status & TP_STATUS_VLAN_VALID else 0
    packet = parse(data, tag)
    if packet:
        # The kernel stamps wall-clock time; on the monotonic clock it is as long ago as it is on that one.
        moment = time.monotonic_ns() - (time.time_ns() - stamp)
        direction = "tx" if address[2] == socket.PACKET_OUTGOING else "rx"
        sys.stdout.write(json.dumps({"at": name, "time_ns": moment, "direction": direction, **packet}) + "\n")
    return True


def parse(data: bytes, tag: int) -> dict[str, Any]:
    """A frame's fields; empty for what is no TCP, UDP or ICMP echo."""
    if len(data) < 14:
        return {}
    (kind,) = struct.unpack_from("!H", data, 12)
    rest = data[14:]
    if kind == VLAN and len(rest) >= 4:
        tci, kind = struct.unpack_from("!HH", rest)
        tag, rest = tci & 0xFFF, rest[4:]
    if kind == IPV4 and len(rest) >= 20:
        header, number = (rest[0] & 15) * 4, rest[9]
        source, destination, hops = rest[12:16], rest[16:20], rest[8]
        body = rest[header : struct.unpack_from("!H", rest, 2)[0] or None]
    elif kind == IPV6 and len(rest) >= 40:
        number, source, destination, hops, body = rest[6], rest[8:24], rest[24:40], rest[7], rest[40:]
    else:
        return {}
    inner = _transport(number, body)
    if not inner:
        return {}
    return {
        "source_mac": data[6:12].hex(":"),
        "destination_mac": data[0:6].hex(":"),
        "tag": tag,
        "source": str(ip_address(source)),
        "destination": str(ip_address(destination)),
        "hop_limit": hops,
        "length": len(data),
        **inner,
    }


def _transport(number: int, body: bytes) -> dict[str, Any]:
    protocol = PROTOCOLS.get(number, "")
    fields: dict[str, Any] = {"protocol": protocol, "source_port": 0, "destination_port": 0, "flags": ""}
    if protocol == "tcp" and len(body) >= 20:
        fields["source_port"], fields["destination_port"] = struct.unpack_from("!HH", body)
        fields["flags"] = "".join(letter for bit, letter in enumerate("FSRPA") if body[13] >> bit & 1)
        payload = body[(body[12] >> 4) * 4 :]
    elif protocol == "udp" and len(body) >= 8:
        fields["source_port"], fields["destination_port"] = struct.unpack_from("!HH", body)
        payload = body[8:]
    elif protocol == "icmp" or (protocol == "icmpv6" and body and body[0] in ICMPV6_ECHO):
        payload = body[8:]
    else:
        return {}
    fields["payload"] = payload[:PAYLOAD_BYTES].decode("ascii", "backslashreplace")
    return fields


def main(arguments: list[str]) -> int:
    taps: dict[socket.socket, str] = {}
    for argument in arguments:
        name, _, place = argument.partition("=")
        namespace, _, interface = place.partition(",")
        taps[tap(namespace, interface)] = name
    sys.stdout.write('{"event": "ready"}\n')
    sys.stdout.flush()
    over = False
    while not over:
        ready, _, _ = select.select([*taps, sys.stdin], [], [])
        over = sys.stdin in ready
        for sock, name in taps.items():
            while (over or sock in ready) and read(sock, name):
                pass
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
