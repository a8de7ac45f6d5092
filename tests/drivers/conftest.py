# SPDX-License-Identifier: Apache-2.0
"""Rigs of the contract suite: one fixture for each driver, each a clean device (see `contract.Rig`).

A family's fixtures live in a module beside this one; to add a family, import its fixtures here and
name them in `test_contract.RIGS`.
"""

from tests.drivers.appliance_rigs import appliance_processes, open_fortios, open_panos
from tests.drivers.eos_rig import eos_device, eos_first, eos_shared, hasty, open_eos
from tests.drivers.fake_rigs import (
    fake_clock,
    far_fakes,
    open_confirming_appliance,
    open_confirming_switch,
    open_fake_appliance,
    open_fake_host,
    open_fake_switch,
)
from tests.drivers.frr_rig import frr, frr_lab, open_frr
from tests.drivers.ios_rig import ios_device, ios_shared, ios_target, open_ios
from tests.drivers.iosxr_rig import iosxr_device, iosxr_process, open_iosxr
from tests.drivers.junos_rig import junos_box, junos_process, open_junos
from tests.drivers.linux_rig import agent_target, box, linux_target, open_host, open_linux, ssh_keys
from tests.drivers.nxos_rig import nxos_device, nxos_shared, nxos_target, open_nxos
from tests.drivers.openvswitch_rig import bridge, open_openvswitch, virtual_switch
from tests.drivers.srx_rig import open_srx, srx_box, srx_process
from tests.drivers.wire import wire
from tests.drivers.wired_switch import wired

__all__ = [
    "agent_target",
    "appliance_processes",
    "box",
    "bridge",
    "eos_device",
    "eos_first",
    "eos_shared",
    "fake_clock",
    "far_fakes",
    "frr",
    "frr_lab",
    "hasty",
    "ios_device",
    "ios_shared",
    "ios_target",
    "iosxr_device",
    "iosxr_process",
    "junos_box",
    "junos_process",
    "linux_target",
    "nxos_device",
    "nxos_shared",
    "nxos_target",
    "open_confirming_appliance",
    "open_confirming_switch",
    "open_eos",
    "open_fake_appliance",
    "open_fake_host",
    "open_fake_switch",
    "open_fortios",
    "open_frr",
    "open_host",
    "open_ios",
    "open_iosxr",
    "open_junos",
    "open_linux",
    "open_nxos",
    "open_openvswitch",
    "open_panos",
    "open_srx",
    "srx_box",
    "srx_process",
    "ssh_keys",
    "virtual_switch",
    "wire",
    "wired",
]
