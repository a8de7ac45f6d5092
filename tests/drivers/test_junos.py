# SPDX-License-Identifier: Apache-2.0
"""The `junos` driver on an emulated box: NAPALM's traps, other people on the box, drift, what is refused before it is
sent. Where a trap is NAPALM's own, the bare NAPALM driver is shown to fall into it first."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from napalm import get_network_driver
from napalm.base import exceptions as napalm
from napalm.junos import JunOSDriver

from drivers.base import SHADOWS, Rejected, Target, Transient
from drivers.box import Facts
from drivers.diff import diff
from drivers.state import EMPTY, DeviceState
from drivers.switch.flows import torn
from drivers.switch.junos import DRIVER, render
from drivers.transport import junos as transport
from lab.devices.process import Emulated
from tests.drivers.junos_rig import PORTS, SITE, junos_target, theirs
from tests.drivers.samples import sample

GOLDEN = Path(__file__).with_name("golden")
FIRST, SECOND = sample(SITE, revision=1), sample(SITE, revision=2)
LABEL = "viaduct-c7-s1-e1"


@pytest.fixture
def target(junos_box: Emulated, tmp_path: Path) -> Target:
    return junos_target(junos_box, tmp_path)


def native(target: Target, before: DeviceState, after: DeviceState) -> str:
    return render(diff(before, after), replace(target, held=before))


def push(target: Target, before: DeviceState, after: DeviceState) -> None:
    with DRIVER.open(target, 10) as session:
        session.push(native(target, before, after))


def commit(target: Target, before: DeviceState, after: DeviceState, label: str = LABEL) -> None:
    with DRIVER.open(target, 10) as session:
        session.commit(native(target, before, after), label, 120)  # type: ignore[attr-defined]


def state(target: Target) -> DeviceState:
    with DRIVER.open(target, 10) as session:
        return session.read().state


def pending(target: Target) -> str:
    with DRIVER.open(target, 10) as session:
        return session.read().pending


@contextmanager
def bare(box: Emulated) -> Iterator[JunOSDriver]:
    """NAPALM's driver as anybody would use it."""
    ready = box.ready
    driver = JunOSDriver("127.0.0.1", ready["user"], ready["password"], 10, {"port": ready["port"]})
    driver.open()
    try:
        yield driver
    finally:
        driver.close()


def is_clean(box: Emulated) -> bool:
    seen = box.config()
    return seen["owner"] == "" and seen["candidate"] == seen["running"]


# --- a failed commit, an absent statement, a message ------------------------------------------------


def test_napalm_leaves_the_lock_and_the_candidate_after_a_failed_commit(junos_box: Emulated) -> None:
    junos_box.fault(fail_commit="no space left on device")
    with bare(junos_box) as driver:
        driver.load_merge_candidate(config="set system host-name other")
        with pytest.raises(Exception, match="no space left"):
            driver.commit_config()
        assert not is_clean(junos_box)
        assert junos_box.config()["owner"]


@pytest.mark.parametrize("how", ["push", "commit", "validate"])
def test_a_failed_commit_leaves_no_lock_and_a_clean_candidate(how: str, junos_box: Emulated, target: Target) -> None:
    with DRIVER.open(target, 10) as session:
        text = native(target, EMPTY, FIRST)
        if how == "validate":
            junos_box.operator("set routing-instances blue routing-options instance-import NOWHERE")
            junos_box.operator("rollback 0")
            text = text.replace("connected from instance blue", "connected from instance green")
        else:
            junos_box.fault(fail_commit="no space left on device")
        with pytest.raises(Rejected):
            if how == "push":
                session.push(text)
            elif how == "commit":
                session.commit(text, LABEL, 60)  # type: ignore[attr-defined]
            else:
                session.validate(text)
        assert is_clean(junos_box)  # while the session is still open
    junos_box.fault(fail_commit=None)
    push(target, EMPTY, FIRST)
    assert state(target) == FIRST


def test_a_name_that_leads_nowhere_is_found_by_the_boxs_own_check(junos_box: Emulated, target: Target) -> None:
    """Not by our claim: the box has no such instance at the moment of the check."""
    with DRIVER.open(target, 10) as session:
        session.read()
        junos_box.operator(
            "delete routing-instances blue", "set routing-instances red instance-type vrf", "commit"
        )
        with pytest.raises(Rejected, match="not defined|missing mandatory"):
            session.validate(native(target, EMPTY, FIRST))
    assert is_clean(junos_box)


