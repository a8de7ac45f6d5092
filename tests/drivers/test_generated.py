# SPDX-License-Identifier: Apache-2.0
"""Firewall policies through aerleon: what it renders rightly comes back as asked, what it gets wrong is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.appliance import fortios, generated, panos, srx
from drivers.appliance.generated import READERS, agreed, text_of
from drivers.appliance.generated_text import Said
from drivers.base import Driver, Unsupported
from drivers.diff import diff
from drivers.state import EMPTY, DeviceState, Match, RuleSet, Verdict
from tests.drivers import srx_rig
from tests.drivers.appliance_rigs import SITE, target_of
from tests.drivers.samples import sample, states
from tests.drivers.verify_only import _without_dscp

PERMIT, DENY = Verdict.PERMIT, Verdict.DENY
WEB = Match("10.1.1.0/24", "10.2.0.0/16", "tcp", destination_ports=(443, 443))
ASKED = (
    (PERMIT, WEB),
    (DENY, Match("10.1.1.64/26", "0.0.0.0/0", "udp", (1024, 65535), (80, 83))),
    (PERMIT, Match("2001:db8:1::/48", "::/1", "tcp")),
    (DENY, Match("10.1.1.0/24", "0.0.0.0/0")),
)
every_platform = pytest.mark.parametrize("platform", sorted(READERS))


@every_platform
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_asked_comes_back(platform: str, data: st.DataObject) -> None:
    for item in _without_dscp(data.draw(states(SITE))).values():
        assert isinstance(item, RuleSet)
        asked = tuple((rule.verdict, rule.match) for rule in item.rules)
        assert generated.generated((*asked, (item.default, item.traffic)), platform, "fw9") == (
            *asked, (item.default, item.traffic),
        )  # fmt: skip


@pytest.mark.parametrize("protocol", sorted(generated.GAPS["fortigate"]))
def test_what_aerleon_gets_wrong_is_refused_if_it_were_asked(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its FortiOS text for ICMP lets every protocol through: the gaps are known, and the fence holds without them."""
    nets = ("2001:db8:1::/48", "::/0") if protocol == "icmpv6" else ("10.1.1.0/24", "0.0.0.0/0")
    asked = ((PERMIT, Match(*nets, protocol)),)
    assert generated.generated(asked, "fortigate", "fw9") == asked
    monkeypatch.setattr(generated, "GAPS", MappingProxyType({}))
    generated.generated.cache_clear()
    with pytest.raises(Unsupported, match="fw9: aerleon"):
        generated.generated(asked, "fortigate", "fw9")
    if protocol != "sctp":
        assert 'set service "ALL"' in text_of(asked, "fortigate", "fw9")


DAMAGES = {
    "fortigate": (
        (r"    edit 1\n.*?next\n", ""),
        (r"set action accept", "set action deny"),
        (r"set subnet 10.1.1.0", "set subnet 10.1.0.0"),
        (r"set tcp-portrange 443", "set tcp-portrange 1-443"),
        (r"set schedule \"always\"", 'set schedule "none"'),
        (r"set logtraffic disable", "set nat enable"),
        (r'set srcintf "inside"', 'set srcintf "any"'),
    ),
    "paloalto": (
        (r'<entry name="t0">.*?</entry>', ""),
        (r"<action>allow", "<action>deny"),
        (r"10.1.1.0/24", "10.1.0.0/16"),
        (r"<port>443", "<port>444"),
        (r"<rule-type>interzone", "<rule-type>universal"),
        (r"<action>deny", "<negate-source>yes</negate-source><action>deny"),
        (r"<member>inside", "<member>any"),
    ),
    "srx": (
        (r"policy t0 \{.*?then \{\s+permit;\s+\}\s+\}", ""),
        (r"permit;", "deny;"),
        (r"10.1.1.0/24", "10.1.0.0/16"),
        (r"destination-port 443", "destination-port 444"),
        (r"deny;", "reject;"),
        (r"from-zone inside", "from-zone any"),
        (r"term t1 protocol tcp", "term t1 protocol udp"),
    ),
}


@every_platform
def test_every_damage_to_its_text_is_refused(platform: str) -> None:
    text = text_of(ASKED, platform, "fw9")
    assert agreed(ASKED, text, platform, "fw9") == list(ASKED)
    for old, new in DAMAGES[platform]:
        damaged = re.sub(old, new, text, count=1, flags=re.DOTALL)
        assert damaged != text, old
        with pytest.raises(Unsupported):
            agreed(ASKED, damaged, platform, "fw9")
    with pytest.raises(Unsupported, match="lines for"):
        agreed(ASKED[:-1], text, platform, "fw9")


def test_its_own_text_is_never_sent() -> None:
    """Each of its three texts would replace the operator's, or take numbers and names that are the operator's."""
    hazards = {"srx": "replace: policies", "paloalto": "<config", "fortigate": "    edit 1\n"}
    for platform, hazard in hazards.items():
        assert hazard in text_of(ASKED, platform, "fw9")
    assert "delete: applications" in text_of(ASKED[-1:], "srx", "fw9")
    for driver in (panos.DRIVER, fortios.DRIVER):
        native = driver.render(diff(EMPTY, sample(SITE)), target_of(driver.name, ""))
        assert not any(hazard in native for hazard in hazards.values())
    wall = srx_rig.WALL
    native = srx.DRIVER.render(diff(EMPTY, sample(srx_rig.SITE)), wall)
    assert "replace" not in native
    assert "delete applications" not in native


@pytest.mark.parametrize("driver", [panos.DRIVER, fortios.DRIVER, srx.DRIVER], ids=lambda driver: driver.name)
def test_a_policy_that_it_renders_otherwise_is_never_planned(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each family asks: with a reader that sees a permit in every line, no policy that denies is rendered."""

    def gullible(text: str) -> tuple[Said, ...]:
        return tuple(replace(one, verdict=PERMIT) for one in whole(text))

    platform = {"panos": "paloalto", "fortios": "fortigate", "srx": "srx"}[driver.name]
    whole = READERS[platform]
    monkeypatch.setattr(generated, "READERS", MappingProxyType({**READERS, platform: gullible}))
    generated.generated.cache_clear()
    site, target = (srx_rig.SITE, srx_rig.WALL) if driver is srx.DRIVER else (SITE, target_of(driver.name, ""))
    key, item = next(iter(sample(site).items()))
    assert isinstance(item, RuleSet)
    denial = DeviceState({key: RuleSet(WEB, (), DENY, item.inside, item.outside)})
    with pytest.raises(Unsupported, match="aerleon writes"):
        driver.render(diff(EMPTY, denial), target)
    generated.generated.cache_clear()
