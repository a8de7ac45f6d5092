# SPDX-License-Identifier: Apache-2.0
"""What operators change beside the fabric file: switch devices and offers on and off, drain instances, prices.

Called by the API and the pages. The fabric file stays the truth of what it states: loading it again sets
these values back to what it says. Every write is audited and rings for the device.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction

from chains.errors import FieldError, NotFound
from chains.models import Device, Instance, Offer, Outbox, Price, Site
from chains.planning import worth
from chains.references import FORMS, is_reference
from chains.services.actor import Actor, require_operator
from chains.services.probes import probe_errors
from chains.services.reading import invalid, shown
from chains.services.tenancy import bound_fault
from chains.services.trail import audit, bell
from drivers.probe import ProbeKind

MAX_NUMBER = 2_147_483_647
PROBE_KINDS = tuple(str(kind) for kind in ProbeKind)
OFFER_NUMBERS = ("capacity_mbps", "measured_mbps", "entries", "latency_us", "measured_latency_us")
OFFER_COSTS = (
    "cost_per_gbps", "cost_fixed", "licence_per_gbps", "cores_per_gbps", "watts_per_gbps", "measured_cores_per_gbps",
)  # fmt: skip
OFFER_FLAGS = ("is_enabled", "is_shared", "is_last_resort")
DEVICE_TEXTS = ("management", "credential")


@transaction.atomic
def device_update(*, actor: Actor, device: Device, **values: Any) -> Device:
    """values: is_enabled, management, credential (a reference), drift. Errors: Forbidden, Invalid, NotFound."""
    require_operator(actor)
    errors: list[FieldError] = []
    for name, value in values.items():
        if name == "is_enabled":
            _check_flag(name, value, errors)
        elif name == "drift":
            if value not in ("", *Device.Drift.values):
                errors.append(FieldError(name, "invalid", f'must be "" or one of {", ".join(Device.Drift.values)}'))
        elif name not in DEVICE_TEXTS:
            errors.append(FieldError(name, "unknown-field", f"a device has no field {shown(name)} to change"))
        elif not isinstance(value, str) or len(value) > 255 or not value.isprintable() or " " in value:
            errors.append(
                FieldError(name, "invalid", "must be at most 255 printable characters without blanks")
            )
        elif name == "credential" and not is_reference(value):
            errors.append(FieldError(name, "invalid", f"must be a reference, {FORMS}, never the secret"))
    if errors:
        raise invalid(errors)
    row = Device.objects.select_for_update().filter(pk=device.pk).first()
    return _save(actor, row, values, "device.update", lambda found: (f"device {found.name}", found.pk))


@transaction.atomic
def site_update(*, actor: Actor, site: Site, **values: Any) -> Site:
    """values: needs_approval, changes_at_once. Errors: Forbidden, Invalid, NotFound."""
    require_operator(actor)
    errors = [fault for name, value in values.items() if (fault := bound_fault(name, value))]
    if errors:
        raise invalid(errors)
    row = Site.objects.select_for_update(no_key=True).filter(pk=site.pk).first()
    return _save(actor, row, values, "site.update", lambda found: (f"site {found.name}", None))


@transaction.atomic
def offer_update(*, actor: Actor, offer: Offer, **values: Any) -> Offer:
    """values: is_enabled, is_shared, is_last_resort, probes, capacity_mbps, measured_mbps, entries, latency_us,
    and whatever is in OFFER_COSTS.

    A disabled offer takes no new chain; those that it serves are planned anew by the engine.
    Errors: Forbidden, Invalid, NotFound.
    """
    require_operator(actor)
    errors: list[FieldError] = []
    for name, value in values.items():
        if name in OFFER_FLAGS:
            _check_flag(name, value, errors)
        elif name == "probes":
            errors += probe_errors(offer, value)
        elif name in OFFER_NUMBERS:
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_NUMBER:
                errors.append(FieldError(name, "invalid", f"must be a whole number, 0 to {MAX_NUMBER}"))
        elif name in OFFER_COSTS:
            _check_cost(name, value, errors)
        else:
            errors.append(FieldError(name, "unknown-field", f"an offer has no field {shown(name)} to change"))
    if errors:
        raise invalid(errors)
    rows = Offer.objects.select_for_update(of=("self",)).select_related("device", "function")
    row = rows.filter(pk=offer.pk).first()
    return _save(actor, row, values, "offer.update", lambda found: (f"offer {found}", found.device_id))


@transaction.atomic
def instance_drain(*, actor: Actor, instance: Instance, is_draining: bool = True) -> Instance:
    """A draining instance keeps what it serves until it is moved, and takes nothing new.

    Errors: Forbidden, Invalid, NotFound.
    """
    require_operator(actor)
    errors: list[FieldError] = []
    _check_flag("is_draining", is_draining, errors)
    if errors:
        raise invalid(errors)
    rows = Instance.objects.select_for_update(of=("self",)).select_related("offer__device", "offer__function")
    row = rows.filter(pk=instance.pk).first()
    values = {"is_draining": is_draining}
    return _save(
        actor, row, values, "instance.drain", lambda found: (f"offer {found.offer}", found.offer.device_id)
    )


def _save(actor: Actor, row: Any, values: dict[str, Any], action: str, names: Any) -> Any:
    if row is None:
        raise NotFound("Not found.")
    before = {name: getattr(row, name) for name in values}
    changed = {name: value for name, value in values.items() if before[name] != value}
    if not changed:
        return row
    for name, value in changed.items():
        setattr(row, name, value)
    row.save(update_fields=list(changed))
    subject, device_id = names(row)
    detail = {"before": {name: before[name] for name in changed}, "after": changed}
    audit(actor, action, subject, tenant=None, detail=detail)
    if device_id is not None:
        bell(Outbox.Topic.DEVICE, device_id)
    return row


@transaction.atomic
def prices_update(*, actor: Actor, **values: Any) -> None:
    """values: cost units by the names of `planning.worth.Prices`. What runs is left where it is; plans made from now on
    reckon with them. Errors: Forbidden, Invalid."""
    require_operator(actor)
    errors: list[FieldError] = []
    for name, value in values.items():
        if name in worth.NAMES:
            _check_cost(name, value, errors)
        else:
            errors.append(FieldError(name, "unknown-field", f"there is no price {shown(name)}"))
    if errors:
        raise invalid(errors)
    for name, value in sorted(values.items()):
        row = Price.objects.select_for_update().filter(name=name).first()
        before = row.cost if row else getattr(worth.DEFAULT, name)
        if before != value:
            Price.objects.update_or_create(name=name, defaults={"cost": value})
            audit(actor, "price.update", f"price {name}", tenant=None, detail={"before": before, "after": value})


def _check_cost(name: str, value: Any, errors: list[FieldError]) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        errors.append(FieldError(name, "invalid", "must be a number, 0 to 1e9"))


def _check_flag(name: str, value: Any, errors: list[FieldError]) -> None:
    if not isinstance(value, bool):
        errors.append(FieldError(name, "invalid", "must be true or false"))
