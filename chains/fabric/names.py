# SPDX-License-Identifier: Apache-2.0
"""What the entries of a fabric file can refer to, and the faults found so far. Used by the checks of this package."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from chains.fabric.document import Device, Entry, Fabric, Fault, Port
from drivers.base import Capabilities


@dataclass(frozen=True, slots=True)
class Names:
    """What can be referred to, by name, and the faults so far. peers: what the cable in a port leads to."""

    fabric: Fabric
    drivers: Mapping[str, Capabilities]
    devices: Mapping[str, Device]
    ports: Mapping[str, Port]
    peers: Mapping[str, str]
    faults: list[Fault] = field(default_factory=list)

    def add(self, entry: Entry, path: str, detail: str, key: str = "") -> None:
        self.faults.append(Fault(entry.line(key), f"{path}.{key}" if key else path, detail))

    def known(self, entry: Entry, path: str, key: str, name: str, known: Collection[str], what: str) -> bool:
        """Is there such a thing? If not, a fault."""
        if name in known:
            return True
        close = difflib.get_close_matches(name, list(known), 1)
        hint = (
            f"did you mean {close[0]}?"
            if close
            else f"add it, or use one of: {', '.join(sorted(known)[:10])}"
        )
        self.add(entry, path, f"there is no {what} {name}; {hint}", key)
        return False

    def kind(self, port: str) -> str:
        """The kind of the device that a port is of."""
        return self.devices[port.partition(":")[0]].kind


def names_of(fabric: Fabric, drivers: Mapping[str, Capabilities]) -> Names:
    ports = {f"{device.name}:{port.name}": port for device in fabric.devices for port in device.ports}
    peers = {end: other for link in fabric.links for end, other in ((link.a, link.b), (link.b, link.a))}
    return Names(fabric, drivers, {device.name: device for device in fabric.devices}, ports, peers)
