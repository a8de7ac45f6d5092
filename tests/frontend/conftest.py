# SPDX-License-Identifier: Apache-2.0
"""A fresh fabric of fake devices for each test."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any

import pytest
import uvicorn
from django.core.asgi import get_asgi_application
from django.core.cache import cache

from drivers import fake
from tests.frontend import world
from tests.frontend.browser import Browser


@pytest.fixture
def fabric(db: None, settings: Any) -> Iterator[None]:
    fake.reset()
    cache.clear()
    settings.VIADUCT_DRAIN_IDLE_S = 0.0
    world.load_fabric()
    yield
    fake.reset()


@pytest.fixture
def shared_fabric(transactional_db: None, settings: Any) -> Iterator[None]:
    """The same, seen by the server's connections as well."""
    fake.reset()
    cache.clear()
    settings.VIADUCT_DRAIN_IDLE_S = 0.0
    world.load_fabric()
    yield
    fake.reset()


@pytest.fixture
def server(shared_fabric: None) -> Iterator[str]:
    """The product on a port of its own, in this process: its devices are the test's. Gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(get_asgi_application(), log_level="warning", lifespan="off")
    running = uvicorn.Server(config)
    thread = Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    running.should_exit = running.force_exit = True
    thread.join(timeout=20)
    listener.close()
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium in a thread of its own: Playwright keeps an event loop, which Django's queries do not stand."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with ThreadPoolExecutor(max_workers=1) as thread:
        opened = Browser(thread)
        opened.open(program)
        yield opened
        opened.close()
