# SPDX-License-Identifier: Apache-2.0
"""Logs in to a device because an operator asked, and records what it says of itself. Writes nothing to the device.

Called by bells, the sweep and `manage.py test_login`. Always a new connection: a kept one proves nothing. A device that
is left alone because it failed is asked all the same: somebody wants to know now.
"""

from __future__ import annotations

from dataclasses import replace

from chains import models, selectors
from chains.engine.carry import say
from chains.engine.credentials import resolve, without_secret
from chains.engine.limits import limits
from chains.engine.vault import sealed_of
from chains.services import record
from drivers.base import DriverError, Identity, Introspective
from drivers.registry import driver

UNTOLD = Identity(verified="verified by its driver")


def log_in_once(device_id: int) -> bool:
    """False if nobody asked, or another worker is at it."""
    claimed = record.login_claim(device_id)
    if claimed is None:
        return False
    secrets: list[str] = []
    try:
        identity, items = _log_in(claimed.device, secrets)
    except DriverError as error:
        record.login_failed(claimed, say(without_secret(error, secrets[0] if secrets else "")))
    else:
        record.login_succeeded(claimed, identity, items)
    return True


def _log_in(device: models.Device, secrets: list[str]) -> tuple[Identity, int]:
    """Who the device is, and how many items of ours it holds. Errors: DriverError kinds."""
    secrets.append(resolve(device.credential, device.name, sealed_of([device.credential])))
    target = replace(selectors.target_of(device), secret=secrets[0])
    family = driver(target.driver)
    with family.open(target, limits().device_timeout_s) as session:
        items = len(session.read().state)
        return session.login() if isinstance(session, Introspective) else UNTOLD, items
