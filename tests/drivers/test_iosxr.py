# SPDX-License-Identifier: Apache-2.0
"""IOS-XR: the text, what stands in the way, every trap of its NAPALM driver and of NETCONF, on an emulated router."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napalm.iosxr_netconf.iosxr_netconf import IOSXRNETCONFDriver

from drivers.base import Rejected, Target, Transient, Unsupported
from drivers.diff import diff
from drivers.state import EMPTY, Guard, Match, NextHop, Redirect
from drivers.switch import iosxr
from drivers.switch.iosxr_parse import TORN
from drivers.transport import iosxr as wire
from lab.devices.iosxr import Router
from lab.devices.process import Emulated, emulated
from tests.drivers.confirming import LABEL, commit, held, opened
from tests.drivers.contract import Rig
from tests.drivers.hostile import COUNT
from tests.drivers.iosxr_rig import OPERATOR, SITE, others, target_of
from tests.drivers.samples import sample, state, states

GOLDEN = Path(__file__).parent / "golden"
FIRST = sample(SITE)
WEB = Match("10.1.1.0/24", "0.0.0.0/0", "tcp", destination_ports=(443, 443))


@pytest.fixture
def rig(open_iosxr: Rig) -> Rig:
    return open_iosxr


@pytest.fixture
def device(rig: Rig, iosxr_device: Emulated) -> Emulated:
    return iosxr_device


def golden(name: str, text: str) -> None:
    """VIADUCT_GOLDEN=write writes it anew, to be reviewed like code."""
    file = GOLDEN / f"iosxr-{name}.txt"
    if os.environ.get("VIADUCT_GOLDEN") == "write":
        file.write_text(text)
    assert text == file.read_text()


def refused(rig: Rig, native: str, kind: type[Exception] = Rejected) -> str:
    """Validated and pushed: both say the same, and the device is as it was."""
    said = []
    for call in ("validate", "push"):
        with rig.driver.open(rig.target, 30) as session, pytest.raises(kind) as caught:
            getattr(session, call)(native)
        said.append(str(caught.value))
    return said[0]


# --- the text ---------------------------------------------------------------------------------


def test_the_text_is_as_reviewed(rig: Rig) -> None:
    second = sample(SITE, revision=2)
    golden("create", rig.render(EMPTY, FIRST))
    golden("change", rig.render(FIRST, second))
    golden("remove", rig.render(FIRST, EMPTY))


def test_the_exact_requests_of_a_confirmed_commit(rig: Rig, device: Emulated) -> None:
    wanted = state([Redirect("a", 0, WEB, SITE.hop("b", 0, ""))])
    with opened(rig) as session:
        session.validate(rig.render(EMPTY, wanted))
        session.commit(rig.render(EMPTY, wanted), LABEL, 120)
    with opened(rig) as session:
        session.confirm(LABEL)
    golden("transcript", "".join(f"{line}\n" for line in device.transcript()))


def router_with(native: str = "", quirks: frozenset[str] = frozenset()) -> Router:
    router = Router("xr1", quirks)
    router.operate(list(OPERATOR))
    router.operate(native.splitlines())
    return router


PURE = target_of(Emulated("xr1", {"secret": ""}, 0))


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([frozenset(), frozenset({"wildcards", "names"})]))
def test_what_is_rendered_is_read_back(data: st.DataObject, quirks: frozenset[str]) -> None:
    """However the release prints it: and applied, then reversed, it is gone."""
    wanted = data.draw(states(SITE))
    there, back = diff(EMPTY, wanted), diff(wanted, EMPTY)
    native = iosxr.render(there, PURE)
    assert native == iosxr.render(there[::-1], PURE)
    iosxr.check(native, PURE)
    router = router_with(native, quirks)
    assert iosxr.read(router.shown(router.running), PURE).state == wanted
    router.operate(native.splitlines())
    assert iosxr.read(router.shown(router.running), PURE).state == wanted
    router.operate(iosxr.render(back, replace(PURE, held=wanted)).splitlines())
    assert router.shown(router.running) == router.shown(router_with("", quirks).running)


HOSTILE = ("\n", "\r", "!", " ", "no router bgp", "exit", "<", "&", "]]>]]>", "\x1b", "'", "$(reboot)", "é", "a" * 80)


def test_hostile_names_never_become_commands() -> None:
    """Ports, their interfaces and VRFs are the only text that reaches the renderer."""
    seeded = random.Random(7)
    wanted = diff(EMPTY, state([Redirect("a", 0, WEB, SITE.hop("b", 0, ""))]))
    lines = iosxr.render(wanted, PURE).count("\n")
    for number in range(COUNT):
        text = "".join(seeded.choices([*HOSTILE, "a", "0", "/"], k=seeded.randint(1, 4)))
        ports = dict(PURE.ports)
        where = number % 3
        if where == 0:
            ports["b"] = replace(ports["b"], interface=f"GigabitEthernet0/0/0/2{text}")
        elif where == 1:
            ports["a"] = replace(ports["a"], name=f"a{text}")
        hostile = replace(PURE, ports=ports, vrfs={"blue" + text if where == 2 else "blue": 101})
        try:
            native = iosxr.render(wanted, hostile)
        except Unsupported:
            continue
        assert native.count("\n") == lines
        iosxr.check(native, hostile)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (Redirect("a", 0, replace(WEB, protocol="sctp"), SITE.hop("b", 0, "")), "SCTP"),
        (Redirect("z", 0, WEB, SITE.hop("b", 0, "")), "no port 'z'"),
        (Redirect("a", 0, WEB, NextHop("b", 0, "02:00:00:00:99:99", "blue")), "MAC"),
    ],
)
def test_what_xr_cannot_say_is_refused_while_planning(item: Redirect, said: str) -> None:
    with pytest.raises(Unsupported, match=said):
        iosxr.render(diff(EMPTY, state([item])), PURE)


# --- failing closed ---------------------------------------------------------------------------


def test_a_dead_next_hop_drops(rig: Rig, device: Emulated) -> None:
    """The trap: a line whose next hops are all down is routed, past the function."""
    wanted = state([Redirect("a", 0, WEB, SITE.hop("b", 0, "")), Redirect("a", 3001, WEB, SITE.hop("b", 3003, ""))])
    rig.push(rig.render(EMPTY, wanted))
    packet = {"interface": "GigabitEthernet0/0/0/1", "source": "10.1.1.7", "destination": "10.9.9.9", "port": 443}
    hop = "10.2.0.2"
    assert device.ask("/packet", {**packet, "dead": []}) == hop
    assert device.ask("/packet", {**packet, "dead": [hop]}) == "drop"
    assert device.ask("/packet", {**packet, "port": 80, "dead": []}) == "route blue"
    assert device.ask("/packet", {**packet, "destination": "10.1.0.1", "dead": []}) == "route blue"
    crossing = {**packet, "interface": "GigabitEthernet0/0/0/1.3001"}
    assert device.ask("/packet", {**crossing, "dead": []}).startswith("198.1")
    assert device.ask("/packet", {**crossing, "port": 80, "dead": []}) == "drop"
    device.operator("ipv4 access-list naive", f"10 permit ipv4 any any nexthop1 vrf blue ipv4 {hop}")
    device.operator("interface GigabitEthernet0/0/0/3", "ipv4 access-group naive ingress")
    naive = {**packet, "interface": "GigabitEthernet0/0/0/3"}
    assert device.ask("/packet", {**naive, "dead": []}) == hop
    assert device.ask("/packet", {**naive, "dead": [hop]}) == "route blue"


# --- claim before touch -----------------------------------------------------------------------

ONE = "GigabitEthernet0/0/0/1"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("ipv4 access-list theirs", "10 permit ipv4 any any", f"interface {ONE}", "ipv4 access-group theirs ingress"),
         f"has the access list theirs .* `interface {ONE}` / `no ipv4 access-group theirs ingress`"),
        (("policy-map type pbr P", f"interface {ONE}", "service-policy type pbr input P"), "forwards by a policy"),
        (("vrf red", f"interface {ONE}", "vrf red"), "is in VRF red, not in blue; give"),
        ((f"no interface {ONE}",), "is not in the running configuration"),
        (("interface GigabitEthernet0/0/0/2.3001", "encapsulation dot1q 3001"), "is the operator's; .*`no interface"),
        (("interface GigabitEthernet0/0/0/2.7", "encapsulation dot1q 3001"), r"has VLAN 3001, which is a stage tag"),
        (("ipv4 access-list SI-t-a-0-4", "10 permit ipv4 any any"), "is on the device without our mark"),
        (("vrf SI-b-3001",), "vrf SI-b-3001 is on the device without our mark"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_named(rig: Rig, device: Emulated, lines: tuple[str, ...], said: str) -> None:
    device.operator(*lines)
    before = device.config()["running"]
    with pytest.raises(Rejected, match=said):
        raise Rejected(refused(rig, rig.render(EMPTY, FIRST)))
    assert device.config()["running"] == before
    assert device.config()["commits"] == 0 or "commit" not in device.transcript()


def test_somebody_elses_line_in_the_candidate_is_not_committed(rig: Rig, device: Emulated) -> None:
    device.fault(foreign_change="hostname stolen")
    with rig.driver.open(rig.target, 30) as session, pytest.raises(Rejected, match=r"hostname \.\.\..*not meant"):
        session.validate(rig.render(EMPTY, FIRST))
    assert device.config()["lock"] == 0


# --- traps of the driver and of NETCONF -------------------------------------------------------


def test_a_refused_load_keeps_no_lock(rig: Rig, device: Emulated) -> None:
    """Trap 12: NAPALM leaves the candidate locked; the box does not."""
    device.fault(refuse_line="nexthop1")
    plain = wire.Driver("127.0.0.1", "viaduct", "emulated", optional_args={"port": device.ready["port"]})
    plain.open()
    with pytest.raises(Exception, match="SYNTAX"):
        plain.load_merge_candidate(config=rig.render(EMPTY, FIRST))
    assert device.config()["lock"] != 0
    plain.close()
    with opened(rig) as session:
        for call in (session.validate, session.push):
            with pytest.raises(Rejected, match="SYNTAX"):
                call(rig.render(EMPTY, FIRST))
            assert device.config()["lock"] == 0
    assert rig.read().state == EMPTY


@pytest.mark.parametrize("fault", ["held_lock", "stale_lock"])
def test_a_held_lock_is_waited_for_and_named(rig: Rig, device: Emulated, fault: str) -> None:
    """Trap 12: a lock that outlives its session looks the same as a person's."""
    native = rig.render(EMPTY, FIRST)
    if fault == "stale_lock":
        device.fault(stale_lock=1, cut_before_commit=1)
        with rig.driver.open(rig.target, 30) as session, pytest.raises(Transient):
            session.push(native)
    else:
        device.fault(held_lock=1)
    with pytest.raises(Transient, match=r"locked by session \d+.*clear configuration sessions"):
        raise Transient(refused(rig, native, Transient))
    assert rig.read().state == EMPTY


