# SPDX-License-Identifier: Apache-2.0
"""What the probes of an offer in a fabric file say: each must be one that somebody can run. Pure.

Called by `check`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chains.fabric.document import Device, Offer, Probe
from chains.fabric.text import told
from chains.planning.probes import MOST, Place, asked, probe_of


def probe_faults(
    offer: Offer, devices: Mapping[str, Device], peers: Mapping[str, str]
) -> Iterator[tuple[Probe | None, str]]:
    """(the probe, or None for all of them; what is wrong with it)."""
    if len(offer.probes) > MOST:
        yield None, f"{len(offer.probes)} probes; {MOST} are enough"
    place = place_of(offer, devices, peers)
    for index, probe in enumerate(offer.probes):
        if probe.by and probe.by not in devices:
            yield probe, f"there is no device {probe.by} that could ask"
            continue
        try:
            probe_of(asked(told(probe)), f"probe.{index}", place)
        except ValueError as error:
            yield probe, str(error)


def place_of(offer: Offer, devices: Mapping[str, Device], peers: Mapping[str, str]) -> Place:
    device = devices[offer.device]
    # What bridges takes frames for anybody.
    macs = {port.name: port.mac for port in device.ports} if offer.mode != "transparent" else {}
    ends = [peers.get(f"{device.name}:{port}", ":").partition(":") for port in (offer.inside, offer.outside)]
    inside, outside = ((end[0], end[2]) for end in ends)
    return Place(device.management, inside, outside, macs.get(offer.inside, ""), macs.get(offer.outside, ""))
