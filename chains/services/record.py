# SPDX-License-Identifier: Apache-2.0
"""Every write of the machine, in one place to import from. The engine's alone: people's writes are in `intent`."""

from chains.services.freeze import attempt_waits
from chains.services.lease import fenced, lease_check, lease_release, lease_renew, lease_take
from chains.services.observed import (
    device_due_set,
    device_unreachable,
    finding_close,
    finding_open,
    instance_health_set,
    is_under_way,
    observation_record,
    outbox_due,
    outbox_mark,
    outbox_prune,
)
from chains.services.planned import plan_store
from chains.services.progress import (
    allocations_record,
    chain_status_set,
    change_claim,
    change_crashed,
    change_failed,
    change_postpone,
    change_reverted,
    change_reverting,
    change_succeeded,
    decision_record,
    event_log,
    now,
    reverts_at_set,
    steps_confirmed,
    steps_sent,
    steps_set,
)
from chains.services.replies import replies_prune
from chains.services.trail import CHANNEL, bell
from chains.services.writes import Push, canary_passed, writes_begin, writes_end, writes_prune

__all__ = [
    "CHANNEL",
    "Push",
    "allocations_record",
    "attempt_waits",
    "bell",
    "canary_passed",
    "chain_status_set",
    "change_claim",
    "change_crashed",
    "change_failed",
    "change_postpone",
    "change_reverted",
    "change_reverting",
    "change_succeeded",
    "decision_record",
    "device_due_set",
    "device_unreachable",
    "event_log",
    "fenced",
    "finding_close",
    "finding_open",
    "instance_health_set",
    "is_under_way",
    "lease_check",
    "lease_release",
    "lease_renew",
    "lease_take",
    "now",
    "observation_record",
    "outbox_due",
    "outbox_mark",
    "outbox_prune",
    "plan_store",
    "replies_prune",
    "reverts_at_set",
    "steps_confirmed",
    "steps_sent",
    "steps_set",
    "writes_begin",
    "writes_end",
    "writes_prune",
]
