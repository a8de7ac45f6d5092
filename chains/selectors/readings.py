# SPDX-License-Identifier: Apache-2.0
"""What was read of devices, put beside what is wanted: counters of a chain by hop, one device with its drift.

Called by the API and the pages. Keys are `drivers.state.Key`: stage of a function item is its hop's position
plus one; stage of a redirect is its place along the path.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from django.db import connection

from chains.models import Chain, Device, DeviceStatus, Hop
from chains.selectors.lists import device_get
from chains.selectors.states import desired_state
from chains.selectors.tenancy import Asker
from drivers.codec import state_from_json, state_to_json
from drivers.diff import Change, diff
from drivers.state import Direction, Key, Kind

AT_A_HOP = frozenset({Kind.RULESET, Kind.SIGNATURES, Kind.NATPOOL, Kind.FILTER})
REALM_OF_KIND = {Device.Kind.SWITCH: "switch", Device.Kind.APPLIANCE: "appliance", Device.Kind.HOST: "host"}
DIRECTIONS = {Direction.FORWARD: "forward", Direction.REVERSE: "reverse"}

# One pass over the chain's devices; the database cuts their counters to the chain's own.
COUNTERS = """
SELECT device.name, device.kind, status.observed_at, counter.key, counter.value
  FROM chains_contribution AS part
  JOIN chains_device AS device ON device.id = part.device_id
  JOIN chains_devicestatus AS status ON status.device_id = device.id
 CROSS JOIN LATERAL jsonb_each(status.counters) AS counter
 WHERE part.chain_id = %s AND starts_with(counter.key, %s)
 ORDER BY device.name, counter.key
"""


class Count(TypedDict):
    """hop -1: steering, not a function; `stage` is then the place along the path, else 0."""

    hop: int
    function: str
    direction: str
    device: str
    realm: str
    stage: int
    packets: int
    octets: int
    dropped: int
    observed_at: datetime | None


def chain_counters(chain: Chain) -> list[Count]:
    """By hop (steering last), direction and device. The chain is one that the actor got from `chain_get`.

    What an item saw since it was written. A function judges both directions in one item, under "forward".
    """
    functions = dict(Hop.objects.filter(chain=chain).values_list("position", "function__name"))
    found: dict[tuple[bool, int, int, str, str], Count] = {}
    for device, kind, observed_at, text, value in _counters(chain):
        key = Key.parse(text)
        hop = key.stage - 1 if key.kind in AT_A_HOP else -1
        stage = 0 if hop >= 0 else key.stage
        place = (hop < 0, hop, stage, str(key.direction), device)
        count = found.setdefault(
            place,
            Count(
                hop=hop,
                function=functions.get(hop, ""),
                direction=DIRECTIONS[key.direction],
                device=device,
                realm=REALM_OF_KIND.get(kind, ""),
                stage=stage,
                packets=0,
                octets=0,
                dropped=0,
                observed_at=observed_at,
            ),
        )
        count["packets"] += int(value.get("packets", 0))
        count["octets"] += int(value.get("octets", 0))
        count["dropped"] += int(value.get("dropped", 0))
    return [found[place] for place in sorted(found)]


def _counters(chain: Chain) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(COUNTERS, [chain.pk, f"c{chain.pk}."])
        rows = cursor.fetchall()
    return [(*row[:4], _parsed(row[4])) for row in rows]


def _parsed(value: Any) -> dict[str, Any]:
    """Raw SQL gives JSON as text: Django decodes its own fields only."""
    return dict(json.loads(value) if isinstance(value, str) else value)


@dataclass(frozen=True, slots=True)
class ItemView:
    """One item of a device. wanted, held: its fields, None if it is not.

    action: what would put it right, "" if nothing.
    """

    key: str
    kind: str
    chain: int
    chain_name: str
    tenant: str
    wanted: dict[str, Any] | None
    held: dict[str, Any] | None
    action: str
    packets: int
    octets: int
    dropped: int


@dataclass(frozen=True, slots=True)
class DeviceView:
    """is_read: was the device ever read? Without it nothing is known of what it holds."""

    device: Device
    status: DeviceStatus | None
    is_read: bool
    items: tuple[ItemView, ...]

    @property
    def drift(self) -> tuple[ItemView, ...]:
        return tuple(item for item in self.items if item.action)


def device_view(actor: Asker, key: Any) -> DeviceView:
    """Desired against observed, item by item. Errors: Forbidden, NotFound."""
    device = device_get(actor, key)
    status = getattr(device, "status", None)
    is_read = status is not None and status.observed is not None
    desired = desired_state(device)
    observed = (
        state_from_json(status.observed) if status is not None and status.observed is not None else None
    )
    changes = {change.key: change for change in diff(observed, desired)} if observed is not None else {}
    wanted, held = state_to_json(desired), state_to_json(observed or {})
    numbers = {item.chain for item in (*desired, *(observed or ()))}
    names = {
        number: (name, tenant)
        for number, name, tenant in Chain.objects.filter(pk__in=numbers).values_list(
            "pk", "name", "tenant__name"
        )
    }
    counters = defaultdict(dict, status.counters if status else {})
    items = []
    for item_key in sorted({*desired, *(observed or ())}):
        text, count = str(item_key), counters[str(item_key)]
        name, tenant = names.get(item_key.chain, ("", ""))
        change: Change | None = changes.get(item_key)
        items.append(
            ItemView(
                key=text,
                kind=str(item_key.kind),
                chain=item_key.chain,
                chain_name=name,
                tenant=tenant,
                wanted=wanted.get(text),
                held=held.get(text),
                action=str(change.action) if change else "",
                packets=int(count.get("packets", 0)),
                octets=int(count.get("octets", 0)),
                dropped=int(count.get("dropped", 0)),
            )
        )
    return DeviceView(device, status, is_read, tuple(items))
