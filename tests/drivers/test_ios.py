# SPDX-License-Identifier: Apache-2.0
"""Cisco IOS-XE: what NAPALM's driver overlooks, and what the session makes of it, on the emulated device.

Each trap is shown with NAPALM's own driver where it can be, so that the emulated device is known to have it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from napalm.base.exceptions import CommandErrorException, CommitConfirmException, MergeConfigException
from napalm.ios.ios import IOSDriver

from drivers.base import Rejected, Target, Transient
from drivers.state import EMPTY, DeviceState
from drivers.switch.ios import DRIVER, open_
from drivers.transport import ios as transport
from lab.devices.process import Emulated
from tests.drivers.contract import Rig, named
from tests.drivers.ios_rig import secret
from tests.drivers.samples import sample

LINES = "ip access-list extended guests\n 10 permit ip any any\nend\n"


@pytest.fixture
def first(open_ios: Rig) -> DeviceState:
    """The device holds it."""
    state = sample(open_ios.site, revision=1)
    open_ios.push(open_ios.render(EMPTY, state))
    return state


@pytest.fixture
def plain(ios_target: Target) -> Callable[..., IOSDriver]:
    """NAPALM's own driver, logged in."""

    def opened(**more: object) -> IOSDriver:
        login = json.loads(ios_target.secret)
        options = {"port": login["port"], "global_delay_factor": 0.005, **more}
        driver = IOSDriver("127.0.0.1", login["user"], login["password"], optional_args=options)
        driver.open()
        return driver

    return opened


def second_of(rig: Rig) -> DeviceState:
    return sample(rig.site, revision=2)


# --- errors that are text (traps 6, 8) --------------------------------------------------------


@pytest.mark.parametrize("fault", ["incomplete", "warned"])
def test_an_error_that_napalm_overlooks_is_no_success(
    fault: str, open_ios: Rig, ios_device: Emulated, first: DeviceState, plain: Callable[..., IOSDriver]
) -> None:
    ios_device.fault(**{fault: "10 permit"})
    driver = plain(auto_file_prompt=False)
    driver.load_merge_candidate(config=LINES)
    driver.commit_config()  # as if all were well
    driver.close()
    assert "extended guests\n 10" not in ios_device.config()["running"]
    ios_device.fault(**{fault: "set ip next-hop"})
    before = ios_device.config()["running"]
    with pytest.raises(Rejected, match="Incomplete command|would not change .*set ip next-hop.* which is meant"):
        open_ios.push(open_ios.render(first, second_of(open_ios)))
    ios_device.fault(**{fault: None}, late="set ip next-hop")
    with pytest.raises(Rejected, match="without an error.*taken back"):
        open_ios.push(open_ios.render(first, second_of(open_ios)))
    ios_device.fault(late=None)
    assert ios_device.config()["running"] == before
    assert open_ios.move(first, second_of(open_ios)) == second_of(open_ios)


def test_a_refused_line_changes_nothing(
    open_ios: Rig, ios_device: Emulated, first: DeviceState, plain: Callable[..., IOSDriver]
) -> None:
    """NAPALM's driver answers with `configure replace`: the whole box as it was."""
    ios_device.fault(invalid="match ip address SI-c7r2")
    before = ios_device.config()["running"]
    with pytest.raises(Rejected, match="Invalid input"):
        open_ios.push(open_ios.render(first, second_of(open_ios)))
    assert ios_device.config()["running"] == before
    assert open_ios.read().state == first
    assert not [line for line in ios_device.transcript() if line.startswith("configure replace")]
    ios_device.fault(invalid="bogus")
    driver = plain()
    driver.load_merge_candidate(config="bogus line\nend\n")
    with pytest.raises(MergeConfigException):
        driver.commit_config()
    driver.close()
    assert [line for line in ios_device.transcript() if line.startswith("configure replace")]


