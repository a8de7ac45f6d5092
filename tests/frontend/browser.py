# SPDX-License-Identifier: Apache-2.0
"""A real browser for the tests, driven in a thread of its own; jobs are functions of a page."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from playwright.sync_api import Page, sync_playwright

Result = TypeVar("Result")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@dataclass
class Browser:
    """thread: the only one that touches Playwright."""

    thread: Executor
    state: dict[str, Any] = field(default_factory=dict)

    def open(self, program: str) -> None:
        def start() -> None:
            self.state["playwright"] = sync_playwright().start()
            self.state["chromium"] = self.state["playwright"].chromium.launch(
                executable_path=program, args=ARGUMENTS
            )

        self.thread.submit(start).result()

    def close(self) -> None:
        def stop() -> None:
            self.state["chromium"].close()
            self.state["playwright"].stop()

        self.thread.submit(stop).result()

    def start(self, job: Callable[[Page], Result], address: str, session: str = "", **options: Any) -> Future[Result]:
        """Run the job with a fresh page, signed in by a session key, in the background."""

        def run() -> Result:
            context = self.state["chromium"].new_context(base_url=address, **options)
            try:
                context.set_default_timeout(15_000)
                if session:
                    context.add_cookies([{"name": "sessionid", "value": session, "url": address}])
                return job(context.new_page())
            finally:
                context.close()

        return self.thread.submit(run)

    def look(self, job: Callable[[Page], Result], address: str, session: str = "", **options: Any) -> Result:
        """Run the job and wait for it."""
        return self.start(job, address, session, **options).result(timeout=180)