@pytest.mark.parametrize(("quirk", "said"), [("old", "no CLI text"), ("unconfirmed", "confirmed-commit:1.1")])
def test_releases_that_cannot_do_it_are_told_so(tmp_path: Path, quirk: str, said: str) -> None:
    """Trap 12: "cli" encoding needs a recent XR; without a check an old one looks empty."""
    with emulated("iosxr", "xr1", tmp_path, quirk) as device:
        device.operator(*OPERATOR)
        target = target_of(device)
        with pytest.raises(Rejected, match=said), iosxr.DRIVER.open(target, 30) as session:
            session.read()
            session.validate(iosxr.render(diff(EMPTY, FIRST), target))


def test_an_imposter_is_not_logged_in_to(rig: Rig, tmp_path: Path) -> None:
    """Trap 13, and worse: ncclient's own XR handler takes any key even if it is told to verify."""
    with emulated("iosxr", "xr1", tmp_path) as imposter:
        secret = str(rig.target.secret)
        port = str(imposter.ready["port"])
        known = Path(imposter.ready["secret"].split('"known_hosts_file": "')[1].split('"')[0])
        real = Path(secret.split('"known_hosts_file": "')[1].split('"')[0]).read_text()
        known.write_text(f"[127.0.0.1]:{port} {real.split(' ', 1)[1]}")
        target = replace(rig.target, secret=str(imposter.ready["secret"]))
        with pytest.raises(Rejected, match="host key is not the known one"), iosxr.DRIVER.open(target, 30):
            pass
        assert "<log-in>" not in imposter.transcript()
        more = {"port": int(port), "hostkey_verify": True}
        fooled = IOSXRNETCONFDriver("127.0.0.1", "viaduct", "emulated", optional_args=more)
        fooled.open()
        fooled.close()
        assert "<log-in>" in imposter.transcript()
        unverified = replace(target, settings={"unverified": "yes"})
        with iosxr.DRIVER.open(unverified, 30) as session:
            assert session.read().state == EMPTY


