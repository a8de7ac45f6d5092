# SPDX-License-Identifier: Apache-2.0
"""What RFC 4787, 5382, 5508 and 6888 ask of a translator, on real packets through the Linux appliance."""

from __future__ import annotations

import socket
import struct

import pytest

from drivers.nat import blocks
from drivers.state import Match, NatPool
from tests.drivers.linux_rig import needs_root
from tests.drivers.wire import CLIENT, PATIENCE_S, SERVER, Wire, arrives, connect, inside, listen, udp

pytestmark = [pytest.mark.lab, needs_root]

POOL = NatPool(Match("10.10.1.0/24", "0.0.0.0/0"), "198.51.100.0/28", 64, "in", "out")
OTHER_SERVER = "203.0.113.77"


@pytest.fixture
def nat(wire: Wire) -> Wire:
    """A second server's address, so that mappings can be seen from two places."""
    wire.server.run("ip", "addr", "add", f"{OTHER_SERVER}/24", "dev", "eth0")
    wire.hold(POOL)
    return wire


def seen_by(server: socket.socket, client: socket.socket) -> tuple[str, int]:
    client.sendto(b"who am I?", server.getsockname())
    found: tuple[str, int] = server.recvfrom(64)[1]
    return found


def test_a_udp_port_has_one_mapping_whatever_the_destination(nat: Wire) -> None:
    """RFC 4787 REQ-1: endpoint-independent mapping."""
    servers = [udp(nat.server, SERVER, 53), udp(nat.server, SERVER, 54), udp(nat.server, OTHER_SERVER, 53)]
    for number in range(8):
        client = udp(nat.client, CLIENT, 20000 + 1000 * number)
        assert len({seen_by(server, client) for server in servers}) == 1


def test_a_tcp_port_has_one_mapping_whatever_the_destination(nat: Wire) -> None:
    """RFC 5382 REQ-1."""
    found = set()
    ends = []
    for port in (80, 81):
        server = listen(nat.server, SERVER, port)
        with inside(nat.client):
            client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.settimeout(PATIENCE_S)
        client.bind((CLIENT, 30001))
        client.connect((SERVER, port))
        found.add(server.accept()[1])
        ends += [server, client]
    assert len(found) == 1
    for one in ends:
        one.close()


def test_all_protocols_of_a_subscriber_share_one_public_address(nat: Wire) -> None:
    """RFC 6888 REQ-2 (RFC 4787 REQ-2): paired address pooling."""
    block = next(one for one in blocks(POOL) if one.subscriber == CLIENT)
    with listen(nat.server, SERVER, 80) as server, connect(nat.client, SERVER, 80):
        by_tcp = server.accept()[1][0]
    by_udp = {seen_by(udp(nat.server, SERVER, 5000 + n), udp(nat.client, CLIENT))[0] for n in range(16)}
    with inside(nat.server):
        listener = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    listener.settimeout(PATIENCE_S)
    nat.client.run("ping", "-c1", "-W3", SERVER)
    by_icmp = listener.recvfrom(2048)[1][0]
    assert {by_tcp, by_icmp} | by_udp == {block.public}


def test_a_port_is_never_another_subscribers(nat: Wire) -> None:
    """RFC 6888 REQ-4: a subscriber who uses up his ports takes none from others, towards however many places."""
    nat.client.run("ip", "addr", "add", "10.10.1.11/24", "dev", "eth0")
    given = ((one, port) for one in blocks(POOL) for port in range(one.first_port, one.last_port + 1))
    owner = {(one.public, port): one.subscriber for one, port in given}
    servers = [udp(nat.server, SERVER, 53), udp(nat.server, OTHER_SERVER, 53)]
    for server in servers:
        for number in range(80):
            udp(nat.client, CLIENT, 21000 + number).sendto(b"greedy", server.getsockname())
    for server in servers:
        found = seen_until_silence(server)
        assert found and {owner[place] for place in found} == {CLIENT}
        modest = udp(nat.client, "10.10.1.11")
        assert owner[seen_by(server, modest)] == "10.10.1.11"


def seen_until_silence(server: socket.socket) -> set[tuple[str, int]]:
    found = set()
    server.settimeout(0.25)
    try:
        while True:
            found.add(server.recvfrom(64)[1])
    except TimeoutError:
        server.settimeout(PATIENCE_S)
    return found


def test_an_icmp_error_finds_the_subscriber_who_caused_it(nat: Wire) -> None:
    """RFC 5508 REQ-4: the packet inside the error is translated back, so the socket that sent it is told."""
    client = udp(nat.client, CLIENT, 23456)
    client.connect((SERVER, 9))
    client.send(b"nobody listens there")
    with pytest.raises(ConnectionRefusedError):
        client.recv(64)


def test_an_error_about_no_flow_is_dropped(nat: Wire) -> None:
    """RFC 5508 REQ-4: an error whose inner packet belongs to no mapping is silently dropped."""
    client, server = udp(nat.client, CLIENT, 23457), udp(nat.server, SERVER, 53)
    public = seen_by(server, client)
    client.connect((SERVER, 53))
    with inside(nat.server):
        forger = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    for port, is_told in ((public[1] ^ 1, False), (public[1], True)):
        forger.sendto(unreachable(public[0], port), (public[0], 0))
        client.settimeout(0.3)
        with pytest.raises(ConnectionRefusedError if is_told else TimeoutError):
            client.recv(64)


def unreachable(public: str, port: int) -> bytes:
    """Port unreachable, about a datagram from public:port to the server's port 53."""
    ends = socket.inet_aton(public), socket.inet_aton(SERVER)
    inner = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, *ends)
    inner = inner[:10] + struct.pack("!H", checksum(inner)) + inner[12:]
    body = inner + struct.pack("!HHHH", port, 53, 8, 0)
    head = struct.pack("!BBHI", 3, 3, 0, 0)
    return head[:2] + struct.pack("!H", checksum(head + body)) + head[4:] + body


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def test_only_who_was_spoken_to_may_answer(nat: Wire) -> None:
    """RFC 4787 REQ-8 leaves it open; this translator filters by address and port, the strictest way."""
    client, server = udp(nat.client, CLIENT), udp(nat.server, SERVER, 53)
    public = seen_by(server, client)
    assert arrives(server, public, client)
    assert not arrives(udp(nat.server, SERVER, 54), public, client)
    assert not arrives(udp(nat.server, OTHER_SERVER, 53), public, client)
