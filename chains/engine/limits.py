# SPDX-License-Identifier: Apache-2.0
"""The engine's numbers, from Django's settings (names in capitals with VIADUCT_ before them).

Read anew for every attempt, so that a test or an operator can change them. Holds no state.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from django.conf import settings


@dataclass(frozen=True, slots=True)
class Limits:
    """Defaults are production's.

    lease_ttl_s: longer than any one push. drift: "enforce" repairs, "report" only says so.
    drain_*: wait until counters of the old items stand still. observe_s: between two readings of a device.
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

    def retry_after_s(self, attempt: int) -> float:
        """Doubles with every attempt up to the cap; the caller adds the jitter."""
        return min(self.retry_cap_s, self.retry_first_s * 2.0 ** min(attempt, 16))


def limits() -> Limits:
    """Errors: ValueError for a setting of the wrong type or range: doubt means no."""
    given = {
        field.name: getattr(settings, f"VIADUCT_{field.name.upper()}")
        for field in fields(Limits)
        if hasattr(settings, f"VIADUCT_{field.name.upper()}")
    }
    found = Limits(**given)
    if found.drift not in ("enforce", "report"):
        raise ValueError(f"VIADUCT_DRIFT is {found.drift!r}; it is enforce or report")
    if found.device_timeout_s >= found.lease_ttl_s:
        raise ValueError("VIADUCT_DEVICE_TIMEOUT_S must be shorter than VIADUCT_LEASE_TTL_S")
    return found