def test_without_known_hosts_nothing_is_opened(rig: Rig) -> None:
    fields = {name: value for name, value in json.loads(rig.target.secret).items() if name != "known_hosts_file"}
    target = replace(rig.target, secret=json.dumps(fields))
    with pytest.raises(Rejected, match="known_hosts_file") as caught, iosxr.DRIVER.open(target, 30):
        pass
    assert fields["password"] not in str(caught.value)


def test_a_wrong_password_is_said_and_not_shown(rig: Rig, device: Emulated) -> None:
    device.fault(refuse_login=1)
    with pytest.raises(Rejected, match="refused the user, passw") as caught, iosxr.DRIVER.open(rig.target, 30):
        pass
    assert "emulated" not in str(caught.value)


def test_it_is_napalms_own_driver() -> None:
    """Trap 15: a stray `custom_napalm` package cannot take its place."""
    assert wire.Driver.__mro__[1] is IOSXRNETCONFDriver
    assert IOSXRNETCONFDriver.__module__ == "napalm.iosxr_netconf.iosxr_netconf"


# --- commits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "is_done"), [("cut_before_commit", False), ("cut_after_commit", True)])
def test_a_lost_connection_is_found_out_by_reading(rig: Rig, device: Emulated, fault: str, is_done: bool) -> None:
    device.fault(**{fault: 1})
    with opened(rig) as session, pytest.raises(Transient):
        session.commit(rig.render(EMPTY, FIRST), LABEL, 120)
    assert held(rig) == ((FIRST, LABEL) if is_done else (EMPTY, ""))


