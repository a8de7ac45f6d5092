# SPDX-License-Identifier: Apache-2.0
"""Several callers at the same moment, each on a database connection of its own. Used by tests of races."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connections

from chains.errors import Problem


def at_once(*works: Callable[[], object]) -> list[object]:
    """Run all side by side; what they returned or raised."""
    results: list[object] = [None] * len(works)
    start = threading.Barrier(len(works))

    def run(index: int) -> None:
        try:
            start.wait()
            results[index] = works[index]()
        except Exception as error:  # noqa: BLE001  handed to the test
            results[index] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def codes(results: list[object]) -> list[str]:
    """Of each the problem's code, "" if it went well. What is no Problem is raised."""
    for each in results:
        if isinstance(each, Exception) and not isinstance(each, Problem):
            raise each
    return [each.code if isinstance(each, Problem) else "" for each in results]