def test_a_file_without_end_cannot_be_compared(plain: Callable[..., IOSDriver]) -> None:
    driver = plain()
    driver.load_merge_candidate(config="hostname other\n")
    assert "error 5" in driver.compare_config()
    driver.close()


# --- two workers (trap 9) ---------------------------------------------------------------------


def test_napalm_has_one_merge_file_for_everybody(
    ios_device: Emulated, plain: Callable[..., IOSDriver]
) -> None:
    one, other = plain(), plain()
    one.load_merge_candidate(config="ntp server 203.0.113.10\nend\n")
    other.load_merge_candidate(config="ntp server 203.0.113.11\nend\n")
    one.commit_config()
    running = ios_device.config()["running"]
    assert "203.0.113.11" in running and "203.0.113.10" not in running
    one.close()
    other.close()


def test_two_sessions_have_two_files(ios_target: Target, ios_device: Emulated) -> None:
    with transport.opened(ios_target, 30) as one, transport.opened(ios_target, 30) as other:
        one._load(("ntp server 203.0.113.10",))
        other._load(("ntp server 203.0.113.11",))
        one.driver.commit_config()
    assert "203.0.113.10" in ios_device.config()["running"]
    assert "203.0.113.11" not in ios_device.config()["running"]


def test_a_file_that_somebody_overwrote_is_not_taken_for_ours(
    open_ios: Rig, ios_device: Emulated, first: DeviceState
) -> None:
    ios_device.fault(overwrite="ntp server 203.0.113.10\nend\n")
    with pytest.raises(Rejected):
        open_ios.push(open_ios.render(first, second_of(open_ios)))
    ios_device.fault(overwrite=None)
    assert open_ios.read().state == first


def test_no_file_stays_on_the_device(open_ios: Rig, ios_device: Emulated, first: DeviceState) -> None:
    with open_(open_ios.target, 30) as session:
        session.validate(open_ios.render(first, second_of(open_ios)))
    assert ios_device.config()["flash"] == []


# --- prerequisites ----------------------------------------------------------------------------


def test_napalm_saves_a_line_of_its_own(ios_device: Emulated, plain: Callable[..., IOSDriver]) -> None:
    """`file prompt quiet` goes into the startup configuration, and stays there; an operator's own is taken away."""
    ios_device.operator("no file prompt quiet")
    driver = plain()
    driver.load_merge_candidate(config=LINES)
    driver.commit_config()
    driver.close()
    config = ios_device.config()
    assert "file prompt quiet" in config["startup"] and "file prompt quiet" not in config["running"]


@pytest.mark.parametrize("line", ["file prompt quiet", "ip scp server enable", "ipv6 unicast-routing"])
def test_what_is_missing_is_named_and_never_enabled(open_ios: Rig, ios_device: Emulated, line: str) -> None:
    ios_device.operator(f"no {line}")
    before = ios_device.config()
    with pytest.raises(Rejected, match=f"add `{line}`"):
        open_ios.push(open_ios.render(EMPTY, sample(open_ios.site)))
    assert ios_device.config() == before


CLAIMS = {
    "policy of somebody": (
        ("interface GigabitEthernet1", "ip policy route-map to-proxy"), "no ip policy route-map to-proxy",
    ),
    "is in VRF red": (("vrf definition red", "interface GigabitEthernet1", "vrf forwarding red"),
                      "vrf forwarding blue"),
    "there is no VRF blue": (("no vrf definition blue",), "vrf definition blue"),
    "ip sla 30002": (("ip sla 30002", "icmp-echo 203.0.113.5"), "setting `slas`"),
    "track 502": (("track 502 ip sla 9 reachability",), "setting `tracks`"),
    "not ours: remove it": (("interface GigabitEthernet2.3001", "encapsulation dot1Q 3001"), "GigabitEthernet2.3001"),
    "no mark of ours": (("route-map SI-t-client-0-v4-aaa permit 10", "set interface Null0"),
                        "no route-map SI-t-client"),
}  # fmt: skip


