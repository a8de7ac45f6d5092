# SPDX-License-Identifier: Apache-2.0
"""A fabric file -> rows: all of it or nothing, the same file twice changes nothing. Called by a command and by tests.

What the file does not hold goes, unless chains, plans, tokens or people still need it: then nothing is
loaded and the refusal says who. Chains whose segments changed have to be planned anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import connection, transaction

from chains import models
from chains.errors import FieldError, Invalid
from chains.fabric import schema
from chains.fabric.check import check
from chains.fabric.document import Entry, Fabric, Fault, canonical
from chains.fabric.export import export
from chains.fabric.holds import faults_of
from chains.fabric.rows import write
from chains.services.actor import SYSTEM, Actor, require_operator
from chains.services.trail import audit, bell
from drivers.base import is_unverified
from drivers.registry import DRIVERS

LOAD_LOCK = 0x56494146


class FabricRefused(Invalid):
    """The file was not loaded. faults: all of them, by line."""

    code = "fabric"

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        errors = tuple(
            FieldError(fault.path, "fabric", str(fault)) for fault in faults[: schema.nodes.MAX_FAULTS]
        )
        super().__init__(f"The fabric file has {count}; nothing was loaded. {faults[0]}", errors=errors)
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Difference:
    """Names of one section, by what becomes of them."""

    created: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int

    @property
    def is_empty(self) -> bool:
        return not (self.created or self.changed or self.removed)


Summary = Mapping[str, Difference]


def read(text: str) -> Fabric:
    """The document, in canonical order, if it has no fault at all. No database. Errors: FabricRefused."""
    fabric, faults = schema.read(text)
    if fabric is not None:
        capabilities = {name: driver.caps for name, driver in DRIVERS.items()}
        faults = tuple(sorted({*faults, *check(fabric, capabilities)}))
    if faults or fabric is None:
        raise FabricRefused(faults)
    return canonical(fabric)


def load(text: str, *, actor: Actor = SYSTEM) -> Summary:
    """Make the rows what the text says, in one transaction. Errors: FabricRefused, Forbidden."""
    require_operator(actor)
    return apply(read(text), actor=actor)


@transaction.atomic
def apply(wanted: Fabric, *, actor: Actor = SYSTEM) -> Summary:
    """The same with what `read` returned. Errors: FabricRefused if something that would go is needed, Forbidden."""
    require_operator(actor)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOAD_LOCK])
    before = export()
    is_first = not models.Fabric.objects.exists()
    if wanted == before and not is_first:
        return compare(before, wanted)
    summary = compare(before, wanted)
    faults = faults_of(before, wanted)
    if faults:
        raise FabricRefused(faults)
    write(before, wanted)
    touched = _plan_anew(before, wanted)
    _ring(before, wanted)
    _tell_unverified(before, wanted, actor)
    detail = {
        section: {"created": held.created, "changed": held.changed, "removed": held.removed}
        for section, held in summary.items()
        if not held.is_empty
    }
    audit(
        actor, "fabric.load", f"fabric {wanted.fabric}", tenant=None, detail={**detail, "plan_anew": touched}
    )
    return summary


def compare(before: Fabric, wanted: Fabric) -> Summary:
    """Section by section; both in canonical order."""
    return {
        section: _compare(index(before, section), index(wanted, section))
        for section in ("sites", "vrfs", "tenants", "devices", "links", "functions", "prices", "offers", "segments")
    }


def index(fabric: Fabric, section: str) -> dict[str, Entry]:
    """The entries of a section by the name that is theirs alone."""
    label = "full_name" if section == "segments" else "name"
    return {getattr(entry, label): entry for entry in getattr(fabric, section)}


def _compare(before: Mapping[str, Entry], wanted: Mapping[str, Entry]) -> Difference:
    both = [name for name in wanted if name in before]
    changed = tuple(name for name in both if before[name] != wanted[name])
    return Difference(
        created=tuple(name for name in wanted if name not in before),
        changed=changed,
        removed=tuple(name for name in before if name not in wanted),
        unchanged=len(both) - len(changed),
    )


def _plan_anew(before: Fabric, wanted: Fabric) -> list[str]:
    """Chains from or to a segment that changed are at a new generation: what is in force is not what is meant."""
    old, new = index(before, "segments"), index(wanted, "segments")
    changed = [name for name in new if name in old and old[name] != new[name]]
    pairs = [name.rpartition("/")[::2] for name in changed]
    rows = models.Segment.objects.select_related("tenant")
    ids = [row.pk for row in rows if ((row.tenant.name if row.tenant else ""), row.name) in pairs]
    chains = models.Chain.objects.select_for_update(of=("self",)).select_related("tenant").order_by("pk")
    touched = []
    for chain in chains.filter(is_wanted=True):
        if chain.source_id not in ids and chain.destination_id not in ids:
            continue
        chain.generation += 1
        if chain.status != models.Chain.Status.DRAFT:
            chain.status = models.Chain.Status.PENDING
            chain.status_reason = "its segments changed: ask for a plan and apply it"
        chain.save()
        bell(models.Outbox.Topic.CHAIN, chain.pk)
        touched.append(f"{chain.tenant.name}/{chain.name}")
    return touched


def _ring(before: Fabric, wanted: Fabric) -> None:
    """Devices that are new or described anew are looked at."""
    old, new = index(before, "devices"), index(wanted, "devices")
    names = [name for name, entry in new.items() if old.get(name) != entry]
    for pk in models.Device.objects.filter(name__in=names).order_by("pk").values_list("pk", flat=True):
        bell(models.Outbox.Topic.DEVICE, pk)


def _tell_unverified(before: Fabric, wanted: Fabric, actor: Actor) -> None:
    """The audit has it whenever a device need not prove any more who it is, and when it must again."""
    old = {entry.name: is_unverified(entry.settings) for entry in before.devices}
    for entry in wanted.devices:
        is_now = is_unverified(entry.settings)
        if is_now != old.get(entry.name, False):
            action = "device.unverified" if is_now else "device.verified"
            audit(actor, action, f"device {entry.name}", tenant=None, detail={"unverified": "yes" if is_now else "no"})