def test_napalm_refuses_to_delete_what_is_absent_and_we_do_not(junos_box: Emulated, target: Target) -> None:
    with bare(junos_box) as driver, pytest.raises(napalm.MergeConfigException):
        driver.load_merge_candidate(config="delete groups SI-viaduct")
    push(target, FIRST, EMPTY)
    assert state(target) == EMPTY


def test_a_message_would_hide_the_pending_commit(junos_box: Emulated, target: Target) -> None:
    with bare(junos_box) as driver:
        driver.load_merge_candidate(config="set system host-name other")
        driver.commit_config(message="viaduct", revert_in=60)
        assert junos_box.config()["pending"]
        assert not driver.has_pending_commit()
    junos_box.elapse(60)
    commit(target, EMPTY, FIRST)
    assert pending(target) == LABEL
    sent = [line for line in junos_box.transcript() if line.startswith("commit-configuration") and "confirmed" in line]
    assert [" log=" in line for line in sent] == [True, False]


# --- other people on the box ------------------------------------------------------------------------


def test_a_commit_by_anybody_confirms_ours(junos_box: Emulated, target: Target) -> None:
    commit(target, EMPTY, FIRST)
    junos_box.operator("set system host-name renamed", "commit")
    assert pending(target) == ""
    with DRIVER.open(target, 10) as session, pytest.raises(Rejected, match="confirmed before"):
        session.confirm(LABEL)  # type: ignore[attr-defined]
    junos_box.elapse(120)
    assert state(target) == FIRST
    # The old label still lies there; the next commit of the same name is known all the same.
    commit(target, FIRST, SECOND)
    assert pending(target) == LABEL
    junos_box.elapse(120)
    assert (state(target), pending(target)) == (FIRST, "")


def test_a_strangers_commit_is_not_confirmed_by_ours(junos_box: Emulated, target: Target) -> None:
    junos_box.operator("set system host-name careful", "commit confirmed 5")
    assert pending(target) == transport.STRANGER
    with pytest.raises(Transient, match="would confirm it"):
        push(target, EMPTY, FIRST)
    with pytest.raises(Rejected, match="is pending"):
        commit(target, EMPTY, FIRST)
    with DRIVER.open(target, 10) as session:
        for call in (session.confirm, session.cancel):  # type: ignore[attr-defined]
            with pytest.raises(Rejected):
                call(LABEL)
    assert "careful" in junos_box.config()["running"]
    junos_box.elapse(300)
    assert "careful" not in junos_box.config()["running"]


def test_an_old_label_does_not_make_a_strangers_commit_ours(junos_box: Emulated, target: Target) -> None:
    commit(target, EMPTY, FIRST)
    junos_box.operator("set system host-name renamed", "commit")
    junos_box.operator("set system host-name careful", "commit confirmed 5")
    assert pending(target) == transport.STRANGER


@pytest.mark.parametrize("how", ["push", "confirm", "cancel", "validate"])
def test_edits_that_somebody_has_not_committed_are_not_taken_along(
    how: str, junos_box: Emulated, target: Target
) -> None:
    if how in ("confirm", "cancel"):
        commit(target, EMPTY, FIRST)
    junos_box.operator("set system host-name half-typed")
    before = junos_box.config()
    with DRIVER.open(target, 10) as session, pytest.raises(Transient, match="somebody else is configuring"):
        if how in ("push", "validate"):
            getattr(session, how)(native(target, EMPTY, FIRST))
        else:
            getattr(session, how)(LABEL)
    assert junos_box.config() == before
    junos_box.operator("rollback 0")
    if how == "confirm":
        with DRIVER.open(target, 10) as session:
            session.confirm(LABEL)  # type: ignore[attr-defined]
        assert (state(target), pending(target)) == (FIRST, "")


def test_a_lock_that_a_human_holds_is_waited_for(junos_box: Emulated, target: Target) -> None:
    junos_box.operator("configure exclusive", "set system host-name half-typed")
    before = junos_box.config()
    with pytest.raises(Transient, match="locked by: console"):
        push(target, EMPTY, FIRST)
    assert junos_box.config() == before
    junos_box.operator("exit")
    push(target, EMPTY, FIRST)
    assert state(target) == FIRST


