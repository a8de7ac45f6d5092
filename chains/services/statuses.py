# SPDX-License-Identifier: Apache-2.0
"""A status row for every device that something is to be said of. Called by the other services, in their transactions.

Nearly always they are all there: that is asked first, as a question costs less than a hundred rows that change nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from chains.models import DeviceStatus


def statuses_open(device_ids: Collection[int]) -> None:
    """Twice is harmless, and so is a twin at the same moment."""
    held = set(DeviceStatus.objects.filter(device__in=list(device_ids)).values_list("device_id", flat=True))
    missing = [DeviceStatus(device_id=device_id) for device_id in sorted(set(device_ids) - held)]
    if missing:
        DeviceStatus.objects.bulk_create(missing, ignore_conflicts=True)
