# SPDX-License-Identifier: Apache-2.0
"""Name -> driver. Adding a device family is one module and one line here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from drivers import fake
from drivers.appliance import fortios, linux, panos, srx
from drivers.base import Driver, Unsupported
from drivers.host import agent
from drivers.switch import eos, frr, ios, iosxr, junos, nxos, openvswitch


def index(drivers: Iterable[Driver]) -> Mapping[str, Driver]:
    """Errors: ValueError if two drivers claim one name."""
    found: dict[str, Driver] = {}
    for driver in drivers:
        if driver.name in found:
            raise ValueError(f"two drivers are named {driver.name!r}")
        found[driver.name] = driver
    return MappingProxyType(found)


DRIVERS: Mapping[str, Driver] = index(
    (
        openvswitch.DRIVER,
        eos.DRIVER,
        frr.DRIVER,
        junos.DRIVER,
        ios.DRIVER,
        nxos.DRIVER,
        linux.DRIVER,
        srx.DRIVER,
        agent.DRIVER,
        iosxr.DRIVER,
        panos.DRIVER,
        fortios.DRIVER,
        fake.SWITCH,
        fake.APPLIANCE,
        fake.HOST,
        fake.CONFIRMING_SWITCH,
        fake.CONFIRMING_APPLIANCE,
    )
)


def driver(name: str) -> Driver:
    """Errors: Unsupported, with the names that exist."""
    if name not in DRIVERS:
        raise Unsupported(f"there is no driver named {name!r}; drivers: {', '.join(sorted(DRIVERS))}")
    return DRIVERS[name]