def test_nothing_is_rolled_back_outside_a_pending_window(junos_box: Emulated, target: Target) -> None:
    push(target, EMPTY, FIRST)
    with DRIVER.open(target, 10) as session, pytest.raises(Rejected):
        session.cancel(LABEL)  # type: ignore[attr-defined]
    assert not [line for line in junos_box.transcript() if "rollback=1" in line and line.startswith("load")]
    assert state(target) == FIRST


def test_a_timer_that_ends_while_we_cancel_does_not_make_ours_stay(junos_box: Emulated, target: Target) -> None:
    """From then on the way back is our own change: NAPALM's `rollback` commits it for good."""
    commit(target, EMPTY, FIRST)
    junos_box.fault(timer_ends=1)
    with bare(junos_box) as driver:
        driver.rollback()
    assert state(target) == FIRST
    push(target, FIRST, EMPTY)
    commit(target, EMPTY, FIRST)
    junos_box.fault(timer_ends=1)
    with DRIVER.open(target, 10) as session, pytest.raises(Rejected, match="taken back"):
        session.cancel(LABEL)  # type: ignore[attr-defined]
    assert is_clean(junos_box)
    assert (state(target), pending(target)) == (EMPTY, "")


def test_a_label_that_was_there_before_does_not_keep_a_commit_from_being_taken_back(
    junos_box: Emulated, target: Target
) -> None:
    commit(target, EMPTY, FIRST)
    junos_box.operator("set system host-name renamed", "commit")
    commit(target, FIRST, SECOND)
    with DRIVER.open(target, 10) as session:
        session.cancel(LABEL)  # type: ignore[attr-defined]
    assert (state(target), pending(target)) == (FIRST, "")


# --- lines that go dead -----------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "after"), [("cut_before_commit", EMPTY), ("cut_after_commit", FIRST)])
def test_a_connection_that_is_cut_at_the_commit(
    fault: str, after: DeviceState, junos_box: Emulated, target: Target
) -> None:
    junos_box.fault(**{fault: 1})
    with pytest.raises(Transient):
        push(target, EMPTY, FIRST)
    assert is_clean(junos_box)
    assert state(target) == after
    push(target, EMPTY, FIRST)
    assert state(target) == FIRST


def test_a_reboot_keeps_what_was_committed(junos_box: Emulated, target: Target) -> None:
    push(target, EMPTY, FIRST)
    junos_box.reboot()
    assert state(target) == FIRST


# --- who is who -------------------------------------------------------------------------------------


def credential(target: Target, **changes: object) -> Target:
    return replace(target, secret=json.dumps({**json.loads(target.secret), **changes}))


def test_napalm_logs_in_to_any_machine_and_we_do_not(junos_box: Emulated, target: Target, tmp_path: Path) -> None:
    with bare(junos_box) as driver:
        assert driver.device._hostkey_verify is False
    other = tmp_path / "other_hosts"
    wrong = Path(json.loads(target.secret)["known_hosts_file"]).read_text().split()
    key = list(wrong[2])
    key[-4] = "A" if key[-4] != "A" else "B"
    other.write_text(f"{wrong[0]} {wrong[1]} {''.join(key)}\n")
    elsewhere = credential(target, known_hosts_file=str(other))
    with pytest.raises(Rejected, match="another machine"), DRIVER.open(elsewhere, 10):
        pass
    with pytest.raises(Rejected, match="nothing says who"), DRIVER.open(credential(target, known_hosts_file=""), 10):
        pass
    open_to_all = replace(credential(target, known_hosts_file=""), settings={"unverified": "yes"})
    assert state(open_to_all) == EMPTY


def test_the_box_says_what_it_is(target: Target) -> None:
    with transport.connect(target, 10) as box:
        assert box.facts() == Facts("mx204", "23.4R2.13")


def test_a_refused_password_is_not_repeated(target: Target) -> None:
    with pytest.raises(Rejected) as caught, DRIVER.open(credential(target, password="hunter2"), 10):
        pass
    assert "hunter2" not in str(caught.value)


