# SPDX-License-Identifier: Apache-2.0
"""Every write of the machine, in one place to import from. The engine's alone: people's writes are in `intent`."""

from chains.services.attempts import (
    Claim,
    attempt_over,
    attempt_waits,
    change_claim,
    change_crashed,
    change_hold,
    change_postpone,
    change_refused,
)
from chains.services.blocks import blocks_settle, pools_claim
from chains.services.breaker import device_answered, device_failed, reading_begins
from chains.services.clock import now
from chains.services.conditions import conditions_write
from chains.services.credentials import credential_reseal
from chains.services.drift import contributions_adopt, drift_found, drift_order_of, drift_said
from chains.services.foreign import foreign_found
from chains.services.lease import fenced, lease_release, lease_renew, lease_take
from chains.services.logins import login_claim, login_failed, login_succeeded
from chains.services.looks import look_begins, look_ends
from chains.services.observed import (
    device_answers,
    device_unreachable,
    finding_close,
    finding_open,
    findings_open,
    instance_health_set,
    is_under_way,
    link_set,
    observation_record,
    observations_record,
    outbox_prune,
    readings_expire,
)
from chains.services.planned import plan_store
from chains.services.probed import asker_rests, askers_claim, instances_claim, results_record
from chains.services.progress import (
    allocations_record,
    chain_status_set,
    change_reverted,
    change_reverting,
    change_succeeded,
    decision_record,
    event_log,
    events_log,
    reverts_at_set,
    steps_confirmed,
    steps_sent,
    steps_set,
)
from chains.services.replies import replies_prune
from chains.services.saving import UNSAVED, save_order_of, unsaved_said
from chains.services.traffic import traffic_claim, traffic_sample
from chains.services.trail import CHANNEL, bell
from chains.services.writes import Push, canary_passed, writes_begin, writes_end, writes_prune

__all__ = [
    "UNSAVED",
    "save_order_of",
    "unsaved_said",
    "CHANNEL",
    "Push",
    "Claim",
    "allocations_record",
    "asker_rests",
    "askers_claim",
    "attempt_over",
    "blocks_settle",
    "pools_claim",
    "attempt_waits",
    "bell",
    "canary_passed",
    "chain_status_set",
    "change_claim",
    "change_crashed",
    "change_hold",
    "change_postpone",
    "change_refused",
    "change_reverted",
    "change_reverting",
    "change_succeeded",
    "conditions_write",
    "contributions_adopt",
    "credential_reseal",
    "decision_record",
    "device_answered",
    "device_answers",
    "device_failed",
    "device_unreachable",
    "drift_found",
    "drift_order_of",
    "drift_said",
    "event_log",
    "events_log",
    "fenced",
    "finding_close",
    "finding_open",
    "findings_open",
    "foreign_found",
    "instance_health_set",
    "instances_claim",
    "is_under_way",
    "lease_release",
    "lease_renew",
    "lease_take",
    "link_set",
    "login_claim",
    "login_failed",
    "login_succeeded",
    "look_begins",
    "look_ends",
    "now",
    "observation_record",
    "observations_record",
    "outbox_prune",
    "plan_store",
    "reading_begins",
    "readings_expire",
    "replies_prune",
    "results_record",
    "reverts_at_set",
    "steps_confirmed",
    "steps_sent",
    "steps_set",
    "traffic_claim",
    "traffic_sample",
    "writes_begin",
    "writes_end",
    "writes_prune",
]
