# SPDX-License-Identifier: Apache-2.0
"""Which probes every device is to run, from the offers. The engine calls; three queries, however many offers; one
where no offer has any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db.models import Q

from chains.models import Link, Offer, Port
from chains.models.inventory import Mode
from chains.planning.probes import Place, asked, probe_of
from drivers.probe import Probe


@dataclass(frozen=True, slots=True)
class Wanted:
    """probes: by who asks (a device's name, "" for a worker), then by offer id. faults: by offer id, what cannot be."""

    probes: Mapping[str, Mapping[int, tuple[Probe, ...]]]
    faults: Mapping[int, str]

    def names(self, offer: int) -> frozenset[str]:
        """Of all probes of one offer."""
        return frozenset(probe.name for held in self.probes.values() for probe in held.get(offer, ()))


def probes_wanted() -> Wanted:
    """Of every offer that is switched on."""
    rows = Offer.objects.exclude(probes=[]).filter(is_enabled=True, device__is_enabled=True)
    offers = list(rows.select_related("device").order_by("pk"))
    places = places_of(offers) if offers else {}
    found: dict[str, dict[int, tuple[Probe, ...]]] = {}
    faults: dict[int, str] = {}
    for offer in offers:
        for index, entry in enumerate(offer.probes):
            try:
                by, probe = probe_of(asked(entry), f"o{offer.pk}.{index}", places[offer.pk])
            except ValueError as error:
                # The fabric was changed under it: it was right when it was loaded.
                faults[offer.pk] = str(error)
                continue
            held = found.setdefault(by, {})
            held[offer.pk] = (*held.get(offer.pk, ()), probe)
    return Wanted(found, faults)


def places_of(offers: Iterable[Offer]) -> dict[int, Place]:
    """By offer id; the devices are fetched with the offers."""
    held = list(offers)
    devices = {offer.device_id for offer in held}
    peers: dict[tuple[int, str], tuple[str, str]] = {}
    ends = ("a__device_id", "a__name", "a__device__name", "b__device_id", "b__name", "b__device__name")
    links = Link.objects.filter(Q(a__device__in=devices) | Q(b__device__in=devices)).order_by()
    for a_id, a_port, a_name, b_id, b_port, b_name in links.values_list(*ends):
        peers[a_id, a_port], peers[b_id, b_port] = (b_name, b_port), (a_name, a_port)
    rows = Port.objects.filter(device__in=devices).order_by().values_list("device_id", "name", "mac")
    macs = {(device, port): mac for device, port, mac in rows}
    nowhere = ("", "")
    return {
        offer.pk: Place(
            offer.device.management,
            peers.get((offer.device_id, offer.inside), nowhere),
            peers.get((offer.device_id, offer.outside), nowhere),
            # What bridges takes frames for anybody.
            *("" if bridges else macs.get((offer.device_id, port), "") for port in (offer.inside, offer.outside)),
        )
        for offer in held
        for bridges in [offer.mode == Mode.TRANSPARENT]
    }
