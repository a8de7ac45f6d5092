# SPDX-License-Identifier: Apache-2.0
"""Cisco NX-OS: what NAPALM's driver overlooks, and what the session makes of it, on the emulated device."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from napalm.base.exceptions import MergeConfigException, ReplaceConfigException
from napalm.nxos.nxos import NXOSDriver

from drivers.base import Rejected, Target, Transient
from drivers.state import EMPTY, DeviceState
from drivers.switch.nxos import DRIVER, open_
from drivers.transport import nxos as transport
from lab.devices.identity import tls_files
from lab.devices.process import Emulated
from tests.drivers.contract import Rig, named
from tests.drivers.nxos_rig import secret
from tests.drivers.samples import sample


@pytest.fixture
def first(open_nxos: Rig) -> DeviceState:
    """The device holds it."""
    state = sample(open_nxos.site, revision=1)
    open_nxos.push(open_nxos.render(EMPTY, state))
    return state


@pytest.fixture
def plain(nxos_target: Target) -> Callable[[], NXOSDriver]:
    """NAPALM's own driver, logged in."""

    def opened() -> NXOSDriver:
        login = json.loads(nxos_target.secret)
        options = {"port": login["port"], "ssl_verify": login["authority_file"]}
        driver = NXOSDriver("127.0.0.1", login["user"], login["password"], optional_args=options)
        driver.open()
        return driver

    return opened


def second_of(rig: Rig) -> DeviceState:
    return sample(rig.site, revision=2)


# --- errors (trap 6) --------------------------------------------------------------------------


def test_a_refused_line_takes_back_ours_and_nobody_elses(
    open_nxos: Rig, nxos_device: Emulated, first: DeviceState, plain: Callable[[], NXOSDriver]
) -> None:
    """There is no check before the commit; NAPALM's driver then takes the whole box back to its checkpoint."""
    nxos_device.fault(invalid="match ip address SI-c7r2")
    with pytest.raises(Rejected, match="Invalid command.*taken back"):
        open_nxos.push(open_nxos.render(first, second_of(open_nxos)))
    assert open_nxos.read().state == first
    assert not [line for line in nxos_device.transcript() if line.startswith("rollback")]
    driver = plain()
    driver.load_merge_candidate(config="ntp server 203.0.113.10\nbogus line\n")
    with pytest.raises(MergeConfigException):
        driver.commit_config()
    assert [line for line in nxos_device.transcript() if line.startswith("rollback")]


def test_an_error_in_the_text_of_a_success_is_no_success(
    open_nxos: Rig, nxos_device: Emulated, first: DeviceState, plain: Callable[[], NXOSDriver]
) -> None:
    """The TCAM is full: the policy is not attached, and the answer is 200."""
    nxos_device.fault(ignored="ip policy route-map")
    driver = plain()
    driver.load_merge_candidate(config="interface Ethernet1/3\nip policy route-map to-proxy\n")
    driver.commit_config()  # as if all were well
    assert "to-proxy" not in nxos_device.config()["running"]
    with pytest.raises(Rejected, match="without an error.*taken back"):
        open_nxos.push(open_nxos.render(first, second_of(open_nxos)))
    nxos_device.fault(ignored=None)
    assert open_nxos.read().state == first
    assert open_nxos.move(first, second_of(open_nxos)) == second_of(open_nxos)


def test_a_failed_checkpoint_does_not_matter_to_us(
    open_nxos: Rig, nxos_device: Emulated, first: DeviceState, plain: Callable[[], NXOSDriver]
) -> None:
    """NAPALM's driver does not notice, and has nothing to go back to."""
    nxos_device.fault(checkpoint_full=1)
    with pytest.raises(ReplaceConfigException, match="does not exist"):
        driver = plain()
        nxos_device.operator("hostname leaf1")
        driver.rollback_cfg = "another.txt"
        driver.load_merge_candidate(config="bogus line\n")
        driver.commit_config()
    nxos_device.fault(checkpoint_full=True, invalid="match ip address SI-c7r2")
    with pytest.raises(Rejected, match="taken back"):
        open_nxos.push(open_nxos.render(first, second_of(open_nxos)))
    assert open_nxos.read().state == first


