# SPDX-License-Identifier: Apache-2.0
"""The instance's own settings with short times, so that what takes minutes in production takes seconds here.

Chosen by DJANGO_SETTINGS_MODULE for the real processes; never imported by the tests' own process.
"""

from __future__ import annotations

from orchestrator import settings

globals().update({name: value for name, value in vars(settings).items() if name.isupper()})

VIADUCT_SWEEP_S = 0.7
VIADUCT_OBSERVE_S = 1.5
VIADUCT_SOAK_S = 0.0
VIADUCT_LEASE_TTL_S = 4.0
VIADUCT_LEASE_WAIT_S = 0.3
VIADUCT_DEVICE_TIMEOUT_S = 1.0
VIADUCT_RETRY_FIRST_S = 0.2
VIADUCT_RETRY_CAP_S = 2.0
VIADUCT_DRAIN_POLL_S = 0.1
VIADUCT_DRAIN_IDLE_S = 0.1
VIADUCT_DRAIN_BOUND_S = 0.5
VIADUCT_BREAKER_S = 1.0
# The shortest that the limits allow; the devices' clocks run `farm.HASTE` times as fast.
VIADUCT_CONFIRM_S = 120
