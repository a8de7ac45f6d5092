# SPDX-License-Identifier: Apache-2.0
"""What FRR starts with, after we wrote ours into it and took it out again: an operator's file stays as he typed it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.transport.frr_box.config import stanzas_of
from drivers.transport.frr_box.merging import merged

MAP = "pbr-map SI-t-a-0 seq 1\n match src-ip 0.0.0.0/0\n match mark 1442848768\n set nexthop 10.8.2.2 b\nexit"
POLICY = "interface eth0\n pbr-policy SI-t-a-0\nexit"
KEEP = ["map SI-t-a-0 1", "policy eth0 SI-t-a-0"]
# By hand: heads twice, comments inside, no indentation, blanks, no `exit`.
TYPED = """\
frr version 8.4.4
hostname r1
!
interface eth0
 description one
!
 ip ospf cost 5

interface eth0
 description two
!
pbr-map THEIRS seq 10
 match src-ip 10.1.0.0/16
pbr-map THEIRS seq 10
 set nexthop 10.8.3.2
interface eth1
description flat
no shutdown
interface eth2
description flat
no shutdown
router bgp 65000
 address-family ipv4 unicast
  network 10.0.0.0/8
 exit-address-family
exit
line vty
"""


def without(text: str) -> str:
    """All that is ours goes."""
    return merged(text, [], [])


def test_an_operators_lines_stay_whatever_he_repeats() -> None:
    after = merged(TYPED, [MAP, POLICY], KEEP)
    lines = iter(after.splitlines())
    assert all(line in lines for line in TYPED.splitlines()), "every line of his, in his order"
    assert after.count(" pbr-policy SI-t-a-0\n") == 1 and MAP in after
    assert without(after) == TYPED
    assert merged(after, [MAP, POLICY], KEEP) == after


@pytest.mark.parametrize("end", ["", "end\n", "!\nend\n"])
def test_ours_stands_before_the_end(end: str) -> None:
    after = merged(TYPED + end, [MAP, POLICY.replace("eth0", "eth9")], [KEEP[0], "policy eth9 SI-t-a-0"])
    assert after.endswith("exit\n" + end.removeprefix("!\n"))
    assert "interface eth9\n pbr-policy SI-t-a-0\nexit\n" in after
    assert without(after) == TYPED + end


def test_an_empty_stanza_of_his_stays_when_ours_goes() -> None:
    for his in ("interface eth0\n", "interface eth0\nexit\n", "interface eth0\n!\n"):
        after = merged(his, [MAP, POLICY], KEEP)
        assert " pbr-policy SI-t-a-0\n" in after and without(after) == his


def test_ours_that_is_there_already_is_written_over() -> None:
    there = merged(TYPED, [MAP, POLICY], KEEP)
    moved = MAP.replace("10.8.2.2 b", "10.8.3.2 c")
    after = merged(there, [moved, POLICY], KEEP)
    assert moved in after and "10.8.2.2" not in after and without(after) == TYPED
    twice = there + MAP.replace("match mark 1442848768", "match mark 7") + "\n"
    assert merged(twice, [MAP, POLICY], KEEP).count("pbr-map SI-t-a-0") == 1
    other = TYPED.replace(" description one\n", " description one\n pbr-policy SI-t-a-9\n")
    after = merged(other, [MAP, POLICY], KEEP)
    assert "SI-t-a-9" not in after and " pbr-policy SI-t-a-0\n" in after


LINES = ["interface eth0", "interface eth1", " description x", "  deep", "!", "", "exit", "description flat",
         "pbr-map THEIRS seq 10", " match src-ip 10.0.0.0/8", "exit-vrf", "end"]  # fmt: skip


@given(st.lists(st.sampled_from(LINES), max_size=14))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_there_and_back_any_file_is_the_same_byte_for_byte(lines: list[str]) -> None:
    his = "".join(f"{line}\n" for line in lines)
    after = merged(his, [MAP, POLICY], KEEP)
    assert ("pbr-map SI-t-a-0 seq 1", tuple(MAP.split("\n")[1:-1])) in stanzas_of(after)
    assert without(after) == his
    assert merged(after, [MAP, POLICY], KEEP) == after