def test_a_full_tcam_leaves_nothing(rig: Rig, device: Emulated) -> None:
    native = rig.render(EMPTY, FIRST)
    device.fault(refuse_commit="% Failed to commit: Insufficient TCAM space")
    with rig.driver.open(rig.target, 30) as session, pytest.raises(Rejected, match="TCAM"):
        session.push(native)
    now = device.config()
    assert (now["lock"], now["candidate"]) == (0, now["running"])
    assert rig.read().state == EMPTY


def test_a_reboot_takes_back_what_is_pending(rig: Rig, device: Emulated) -> None:
    before = device.config()["running"]
    commit(rig, EMPTY, FIRST)
    device.reboot()
    assert held(rig) == (EMPTY, "")
    assert device.config()["running"] == before


@pytest.mark.parametrize("call", ["confirm", "cancel"])
def test_a_person_confirmed_it_for_us(rig: Rig, device: Emulated, call: str) -> None:
    """Nothing is pending then, but the label is still there: either way it goes, and nothing is taken back."""
    commit(rig, EMPTY, FIRST)
    device.operator("commit")
    with opened(rig) as session:
        if call == "cancel":
            with pytest.raises(Rejected, match="nothing that could be taken back"):
                session.cancel(LABEL)
        else:
            session.confirm(LABEL)
    device.elapse(600)
    assert held(rig) == (FIRST, "")
    assert "SI-pending" not in device.config()["running"]


def test_a_strangers_pending_commit_stops_ours(rig: Rig, device: Emulated) -> None:
    device.operator("hostname trial", "commit confirmed")
    with opened(rig) as session, pytest.raises(Transient, match="pending"):
        session.commit(rig.render(EMPTY, FIRST), LABEL, 120)
    device.elapse(600)
    assert held(rig) == (EMPTY, "")
    assert "hostname trial" not in device.config()["running"]


# --- drift ------------------------------------------------------------------------------------


def test_no_answer_is_not_an_empty_device(rig: Rig, device: Emulated) -> None:
    rig.push(rig.render(EMPTY, FIRST))
    device.fault(empty=1)
    with rig.driver.open(rig.target, 30) as session, pytest.raises(Rejected, match="no configuration"):
        session.read()