@pytest.mark.parametrize("cause", CLAIMS)
def test_what_stands_in_the_way_is_refused_before_anything_is_touched(
    open_ios: Rig, ios_device: Emulated, cause: str
) -> None:
    lines, fix = CLAIMS[cause]
    ios_device.operator(*lines)
    before = ios_device.config()
    with pytest.raises(Rejected) as caught:
        open_ios.push(open_ios.render(EMPTY, sample(open_ios.site)))
    assert cause in str(caught.value) and fix in str(caught.value)
    assert ios_device.config() == before


# --- the disk, the wire -----------------------------------------------------------------------


def test_a_full_disk_refuses_before_anything_is_sent(
    open_ios: Rig, ios_device: Emulated, first: DeviceState
) -> None:
    ios_device.fault(disk_full=True)
    with pytest.raises(Rejected, match="[Ss]pace"):
        open_ios.push(open_ios.render(first, second_of(open_ios)))
    assert open_ios.read().state == first


def test_what_is_not_saved_is_no_success_and_a_reload_shows_why(open_ios: Rig, ios_device: Emulated) -> None:
    state = sample(open_ios.site)
    ios_device.fault(startup_full=True)
    with pytest.raises(Rejected, match="in force but not saved"):
        open_ios.push(open_ios.render(EMPTY, state))
    assert open_ios.read().state == state
    ios_device.fault(startup_full=None)
    open_ios.push(open_ios.render(EMPTY, state))  # nothing to send, but to save
    ios_device.reboot()
    assert open_ios.read().state == state


def test_a_damaged_file_is_not_merged(open_ios: Rig, ios_device: Emulated, first: DeviceState) -> None:
    ios_device.fault(md5=1)
    with pytest.raises(Rejected):
        open_ios.push(open_ios.render(first, second_of(open_ios)))
    assert open_ios.read().state == first


@pytest.mark.parametrize("fault", ["cut", "cut_after"])
def test_a_connection_that_is_cut_is_transient_and_the_push_can_be_sent_again(
    open_ios: Rig, ios_device: Emulated, first: DeviceState, fault: str
) -> None:
    native = open_ios.render(first, second_of(open_ios))
    ios_device.fault(**{fault: 1})
    with pytest.raises(Transient):
        open_ios.push(native)
    seen = open_ios.read().state
    assert {key: seen[key] for key in first} == dict(first), "what is new stands beside it at most"
    assert (seen == first) is (fault == "cut")
    again = open_ios.render(seen, second_of(open_ios), open_ios.read().residue)
    open_ios.push(again)
    assert open_ios.read().state == second_of(open_ios)
    assert "SI-c7r1" not in ios_device.config()["startup"]


def test_half_a_configuration_is_not_read_as_an_empty_one(
    open_ios: Rig, ios_device: Emulated, first: DeviceState
) -> None:
    ios_device.fault(short=1)
    with pytest.raises(Transient, match="incomplete"):
        open_ios.read()
    assert open_ios.read().state == first


# --- who it is (traps 13, 15) -----------------------------------------------------------------


def test_another_host_key_is_refused(ios_target: Target, ios_device: Emulated, tmp_path: Path) -> None:
    known = tmp_path / "other_hosts"
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMWqIMUVCTBcGO0aBv8Y5CyS8C6Hy5IYNpOCNM7dVyZH"
    known.write_text(f"[127.0.0.1]:{ios_device.ready['port']} {other}\n")
    for text in (str(known), ""):
        wrong = replace(ios_target, secret=secret(ios_device, tmp_path, known_hosts_file=text))
        with pytest.raises(Rejected), open_(wrong, 30):
            pass
    assert ios_device.transcript() == []
    known.write_text("")
    unknown = replace(ios_target, secret=secret(ios_device, tmp_path, known_hosts_file=str(known)))
    with pytest.raises(Rejected), open_(unknown, 30):
        pass
    unverified = replace(unknown, settings={**unknown.settings, "unverified": "yes"})
    with open_(unverified, 30) as session:
        session.read()


