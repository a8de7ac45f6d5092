# SPDX-License-Identifier: Apache-2.0
"""How long does it take to program very many vendor switches at once? Imported once Django is set up.

Real: the EOS driver over the unmodified NAPALM driver, eAPI over verified TLS, `Fleet` with a thread a device. Each
device is read, asked whether it would take the text, committed with a timer, read back through a new connection,
confirmed, and read again. Emulated: the switches (`lab.devices.eos`), in a few processes on this machine, which share
its processors with us. Every answer of theirs is late by the same time, so that waiting is most of what one device
takes, as it is in a network; how late a real switch is, and that its commit is later than a question, is not in it.
Neither is the engine: no plan, no lease, no row.

One device: the slowest of a few that are programmed alone, one after the other, in the same way in the same run. Not
the slowest of the crowd: with a slot for each, the crowd would be compared with itself.

The rival is nornir with napalm_configure, with as many threads, on the same devices after a reset, with the same text.
It loads, compares and commits: it does not validate first, and neither reads back nor confirms. So it has less to do,
and the ratio says what that costs; it is no race.
"""

from __future__ import annotations

import gc
import json
import logging
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

from nornir.core import Nornir
from nornir.core.inventory import ConnectionOptions, Defaults, Groups, Host, Hosts, Inventory
from nornir.core.plugins.connections import ConnectionPluginRegister
from nornir.plugins.runners import ThreadedRunner
from nornir_napalm.plugins.connections import CONNECTION_NAME, Napalm
from nornir_napalm.plugins.tasks import napalm_configure

from chains.engine.kept import KEPT
from chains.engine.sessions import Answers, Fleet
from drivers.base import ConfirmingSession, Session, Target
from drivers.state import EMPTY, DeviceState
from lab.devices.process import Emulated
from tests.bench.report import Figure
from tests.bench.switches import PROCESSES, started
from tests.drivers.eos_rig import BLUE, base, eos_rig
from tests.drivers.samples import sample

T = TypeVar("T")
MOST = 2.0  # times one device
TIMEOUT_S = 60.0
LABEL = "si-bench"
REVERT_S = 600


@dataclass(frozen=True, slots=True)
class Size:
    """delay_s: of every answer of every device. alone: how many are programmed alone."""

    count: int
    delay_s: float
    alone: int


FULL = Size(count=100, delay_s=0.4, alone=2)
SMALL = Size(count=3, delay_s=0.1, alone=1)


@dataclass(frozen=True, slots=True)
class Work:
    """What each device is to hold, and the text that makes a new device hold it."""

    wanted: DeviceState
    native: str
    targets: Mapping[str, Target]
    references: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Run:
    """cpu_s: of this process, all threads; the devices' is not in it."""

    took_s: float
    cpu_s: float


def figures(size: Size) -> Iterator[Figure]:
    """Errors: AssertionError if a device refuses, or does not hold what it should in the end."""
    with (
        tempfile.TemporaryDirectory(prefix="viaduct-bench-") as folder,
        started(size.count, Path(folder), base(BLUE)) as devices,
    ):
        yield from _figures(size, devices, _work(devices, Path(folder)))


def _figures(size: Size, devices: Sequence[Emulated], work: Work) -> Iterator[Figure]:
    first = devices[:1]
    _reset(first, 0.0)
    _ours(first, work)  # imports
    _reset(first, 0.0)
    _theirs(first, work)
    _reset(devices, size.delay_s)
    alone_s = max(_ours([device], work).took_s for device in devices[: size.alone])
    _reset(devices, size.delay_s)
    ours = _ours(devices, work)
    held = _running(devices)
    _reset(devices, size.delay_s)
    theirs = _theirs(devices, work)
    assert _running(devices) == held, "the rival's devices hold something else than ours"
    lines = len(work.native.splitlines())
    told = (
        f"{size.count} emulated EOS in {min(PROCESSES, size.count)} processes, {size.count} slots, "
        f"{size.delay_s:g} s an answer, {len(work.wanted)} items in {lines} lines each"
    )
    is_met = ours.took_s <= MOST * alone_s
    yield Figure("vendors", ours.took_s, "s", alone_s, told, f"at most {MOST:g} times one device", is_met)
    less = "nornir-napalm over ours; it neither validates, reads back nor confirms"
    yield Figure("vendors.nornir", theirs.took_s, "s", ours.took_s, less)
    yield Figure("vendors.cpu", ours.cpu_s, "s", theirs.cpu_s, "of the process that programs, ours over theirs")