def test_the_drivers_difference_is_never_empty_for_a_removal(
    open_nxos: Rig, nxos_device: Emulated, first: DeviceState, plain: Callable[[], NXOSDriver]
) -> None:
    """Trap 7. Ours is: nothing is sent for what is there already."""
    driver = plain()
    driver.load_merge_candidate(config="no ip access-list GONE\n")
    assert driver.compare_config() == "no ip access-list GONE"
    native = open_nxos.render(EMPTY, first)
    heard = len(nxos_device.transcript())
    open_nxos.push(native)
    assert all(line.startswith("show ") for line in nxos_device.transcript()[heard:])


# --- prerequisites ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["feature pbr", "feature sla sender", "hardware access-list tcam region ing-pbr 512"]
)
def test_what_is_missing_is_named_and_never_enabled(open_nxos: Rig, nxos_device: Emulated, line: str) -> None:
    nxos_device.operator(f"no {line}")
    before = nxos_device.config()
    with pytest.raises(Rejected, match=f"add `{line}`"):
        open_nxos.push(open_nxos.render(EMPTY, sample(open_nxos.site)))
    assert nxos_device.config() == before


def test_a_platform_that_carves_room_by_itself_is_believed(open_nxos: Rig, nxos_device: Emulated) -> None:
    nxos_device.operator("no hardware access-list tcam region ing-pbr 512")
    believed = replace(open_nxos.target, settings={"tcam_region": "default"})
    with open_(believed, 30) as session:
        session.push(open_nxos.render(EMPTY, sample(open_nxos.site)))
    assert open_nxos.read().state == sample(open_nxos.site)


CLAIMS = {
    "policy of somebody": (
        ("interface Ethernet1/1", "ip policy route-map to-proxy"), "no ip policy route-map to-proxy",
    ),
    "belongs to ePBR": (
        ("feature epbr", "interface Ethernet1/1", "epbr ip policy tenant-chain reverse"),
        "no epbr ip policy tenant-chain reverse",
    ),
    "is in VRF red": (("vrf context red", "interface Ethernet1/1", "vrf member red"), "vrf member blue"),
    "there is no VRF blue": (("no vrf context blue",), "vrf context blue"),
    "ip sla 302": (("ip sla 302", "icmp-echo 203.0.113.5"), "setting `slas`"),
    "track 302": (("track 302 ip sla 9 reachability",), "setting `tracks`"),
    "not ours: remove it": (("interface Ethernet1/2.3001", "encapsulation dot1q 3001"), "Ethernet1/2.3001"),
    "no mark of ours": (("route-map SI-t-client-0-v4-aaa permit 10", "set interface null0"),
                        "no route-map SI-t-client"),
}  # fmt: skip


@pytest.mark.parametrize("cause", CLAIMS)
def test_what_stands_in_the_way_is_refused_before_anything_is_touched(
    open_nxos: Rig, nxos_device: Emulated, cause: str
) -> None:
    lines, fix = CLAIMS[cause]
    nxos_device.operator(*lines)
    before = nxos_device.config()
    with pytest.raises(Rejected) as caught:
        open_nxos.push(open_nxos.render(EMPTY, sample(open_nxos.site)))
    assert cause in str(caught.value) and fix in str(caught.value)
    assert nxos_device.config() == before


# --- the disk, the wire -----------------------------------------------------------------------


def test_what_is_not_saved_is_no_success_and_a_reload_shows_why(
    open_nxos: Rig, nxos_device: Emulated
) -> None:
    state = sample(open_nxos.site)
    nxos_device.fault(startup_full=True)
    with pytest.raises(Rejected, match="in force but not saved"):
        open_nxos.push(open_nxos.render(EMPTY, state))
    nxos_device.fault(startup_full=None)
    open_nxos.push(open_nxos.render(EMPTY, state))
    nxos_device.reboot()
    assert open_nxos.read().state == state


@pytest.mark.parametrize("fault", ["cut", "cut_after"])
def test_a_connection_that_is_cut_is_transient_and_the_push_can_be_sent_again(
    open_nxos: Rig, nxos_device: Emulated, first: DeviceState, fault: str
) -> None:
    native = open_nxos.render(first, second_of(open_nxos))
    nxos_device.fault(**{fault: 1})
    with pytest.raises(Transient):
        open_nxos.push(native)
    seen = open_nxos.read().state
    assert {key: seen[key] for key in first} == dict(first), "what is new stands beside it at most"
    assert (seen == first) is (fault == "cut")
    again = open_nxos.render(seen, second_of(open_nxos), open_nxos.read().residue)
    open_nxos.push(again)
    assert open_nxos.read().state == second_of(open_nxos)


