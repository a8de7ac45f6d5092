# SPDX-License-Identifier: Apache-2.0
"""Every read: rows -> frozen snapshots for planning and the engine, rows and views for the API and the pages.

Nothing here writes. What a tenant may see is decided in `tenancy`; foreign and missing are the same NotFound.
"""

from chains.selectors.fabric import fabric_snapshot, target_of, targets_of
from chains.selectors.intent import chain_intent, chain_snapshot
from chains.selectors.states import chain_contributions, desired_state, others_on

__all__ = [
    "chain_contributions",
    "chain_intent",
    "chain_snapshot",
    "desired_state",
    "fabric_snapshot",
    "others_on",
    "target_of",
    "targets_of",
]
