# SPDX-License-Identifier: Apache-2.0
"""Every read: rows -> frozen snapshots for planning and the engine, rows and views for the API and the pages.

Nothing here writes. What a tenant may see is decided in `tenancy`; foreign and missing are the same NotFound.
"""

from chains.selectors.addresses import Subscriber, allocations_in_force, subscriber_at
from chains.selectors.ages import stale_after_s
from chains.selectors.conditions import condition_list
from chains.selectors.credentials import credential_get, credential_list, credential_users
from chains.selectors.fabric import fabric_snapshot, inventory_snapshot, prices_now, target_of, targets_of
from chains.selectors.families import Caps, caps_of, caps_words, is_verified
from chains.selectors.force import all_in_force
from chains.selectors.intent import chain_intent, chain_snapshot
from chains.selectors.lists import (
    audit_list,
    chain_find,
    chain_get,
    chain_list,
    chain_plan,
    change_get,
    change_list,
    device_get,
    device_list,
    events_after,
    finding_list,
    freeze_now,
    function_list,
    instance_get,
    instance_list,
    link_list,
    offer_get,
    offer_list,
    plan_get,
    plan_list,
    segment_get,
    segment_list,
    site_get,
    site_list,
)
from chains.selectors.probes import probes_wanted
from chains.selectors.readings import Count, DeviceView, ItemView, chain_counters, device_view
from chains.selectors.states import chain_contributions, desired_state, others_on, others_stored
from chains.selectors.tenancy import tenant_find, tenant_get, tenant_list, token_get, token_list
from chains.selectors.trace import chain_trace
from chains.selectors.traffic import chain_traffic, traffic_of
from chains.selectors.windows import window_get, window_list

__all__ = [
    "Subscriber",
    "allocations_in_force",
    "subscriber_at",
    "Caps",
    "Count",
    "DeviceView",
    "ItemView",
    "all_in_force",
    "audit_list",
    "caps_of",
    "caps_words",
    "chain_contributions",
    "chain_counters",
    "chain_find",
    "chain_get",
    "chain_intent",
    "chain_list",
    "chain_plan",
    "chain_snapshot",
    "chain_trace",
    "chain_traffic",
    "change_get",
    "change_list",
    "condition_list",
    "credential_get",
    "credential_list",
    "credential_users",
    "desired_state",
    "device_get",
    "device_list",
    "device_view",
    "events_after",
    "fabric_snapshot",
    "finding_list",
    "freeze_now",
    "function_list",
    "instance_get",
    "instance_list",
    "inventory_snapshot",
    "is_verified",
    "link_list",
    "offer_get",
    "offer_list",
    "others_on",
    "others_stored",
    "plan_get",
    "prices_now",
    "plan_list",
    "probes_wanted",
    "segment_get",
    "segment_list",
    "site_get",
    "site_list",
    "stale_after_s",
    "target_of",
    "targets_of",
    "tenant_find",
    "tenant_get",
    "tenant_list",
    "token_get",
    "token_list",
    "traffic_of",
    "window_get",
    "window_list",
]
