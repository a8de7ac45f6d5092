# SPDX-License-Identifier: Apache-2.0
"""Deterministic port blocks: which public address and ports a subscriber gets (RFC 7422 section 2).

Shared by the driver that programs them, by verification and by whoever asks "who was it?".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.state import NatPool

# RFC 6888 REQ-9: the well-known ports are left alone.
FIRST_PORT = 1024
PORTS_PER_ADDRESS = 65536 - FIRST_PORT
NAT_PROTOCOLS = ("icmp", "tcp", "udp")


@dataclass(frozen=True, slots=True)
class Block:
    """One subscriber address and the public address and port range (both ends included) that it uses."""

    subscriber: str
    public: str
    first_port: int
    last_port: int


def blocks_per_address(block_size: int) -> int:
    """How many subscribers share one public address."""
    return PORTS_PER_ADDRESS // block_size


def addresses_needed(subscriber_prefix: str, block_size: int) -> int:
    """How many public addresses the prefix needs, rounded up to a power of two (a prefix)."""
    subscribers = ipaddress.ip_network(subscriber_prefix).num_addresses
    exact = -(-subscribers // blocks_per_address(block_size))
    return 1 << (exact - 1).bit_length()


def holder(subscribers: str, public: str, block_size: int, address: str, port: int) -> Block | None:
    """Whose `port` of the public `address` is; None if nobody's. Inverse of `blocks`, without walking through them."""
    inside, outside = ipaddress.IPv4Network(subscribers), ipaddress.IPv4Network(public)
    asked = ipaddress.IPv4Address(address)
    per_address = blocks_per_address(block_size)
    block = (port - FIRST_PORT) // block_size
    if asked not in outside or not FIRST_PORT <= port <= 65535 or block >= per_address:
        return None
    index = (int(asked) - int(outside.network_address)) * per_address + block
    if index >= inside.num_addresses:
        return None
    first = FIRST_PORT + block * block_size
    return Block(str(inside[index]), address, first, first + block_size - 1)


def blocks(pool: NatPool) -> Iterator[Block]:
    """All blocks in order of the subscriber's address. Errors: ValueError if the pool is too small."""
    subscribers = ipaddress.IPv4Network(pool.traffic.source)
    public = ipaddress.IPv4Network(pool.public)
    per_address = blocks_per_address(pool.block_size)
    if subscribers.num_addresses > public.num_addresses * per_address:
        raise ValueError(f"{pool.public} has too few blocks of {pool.block_size} ports for {subscribers}")
    for index in range(subscribers.num_addresses):
        address, block = divmod(index, per_address)
        first = FIRST_PORT + block * pool.block_size
        yield Block(str(subscribers[index]), str(public[address]), first, first + pool.block_size - 1)
