# SPDX-License-Identifier: Apache-2.0
"""`manage.py live --device NAME`: the contract's main cases on a real device, which is then as it was before."""

from __future__ import annotations

import json
import os
import signal
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from chains.engine import live
from chains.engine.specimen import Place
from chains.errors import Problem
from chains.models import Attachment, Device, Offer
from chains.selectors import target_of
from drivers.base import DriverError, Target


class Command(BaseCommand):
    help = "Try a real device: write items of ours, read them back, take them away, compare its configuration."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--device", required=True, help="a device of the loaded fabric, with its credential")
        parser.add_argument("--ports", default="", help="one or two ports, by comma; default: those without a link")
        parser.add_argument("--vrf", default="", help="the VRF of the first port; default: that of its segment")
        parser.add_argument("--yes", action="store_true", help="write to it; without, only look")
        parser.add_argument("--may-close", action="store_true", help="also if it stops all forwarding meanwhile")
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, *args: Any, device: str, ports: str, vrf: str, yes: bool, **options: Any) -> None:
        row = Device.objects.filter(name=device).first()
        if row is None or not row.driver:
            raise CommandError(f"there is no managed device {device!a} in the loaded fabric")
        folder = Path(settings.ENVIRONMENT.state) / "live"
        place = place_of(row, [name for name in ports.split(",") if name], vrf)
        try:
            if yes:
                kept = folder / f"{row.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.txt"
                with _stoppable() as is_stopped:
                    keep, may_close = partial(_keep, kept), options["may_close"]
                    report = live.try_out(row, place, keep, may_close=may_close, is_stopped=is_stopped)
            else:
                kept, report = None, live.look(row, place)
        except Problem as problem:
            raise CommandError(problem.detail) from None
        except DriverError as error:
            raise CommandError(str(error)) from None
        found = told(row, place, report, kept)
        if options["json"]:
            self.stdout.write(json.dumps(found))
        else:
            for line in lines(found):
                self.stdout.write(line)
        if not found["ok"]:
            raise CommandError("not ok" if yes else "nothing was written; add --yes to write to it", returncode=1)


def place_of(row: Device, names: list[str], vrf: str) -> Place:
    """Errors: CommandError."""
    target = target_of(row)
    unknown = [name for name in names if name not in target.ports]
    if unknown:
        raise CommandError(f"{row.name} has no port {unknown[0]!a}; ports: {', '.join(sorted(target.ports))}")
    free = row.ports.filter(link_a=None, link_b=None).order_by("number", "name").values_list("name", flat=True)
    chosen = names or list(free)
    offer = Offer.objects.filter(device=row).exclude(inside="").first()
    seat = Attachment.objects.filter(port__device=row, port__name__in=chosen[:1]).select_related("segment__vrf").first()
    return Place(
        ports=tuple(target.ports[name] for name in chosen[:2]),
        vrf=vrf or (seat.segment.vrf.name if seat else _own_vrf(target, chosen)),
        inside=offer.inside if offer else "",
        outside=offer.outside if offer else "",
    )


def _own_vrf(target: Target, ports: list[str]) -> str:
    """That in which the operator has put the first port, else the first of all."""
    own = target.ports[ports[0]].vrf if ports else ""
    return own or next(iter(sorted(target.vrfs)), "")


def told(row: Device, place: Place, report: live.Report, kept: Path | None) -> dict[str, Any]:
    about = report.identity
    return {
        "device": row.name,
        "driver": row.driver,
        "platform": about.platform,
        "version": about.version,
        "verified": about.verified,
        "first_push": about.first_push,
        "ports": [port.name for port in place.ports],
        "vrf": place.vrf,
        "items": len(report.items.first),
        "left_out": list(report.items.left_out),
        "written": kept is not None,
        "snapshot": str(kept or ""),
        "native": report.native,
        "cases": [{"name": case.name, "ok": case.ok, "detail": case.detail} for case in report.cases],
        "difference": list(report.difference),
        "ok": report.ok,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """For people."""
    about = " ".join(part for part in (found["platform"], found["version"]) if part)
    shown = [f"{found['device']}: {about or found['driver']}; {found['verified']}"]
    shown += [f"ports {', '.join(found['ports']) or 'none'}; VRF {found['vrf'] or 'none'}; {found['items']} items"]
    shown += [f"BEWARE: {found['first_push']}"] if found["first_push"] else []
    shown += [f"left out: {line}" for line in found["left_out"]]
    if not found["written"]:
        return [*shown, "would be written:", *found["native"].splitlines()]
    shown += [f"{'ok  ' if case['ok'] else 'FAIL'} {case['name']} {case['detail']}".rstrip() for case in found["cases"]]
    return [*shown, *found["difference"], f"its configuration from before: {found['snapshot']}"]


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Whoever ends this process (SIGTERM, SIGHUP, Ctrl-C) gets the device back as it was first.

    A second Ctrl-C ends it at once.
    """
    asked = threading.Event()

    def stop(number: int, frame: object) -> None:
        if number == signal.SIGINT and asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {one: signal.signal(one, stop) for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield asked.is_set
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _keep(path: Path, text: str) -> None:
    """For the operator alone: a configuration may hold secrets."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
