# SPDX-License-Identifier: Apache-2.0
"""Holds a network namespace, and carries TCP from the test's loopback to the loopback inside.

Run as `unshare -n -m python relay.py FD:PORT...`: FD is a listening socket that was made outside (a socket
stays in the namespace where it was made), PORT is where the server inside listens. Ends with its parent's
pipe. Standard library only.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()


async def main(pairs: list[str]) -> None:
    # iptables' lock and the SSH daemon's folder are the box's own, as on a real one.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # bash reads it for every command that comes over SSH: whatever the tester has there is not the box's.
    own = Path.home() / ".bashrc"
    if own.exists():
        subprocess.run(["mount", "--bind", "/dev/null", str(own)], check=True)
    for pair in pairs:
        number, _, port = pair.partition(":")

        async def serve(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = int(port)
        ) -> None:
            try:
                inner, outer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                writer.close()
                return
            await asyncio.gather(pump(reader, outer), pump(inner, writer))

        await asyncio.start_server(serve, sock=socket.socket(fileno=int(number)))
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
