# SPDX-License-Identifier: Apache-2.0
"""Checks the probes that an operator gives an offer. Called by `inventory`; writes nothing."""

from __future__ import annotations

from typing import Any

from chains.errors import FieldError
from chains.models import Device, Offer
from chains.planning.probes import MOST, asked, probe_of
from chains.selectors.probes import places_of


def probe_errors(offer: Offer, value: Any) -> list[FieldError]:
    """One for each probe that nobody could run."""
    if not isinstance(value, list) or len(value) > MOST:
        return [FieldError("probes", "invalid", f"must be a list of at most {MOST} probes")]
    place = places_of([offer])[offer.pk]
    devices = set(Device.objects.values_list("name", flat=True)) if any(value) else set()
    found = []
    for index, entry in enumerate(value):
        try:
            one = asked(entry)
            if one.by and one.by not in devices:
                raise ValueError(f"by: there is no device {one.by[:63]!r} that could ask")
            probe_of(one, f"probe.{index}", place)
        except ValueError as error:
            found.append(FieldError(f"probes.{index}", "invalid", str(error)[:400]))
    return found