@pytest.mark.parametrize("lines", range(1, 90, 7))
def test_wherever_it_is_cut_the_next_push_completes_it(
    open_nxos: Rig, nxos_device: Emulated, first: DeviceState, lines: int
) -> None:
    native = open_nxos.render(first, second_of(open_nxos))
    nxos_device.fault(cut_middle=lines)
    with pytest.raises(Transient):
        open_nxos.push(native)
    seen = open_nxos.read().state
    again = open_nxos.render(seen, second_of(open_nxos), open_nxos.read().residue)
    open_nxos.push(again)
    assert open_nxos.read().state == second_of(open_nxos)
    assert "SI-c7r1" not in nxos_device.config()["running"]


def test_an_answer_that_is_no_json_is_transient(open_nxos: Rig, nxos_device: Emulated) -> None:
    nxos_device.fault(garbage=2)
    with pytest.raises(Transient, match="no NX-API"):
        open_nxos.read()


# --- who it is (traps 13, 15) -----------------------------------------------------------------


def test_another_certificate_is_refused(nxos_target: Target, nxos_device: Emulated, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other, _ = tls_files("leaf1", tmp_path / "other")
    for file in (str(other), ""):
        wrong = replace(nxos_target, secret=secret(nxos_device, authority_file=file))
        with pytest.raises(Rejected, match="certificate|nothing says who"), open_(wrong, 30):
            pass
    assert nxos_device.transcript() == []
    unverified = replace(wrong, settings={"unverified": "yes"})
    with open_(unverified, 30) as session:
        session.read()


def test_a_wrong_password_is_refused_and_never_said(nxos_target: Target, nxos_device: Emulated) -> None:
    wrong = replace(nxos_target, secret=secret(nxos_device, password="not-this-1"))
    with pytest.raises(Rejected, match="refused the user") as caught, open_(wrong, 30):
        pass
    assert "not-this-1" not in str(caught.value)


def test_the_driver_is_napalms() -> None:
    assert transport.Driver.__mro__[1] is NXOSDriver
    assert {name for name in vars(transport.Driver) if not name.startswith("__")} == {"rollback"}
    assert not DRIVER.caps.has_confirmed_commit and not DRIVER.caps.takes_deny


# --- drift ------------------------------------------------------------------------------------

DRIFT = (
    ("no route-map SI-t-client-0-v4-? permit 20",),
    ("interface Ethernet1/1", "no ip policy route-map SI-t-client-0-v4-?"),
    ("no ip access-list SI-c7r1f1r1p3-?",),
    ("ip access-list SI-c7r1f1r1p3-?", "20 permit ip any any"),
    ("interface Ethernet1/2.3001", "no ip arp 198.18.8.145 0200.0001.0bb9"),
    ("interface Ethernet1/2.3001", "shutdown"),
    ("interface Ethernet1/2.3001", "vrf member red"),
    ("ip access-list SI-c9r1f1r1p3-aaa", "10 permit ip any any"),
)


@pytest.mark.parametrize("lines", DRIFT, ids=lambda lines: lines[-1])
def test_what_somebody_changed_in_ours_is_seen_and_mended(
    open_nxos: Rig, nxos_device: Emulated, first: DeviceState, lines: tuple[str, ...]
) -> None:
    nxos_device.operator(*named(nxos_device, *lines))
    seen = open_nxos.read().state
    assert seen != first
    assert open_nxos.move(seen, first) == first
    assert open_nxos.move(first, EMPTY) == EMPTY
    assert "SI-" not in nxos_device.config()["running"]


def test_who_logs_in_learns_what_it_is(nxos_target: Target, nxos_device: Emulated) -> None:
    nxos_device.fault(links_down=["Ethernet1/2"])
    with transport.opened(nxos_target, 30) as wire:
        facts = wire.facts()
        assert facts.platform == "Cisco NX-OS Nexus9000 C93180YC-FX" and facts.version == "10.4(3)"
        assert wire.links_up()["Ethernet1/1"] and not wire.links_up()["Ethernet1/2"]
