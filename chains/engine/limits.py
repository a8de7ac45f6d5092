# SPDX-License-Identifier: Apache-2.0
"""The engine's numbers, from Django's settings (names in capitals with VIADUCT_ before them).

Read anew for every attempt, so that a test or an operator can change them. Holds no state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

from django.conf import settings

# What a worker that takes over needs, beside the lease's end and the next sweep, before timers may fire.
VERIFY_S, RECONNECT_S, MARGIN_S = 60.0, 30.0, 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Defaults are production's.

    lease_ttl_s: longer than any one push. drift: "enforce" repairs, "report" only says so, "adopt" takes it over where
    the proof allows; a device may have a policy of its own.
    drain_*: wait until counters of the old items stand still. observe_s: between two readings of a device.
    soak_s: how long the first device of a change, and in the end all of them before the decision, are watched by a
    look every `probe_s`. confirm_s: after it, or more (see `limits`), a device takes an unconfirmed commit back.
    attempts: before a change is given up. broken: attempts that nobody saw the end of, before it is parked.
    breaker_*: so many failures in a row, and a device is left alone for so long.
    pulse_s: between two looks at probes and at traffic that is measured. traffic_s: how often the packets of every
    chain are measured, 0: only of those that somebody looks at.
    """

    lease_ttl_s: float = 60.0
    lease_wait_s: float = 5.0
    device_timeout_s: float = 15.0
    device_threads: int = 32
    attempts: int = 5
    retry_first_s: float = 1.0
    retry_cap_s: float = 300.0
    drain_poll_s: float = 0.3
    drain_idle_s: float = 0.5
    drain_bound_s: float = 5.0
    sweep_s: float = 30.0
    observe_s: float = 30.0
    drift: str = "enforce"
    soak_s: float = 60.0
    probe_s: float = 5.0
    confirm_s: int = 300
    broken: int = 5
    breaker_failures: int = 3
    breaker_s: float = 60.0
    pulse_s: float = 1.0
    traffic_s: float = 0.0

    def retry_after_s(self, attempt: int) -> float:
        """Doubles with every attempt up to the cap; the caller adds the jitter."""
        return min(self.retry_cap_s, self.retry_first_s * 2.0 ** min(attempt, 16))


def limits() -> Limits:
    """Errors: ValueError for a setting of the wrong type or range: doubt means no.

    confirm_s is made long enough for another worker to take over before a device takes anything back.
    """
    given = {
        field.name: getattr(settings, f"VIADUCT_{field.name.upper()}")
        for field in fields(Limits)
        if hasattr(settings, f"VIADUCT_{field.name.upper()}")
    }
    found = Limits(**given)
    if found.drift not in ("enforce", "report", "adopt"):
        raise ValueError(f"VIADUCT_DRIFT is {found.drift!r}; it is enforce, report or adopt")
    if found.device_timeout_s >= found.lease_ttl_s:
        raise ValueError("VIADUCT_DEVICE_TIMEOUT_S must be shorter than VIADUCT_LEASE_TTL_S")
    needed_s = found.lease_ttl_s + found.sweep_s + VERIFY_S + RECONNECT_S + MARGIN_S
    return replace(found, confirm_s=60 * math.ceil(max(found.confirm_s, needed_s) / 60))