def test_a_stray_package_does_not_replace_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stray = tmp_path / "custom_napalm"
    stray.mkdir()
    (stray / "__init__.py").write_text("")
    (stray / "junos.py").write_text(
        "from napalm import base\nclass StrayDriver(base.NetworkDriver):\n    pass\n"
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == "custom_napalm"]:
        monkeypatch.delitem(sys.modules, name)  # another's stray package, imported in this process before
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert get_network_driver("junos").__name__ == "StrayDriver"
        assert transport.JunOSDriver.__module__ == "napalm.junos.junos"
    finally:
        for name in ("custom_napalm.junos", "custom_napalm"):
            sys.modules.pop(name, None)


# --- drift ------------------------------------------------------------------------------------------

OURS = "groups SI-viaduct"
FILTER = f"{OURS} firewall family inet filter"
ROUTES = f"{OURS} routing-instances SI-h-b-0 routing-options static"
DAMAGES = {
    "a term is gone": (f"delete {FILTER} SI-t-a-0-4 term SI-c7r1f1g0p3",),
    "a match is wider": (f"delete {FILTER} SI-t-a-0-4 term SI-c7r1f1r1p3 from destination-port",),
    "a door is open": (f"set {FILTER} SI-t-b-3001-4 term SI-closed-4 then accept",
                       f"delete {FILTER} SI-t-b-3001-4 term SI-closed-4 then discard"),
    "terms in another order": (f"delete {FILTER} SI-t-a-0-4 term SI-c7r1f1g0p3",
                               f"set {FILTER} SI-t-a-0-4 term SI-c7r1f1g0p3 from source-address 10.1.1.0/24",
                               f"set {FILTER} SI-t-a-0-4 term SI-c7r1f1g0p3 from protocol tcp",
                               f"set {FILTER} SI-t-a-0-4 term SI-c7r1f1g0p3 from destination-port 80-83",
                               f"set {FILTER} SI-t-a-0-4 term SI-c7r1f1g0p3 then count SI-c7r1f1g0p3",
                               f"set {FILTER} SI-t-a-0-4 term SI-c7r1f1g0p3 then discard"),
    "not attached": (f"delete {OURS} interfaces ge-0/0/1 unit 0 family inet filter",),
    "an empty term, which takes all": (f"set {FILTER} SI-t-b-0-4 term SI-c9r1f1p0p0",),
    "another next hop": (f"set {ROUTES} route 0.0.0.0/1 next-hop 192.0.2.7",),
    "neighbours cannot be found": (f"delete {FILTER.replace('inet', 'inet6')} SI-t-a-0-6 term SI-neighbours",),
    "no discard": (f"delete {ROUTES} route 0.0.0.0/0",),
    "no neighbour": (f"delete {OURS} interfaces ge-0/0/2 unit 3001 family inet address 198.18.8.144/31 arp",),
    "not in the VRF": (f"delete {OURS} routing-instances blue interface ge-0/0/2.3001",),
    "not applied": ("delete apply-groups SI-viaduct",),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_what_somebody_damaged_is_seen_and_repaired(name: str, junos_box: Emulated, target: Target) -> None:
    push(target, EMPTY, FIRST)
    junos_box.operator(*DAMAGES[name], "commit")
    seen = state(target)
    assert diff(seen, FIRST)
    assert seen.keys() <= FIRST.keys()
    if name != "a match is wider":  # that is another item, and a sound one
        assert {key for key, item in seen.items() if item == torn(key.kind)} | (FIRST.keys() - seen.keys())
    push(target, seen, FIRST)
    assert state(target) == FIRST


def test_unknown_text_in_our_group_is_refused_by_name(junos_box: Emulated, target: Target) -> None:
    push(target, EMPTY, FIRST)
    junos_box.operator(f"set {OURS} system host-name theirs", "commit")
    with pytest.raises(Rejected, match="system host-name theirs"):
        state(target)


def test_links_are_known_by_port_and_counters_by_item(junos_box: Emulated, target: Target) -> None:
    push(target, EMPTY, FIRST)
    junos_box.fault(links_down=["ge-0/0/2"])
    with DRIVER.open(target, 10) as session:
        seen = session.read()
    assert seen.links_up == {"a": True, "b": False}
    assert seen.counters.keys() == FIRST.keys()


# --- refused before anything is sent ----------------------------------------------------------------

TAKEN = "set firewall family inet filter OPERATOR term 1 then accept"
CLAIMS = {
    "an operator's filter": (
        (TAKEN, "set interfaces ge-0/0/1 unit 0 family inet filter input OPERATOR"), "filter input OPERATOR"),
    "an operator's filter list": (
        (TAKEN, "set interfaces ge-0/0/1 unit 0 family inet filter input-list OPERATOR"), "input-list OPERATOR"),
    "an operator's unit": (("set interfaces ge-0/0/2 unit 3001 vlan-id 3001",), "ge-0/0/2 unit 3001"),
    "a name of ours": (("set firewall family inet filter SI-t-a-0-4 term 1 then accept",), "SI-t-a-0-4"),
    "a group of our name": (("set groups SI-viaduct system host-name x",), "is not ours"),
    "a group kept out": (("set interfaces ge-0/0/1 apply-groups-except SI-viaduct",), "apply-groups-except"),
    "no tags": (("delete interfaces ge-0/0/2 flexible-vlan-tagging", "delete interfaces ge-0/0/2 unit 0 vlan-id"),
                "set interfaces ge-0/0/2 flexible-vlan-tagging"),
    "no IPv6": (("delete interfaces ge-0/0/1 unit 0 family inet6",), "set interfaces ge-0/0/1 unit 0 family inet6"),
    "another VRF": (("set routing-instances red instance-type vrf",
                     "delete routing-instances blue interface ge-0/0/1.0",
                     "set routing-instances red interface ge-0/0/1.0"), "port a is in VRF red, but the chain is in bl"),
    "no VRF": (("delete routing-instances blue",), "there is no VRF blue"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_what_stands_in_the_way_is_refused_with_the_way_out(name: str, junos_box: Emulated, target: Target) -> None:
    lines, said = CLAIMS[name]
    junos_box.operator(*lines, "commit")
    before = junos_box.config()
    heard = len(junos_box.transcript())
    with DRIVER.open(target, 10) as session:
        for call in (session.validate, session.push):
            with pytest.raises(Rejected, match=said):
                call(native(target, EMPTY, FIRST))
    assert junos_box.config() == before
    assert not [line for line in junos_box.transcript()[heard:] if line.startswith(("load", "lock", "commit-conf"))]


def test_what_came_into_the_way_later_is_told(junos_box: Emulated, target: Target) -> None:
    push(target, EMPTY, FIRST)
    junos_box.operator("set interfaces ge-0/0/1 unit 0 family inet apply-groups-except SI-viaduct", "commit")
    with DRIVER.open(target, 10) as session:
        attached = session.read().attached
    assert attached == (f"{SHADOWS}interfaces ge-0/0/1 unit 0 family inet apply-groups-except SI-viaduct",)


# --- the exact commands -----------------------------------------------------------------------------


def test_the_exact_requests_of_each_operation(junos_box: Emulated, target: Target) -> None:
    """Reviewed by eye in the golden file; the text that is loaded has a file of its own."""
    before = theirs(junos_box)
    with DRIVER.open(target, 10) as session:
        steps = {
            "read": session.read,
            "validate": lambda: session.validate(native(target, EMPTY, FIRST)),
            "push": lambda: session.push(native(target, EMPTY, FIRST)),
            "commit": lambda: session.commit(native(target, FIRST, SECOND), LABEL, 120),  # type: ignore[attr-defined]
            "confirm": lambda: session.confirm(LABEL),  # type: ignore[attr-defined]
            "commit again": lambda: session.commit(native(target, SECOND, EMPTY), "other", 60),  # type: ignore[attr-defined]
            "cancel": lambda: session.cancel("other"),  # type: ignore[attr-defined]
        }
        written = []
        for name, step in steps.items():
            start = len(junos_box.transcript())
            step()
            written.append(f"# {name}")
            written += [_short(line) for line in junos_box.transcript()[start:]]
    file = GOLDEN / "junos-transcript.txt"
    if not file.exists():
        file.write_text("".join(f"{line}\n" for line in written))
        pytest.fail(f"{file.name} is new: review it")
    assert written == file.read_text().splitlines()
    assert theirs(junos_box) == before
    assert PORTS["a"].interface in before


def _short(line: str) -> str:
    """Without the text in between, and the revision's date."""
    first, *rest = line.split("\n")
    last = " ... " + " ".join(rest[-2:]).rpartition(" since ")[0] if len(rest) > 3 else ""
    return (first + last).rstrip()
