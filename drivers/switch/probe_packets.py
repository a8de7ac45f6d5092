# SPDX-License-Identifier: Apache-2.0
"""A probe's packet: an Ethernet frame with a UDP datagram that says which probe and which round it is.

Called by `drivers.switch.prober`. Pure. Checksums are right, as a stateful function drops what is damaged.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from drivers.probe import Probe

MAGIC = b"viaduct\x01"
TOKEN_OCTETS = 8
TTL, UDP, IPV4, IPV6 = 64, 17, 0x0800, 0x86DD
# Where a probe gives no MAC, the function bridges: any two will do, and the one that sends must not move.
NEAR_MAC, FAR_MAC = "02:00:00:00:fe:01", "02:00:00:00:fe:02"
_LABEL = struct.Struct(f">8s{TOKEN_OCTETS}sI")


@dataclass(frozen=True, slots=True)
class Datagram:
    """What came back: addresses and ports as they are in the packet, and the label in it."""

    source: str
    destination: str
    source_port: int
    destination_port: int
    token: bytes
    round: int


def question(probe: Probe, token: bytes, number: int) -> bytes:
    """The frame for the inside arm. token: TOKEN_OCTETS that only this process knows. number: of the round."""
    label = _LABEL.pack(MAGIC, token, number)
    ends = (probe.source, probe.port), (probe.destination, probe.port)
    return _ethernet(probe.inside_mac or FAR_MAC, NEAR_MAC, _packet(*ends, label))


def answer(probe: Probe, seen: Datagram) -> bytes:
    """The frame for the outside arm: back to wherever the question seems to come from, NAT or not."""
    label = _LABEL.pack(MAGIC, seen.token, seen.round)
    ends = (seen.destination, seen.destination_port), (seen.source, seen.source_port)
    return _ethernet(probe.outside_mac or NEAR_MAC, FAR_MAC, _packet(*ends, label))


def datagram(frame: bytes) -> Datagram | None:
    """What is in an untagged frame, None if it is not a probe's."""
    try:
        (kind,) = struct.unpack_from(">H", frame, 12)
        if kind == IPV4:
            start, protocol = 14 + (frame[14] & 15) * 4, frame[23]
            addresses = frame[26:30], frame[30:34]
        elif kind == IPV6:
            start, protocol = 54, frame[20]
            addresses = frame[22:38], frame[38:54]
        else:
            return None
        source_port, destination_port = struct.unpack_from(">HH", frame, start)
        magic, token, number = _LABEL.unpack_from(frame, start + 8)
    except (struct.error, IndexError):
        return None
    if protocol != UDP or magic != MAGIC:
        return None
    source, destination = (str(ipaddress.ip_address(address)) for address in addresses)
    return Datagram(source, destination, source_port, destination_port, token, number)


def _ethernet(to: str, sender: str, packet: bytes) -> bytes:
    kind = IPV4 if packet[0] >> 4 == 4 else IPV6
    return bytes.fromhex(f"{to}{sender}".replace(":", "")) + struct.pack(">H", kind) + packet


def _packet(source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> bytes:
    ends = ipaddress.ip_address(source[0]).packed, ipaddress.ip_address(destination[0]).packed
    length = 8 + len(payload)
    pseudo = b"".join(ends) + struct.pack(">IHH", length, 0, UDP)  # RFC 8200 section 8.1; the sum of IPv4's is the same
    bare = struct.pack(">HHHH", source[1], destination[1], length, 0)
    udp = bare[:6] + struct.pack(">H", checksum(pseudo + bare + payload) or 0xFFFF) + payload
    if len(ends[0]) == 16:
        return struct.pack(">IHBB", 6 << 28, length, UDP, TTL) + ends[0] + ends[1] + udp
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, 0, 0, TTL, UDP, 0) + ends[0] + ends[1]
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + udp


def checksum(octets: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f">{len(octets) // 2}H", octets[: len(octets) // 2 * 2]))
    total += octets[-1] << 8 if len(octets) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
