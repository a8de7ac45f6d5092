# SPDX-License-Identifier: Apache-2.0
"""Hops and classifiers as the REST interface takes them, for the scenarios' traffic. Pure."""

from __future__ import annotations

from typing import Any

from lab.scenarios.load import TCP_PORT, UDP_PORT

PERMITS = (("udp", str(UDP_PORT)), ("tcp", str(TCP_PORT)))
CLASSIFIERS = [{"protocol": protocol, "destination_ports": port, "family": 4} for protocol, port in PERMITS]
MORE_CLASSIFIERS = [*CLASSIFIERS, {"protocol": "udp", "destination_ports": "6000-6010", "family": 4}]


def ngfw(device: str = "", rules: int = 0, **more: Any) -> dict[str, Any]:
    """Lets the scenarios' traffic pass; `rules` more rules that do not matter to it."""
    permits = [{"verdict": "permit", "protocol": protocol, "destination_ports": port} for protocol, port in PERMITS]
    others = [{"verdict": "deny", "protocol": "udp", "destination_ports": str(7000 + n)} for n in range(rules)]
    return _hop("ngfw", device, {"default": "deny", "rules": [*permits, *others]}, more)


def ips(device: str = "", words: str = "X-Attack", **more: Any) -> dict[str, Any]:
    return _hop("ips", device, {"patterns": [{"text": words}]}, more)


def cgn(device: str = "", **more: Any) -> dict[str, Any]:
    return _hop("cgn", device, {"block_size": 256}, more)


def _hop(function: str, device: str, policy: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {"function": function, "policy": policy, **({"device": device} if device else {}), **more}
