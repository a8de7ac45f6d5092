# SPDX-License-Identifier: Apache-2.0
"""Table entries: what a driver counts is what it renders; what does not fit is known before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from drivers.base import LINES, LONGEST, Fails, PortInfo, Target, Unsupported
from drivers.diff import diff
from drivers.limits import is_table_lines, limits_of, too_many
from drivers.registry import DRIVERS
from drivers.state import EMPTY, DeviceState, Guard, Kind, Match
from tests.drivers import ios_rig, junos_rig, nxos_rig, srx_rig
from tests.drivers.samples import Site, sample, state, states

BLUE = {"blue": 101}
PEERS = {"a": "02:00:00:00:00:0a", "b": "02:00:00:00:00:0b"}


def routed(name: str) -> dict[str, PortInfo]:
    return {
        port: PortInfo(port, at, f"02:00:00:00:01:0{at}", name.format(at), (f"192.0.2.{16 * at + 1}/28",
                       f"2001:db8:{at}::1/64"), PEERS[port], (f"192.0.2.{16 * at + 9}/28", f"2001:db8:{at}::9/64"))
        for at, port in enumerate(PEERS, 1)
    }  # fmt: skip


STEERING = frozenset({Kind.REDIRECT, Kind.FILTER, Kind.GUARD, Kind.PASS})
ROUTED = Site(STEERING, ("a", "b"), ("blue",), peers=PEERS, protocols=("", "tcp", "udp", "icmp", "icmpv6"))


@dataclass(frozen=True)
class Family:
    """lines: counts them in what was rendered from nothing."""

    target: Target
    site: Site
    lines: Callable[[str], int]


def counting(pattern: str) -> Callable[[str], int]:
    return lambda text: len(re.findall(pattern, text, re.MULTILINE))


def different(pattern: str) -> Callable[[str], int]:
    return lambda text: len({found[0] for found in re.finditer(pattern, text, re.MULTILINE)})


def used(kinds: str, use: str) -> Callable[[str], int]:
    """Lines of access lists, as often as a policy asks for the list: each table has entries of its own."""

    def lines(text: str) -> int:
        sizes: dict[str, int] = {}
        name = ""
        for line in text.splitlines():
            head = re.fullmatch(rf"(?:{kinds}) (SI-\S+)", line)
            name = head[1] if head else name if line.startswith(" ") else ""
            if name:
                sizes[name] = sizes.get(name, 0) + (" permit " in f" {line}")
        return sum(sizes[found[1]] for found in re.finditer(use, text, re.MULTILINE))

    return lines


CISCO = used(r"ip access-list(?: extended)?|ipv6 access-list", r"^ match (?:ip|ipv6) address (\S+)$")
FAMILIES = {
    "eos": Family(
        Target("leaf1", "eos", "", {}, routed("Ethernet{}"), BLUE),
        ROUTED,
        used("ip access-list|ipv6 access-list", r"^ +\d+ class (\S+)$"),
    ),
    "eos by traffic policy": Family(
        Target("leaf1", "eos", "", {"steering": "traffic-policy", "global_vrf": "blue"}, routed("Ethernet{}"), BLUE),
        ROUTED,
        counting(r"^ +match \S+ ipv[46]$"),
    ),
    "nxos": Family(Target("leaf1", "nxos", "", {}, nxos_rig.PORTS, {"blue": 10}), nxos_rig.SITE, CISCO),
    "ios": Family(Target("edge1", "ios", "", {}, ios_rig.PORTS, {"blue": 10}), ios_rig.SITE, CISCO),
    "iosxr": Family(
        Target("xr1", "iosxr", "", {}, routed("GigabitEthernet0/0/0/{}"), BLUE),
        ROUTED,
        counting(r"^ \d+ (?:permit|deny) "),
    ),
    "junos": Family(
        Target("mx1", "junos", "", {}, junos_rig.PORTS, BLUE), junos_rig.SITE, different(r"firewall .* term \S+ then")
    ),
    "frr": Family(
        Target("r1", "frr", "", {"global_vrf": "blue"}, routed("swp{}"), BLUE),
        ROUTED,
        counting(r"^add rule .* (?:classify|t-\S+) "),
    ),
    "openvswitch": Family(
        Target("leaf1", "openvswitch", "", {"base_table": "1"}, routed("eth{}"), BLUE),
        Site(STEERING, ("a", "b"), ("blue",), has_standby=True, has_copies=True),
        counting(r"^(?:flow )?add[ ,]"),
    ),
    "linux": Family(
        Target("fw1", "linux", "", {}, {"in": PortInfo("in"), "out": PortInfo("out")}),
        Site(DRIVERS["linux"].caps.kinds, inside="in", outside="out"),
        counting(r"^(?:add rule|-A) "),
    ),
    "host": Family(Target("h1", "host", "", {}), Site(DRIVERS["host"].caps.kinds), counting(r"^add rule ")),
    "srx": Family(
        Target("srx1", "srx", "", srx_rig.SETTINGS, srx_rig.PORTS),
        srx_rig.SITE,
        different(r"from-zone \S+ to-zone \S+ policy \S+"),
    ),
}


def rendered(family: Family, wanted: DeviceState) -> str:
    return DRIVERS[family.target.driver].render(diff(EMPTY, wanted), family.target)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
@settings(
    max_examples=25, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_entries_are_those_that_are_rendered(family: Family, data: st.DataObject) -> None:
    wanted = data.draw(st.just(sample(family.site)) | states(family.site))
    counted = DRIVERS[family.target.driver].entries
    try:
        text = rendered(family, wanted)
    except Unsupported:
        return
    assert counted(wanted, family.target)[LINES] == family.lines(text)
    assert counted(EMPTY, family.target).get(LONGEST, 0) == 0


def test_every_family_that_is_written_says_its_limits_and_counts_them() -> None:
    assert {one.target.driver for one in FAMILIES.values()} | {"fake"} >= {
        name for name, driver in DRIVERS.items() if driver.caps.is_writable and not name.startswith("fake")
    }
    for name, driver in DRIVERS.items():
        if not driver.caps.is_writable:
            continue
        assert LINES in {one.name for one in driver.caps.limits}, name
        assert all(one.source for one in driver.caps.limits), name
        steers = Kind.REDIRECT in driver.caps.kinds
        assert (driver.caps.when_dead is Fails.DROP) == steers, "no redirect may fail open"
        assert ("prefix" in driver.caps.buckets) == steers, "groups are by prefixes"
    for family in FAMILIES.values():
        driver = DRIVERS[family.target.driver]
        counted = driver.entries(sample(family.site), family.target)
        assert counted.keys() >= {one.name for one in driver.caps.limits}, family.target.driver


def guards(count: int) -> DeviceState:
    return state([Guard("a", 0, Match(f"10.0.{n}.0/24", "0.0.0.0/0"), 3) for n in range(count)])


def test_what_an_operator_says_of_his_tables_holds() -> None:
    eos = FAMILIES["eos"].target
    small = replace(eos, settings={"table_lines": "4"})
    family = DRIVERS["eos"]
    assert too_many(family, guards(5), eos) == "", "nobody said how many fit"
    assert too_many(family, guards(4), small) == ""
    said = "leaf1 would need 5 lines in all its tables, and 4 fit (its setting `table_lines`)"
    assert too_many(family, guards(5), small) == said
    assert [one.most for one in limits_of(family, small.settings)] == [4]
    assert [is_table_lines(text) for text in ("1", "512", "0", "-1", "", "many", "5 12")] == [True, True] + [False] * 5


def test_what_a_platform_documents_is_a_limit_without_a_setting() -> None:
    frr = FAMILIES["frr"].target
    said = {one.name: one.most for one in limits_of(DRIVERS["frr"], frr.settings)}
    assert said == {LINES: None, LONGEST: 350}
    assert DRIVERS["frr"].entries(sample(ROUTED), frr)[LONGEST] == 1
