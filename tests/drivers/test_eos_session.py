# SPDX-License-Identifier: Apache-2.0
"""EOS through the unmodified NAPALM driver: who it is, refusals and accidents, what is sent, traffic policies.

The traps of NAPALM's sessions are in `test_eos_box`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import napalm
import pytest

from drivers.base import Rejected, Transient
from drivers.diff import diff
from drivers.state import EMPTY, Guard, Match, Redirect
from drivers.switch import eos
from drivers.transport import eos as transport
from lab.devices.identity import tls_files
from lab.devices.process import Emulated, emulated
from tests.drivers.confirming import LABEL, commit, held, opened
from tests.drivers.contract import Contract, Rig
from tests.drivers.eos_rig import BLUE, OPERATOR, bare, base, eos_rig, eos_target, first_step, sent
from tests.drivers.samples import sample, state

GOLDEN = Path(__file__).parent / "golden"
ENGINE_LABEL = "si-7-0-3"


@pytest.fixture
def rig(eos_device: Emulated) -> Rig:
    return eos_rig(eos_device)


# --- trap 13: who the device is ---------------------------------------------------------------


def test_nothing_is_said_to_a_device_that_cannot_prove_who_it_is(
    rig: Rig, eos_device: Emulated, tmp_path: Path
) -> None:
    with bare(eos_device):
        pass  # the bare driver talks to anybody
    before = eos_device.transcript()
    other, _ = tls_files("other", tmp_path)
    secret = {**json.loads(rig.target.secret), "authority_file": str(other)}
    for target, words in (
        (replace(rig.target, secret=json.dumps(secret)), "certificate is not signed"),
        (replace(rig.target, secret=json.dumps({**secret, "authority_file": ""})), "unverified: yes"),
    ):
        with pytest.raises(Rejected, match=words), rig.driver.open(target, 10):
            pass
    assert eos_device.transcript() == before
    unverified = eos_target(eos_device, unverified="yes")
    with rig.driver.open(replace(unverified, secret=json.dumps(secret)), 10) as session:
        assert session.read().state == EMPTY


def test_a_wrong_password_is_not_repeated(rig: Rig, eos_device: Emulated) -> None:
    secret = {**json.loads(rig.target.secret), "password": "hunter2-hunter2"}
    target = replace(rig.target, secret=json.dumps(secret))
    with pytest.raises(Rejected, match="user or password") as caught, rig.driver.open(target, 10):
        pass
    assert "hunter2" not in "".join(str(each) for each in (caught.value, caught.value.__cause__))
    assert "correct-horse" not in "".join(eos_device.transcript())


# --- trap 15: whose driver it is --------------------------------------------------------------


def test_a_stray_custom_driver_is_not_taken(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "custom_napalm"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "eos.py").write_text(
        "from napalm.base import base\nclass Shadow(base.NetworkDriver):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert napalm.get_network_driver("eos").__module__ == "custom_napalm.eos"
    assert transport.EOSDriver.__module__ == "napalm.eos.eos"
    with rig.driver.open(rig.target, 10) as session:
        assert session.read().state == EMPTY


# --- what others type while we are at it ------------------------------------------------------


def test_a_commit_undoes_nobodys_work(rig: Rig, eos_device: Emulated) -> None:
    """A session replaces the running configuration by what it was when the session began, plus our lines."""
    theirs = ["interface Ethernet7", "description typed meanwhile"]
    eos_device.fault(typed_meanwhile=theirs)
    with bare(eos_device) as driver:
        driver.load_merge_candidate(config="ip access-list TRAP\n   10 permit ip any any\n")
        driver.commit_config()
    assert "typed meanwhile" not in eos_device.config()["running"]

    for write in (lambda s, n: s.push(n), lambda s, n: s.commit(n, LABEL, 120), lambda s, n: s.validate(n)):
        eos_device.ask("/reset", {})
        eos_device.fault(typed_meanwhile=theirs)
        with opened(rig) as session, pytest.raises(Rejected, match=r"interface \.\.\..*not meant"):
            write(session, first_step(rig))
        assert "typed meanwhile" in eos_device.config()["running"]
        assert eos_device.config()["sessions"] == {}
        assert rig.read().state == EMPTY


# --- refusals and accidents -------------------------------------------------------------------

REFUSALS = {
    "tcam_full": "insufficient hardware resources",
    "disk_full": "No space left on device",
    "says_done": "did nothing|says nothing of taking it back",
    "refuse_line": "Invalid input",
}


@pytest.mark.parametrize("fault", REFUSALS)
@pytest.mark.parametrize("is_confirmed", [True, False])
def test_what_the_device_refuses_leaves_nothing(
    rig: Rig, eos_device: Emulated, fault: str, is_confirmed: bool
) -> None:
    untouched = eos_device.config()
    eos_device.fault(**{fault: "set nexthop 198.18.8.145" if fault == "refuse_line" else 1})
    with opened(rig) as session, pytest.raises(Rejected, match=REFUSALS[fault]):
        if is_confirmed:
            session.commit(first_step(rig), LABEL, 120)
        else:
            session.push(first_step(rig))
    assert held(rig) == (EMPTY, "")
    assert eos_device.config() | {"sessions": {}} == untouched
    assert "pending" not in eos_device.config()["sessions"].values()


def test_a_lost_answer_to_a_commit(rig: Rig, eos_device: Emulated, hasty: None) -> None:
    """Before or after it took effect: who comes next sees which."""
    wanted = sample(rig.site)
    eos_device.fault(cut_before=f"configure session {ENGINE_LABEL} commit timer")
    with pytest.raises(Transient):
        commit(rig, EMPTY, wanted, ENGINE_LABEL)
    assert held(rig) == (EMPTY, "")
    eos_device.fault(cut_after=f"configure session {ENGINE_LABEL} commit timer")
    with pytest.raises(Transient):
        commit(rig, EMPTY, wanted, ENGINE_LABEL)
    assert held(rig) == (wanted, ENGINE_LABEL)
    with opened(rig) as session:
        session.confirm(ENGINE_LABEL)
    assert held(rig) == (wanted, "")


def test_a_push_while_another_commit_is_pending_is_refused(rig: Rig, eos_device: Emulated) -> None:
    eos_device.operator(
        "configure session maintenance", "configure session maintenance commit timer 00:10:00"
    )
    for call in (lambda s: s.push(first_step(rig)), lambda s: s.commit(first_step(rig), LABEL, 120)):
        with opened(rig) as session, pytest.raises(Rejected, match="maintenance"):
            call(session)
    assert held(rig) == (EMPTY, "maintenance")
    with opened(rig) as session, pytest.raises(Rejected):
        session.cancel(LABEL)
    assert eos_device.config()["pending"] == "maintenance"


def test_a_reboot_keeps_what_was_confirmed_and_nothing_else(rig: Rig, eos_device: Emulated) -> None:
    first, second = sample(rig.site, revision=1), sample(rig.site, revision=2)
    commit(rig, EMPTY, first)
    with opened(rig) as session:
        session.confirm(LABEL)
    commit(rig, first, second, "another")
    eos_device.reboot()
    assert held(rig) == (first, "")
    rig.push(rig.render(first, second))
    eos_device.reboot()
    assert held(rig) == (second, "")


def test_no_answer_is_transient(rig: Rig, eos_device: Emulated) -> None:
    eos_device.fault(garbled=1)
    with pytest.raises(Transient), rig.driver.open(rig.target, 10):
        pass
    eos_device.fault(slow=1.0)
    with pytest.raises(Transient), rig.driver.open(rig.target, 0.3):
        pass


def test_the_operators_configuration_is_byte_for_byte_the_same(rig: Rig, eos_device: Emulated) -> None:
    eos_device.operator(*OPERATOR)
    before = eos_device.config()["running"]
    first, second = sample(rig.site, revision=1), sample(rig.site, revision=2)
    for here, there in ((EMPTY, first), (first, second), (second, EMPTY)):
        rig.push(rig.render(here, there))
    assert eos_device.config()["running"] == before
    assert eos_device.config()["startup"] == before
    commit(rig, EMPTY, first)
    rig.elapse(120)
    assert eos_device.config()["running"] == before


def test_an_operators_policy_on_our_interface_is_refused_first(rig: Rig, eos_device: Emulated) -> None:
    eos_device.operator(*OPERATOR, "interface Ethernet1", "service-policy type pbr input THEIRS")
    before = eos_device.config()
    with opened(rig) as session:
        for call in (session.validate, session.push):
            with pytest.raises(Rejected, match="no service-policy type pbr input THEIRS"):
                call(first_step(rig))
    assert eos_device.config() == before
    assert not [line for line in sent(eos_device) if line.startswith("configure")]


def test_what_it_is_and_its_links(rig: Rig, eos_device: Emulated) -> None:
    eos_device.fault(links_down=["Ethernet2"])
    assert rig.read().links_up == {"a": True, "b": False, "c": True}
    with transport.opened(rig.target, 10) as box:
        facts = box.facts()
    assert (facts.platform, facts.version, facts.serial) == ("DCS-7280SR3", "4.33.1F-1", "EMU-leaf1")


# --- what is sent -----------------------------------------------------------------------------


def test_transcript_of_every_operation(rig: Rig, eos_device: Emulated) -> None:
    """The exact commands, in order, as NAPALM sends them."""
    web = Match("10.1.1.0/24", "0.0.0.0/0", "tcp", destination_ports=(443, 443))
    wanted = state([Redirect("a", 0, web, rig.site.hop("b", 0, "")), Guard("a", 0, web)])
    native = rig.render(EMPTY, wanted)
    said: list[str] = []
    heard = len(eos_device.transcript())

    def note(what: str) -> None:
        nonlocal heard
        lines = eos_device.transcript()
        said.extend(["", f"# {what}", *lines[heard:]])
        heard = len(lines)

    with opened(rig) as session:
        note("open")
        session.read()
        note("read")
        session.validate(native)
        note("validate")
        session.push(native)
        note("push")
        session.commit(rig.render(wanted, EMPTY), ENGINE_LABEL, 600)
        note("commit, to be confirmed in 10 minutes")
        session.cancel(ENGINE_LABEL)
        note("cancel")
        session.commit(rig.render(wanted, EMPTY), ENGINE_LABEL, 600)
        session.confirm(ENGINE_LABEL)
        note("commit and confirm")
    note("close")
    text = "\n".join(said).lstrip() + "\n"
    text = re.sub(r"si-(push|trial)-[0-9a-f]{8}", r"si-\1-*", text)
    if os.environ.get("VIADUCT_GOLDEN") == "write":
        (GOLDEN / "eos-transcript.txt").write_text(text)
    assert (GOLDEN / "eos-transcript.txt").read_text() == text


# --- the other style --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def default_vrf_first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("eos") / "default.cfg"
    file.write_text(base(""))
    return file


@pytest.fixture(scope="module")
def default_vrf_device(
    default_vrf_first: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Emulated]:
    with emulated("eos", "leaf2", tmp_path_factory.mktemp("leaf2"), str(default_vrf_first)) as device:
        yield device


class TestTrafficPolicies(Contract):
    """The whole contract with `steering: traffic-policy`, in the device's default VRF."""

    @pytest.fixture
    def rig(self, request: pytest.FixtureRequest, default_vrf_first: Path, tmp_path: Path) -> Iterator[Rig]:
        settings = {"steering": "traffic-policy", "global_vrf": BLUE}
        if "dead" in request.node.name:
            with emulated("eos", "leaf2", tmp_path / "leaf2", str(default_vrf_first)) as own:
                yield eos_rig(own, **settings)
            return
        shared: Emulated = request.getfixturevalue("default_vrf_device")
        shared.ask("/reset", {})
        yield eos_rig(shared, **settings)


def test_the_driver_says_what_it_can() -> None:
    caps = eos.DRIVER.caps
    assert caps.is_atomic and caps.has_confirmed_commit and caps.is_routed and caps.shares_objects
    assert not caps.has_lock and not caps.takes_deny and not caps.tracks
    assert diff(EMPTY, EMPTY) == ()
