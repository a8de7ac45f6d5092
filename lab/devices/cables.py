# SPDX-License-Identifier: Apache-2.0
"""Whether the cables of an emulated switch have a link, as the kernel sees it in the namespace where we are.

Called by `plane.Cabled`.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping

LINKS = 1  # RTMGRP_LINK: the kernel tells of every event at a link


def without_link(names: Mapping[str, str]) -> frozenset[str]:
    """Of the device's interfaces, those without a link. names: the device's -> the namespace's."""
    said = subprocess.run(["ip", "-j", "link", "show"], capture_output=True, text=True, timeout=30, check=True).stdout
    lit = {link["ifname"] for link in json.loads(said) if "LOWER_UP" in link["flags"]}
    return frozenset(name for name, there in names.items() if there not in lit)


def watch(then: Callable[[], None]) -> None:
    """Calls it after every event at a link, from a thread that ends with the process."""
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    events.bind((0, LINKS))

    def listen() -> None:
        while events.recv(65536):
            then()

    threading.Thread(target=listen, name="cables", daemon=True).start()
