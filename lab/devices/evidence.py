# SPDX-License-Identifier: Apache-2.0
"""How far each device family is shown to work, and by what: what `check-devices` prints and docs/devices.md has.

Levels: protocol (the real client on a real wire), syntax (every line from the vendor's documents, by two sources),
forwarding (packets in namespaces go as the accepted configuration says), real NOS (the operator's own software, not an
emulator). "" is not reached. A level says how it is shown; whether it holds today is what the cases say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# What no emulator can show, whatever the level.
UNPROVED = ("ASIC limits", "TCAM use", "hashing", "vendor bugs")
CONTRACT = "tests/drivers/test_contract.py::TestContract"
TAKEN_BACK = "tests/drivers/test_contract.py::TestConfirmingContract"
# Case -> the test of the contract suite that shows it.
CASES: Mapping[str, str] = MappingProxyType(
    {
        "pushed is read back": f"{CONTRACT}::test_what_was_pushed_is_read_back",
        "the reverse restores": f"{CONTRACT}::test_the_reverse_restores",
        "hostile text is refused whole": f"{CONTRACT}::test_hostile_text_is_refused_whole",
        "what others put there stays": f"{CONTRACT}::test_what_others_put_there_stays",
    }
)
CONFIRMING_CASES: Mapping[str, str] = MappingProxyType(
    {"an unconfirmed commit is taken back": f"{TAKEN_BACK}::test_nobody_confirms_and_it_is_taken_back_in_time"}
)
READ_ONLY_CASES: Mapping[str, str] = MappingProxyType(
    {"a clean device holds nothing": f"{CONTRACT}::test_a_clean_device_holds_nothing"}
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """family is the driver's name too. sources: of the syntax. The rig (tests/drivers) starts the device."""

    family: str
    protocol: str
    syntax: str
    forwarding: str = ""
    real_nos: str = ""
    sources: tuple[str, ...] = ()

    @property
    def levels(self) -> dict[str, str]:
        return {
            "protocol": self.protocol,
            "syntax": self.syntax,
            "forwarding": self.forwarding,
            "real_nos": self.real_nos,
        }


TRANSCRIBED = "every line the emulator takes is transcribed from the documents below; anything else it refuses"
# Driver and emulator were written by the same reading of the manuals: that they agree proves little.
ONE_READING = ""
PLANE = "what the emulator accepted forwards packets in a namespace (lab/devices/plane.py)"

FAMILIES: tuple[Evidence, ...] = (
    Evidence(
        "eos",
        "unmodified NAPALM eos driver, eAPI over verified HTTPS",
        TRANSCRIBED,
        PLANE,
        sources=("Arista EOS User Manual, Traffic Management", "Arista AVD's expected configurations",
                 "openconfig/public and featureprofiles (traffic policies)"),
    ),
    Evidence(
        "nxos",
        "NAPALM's NX-OS driver with its rollback off, NX-API over verified HTTPS",
        TRANSCRIBED,
        PLANE,
        sources=("Cisco Nexus 9000 NX-OS Unicast Routing Configuration Guide, Policy-Based Routing",
                 "cisco.nxos Ansible collection, templates"),
    ),
    Evidence(
        "ios",
        "NAPALM's ios driver with its rollback off, SSH and SCP with verified host key",
        TRANSCRIBED,
        sources=("Cisco IOS XE, PBR Next-Hop Verify Availability for VRF",
                 "Cisco IOS XE, Multi-VRF Selection using PBR"),
    ),
    Evidence(
        "iosxr",
        "NAPALM's iosxr_netconf driver in a session of ours, NETCONF 1.1 over SSH with verified host key",
        TRANSCRIBED,
        sources=("xrdocs.io, ACL based forwarding on NCS 5500", "Cisco 8000 PBR configuration guide",
                 "Batfish grammar"),
    ),
    Evidence(
        "junos",
        "unmodified NAPALM junos driver, NETCONF over SSH with verified host key",
        TRANSCRIBED,
        PLANE,
        sources=("Juniper, Routing Policies, Firewall Filters and Traffic Policers (filter-based forwarding)",
                 "D. Roy, FBF on MX"),
    ),
    Evidence(
        "frr",
        "Viaduct's NAPALM driver over SSH with verified host key",
        "FRR itself parses and runs it",
        "packets in namespaces through the kernel that FRR programs",
        "FRR of Debian with pbrd",
        sources=("FRR documentation, PBR",),
    ),
    Evidence(
        "openvswitch",
        "ovs-ofctl (OpenFlow 1.4 bundles) and OVSDB",
        "Open vSwitch itself parses and runs it",
        "packets in the lab's network (tests/lab)",
        "Open vSwitch of Debian",
        sources=("ovs-ofctl(8)", "ovs-fields(7)", "ovs-actions(7)"),
    ),
    Evidence(
        "linux",
        "SSH with verified host key to a real sshd",
        "nft and iptables themselves parse and run it",
        "packets in the lab's network (tests/lab)",
        "Linux with nftables and iptables of Debian",
        sources=("nft(8)", "iptables-extensions(8)"),
    ),
    Evidence(
        "host",
        "HTTPS with a pinned certificate to the real agent",
        "nft itself parses and runs it",
        "packets in the lab's network (tests/lab)",
        "Linux with nftables of Debian",
        sources=("nft(8)",),
    ),
    Evidence(
        "panos",
        "the emulated firewall's XML API over verified HTTPS",
        ONE_READING,
        sources=("PAN-OS and Panorama API guide", "PAN-OS configuration reference"),
    ),
    Evidence(
        "fortios",
        "the emulated firewall's REST API over verified HTTPS",
        ONE_READING,
        sources=("FortiOS REST API reference", "FortiOS CLI reference, config firewall policy"),
    ),
    Evidence(
        "srx",
        "unmodified NAPALM junos driver, NETCONF over SSH with verified host key",
        TRANSCRIBED,
        sources=("Juniper, Security Policies User Guide for Security Devices",
                 "Aerleon's generator for SRX: both permit and deny the same"),
    ),
)  # fmt: skip