def test_a_wrong_password_is_refused_and_never_said(
    ios_target: Target, ios_device: Emulated, tmp_path: Path
) -> None:
    wrong = replace(ios_target, secret=secret(ios_device, tmp_path, password="not-this-1"))
    with pytest.raises(Rejected, match="refused the user") as caught, open_(wrong, 30):
        pass
    assert "not-this-1" not in str(caught.value)


def test_the_driver_is_napalms(ios_target: Target) -> None:
    """No `custom_napalm` package can take its place, and one method only is another."""
    assert transport.Driver.__mro__[1] is IOSDriver
    assert {name for name in vars(transport.Driver) if not name.startswith("__")} == {"rollback"}


# --- the revert timer: why there is no confirmed commit ---------------------------------------


def test_the_revert_timer_as_it_is(ios_device: Emulated, plain: Callable[..., IOSDriver]) -> None:
    driver = plain(auto_file_prompt=False)
    driver.load_merge_candidate(config=LINES)
    for seconds in (59, 7201, 86_340):
        with pytest.raises(CommitConfirmException):
            driver.commit_config(revert_in=seconds)
    driver.commit_config(revert_in=119)  # floored to one minute
    ios_device.operator("ntp server 203.0.113.77")
    ios_device.elapse(59)
    assert "guests" in ios_device.config()["running"] and driver.has_pending_commit()
    ios_device.elapse(1)
    running = ios_device.config()["running"]
    assert "guests" not in running and "203.0.113.77" not in running, "everybody's work goes"
    driver.close()


def test_only_who_began_may_confirm(ios_device: Emulated, plain: Callable[..., IOSDriver]) -> None:
    one = plain(auto_file_prompt=False)
    one.load_merge_candidate(config=LINES)
    one.commit_config(revert_in=120)
    login = {"port": ios_device.ready["port"], "global_delay_factor": 0.005}
    other = IOSDriver("127.0.0.1", "other", ios_device.ready["users"]["other"], optional_args=login)
    other.open()
    with pytest.raises(CommitConfirmException, match="not owned"):
        other.confirm_commit()
    with pytest.raises(CommandErrorException):
        other.commit_config()
    one.confirm_commit()
    ios_device.elapse(7200)
    assert "guests" in ios_device.config()["running"]
    one.close()
    other.close()


def test_a_strangers_timer_is_seen_and_nothing_is_sent(
    open_ios: Rig, ios_device: Emulated, first: DeviceState, plain: Callable[..., IOSDriver]
) -> None:
    driver = plain(auto_file_prompt=False)
    driver.load_merge_candidate(config=LINES)
    driver.commit_config(revert_in=120)
    assert open_ios.read().pending == "user admin"
    with pytest.raises(Rejected, match="not saved"):
        open_ios.push(open_ios.render(first, second_of(open_ios)))
    ios_device.operator("no ip access-list extended guests", is_saved=False)
    with pytest.raises(Rejected, match="already in progress"):
        open_ios.push(open_ios.render(first, second_of(open_ios)))
    assert open_ios.read().state == first
    driver.close()


def test_it_says_why_it_does_not_confirm(ios_target: Target) -> None:
    assert not DRIVER.caps.has_confirmed_commit
    with open_(ios_target, 30) as session, pytest.raises(Rejected, match="two hours"):
        session.commit("", "label", 120)  # type: ignore[attr-defined]


# --- drift ------------------------------------------------------------------------------------

