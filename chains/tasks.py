# SPDX-License-Identifier: Apache-2.0
"""Celery's side of the engine: an id in, one call. A message is a doorbell: lost, doubled or late, no harm is done.

Every worker process also sweeps by itself, so nothing here is needed for convergence.
"""

from __future__ import annotations

from typing import Any

from celery import shared_task
from celery.signals import worker_process_init, worker_process_shutdown, worker_ready

from chains.engine import bells
from chains.engine.pulse import Pulse
from chains.engine.sweep import Sweeper
from chains.engine.sweep import sweep as sweep_once

_threads: list[Sweeper | Pulse] = []


@shared_task(name="chains.ring")
def ring(topic: str, ref: int) -> None:
    """Look at <topic> <ref>."""
    bells.answer(topic, ref)


@shared_task(name="chains.sweep")
def sweep() -> None:
    """Look at everything that is due."""
    sweep_once()


def ring_later(topic: str, ref: int) -> None:
    """Send the bell. Errors: kombu.exceptions.OperationalError if the broker does not take it."""
    ring.apply_async((topic, ref), expires=60, retry=False, ignore_result=True)


@worker_process_init.connect
def start_sweeper(**_: Any) -> None:
    """In each pool process, after the fork: a thread made before it would not exist, and its locks would."""
    if not _threads:
        _threads.extend((Sweeper(), Pulse()))
        for thread in _threads:
            thread.start()


@worker_ready.connect
def start_sweeper_without_fork(sender: Any = None, **_: Any) -> None:
    """Pools of threads have one process and send no signal of their own."""
    if not getattr(getattr(sender, "pool", None), "uses_semaphore", False):
        start_sweeper()


@worker_process_shutdown.connect
def forget_sweeper(**_: Any) -> None:
    _threads.clear()