@pytest.mark.parametrize(
    "lines",
    [
        ("interface GigabitEthernet0/0/0/1", "no ipv4 access-group SI-t-a-0-4 ingress"),
        ("interface GigabitEthernet0/0/0/2.3001", "no ipv6 access-group SI-t-b-3001-6 ingress"),
        ("interface GigabitEthernet0/0/0/2.3001", "vrf red"),
        ("no interface GigabitEthernet0/0/0/2.3001",),
        ("ipv4 access-list SI-t-a-0-4", "no 65000"),
        ("ipv4 access-list SI-t-a-0-4", "15 permit ipv4 any any"),
        ("ipv4 access-list SI-t-b-3001-4", "no 40"),
        ("ipv6 access-list SI-t-b-3001-6", "no 30", "no 40"),
        ("no vrf SI-b-3001",),
        ("vrf SI-b-3001", "fallback-vrf blue"),
        ("router static", "vrf SI-b-3001", "address-family ipv4 unicast", "no 0.0.0.0/0 Null0 254"),
        ("router static", "vrf SI-b-3001", "address-family ipv4 unicast", "10.0.0.0/8 vrf blue 10.3.0.2"),
        ("no arp vrf blue 198.18.8.145 0200.0001.0bb9 ARPA",),
    ],
)
def test_what_was_altered_is_seen_and_written_anew(rig: Rig, device: Emulated, lines: tuple[str, ...]) -> None:
    device.operator("vrf red")
    rig.push(rig.render(EMPTY, FIRST))
    good = device.config()["running"]
    device.operator(*lines)
    assert device.config()["running"] != good
    seen = rig.read().state
    assert seen != FIRST
    assert {item.precedence for item in (seen[one] for one in seen if seen[one] != FIRST.get(one))} <= {TORN}  # type: ignore[union-attr]
    assert rig.move(seen, FIRST) == FIRST
    assert device.config()["running"] == good


def test_a_crossing_is_open_if_the_other_familys_door_is(rig: Rig, device: Emulated) -> None:
    """Only IPv4 items are there, and the list that keeps IPv6 out is not in force any more."""
    wanted = state([Redirect("b", 3001, WEB, NextHop(vrf="blue"))])
    rig.push(rig.render(EMPTY, wanted))
    device.operator("interface GigabitEthernet0/0/0/2.3001", "no ipv6 access-group SI-t-b-3001-6 ingress")
    seen = rig.read().state
    assert seen != wanted
    assert rig.move(seen, wanted) == wanted


def test_text_of_others_inside_ours_is_named(rig: Rig, device: Emulated) -> None:
    rig.push(rig.render(EMPTY, FIRST))
    device.operator("ipv4 access-list SI-t-a-0-4", "15 permit ospf any any")
    with pytest.raises(Rejected, match="permit ospf any any inside ipv4 access-list SI-t-a-0-4"):
        rig.read()


def test_what_nobody_wants_any_more_goes(rig: Rig, device: Emulated) -> None:
    """Left by a change that nobody remembers, and damaged: its place is known, and is cleared."""
    clean = device.config()["running"]
    orphan = state([Guard("a", 3001, WEB), Guard("b", 0, WEB)], chain=99)
    rig.push(rig.render(EMPTY, orphan))
    device.operator("interface GigabitEthernet0/0/0/2", "no ipv4 access-group SI-t-b-0-4 ingress")
    seen = rig.read().state
    assert seen.keys() == orphan.keys()
    assert rig.move(seen, EMPTY) == EMPTY
    assert others(device) == "\n".join(clean.splitlines())


def test_the_default_table_is_a_vrf_too(rig: Rig, device: Emulated) -> None:
    for number in (1, 2, 3):
        device.operator(f"interface GigabitEthernet0/0/0/{number}", "no vrf blue")
    there: Target = replace(rig.target, settings={"global_vrf": "blue"})
    here = replace(rig, target=there)
    assert here.move(EMPTY, FIRST) == FIRST
    assert "vrf default" in device.config()["running"]


def test_links_and_facts(rig: Rig, device: Emulated) -> None:
    device.fault(down="GigabitEthernet0/0/0/2")
    assert dict(rig.read().links_up) == {"a": True, "b": False, "c": True}
    with wire.connected(rig.target, 30) as box:
        assert (box.facts().platform, box.facts().version) == ("Cisco IOS-XRv 9000", "7.5.2")


