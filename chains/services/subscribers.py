# SPDX-License-Identifier: Apache-2.0
"""The question who had a public port at a moment, as people ask it: checked, answered, and written into the audit.

Called by the API and the pages. An operator is told of everybody's subscribers; who acts for a tenant is told of that
tenant's alone, and another's look like nobody's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from chains.errors import FieldError
from chains.selectors.addresses import Subscriber, subscriber_at
from chains.services.actor import Actor
from chains.services.clock import now
from chains.services.reading import Fields, invalid
from chains.services.trail import audit
from drivers.nat import NAT_PROTOCOLS

NAMES = ("address", "port", "protocol", "at", "reason")
PROTOCOLS = NAT_PROTOCOLS
LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked, in normal form, and who it was; None: the port was nobody's."""

    address: str
    port: int
    protocol: str
    at: datetime
    subscriber: Subscriber | None


@transaction.atomic
def subscriber_ask(*, actor: Actor, data: Mapping[str, Any]) -> Answer:
    """data: texts under NAMES. `at`: a time with its offset from UTC, now if it is left out; `reason` is for the audit.

    Errors: Invalid.
    """
    errors: list[FieldError] = []
    fields = Fields(data, "", errors, NAMES)
    address, port = _address(fields), _port(fields)
    protocol = fields.choice("protocol", PROTOCOLS)
    at, reason = _at(fields), fields.text("reason", default="")
    if errors:
        raise invalid(errors)
    tenant = actor.tenant
    found = subscriber_at(address, port, protocol, at, tenant=tenant.pk if tenant else None)
    told = f"{found.tenant}/{found.vrf} {found.address}" if found else "unassigned"
    detail = {"at": at.isoformat(), "reason": reason, "answer": told, "person": actor.person}
    audit(actor, "subscriber.ask", f"{address} {protocol} {port}", tenant=tenant, detail=detail)
    return Answer(address, port, protocol, at, found)


def _address(fields: Fields) -> str:
    text = fields.text("address", longest=15)
    try:
        return str(ipaddress.IPv4Address(text)) if text else ""
    except ValueError:
        fields.fail("address", "invalid", "must be an IPv4 address: subscribers with IPv6 keep their own")
        return ""


def _port(fields: Fields) -> int:
    text = fields.text("port", longest=5)
    if re.fullmatch("[0-9]{1,5}", text) and int(text) <= LAST_PORT:
        return int(text)
    if text:
        fields.fail("port", "invalid", f"must be 0 to {LAST_PORT}; for icmp the identifier")
    return 0


def _at(fields: Fields) -> datetime:
    text, moment = fields.text("at", default="", longest=40), now()
    if not text:
        return moment
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))  # a plus in an address that was not escaped
    except ValueError:
        at = None
    if at is None or at.utcoffset() is None:
        fields.fail("at", "invalid", "must be a time with its offset from UTC, as 2026-03-01T12:00:00Z")
    elif at > moment:
        fields.fail("at", "invalid", "is in the future: nobody knows yet")
    else:
        return at
    return moment
