# SPDX-License-Identifier: Apache-2.0
"""What cannot wait for a sweep: a thread in every worker process that looks every second.

Several at once share the work by claims, as sweeps do. A constant number of queries when nothing is due. It starts no
change by itself: what it finds out is rung for, and the sweep finds it without the bell.
"""

from __future__ import annotations

import logging
import random
import threading

from django.db import Error as DatabaseError
from django.db import close_old_connections, connections

from chains.engine.giving import give_blocks
from chains.engine.limits import limits
from chains.engine.probing import probe
from chains.engine.sweep import safely
from chains.engine.traffic import measure

log = logging.getLogger(__name__)


def beat() -> None:
    """One look."""
    given = limits()
    safely(probe, given)
    safely(measure, given)
    safely(give_blocks, given)


class Pulse:
    """Beats until the process ends. Never started before a fork."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the beat that is under way."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(limits().pulse_s * random.uniform(0.75, 1.25)):
            try:
                beat()
            except DatabaseError as error:
                log.warning("pulse: the database does not answer: %s", type(error).__name__)
                connections.close_all()
            close_old_connections()
        connections.close_all()
