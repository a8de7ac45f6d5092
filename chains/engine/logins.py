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
from chains.engine.specimen import Place, wishes
from chains.engine.vault import sealed_of
from chains.services import record
from drivers.base import Driver, DriverError, Identity, Introspective, Observation, Target, Unsupported
from drivers.diff import diff
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
        seen = session.read()
        if not isinstance(session, Introspective):
            return UNTOLD, len(seen.state)
        return session.login(_wish(device, family, target, seen)), len(seen.state)


def _wish(device: models.Device, family: Driver, target: Target, seen: Observation) -> str:
    """A text as chains could want it here, never sent: so that the device's session tells what it would need."""
    ports = device.ports.select_related("link_a__b__device", "link_b__a__device").prefetch_related("attachments")
    seats, crossings, vrf = [], [], ""
    for port in ports.order_by("name"):
        link_a, link_b = getattr(port, "link_a", None), getattr(port, "link_b", None)
        far = link_a.b.device if link_a else link_b.a.device if link_b else None
        seat = port.attachments.select_related("segment__vrf").first()
        vrf = vrf or (seat.segment.vrf.name if seat else target.ports[port.name].vrf)
        if seat or (far is not None and far.kind == models.Device.Kind.APPLIANCE):
            seats.append(port.name)
        elif far is not None and far.kind == models.Device.Kind.SWITCH:
            crossings.append(port.name)
    is_switch = device.kind == models.Device.Kind.SWITCH
    offer = device.offers.exclude(inside="").first()
    place = Place(
        ports=tuple(target.ports[name] for name in seats) if is_switch else (),
        vrf=vrf,
        inside=offer.inside if offer else "",
        outside=offer.outside if offer else "",
    )
    wanted = wishes(family, target, place, tuple(crossings))
    try:
        known = replace(target, held=seen.state, residue=seen.residue)
        return family.render(diff(seen.state, seen.state.merged(wanted)), known)
    except Unsupported:
        return ""
