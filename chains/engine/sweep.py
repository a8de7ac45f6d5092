# SPDX-License-Identifier: Apache-2.0
"""Everything that is due, done here and now: convergence needs no relay, no beat and no broker.

Every worker process runs a `Sweeper`; several at once share the work by claims. Constant number of queries
when nothing is due.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from django.db import Error as DatabaseError
from django.db import connections

from chains.engine import bells, claims, converge
from chains.engine.kept import KEPT
from chains.engine.limits import Limits, limits
from chains.engine.logins import log_in_once
from chains.engine.observe import observe_devices
from chains.engine.reconcile import run_change
from chains.services import record
from chains.services.tokens import tokens_expired

log = logging.getLogger(__name__)
BELL_GRACE_S = 2.0
AT_ONCE = 16
# Asking a silent device takes as long as its time-out.
SILENT_AGAIN_S = 8.0


def sweep() -> int:
    """One pass; how many pieces of work it found."""
    given = limits()
    rung = claims.bells_claim(AT_ONCE, BELL_GRACE_S)
    for topic, ref in rung:
        safely(bells.answer, topic, ref)
    record.readings_expire()
    done = len(rung) + _changes() + _logins()
    read = _readings(given)
    # Last: whoever dies of a chain has done the rest. What is started here is not left to the next pass.
    chains = converge.chains_to_look_at(AT_ONCE)
    for chain_id in chains:
        converge.look_safely(chain_id)
    if chains or read:
        done += len(chains) + read + _changes()
    safely(KEPT.close_idle)
    record.outbox_prune()
    record.writes_prune()
    tokens_expired()
    record.replies_prune()
    return done


def _changes(*, is_sick: bool = False) -> int:
    changes = claims.changes_due(AT_ONCE, is_sick=is_sick)
    for change_id in changes:
        safely(run_change, change_id)
    return len(changes)


def _logins() -> int:
    """Those whose bell was lost, or whose worker died. Somebody is waiting, but not for long: a silent device takes
    a time-out."""
    devices = claims.logins_due(AT_ONCE)
    for device_id in devices:
        safely(log_in_once, device_id)
    return len(devices)


def _readings(given: Limits) -> int:
    """First the devices that answer; what needs or reads others may take as long as their time-outs."""
    devices = claims.devices_claim(AT_ONCE, given.observe_s)
    if devices:
        safely(observe_devices, devices)
    done = len(devices)
    while done < 2 * AT_ONCE and (alone := claims.devices_claim(1, given.observe_s, is_alone=True)):
        safely(observe_devices, alone)
        done += 1
    done += _changes(is_sick=True)
    silent = claims.devices_claim(AT_ONCE, max(given.observe_s, SILENT_AGAIN_S), is_silent=True)
    if silent:
        safely(observe_devices, silent)
    return done + len(silent)


def safely(work: Callable[..., object], *arguments: object) -> None:
    """One bad row may not stop the others. The row keeps its own error; here it is only logged."""
    try:
        work(*arguments)
    except DatabaseError:
        raise  # the database itself is in trouble: the pass ends, the next one tries again
    except Exception:  # noqa: BLE001  the top of the engine: nothing above would record it
        log.exception("sweep: %s%r broke", getattr(work, "__name__", work), arguments)


class Sweeper:
    """A thread that sweeps until the process ends. Never started before a fork."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the pass that is under way."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(limits().sweep_s * random.uniform(0.75, 1.25)):
            try:
                sweep()
            except DatabaseError as error:
                log.warning("sweep: the database does not answer: %s", type(error).__name__)
            finally:
                connections.close_all()
