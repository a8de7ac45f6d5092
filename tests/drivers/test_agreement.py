# SPDX-License-Identifier: Apache-2.0
"""The one session of the vendor families: what a device would do is what is meant, what is sent is what was planned,
and nobody's unsaved work becomes permanent. On the emulated devices of each family.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Rejected, Target
from drivers.difference import differs
from drivers.introspection import SSH, TLS, UNVERIFIED
from drivers.state import EMPTY
from lab.devices.process import Emulated
from tests.drivers.contract import Rig, named
from tests.drivers.samples import sample


@dataclass(frozen=True)
class Family:
    """also: a fault by which the device would do more than was sent. drops: a part of a line of every removal's text,
    and of what an addition's, for a fault by which it does less. unsaved: what a person types and does not save.
    """

    device: str
    also: dict[str, Any]
    drops: dict[str, dict[str, Any]]
    unsaved: tuple[str, ...] = ()
    prerequisite: tuple[str, ...] = ()


FAMILIES = {
    "eos": Family(
        "eos_device", {"also": "ip access-list THEIRS\n10 permit ip any any"},
        {"add": {"drops": "set nexthop"}, "remove": {"drops": "no policy-map type pbr SI-t-a"}},
        ("ip access-list UNSAVED", "10 permit ip any any"), ("no ip routing vrf blue",),
    ),
    "ios": Family(
        "ios_device", {"also": "ntp server 203.0.113.99"},
        {"add": {"warned": "set ip next-hop"}, "remove": {"warned": "no route-map"}},
        ("ntp server 203.0.113.77",), ("no ipv6 unicast-routing",),
    ),
    "nxos": Family(
        "nxos_device", {}, {"add": {"ignored": "set ip next-hop"}, "remove": {"ignored": "no route-map"}},
        ("ntp server 203.0.113.77",), ("no feature sla sender",),
    ),
    "iosxr": Family(
        "iosxr_device", {"foreign_change": "hostname owned"},
        {"add": {"drops": "permit udp"}, "remove": {"drops": "no ipv4 access-list SI-t-a"}},
    ),
    "junos": Family(
        "junos_box", {"also": "set system host-name owned"},
        {"add": {"drops": "set groups SI-viaduct firewall"}, "remove": {"drops": "delete groups SI-viaduct"}},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Bench:
    family: Family
    rig: Rig
    device: Emulated

    def push(self, native: str, *, is_confirmed: bool = False) -> None:
        with self.rig.driver.open(self.rig.target, 30) as session:
            if is_confirmed:
                session.commit(native, "si-9-0-1", 600)  # type: ignore[attr-defined]
            else:
                session.push(native)


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Bench:
    family = FAMILIES[request.param]
    rig: Rig = request.getfixturevalue(f"open_{request.param}")
    return Bench(family, rig, request.getfixturevalue(family.device))


def each(*names: str) -> Callable[[Any], Any]:
    return pytest.mark.parametrize("bench", names or list(FAMILIES), indirect=True)


# --- what a device would do -------------------------------------------------------------------


@each("eos", "ios", "iosxr", "junos")
def test_a_device_that_would_do_more_does_nothing(bench: Bench) -> None:
    """In every direction, with a confirmation or without."""
    first, second = sample(bench.rig.site, revision=1), sample(bench.rig.site, revision=2)
    for before, after in ((EMPTY, first), (first, second), (second, EMPTY)):
        native, then = bench.rig.render(before, after), bench.device.config()["running"]
        bench.device.fault(**bench.family.also)
        for is_confirmed in (False, True) if bench.rig.driver.caps.has_confirmed_commit else (False,):
            with pytest.raises(Rejected, match="would also change .* not meant"):
                bench.push(native, is_confirmed=is_confirmed)
            assert bench.device.config()["running"] == then
        bench.device.fault(**dict.fromkeys(bench.family.also))
        bench.rig.push(native)
        assert bench.rig.read().state == after


@each("eos", "ios", "iosxr", "junos")
def test_a_device_that_would_do_less_does_nothing(bench: Bench) -> None:
    first = sample(bench.rig.site, revision=1)
    for case, (before, after) in {"add": (EMPTY, first), "remove": (first, EMPTY)}.items():
        native, then = bench.rig.render(before, after), bench.device.config()["running"]
        faults = bench.family.drops[case]
        bench.device.fault(**faults)
        for is_confirmed in (False, True) if bench.rig.driver.caps.has_confirmed_commit else (False,):
            with pytest.raises(Rejected, match="would not change .* is meant"):
                bench.push(native, is_confirmed=is_confirmed)
            assert bench.device.config()["running"] == then
        bench.device.fault(**dict.fromkeys(faults))
        bench.rig.push(native)


@each("nxos")
def test_a_driver_that_computes_the_difference_computes_all_of_it(bench: Bench) -> None:
    """netutils takes no header twice in one text: such lines had no difference at all, and passed."""
    lines = ("interface Ethernet1/1", " mtu 9000", "interface Ethernet1/2", " mtu 9000", "interface Ethernet1/1",
             " description x")  # fmt: skip
    with bench.rig.driver.open(bench.rig.target, 30) as session:
        said = session.box.wire.difference(lines)  # type: ignore[attr-defined]
    assert said.splitlines() == [
        "interface Ethernet1/1", " mtu 9000", "interface Ethernet1/2", " mtu 9000", "interface Ethernet1/1",
        " description x",
    ]  # fmt: skip


def test_both_sides_count() -> None:
    assert differs(["+a", "-b"], ["-b", "+a"]) == ""
    assert "not change '+a'" in differs(["+a", "-b"], ["-b"])
    assert "also change '-c ...'" in differs(["+a"], ["+a", "-c"])
    assert "also change '-a ...'" in differs(["+a"], ["-a"]), "the other sign is another line"
    assert differs(["+a"], ["+a", "-c"], ["-c"]) == ""


# --- what is sent -----------------------------------------------------------------------------


def sent_of(bench: Bench, heard: list[str]) -> list[str]:
    """The configuration lines that came over the wire, without indentation where the client strips it."""
    if bench.rig.driver.name == "ios":
        return [line for text in bench.device.config()["sent"] for line in text.splitlines()]
    if bench.rig.driver.name == "eos":
        start = next(at for at, line in enumerate(heard) if line.startswith("configure session si-push"))
        return heard[start + 1 : heard.index("end", start)]
    known = ("show ", "checkpoint ", "terminal ", "no terminal ", "copy run ", "enable", "dir ")
    return [line for line in heard if not line.startswith(known)]


@each("eos", "ios", "nxos")
def test_what_is_sent_is_the_text_line_for_line(bench: Bench) -> None:
    """Rendered before anybody asked the device, from what it holds by the plans alone."""
    first, second = sample(bench.rig.site, revision=1), sample(bench.rig.site, revision=2)
    for before, after in ((EMPTY, first), (first, second), (second, EMPTY)):
        native = bench.rig.render(before, after)
        heard, files = len(bench.device.transcript()), len(bench.device.config().get("sent", ()))
        bench.rig.push(native)
        told = bench.device.transcript()[heard:]
        wanted = [line for line in native.splitlines() if not line.lstrip().startswith("!")]
        if bench.rig.driver.name == "ios":
            sent = [line for text in bench.device.config()["sent"][files:] for line in text.splitlines()]
            assert sent == wanted
        else:
            assert sent_of(bench, told) == [line.strip() for line in wanted]


@each("eos", "ios", "nxos")
def test_a_repair_says_every_line_that_it_sends(bench: Bench) -> None:
    """What stands there damaged is in no plan: the text comes from what was read."""
    first = sample(bench.rig.site, revision=1)
    bench.rig.push(bench.rig.render(EMPTY, first))
    damage = {
        "eos": ("no class-map type pbr match-any SI-c7r1f1r1p3",),
        "ios": ("no ip access-list extended SI-c7r1f1r1p3-?",),
        "nxos": ("no ip access-list SI-c7r1f1r1p3-?",),
    }[bench.rig.driver.name]
    bench.device.operator(*named(bench.device, *damage))
    seen = bench.rig.read()
    assert seen.state != first and seen.residue
    native = bench.rig.render(seen.state, first, seen.residue)
    heard, files = len(bench.device.transcript()), len(bench.device.config().get("sent", ()))
    bench.rig.push(native)
    wanted = [line.strip() for line in native.splitlines() if not line.lstrip().startswith("!")]
    if bench.rig.driver.name == "ios":
        texts = bench.device.config()["sent"][files:]
        assert [line.strip() for text in texts for line in text.splitlines()] == wanted
    else:
        assert sent_of(bench, bench.device.transcript()[heard:]) == wanted
    assert bench.rig.read().state == first and bench.rig.read().residue == ""


@each("ios", "nxos")
def test_a_text_from_somewhere_else_is_stale(bench: Bench) -> None:
    first, second = sample(bench.rig.site, revision=1), sample(bench.rig.site, revision=2)
    native = bench.rig.render(second, EMPTY)
    bench.rig.push(bench.rig.render(EMPTY, first))
    then = bench.device.config()["running"]
    with pytest.raises(Rejected, match="not those that this text starts from"):
        bench.rig.push(native)
    assert bench.device.config()["running"] == then


# --- whose work is saved ----------------------------------------------------------------------


@each("eos", "ios", "nxos")
def test_what_somebody_did_not_save_is_not_saved_by_us(bench: Bench) -> None:
    first = sample(bench.rig.site, revision=1)
    native = bench.rig.render(EMPTY, first)
    bench.device.operator(*bench.family.unsaved, is_saved=False)
    before = bench.device.config()
    with pytest.raises(Rejected, match="not saved.*copy running-config startup-config") as caught:
        bench.push(native)
    assert f"`+{bench.family.unsaved[0].split()[0]} ...`" in str(caught.value)
    assert bench.device.config() == {**before, "sent": bench.device.config()["sent"]} if "sent" in before else before
    with bench.rig.driver.open(bench.rig.target, 30) as session:
        assert any("not saved" in line for line in session.login().missing)  # type: ignore[attr-defined]
    told = replace(bench.rig.target, settings={**bench.rig.target.settings, "saves_others": "yes"})
    with bench.rig.driver.open(told, 30) as session:
        session.push(native)
    assert bench.family.unsaved[0] in bench.device.config()["startup"], "as its setting says"


SECRETS = ("username bob privilege 15 password 0 hunter2", "snmp-server community s3cret RW")


def test_what_a_device_would_also_change_is_not_quoted() -> None:
    for line in SECRETS:
        for sign in "+-!":
            said = differs(["+a"], ["+a", f"{sign}{line}"])
            assert f"{sign}{line.split()[0]} ..." in said and line.split()[-2] not in said
    assert "'...'" in differs([], ["+$5$hash"]), "nor a line that begins with no word"


@each("eos")
def test_a_confirmation_does_not_save_what_was_typed_meanwhile(bench: Bench) -> None:
    first = sample(bench.rig.site, revision=1)
    bench.push(bench.rig.render(EMPTY, first), is_confirmed=True)
    bench.device.operator(*bench.family.unsaved, is_saved=False)
    with bench.rig.driver.open(bench.rig.target, 30) as session:
        session.confirm("si-9-0-1")  # type: ignore[attr-defined]
    config = bench.device.config()
    assert config["pending"] == "" and bench.rig.read().state == first
    assert bench.family.unsaved[0] in config["running"] and bench.family.unsaved[0] not in config["startup"]


# --- prerequisites ----------------------------------------------------------------------------


@each("eos", "ios", "nxos")
def test_ours_can_go_when_a_prerequisite_is_gone(bench: Bench) -> None:
    first, second = sample(bench.rig.site, revision=1), sample(bench.rig.site, revision=2)
    bench.rig.push(bench.rig.render(EMPTY, first))
    bench.device.operator(*bench.family.prerequisite)
    with pytest.raises(Rejected, match="add `"):
        bench.rig.push(bench.rig.render(first, second))
    assert bench.rig.move(first, EMPTY) == EMPTY
    assert "SI-" not in bench.device.config()["startup"]


# --- who it is --------------------------------------------------------------------------------


@each()
def test_how_it_was_verified_is_what_the_session_did(bench: Bench, tmp_path: Path) -> None:
    """Not what the credential names: a file of known hosts proves nothing if the key is in none of its lines."""

    def verified(target: Target) -> str:
        with bench.rig.driver.open(target, 30) as session:
            return str(session.login().verified)  # type: ignore[attr-defined]

    target = bench.rig.target
    assert verified(target) in (TLS, SSH)
    login = json.loads(target.secret)
    for name in {"known_hosts_file", "authority_file"} & login.keys():
        other = tmp_path / name
        lines = Path(login[name]).read_text()
        other.write_text("" if name == "known_hosts_file" else lines)
        login[name] = str(other)
    loose = {**target.settings, "unverified": "yes"}
    assert verified(replace(target, secret=json.dumps(login), settings=loose)) == UNVERIFIED
