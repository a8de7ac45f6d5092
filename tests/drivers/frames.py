# SPDX-License-Identifier: Apache-2.0
"""Ethernet frames for tests, as bytes: just enough headers for a switch to match on.

Checksums are zero: switches do not look.
"""

from __future__ import annotations

import ipaddress
import struct

HERE, THERE = bytes.fromhex("0200000000aa"), bytes.fromhex("0200000000bb")
NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}


def frame(
    source: str,
    destination: str,
    protocol: str = "tcp",
    ports: tuple[int, int] = (40000, 80),
    *,
    vlan: int = 0,
    dscp: int = 0,
    to: bytes = THERE,
) -> bytes:
    """A frame of 64 octets or more. vlan 0: untagged."""
    start, end = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    payload = _transport(protocol, ports)
    if start.version == 4:
        fixed = struct.pack(">BBHHHBBH", 0x45, dscp << 2, 20 + len(payload), 0, 0, 64, NUMBERS[protocol], 0)
        ethertype, network = 0x0800, fixed + start.packed + end.packed
    else:
        first = 6 << 28 | dscp << 22
        fixed = struct.pack(">IHBB", first, len(payload), NUMBERS[protocol], 64)
        ethertype, network = 0x86DD, fixed + start.packed + end.packed
    tag = struct.pack(">HH", 0x8100, vlan) if vlan else b""
    return to + HERE + tag + struct.pack(">H", ethertype) + network + payload


def with_vlan(octets: bytes, vlan: int) -> bytes:
    """The untagged frame with a VLAN header."""
    return octets[:12] + struct.pack(">HH", 0x8100, vlan) + octets[12:]


def with_destination(octets: bytes, mac: str) -> bytes:
    """The frame, sent to another MAC address."""
    return bytes.fromhex(mac.replace(":", "")) + octets[6:]


def _transport(protocol: str, ports: tuple[int, int]) -> bytes:
    if protocol == "tcp":
        return struct.pack(">HHIIBBHHH", *ports, 1, 0, 0x50, 0x10, 1024, 0, 0)
    if protocol == "udp":
        return struct.pack(">HHHH", *ports, 20, 0) + bytes(12)
    if protocol == "sctp":
        return struct.pack(">HHII", *ports, 1, 0) + bytes(12)
    return struct.pack(">BBHHH", 8 if protocol == "icmp" else 128, 0, 0, 1, 1) + bytes(12)