DRIFT = (
    ("no route-map SI-t-client-0-v4-? permit 20",),
    ("interface GigabitEthernet1", "no ip policy route-map SI-t-client-0-v4-?"),
    ("no ip access-list extended SI-c7r1f1r1p3-?",),
    ("ip access-list extended SI-c7r1f1r1p3-?", "20 permit ip any any"),
    ("route-map SI-t-client-0-v4-? permit 30", "no set interface Null0"),
    ("interface GigabitEthernet2.3001", "no ip address 198.18.8.144 255.255.255.254"),
    ("interface GigabitEthernet2.3001", "shutdown"),
    ("ip access-list extended SI-c9r1f1r1p3-aaa", "10 permit ip any any"),
    ("no arp vrf blue 198.18.8.145 0200.0001.0bb9 ARPA",),
)


@pytest.mark.parametrize("lines", DRIFT, ids=lambda lines: lines[-1])
def test_what_somebody_changed_in_ours_is_seen_and_mended(
    open_ios: Rig, ios_device: Emulated, first: DeviceState, lines: tuple[str, ...]
) -> None:
    ios_device.operator(*named(ios_device, *lines))
    seen = open_ios.read().state
    assert seen != first
    assert open_ios.move(seen, first) == first
    assert open_ios.move(first, EMPTY) == EMPTY
    assert "SI-" not in ios_device.config()["running"]


def test_text_in_ours_that_nobody_here_writes_is_named(
    open_ios: Rig, ios_device: Emulated, first: DeviceState
) -> None:
    ios_device.operator(*named(ios_device, "ip access-list extended SI-c7r1f1r1p3-?", "5 deny ip any any"))
    with pytest.raises(Rejected, match="5 deny ip any any"):
        open_ios.read()


def test_a_policy_of_somebody_else_where_ours_was_shadows_it(
    open_ios: Rig, ios_device: Emulated, first: DeviceState
) -> None:
    ios_device.operator("interface GigabitEthernet1", "ip policy route-map to-proxy")
    seen = open_ios.read()
    assert seen.state != first
    assert seen.attached == ("shadows GigabitEthernet1 ip policy route-map to-proxy",)


def test_who_logs_in_learns_what_it_is_and_links_are_told(ios_target: Target, ios_device: Emulated) -> None:
    ios_device.fault(links_down=["GigabitEthernet2"])
    with transport.opened(ios_target, 30) as wire:
        facts = wire.facts()
        assert (facts.platform, facts.version, facts.serial) == (
            "Cisco IOS-XE C9300-24T",
            "17.09.04a",
            "FOC0000EMUL",
        )
    with open_(ios_target, 30) as session, suppress(Transient):
        assert session.read().links_up == {"client": True, "firewall": False}


# --- files that were left -----------------------------------------------------------------------


def test_what_a_lost_connection_left_on_flash_is_deleted_later(
    open_ios: Rig, ios_device: Emulated, ios_target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole running configuration lies there. A session that goes on keeps its files: they are young."""
    ios_device.fault(cut_after=True)
    with suppress(Transient):
        open_ios.push(open_ios.render(EMPTY, sample(open_ios.site)))
    left = ios_device.config()["flash"]
    assert len(left) == 2 and any(name.endswith("-before.txt") for name in left)
    open_ios.read()
    assert ios_device.config()["flash"] == left, "it may be somebody's who is at work"
    monkeypatch.setattr(transport, "STALE_S", -1.0)
    open_ios.read()
    assert ios_device.config()["flash"] == []


def test_only_old_files_of_ours_are_deleted(
    plain: Callable[..., IOSDriver], open_ios: Rig, ios_device: Emulated
) -> None:
    ours = ["viaduct-0000000100000000.txt", "viaduct-00000001abcdef01-before.txt"]
    theirs = ["config.viaduct-0000000100000000.txt", "viaduct-0000000100000000.txt.bak", "viaduct-notes.txt"]
    young = f"viaduct-{int(time.time()):08x}00000000-before.txt"
    driver = plain()
    for name in (*ours, *theirs, young):
        driver.device.send_command(f"copy null: flash:/{name}")
    driver.close()
    open_ios.read()
    assert ios_device.config()["flash"] == sorted([*theirs, young])
