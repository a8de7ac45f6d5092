# SPDX-License-Identifier: Apache-2.0
"""Twenty seeded runs on real processes; `./run soak --real` plays two hundred. Needs no network beyond loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.links import Link
from tests.chaos.plant import running
from tests.chaos.play import Series, run
from tests.chaos.totals import Totals

RUNS = 20


@pytest.mark.slow
def test_no_run_breaks_a_promise(new_state: Callable[[str], Path]) -> None:
    total, series, began = Totals(), Series(), time.monotonic()
    with running(new_state("chaos")) as plant:
        for seed in range(RUNS):
            verdict = run(plant, seed, series)
            total.add(verdict)
            assert not verdict.problems, (seed, verdict.faults, verdict.problems)
    print(total.text(time.monotonic() - began))
    # Runs in which nothing happens prove nothing.
    assert len(total.faults) >= 8, total.faults
    assert total.changes["succeeded"] >= RUNS
    assert total.writes > total.changes["succeeded"]


# --- the links are as bad as they say ---------------------------------------------------------


@pytest.fixture
def ends() -> tuple[Link, socket.socket, socket.socket]:
    """A link, its near end and its far end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = Link(server.getsockname()[1])
        near = socket.create_connection(("127.0.0.1", link.port), 5)
        far, _ = server.accept()
    for each in (near, far):
        each.settimeout(5)
    near.sendall(b"hello")
    assert far.recv(10) == b"hello"
    return link, near, far


def is_over(each: socket.socket) -> bool:
    try:
        return each.recv(10) == b""
    except ConnectionError:
        return True


def is_refused(link: Link) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", link.port), 5) as again:
            return is_over(again)
    except ConnectionError:
        return True


def test_a_cut_link_ends_its_connections_and_takes_no_new_one(ends: tuple[Link, socket.socket, socket.socket]) -> None:
    link, near, far = ends
    link.cut()
    assert is_over(near) and is_over(far)
    assert is_refused(link)
    link.close()


def test_a_stalled_link_delivers_soon_or_never(ends: tuple[Link, socket.socket, socket.socket]) -> None:
    link, near, far = ends
    link.stall()
    near.sendall(b"soon")
    time.sleep(0.2)
    link.heal()
    assert far.recv(10) == b"soon"
    link.stall()
    near.sendall(b"late")
    assert is_over(near) and is_over(far)
    link.close()


def test_a_link_that_loses_replies_delivers_the_question(ends: tuple[Link, socket.socket, socket.socket]) -> None:
    link, near, far = ends
    link.lose_replies()
    near.sendall(b"write")
    assert far.recv(10) == b"write"
    far.sendall(b"done")
    assert is_over(near)
    link.close()
