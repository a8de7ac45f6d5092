# SPDX-License-Identifier: Apache-2.0
"""The prefixes from which sub-interfaces of ours have their addresses. Called by `tables` and the families. Pure."""

from __future__ import annotations

import ipaddress

from drivers.base import Target, Unsupported

# RFC 2544's benchmark prefix: in no routing table of a network in service. The settings take others.
CROSSINGS = {4: "198.18.0.0/15", 6: "fd76:6961:6475:6374::/104"}
SETTINGS = {4: "crossings", 6: "crossings6"}


def crossing_prefix(target: Target, family: int) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Of our sub-interfaces. Errors: Unsupported if the setting is no prefix of this family."""
    text = target.settings.get(SETTINGS[family]) or CROSSINGS[family]
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise Unsupported(f"{target.name}: setting `{SETTINGS[family]}` is {text!r}: {error}") from None
    if found.version != family:
        raise Unsupported(f"{target.name}: setting `{SETTINGS[family]}` is {text!r}, which is no IPv{family} prefix")
    return found