def _work(devices: Sequence[Emulated], folder: Path) -> Work:
    targets, references = {}, {}
    for device in devices:
        rig = eos_rig(device)
        file = folder / f"{device.name}.json"
        file.touch(mode=0o600)
        file.write_text(rig.target.secret)
        references[device.name] = f"file:{file}"
        targets[device.name] = replace(rig.target, name=device.name, secret="")
    wanted = sample(rig.site)
    return Work(wanted, rig.render(EMPTY, wanted), targets, references)


def _reset(devices: Sequence[Emulated], delay_s: float) -> None:
    """As they were when they started."""
    KEPT.close_idle(0.0)
    for device in devices:
        device.ask("/reset", {})
        device.fault(slow=delay_s)


def _running(devices: Sequence[Emulated]) -> dict[str, str]:
    found = {device.name: device.config() for device in devices}
    waiting = [name for name, config in found.items() if config["pending"]]
    assert not waiting, f"commits that nobody confirmed: {waiting}"
    return {name: str(config["running"]) for name, config in found.items()}


def _timed(do: Callable[[], None]) -> Run:
    gc.collect()
    gc.disable()
    try:
        began, cpu_began = time.perf_counter(), time.process_time()
        do()
        return Run(time.perf_counter() - began, time.process_time() - cpu_began)
    finally:
        gc.enable()


def _ours(devices: Sequence[Emulated], work: Work) -> Run:
    names = [device.name for device in devices]

    def propose(session: Session) -> None:
        assert not session.read().state, "the device is not as new"
        session.validate(work.native)
        cast(ConfirmingSession, session).commit(work.native, LABEL, REVERT_S)

    def settle(session: Session) -> DeviceState:
        seen = session.read()
        assert (seen.state, seen.pending) == (work.wanted, LABEL), f"read back: {seen}"
        cast(ConfirmingSession, session).confirm(LABEL)
        return session.read().state

    def do() -> None:
        targets = {name: work.targets[name] for name in names}
        references = {name: work.references[name] for name in names}
        # Two slots at least: with one, all is done in the caller's thread.
        slots = max(2, len(names))
        with Fleet(
            targets, references, timeout_s=TIMEOUT_S, threads=slots, while_waiting=lambda: None
        ) as fleet:
            _well(fleet.each(dict.fromkeys(names, propose)))
            settled = _well(fleet.each(dict.fromkeys(names, settle), is_anew=True))
        wrong = [name for name in names if settled.values[name] != work.wanted]
        assert not wrong, f"not as it should be: {wrong}"

    return _timed(do)


def _well(answers: Answers[T]) -> Answers[T]:
    assert not answers.errors, f"{len(answers.errors)} devices: {next(iter(answers.errors.values()))}"
    return answers


def _theirs(devices: Sequence[Emulated], work: Work) -> Run:
    """Connecting is in the time, as it is in ours; so is making sure who the device is."""
    if CONNECTION_NAME not in ConnectionPluginRegister.available:
        ConnectionPluginRegister.register(CONNECTION_NAME, Napalm)
    logging.getLogger("nornir").setLevel(logging.ERROR)  # it logs the text of every run

    def do() -> None:
        hosts = Hosts({device.name: _host(device, work) for device in devices})
        runner = ThreadedRunner(num_workers=max(2, len(devices)))
        nornir = Nornir(Inventory(hosts, Groups(), Defaults()), runner=runner)
        found = nornir.run(napalm_configure, configuration=work.native)
        assert not found.failed, f"nornir: {next(iter(found.failed_hosts.values()))[0].exception!r}"
        assert all(result[0].changed for result in found.values()), "nornir: a device that nothing was done to"

    return _timed(do)


def _host(device: Emulated, work: Work) -> Host:
    secret = json.loads(Path(work.references[device.name].removeprefix("file:")).read_text())
    context = ssl.create_default_context(cafile=secret["authority_file"])
    optional = {
        "transport": "https",
        "port": secret["port"],
        "context": context,
        "enforce_verification": True,
    }
    options = ConnectionOptions(
        hostname="127.0.0.1",
        username=secret["user"],
        password=secret["password"],
        platform="eos",
        extras={"timeout": TIMEOUT_S, "optional_args": optional},
    )
    return Host(device.name, hostname="127.0.0.1", connection_options={CONNECTION_NAME: options})
