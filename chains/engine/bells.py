# SPDX-License-Identifier: Apache-2.0
"""What a bell means. Called by the task `ring` and by the sweep; ringing twice is harmless."""

from __future__ import annotations

from chains import models
from chains.engine.claims import turn_of
from chains.engine.converge import look_safely
from chains.engine.logins import log_in_once
from chains.engine.observe import observe_device
from chains.engine.reconcile import run_change

Topic = models.Outbox.Topic


def answer(topic: str, ref: int) -> None:
    """Errors: ValueError for a topic that does not exist."""
    if topic == Topic.CHANGE:
        run_change(turn_of(ref))
    elif topic == Topic.CHAIN:
        look_safely(ref)
    elif topic == Topic.DEVICE:
        observe_device(ref)
    elif topic == Topic.LOGIN:
        log_in_once(ref)
    else:
        raise ValueError(f"no bell is called {topic!r}")
