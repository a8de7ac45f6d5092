# SPDX-License-Identifier: Apache-2.0
"""How much goes through one TCP connection? Run inside a namespace: `python lab/flood.py serve|send`.

Started by `tests.bench.throughput`. Standard library only; JSON lines. The receiver counts, as what was only sent says
nothing.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import time

CHUNK_BYTES = 1 << 20
WARM_S = 0.3


def serve(port: int) -> None:
    """One connection after the other until standard input ends. Prints what came after the first WARM_S."""
    listener = socket.create_server(("", port), backlog=8)
    buffer = bytearray(CHUNK_BYTES)
    print(json.dumps({"event": "ready"}), flush=True)
    while listener in (ready := select.select([listener, sys.stdin], [], [])[0]) and sys.stdin not in ready:
        connection, _ = listener.accept()
        with connection:
            began, octets, first = time.monotonic(), 0, 0.0
            while got := connection.recv_into(buffer):
                now = time.monotonic()
                if now - began >= WARM_S:
                    if first:
                        octets += got
                    first = first or now
            seconds = time.monotonic() - first if first else 0.0
        told = {"event": "flooded", "octets": octets, "seconds": seconds}
        print(json.dumps(told), flush=True)


def send(to: str, port: int, seconds: float) -> None:
    data = bytes(CHUNK_BYTES)
    with socket.create_connection((to, port), timeout=10.0) as sock:
        until = time.monotonic() + seconds + WARM_S
        while time.monotonic() < until:
            sock.sendall(data)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="lab/flood.py")
    parser.add_argument("verb", choices=("serve", "send"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--to", default="")
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args(arguments)
    if given.verb == "serve":
        serve(given.port)
    else:
        send(given.to, given.port, given.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
