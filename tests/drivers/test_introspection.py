# SPDX-License-Identifier: Apache-2.0
"""What devices say of themselves: Open vSwitch, a Linux box, a host's agent, and the session of NAPALM's families."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from drivers.base import Counter, Identity, Introspective, Printable, Rejected, Target
from drivers.box import Agree, BoxSession, Facts, Reading, Syntax, nothing
from drivers.introspection import configured
from drivers.state import EMPTY
from tests.drivers.contract import TIMEOUT_S, Rig


def told(rig: Rig) -> Identity:
    with rig.driver.open(rig.target, TIMEOUT_S) as session:
        assert isinstance(session, Introspective)
        return session.login()


def test_open_vswitch_says_its_version(open_openvswitch: Rig) -> None:
    found = told(open_openvswitch)
    assert (found.platform, found.missing) == ("Open vSwitch", ())
    assert found.version.split(".")[0].isdigit()
    assert found.verified.startswith("not verified: tcp:")


def test_a_linux_box_says_its_kernel(open_linux: Rig) -> None:
    found = told(open_linux)
    assert platform.release() in found.version
    assert found.platform and found.missing == ()
    assert "closes it" in found.first_push


def test_a_host_says_its_kernel(open_host: Rig) -> None:
    found = told(open_host)
    assert (found.platform, found.version) == ("Linux", platform.release())
    assert "enrolment" in found.verified


@dataclass
class Paper:
    """A box that only has a running configuration."""

    text: str
    saved: str | None = None
    meanwhile: str = ""

    def running(self) -> str:
        return self.text

    def startup(self) -> str | None:
        """None: a commit is what it starts with."""
        return self.saved

    def proof(self) -> str:
        return "the key was shown"

    def facts(self) -> Facts:
        return Facts("EOS vEOS-lab", "4.31.0F", "SN1")

    def trial(self, native: str) -> str:
        raise AssertionError("a log-in loads nothing")

    def commit(self, native: str, agree: Agree) -> None:
        """Somebody types while the text is loaded."""
        self.text += self.meanwhile
        agree(self.text, native, "")
        self.text += f"{native}\n"

    def commit_confirmed(self, native: str, label: str, revert_in_s: int) -> None:
        raise AssertionError("a log-in commits nothing")

    def pending(self) -> str:
        return ""

    confirm = cancel = trial

    def counters(self) -> Mapping[str, Counter]:
        return {}

    def links_up(self) -> Mapping[str, bool]:
        return {}


def session_of(text: str, secret: str, **settings: str) -> BoxSession:
    def read(running: str, target: Target) -> Reading:
        if "garbage" in running:
            raise Rejected("garbage")
        return Reading(EMPTY, missing=() if "feature pbr" in running else ("add `feature pbr`",))

    def claim(running: str, native: str, target: Target) -> tuple[str, ...]:
        return () if "ip routing" in running else (f"{native} needs: add `ip routing`",)

    target = Target("leaf1", "eos", "192.0.2.1", settings, secret=secret)
    syntax = Syntax(
        check=lambda native, target: None,
        read=read,
        differs=lambda running, native, said, target: "",
        claim=claim,
        key_of=lambda name: None,
        adds=lambda running, native, target: True,
        needs=nothing,
        others=lambda text, target: text.splitlines(),
        save="write memory",
    )
    return BoxSession(target, Paper(text), syntax)


def test_a_box_says_what_it_lacks_and_how_it_was_verified() -> None:
    session = session_of("hostname leaf1\n", json.dumps({"user": "u", "password": "hidden-word"}))
    assert isinstance(session, Introspective) and isinstance(session, Printable)
    found = session.login("policy")
    assert (found.platform, found.version, found.serial) == ("EOS vEOS-lab", "4.31.0F", "SN1")
    assert found.missing == ("add `feature pbr`", "policy needs: add `ip routing`")
    assert found.verified == "the key was shown"
    assert "hidden-word" not in repr(found)
    assert session_of("feature pbr\nip routing\n", "").login("policy").missing == ()
    with pytest.raises(Rejected):
        session_of("garbage", "").login()


def test_a_line_of_others_is_never_quoted() -> None:
    """It may hold a password; what a refusal says is stored with the change and shown to whoever may look."""
    theirs = "username bob privilege 15 password 0 hunter2\nsnmp-server community s3cret RW\n"
    session = session_of(f"feature pbr\nip routing\n{theirs}$5$hash\n", "")
    session.box.saved = "feature pbr\nip routing\n"  # type: ignore[attr-defined]
    (told,) = session.login("policy").missing
    with pytest.raises(Rejected, match="not saved") as refused:
        session.push("policy")
    for said in (told, str(refused.value)):
        assert "3 lines (`+username ...`, `+snmp-server ...`, `...`)" in said
        assert not any(word in said for word in ("bob", "hunter2", "community", "s3cret", "hash"))


def test_what_somebody_types_meanwhile_is_not_saved_with_ours() -> None:
    """A text may go in parts, and each part saves all that is there then."""
    session = session_of("feature pbr\nip routing\n", "")
    paper = session.box
    assert isinstance(paper, Paper)
    paper.saved, paper.meanwhile = paper.text, "ntp server 203.0.113.7\n"
    with pytest.raises(Rejected, match=r"not saved.*`\+ntp \.\.\.`.*nothing was committed"):
        session.push("policy")
    assert "policy" not in paper.text
    paper.saved, paper.meanwhile = paper.text, ""
    session.read()
    session.push("policy")
    assert "policy" in paper.text


def test_a_printed_configuration_has_no_times() -> None:
    one = (
        "!Command: show running-config\n!Time: Mon Nov 23 11:00:00 2026\n! device: leaf1 (vEOS, EOS-4.31)\n"
        "Building configuration...\nCurrent configuration : 1234 bytes\n"
        "!! Last configuration change at Mon Nov 23 by ops\n## Last commit: 2026-11-23 by ops\n"
        "! a comment of the operator's\nhostname leaf1\n"
    )
    assert configured(one) == "! a comment of the operator's\nhostname leaf1\n"
