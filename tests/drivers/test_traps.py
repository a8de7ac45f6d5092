# SPDX-License-Identifier: Apache-2.0
"""Every trap that the notes on NAPALM's drivers and the platforms list, and the test that reproduces and survives it.

The table is kept true: a test that it names must be there. Below it, the traps that are no single family's.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from napalm.base.exceptions import NapalmException
from pyeapi.eapilib import CommandError

from drivers.base import Target
from drivers.diff import diff
from drivers.registry import DRIVERS
from drivers.state import EMPTY, DeviceState
from lab.devices.process import Emulated
from tests.drivers import eos_rig, ios_rig, iosxr_rig, junos_rig, nxos_rig
from tests.drivers.contract import Rig
from tests.drivers.samples import Site, sample

ROOT = Path(__file__).resolve().parents[2]
# Trap -> tests, as FILE:NAME below tests/drivers (or tests/, where it says so).
TRAPS: dict[str, tuple[str, ...]] = {
    "eos: closing reverts a pending commit": (
        "test_eos_box:test_closing_does_not_take_a_pending_commit_back",
        "test_eos_box:test_a_session_that_ends_with_an_error_leaves_the_commit_pending",
        "test_eos_box:test_closing_after_the_timer_fired_is_no_error"),
    "eos: two forms of what is pending": ("test_eos_box:test_both_forms_of_what_is_pending",),
    "eos: rollback restores the startup-config, with everybody's work": (
        "test_eos_box:test_going_back_is_our_inverse_and_nobody_elses",
        "test_eos_session:test_a_commit_undoes_nobodys_work"),
    "eos: a stray session blocks; five at most; a session name that does not exist": (
        "test_eos_box:test_a_persons_open_session_is_named_and_waited_for",
        "test_eos_box:test_a_person_who_comes_in_between_is_waited_for_too",
        "test_eos_box:test_five_open_sessions_are_too_many",
        "test_eos_box:test_what_a_dead_worker_left_open_is_cleared_away",
        "test_eos_box:test_a_session_that_cannot_be_aborted_is_no_second_error"),
    "eos: no indentation, no abbreviations": (
        "test_eos_box:test_lines_come_without_indentation_and_nest_all_the_same",
        "test_traps:test_an_abbreviation_and_a_deny_in_a_class_are_refused_by_eos"),
    "eos: a deny in a PBR class reverts the configuration": (
        "test_traps:test_an_abbreviation_and_a_deny_in_a_class_are_refused_by_eos",
        "test_traps:test_no_family_writes_a_deny_into_a_list_that_redirects"),
    "eos: one policy an interface, TCAM profile": (
        "test_eos_session:test_an_operators_policy_on_our_interface_is_refused_first",
        "test_eos:test_what_stands_in_the_way_is_named_with_its_remedy",
        "test_eos:test_a_traffic_policy_needs_its_tcam_profile"),
    "nxos: no check before the commit, then the whole box is rolled back": (
        "test_nxos:test_a_refused_line_takes_back_ours_and_nobody_elses",
        "test_nxos:test_wherever_it_is_cut_the_next_push_completes_it"),
    "nxos: a checkpoint that failed is not noticed": ("test_nxos:test_a_failed_checkpoint_does_not_matter_to_us",),
    "nxos: an error as text of a success": ("test_nxos:test_an_error_in_the_text_of_a_success_is_no_success",),
    "nxos: the difference is never empty for a removal": (
        "test_nxos:test_the_drivers_difference_is_never_empty_for_a_removal",),
    "nxos: features, TCAM region, ePBR owns its interfaces": (
        "test_nxos:test_what_is_missing_is_named_and_never_enabled",
        "test_nxos:test_what_stands_in_the_way_is_refused_before_anything_is_touched"),
    "nxos: routed without drop-on-fail": (
        "tests/lab/test_vendor_leaves:test_without_its_next_hop_nothing_passes_and_it_is_back_with_it",),
    "ios: % Incomplete and %Warning are success to the driver": (
        "test_ios:test_an_error_that_napalm_overlooks_is_no_success",),
    "ios: a refused line replaces the whole configuration": (
        "test_ios:test_a_refused_line_changes_nothing",),
    "ios: the merge file must end with end": ("test_ios:test_a_file_without_end_cannot_be_compared",),
    "ios: one merge file for everybody": (
        "test_ios:test_napalm_has_one_merge_file_for_everybody", "test_ios:test_two_sessions_have_two_files",
        "test_ios:test_a_file_that_somebody_overwrote_is_not_taken_for_ours"),
    "ios: file prompt quiet is put into the configuration": ("test_ios:test_napalm_saves_a_line_of_its_own",),
    "ios: the revert timer, its user, its limits": (
        "test_ios:test_the_revert_timer_as_it_is", "test_ios:test_only_who_began_may_confirm",
        "test_ios:test_a_strangers_timer_is_seen_and_nothing_is_sent"),
    "ios: no room on flash": ("test_ios:test_a_full_disk_refuses_before_anything_is_sent",),
    "ios: routed when every track is down": (
        "test_ios:test_what_somebody_changed_in_ours_is_seen_and_mended",
        "test_traps:test_every_redirect_of_ios_ends_in_null0"),
    "ios, nxos: a list that is removed while it is referenced matches everything": (
        "test_routemaps:test_whatever_prefix_of_the_steps_is_done_packets_meet_the_old_or_the_new",),
    "ios, nxos: what is not saved is lost at a reload": (
        "test_ios:test_what_is_not_saved_is_no_success_and_a_reload_shows_why",
        "test_nxos:test_what_is_not_saved_is_no_success_and_a_reload_shows_why"),
    "junos: a failed commit keeps the lock and a dirty candidate": (
        "test_junos:test_napalm_leaves_the_lock_and_the_candidate_after_a_failed_commit",
        "test_junos:test_a_failed_commit_leaves_no_lock_and_a_clean_candidate"),
    "junos: deleting what is absent": ("test_junos:test_napalm_refuses_to_delete_what_is_absent_and_we_do_not",),
    "junos: a message hides the pending commit": ("test_junos:test_a_message_would_hide_the_pending_commit",),
    "junos: any commit confirms ours, and takes others' edits along": (
        "test_junos:test_a_commit_by_anybody_confirms_ours",
        "test_junos:test_a_strangers_commit_is_not_confirmed_by_ours",
        "test_junos:test_edits_that_somebody_has_not_committed_are_not_taken_along"),
    "junos: rollback takes no lock": ("test_junos:test_nothing_is_rolled_back_outside_a_pending_window",),
    "junos: names must resolve at commit": (
        "test_junos:test_a_name_that_leads_nowhere_is_found_by_the_boxs_own_check",),
    "junos: the filter is the security filter, too": ("test_junos_text:test_all_of_it_goes_and_nothing_else",),
    "iosxr: a failed load keeps the lock": ("test_iosxr:test_a_refused_load_keeps_no_lock",),
    "iosxr: locks outlive sessions": ("test_iosxr:test_a_held_lock_is_waited_for_and_named",),
    "iosxr: CLI payload needs a recent release": ("test_iosxr:test_releases_that_cannot_do_it_are_told_so",),
    "iosxr: the ABF list is the security list, and ends closed": (
        "test_iosxr:test_what_stands_in_the_way_is_named", "test_iosxr:test_a_dead_next_hop_drops"),
    "nothing is verified by default": (
        "test_eos_session:test_nothing_is_said_to_a_device_that_cannot_prove_who_it_is",
        "test_nxos:test_another_certificate_is_refused", "test_ios:test_another_host_key_is_refused",
        "test_iosxr:test_an_imposter_is_not_logged_in_to", "test_iosxr:test_without_known_hosts_nothing_is_opened",
        "test_junos:test_napalm_logs_in_to_any_machine_and_we_do_not",
        "test_frr:test_only_the_known_router_with_the_known_key",
        "test_appliances:test_without_an_authority_nothing_is_asked"),
    "nornir does not discard, and trusts the driver": (
        "test_traps:test_the_product_takes_none_of_the_tools_with_hazards",),
    "a stray custom_napalm shadows the driver": (
        "test_eos_session:test_a_stray_custom_driver_is_not_taken",
        "test_junos:test_a_stray_package_does_not_replace_the_driver",
        "test_nxos:test_the_driver_is_napalms", "test_ios:test_the_driver_is_napalms",
        "test_iosxr:test_it_is_napalms_own_driver"),
    "panos, fortios: writes cannot be trusted": ("verify_only:test_nothing_is_ever_written",),
    "frr: pbrd says that it matches ports": (
        "test_frr_packets:test_what_pbrd_alone_would_have_done", "test_frr_packets:test_ports_matter_in_the_kernel"),
    "frr: a withdrawn next hop fails open": (
        "test_frr_packets:test_a_withdrawn_next_hop_does_not_open_a_way_past",
        "test_frr_packets:test_a_dead_pbrd_does_not_open_a_way_past_and_is_repaired",
        "test_frr_packets:test_a_neighbour_that_is_gone_does_not_open_a_way_past"),
    "frr: the daemon's word is not the kernel's": (
        "test_frr_packets:test_the_kernel_is_believed_and_not_the_daemon",
        "test_frr_packets:test_what_the_kernel_lost_and_what_it_got_are_put_right"),
    "frr: open after a restart": (
        "test_frr_packets:test_a_router_comes_back_shut_after_a_reboot",
        "test_frr_packets:test_without_its_hook_at_boot_a_router_would_come_back_open_and_is_not_written"),
    "aerleon: srx policies come with replace:": ("test_junos_text:test_aerleon_would_permit_and_deny_the_same",),
    "aerleon reads as we do": (
        "test_appliances:test_aerleon_reads_the_policy_as_we_do_on_panos",
        "test_appliances:test_aerleon_reads_the_policy_as_we_do_on_fortios"),
    "aerleon: fortigate permits everything for ICMP": (
        "test_generated:test_what_aerleon_gets_wrong_is_refused_if_it_were_asked",),
    "aerleon: terms are dropped without a word": ("test_generated:test_every_damage_to_its_text_is_refused",),
    "aerleon: numbers, headers and defaults of its own": ("test_generated:test_its_own_text_is_never_sent",),
    "names of 30 characters at most": ("test_traps:test_names_are_safe_on_every_platform",),
}  # fmt: skip


@cache
def _tests_of(file: str) -> frozenset[str]:
    path = ROOT / f"{file}.py" if "/" in file else ROOT / "tests" / "drivers" / f"{file}.py"
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("trap", TRAPS)
def test_every_trap_has_its_test(trap: str) -> None:
    for place in TRAPS[trap]:
        file, _, name = place.partition(":")
        assert name in _tests_of(file), place


# --- of every family ------------------------------------------------------------------------------


def _written() -> Iterator[tuple[str, str]]:
    """What each family writes for the longest keys that there are."""
    ready: Any = SimpleNamespace(ready={"user": "", "password": "", "authority": "", "port": 1, "secret": ""})
    eos_site = Site(eos_rig.STEERING, tuple(eos_rig.PORTS), (eos_rig.BLUE,), peers=eos_rig.PEERS)
    plain = Target("l", "", "127.0.0.1", {}, {}, {"blue": 10})
    families = {
        "eos": (eos_rig.eos_target(ready), replace(eos_site, protocols=nxos_rig.SITE.protocols)),
        "nxos": (replace(plain, ports=nxos_rig.PORTS), nxos_rig.SITE),
        "ios": (replace(plain, ports=ios_rig.PORTS), ios_rig.SITE),
        "iosxr": (iosxr_rig.target_of(ready), iosxr_rig.SITE),
        "junos": (replace(plain, ports=junos_rig.PORTS), junos_rig.SITE),
    }
    for name, (target, site) in families.items():
        items = sample(site).items()
        state = DeviceState({replace(key, chain=(1 << 24) - 1, revision=4095): item for key, item in items})
        yield name, DRIVERS[name].render(diff(EMPTY, state), target)


def test_names_are_safe_on_every_platform() -> None:
    for family, text in _written():
        names = set(re.findall(r"SI-[^\s;,\]]+", text.replace(".inet6.0 ", " ")))
        assert max(map(len, names)) > 20, family
        assert all(re.fullmatch(r"SI-[A-Za-z0-9-]{1,27}", name) for name in names), family


def test_no_family_writes_a_deny_into_a_list_that_redirects() -> None:
    """EOS takes none, NX-OS neither, Catalysts hand it to the CPU. XR's list is a security list: deny drops."""
    for family, text in _written():
        if family != "iosxr":
            assert not re.search(r"^\s*(?:sequence )?\d+ deny ", text, re.MULTILINE), family


def test_every_redirect_of_ios_ends_in_null0() -> None:
    """But those whose standby is the device's own forwarding: they are meant to stay open."""
    target = Target("leaf1", "ios", "", {}, ios_rig.PORTS, {"blue": 101})
    text = DRIVERS["ios"].render(diff(EMPTY, sample(replace(ios_rig.SITE, has_standby=False))), target)
    entries = [part for part in text.split("route-map ")[1:] if "set ip" in part]
    assert len(entries) > 2
    for entry in entries:
        lines = [line.strip() for line in entry.splitlines() if line.startswith(" set")]
        assert lines[-1] == "set interface Null0", entry


def test_an_abbreviation_and_a_deny_in_a_class_are_refused_by_eos(open_eos: Rig, eos_device: Emulated) -> None:
    before = eos_device.config()["running"]
    denied = ("ip access-list X", "10 deny ip any any", "class-map type pbr match-any X", "match ip access-group X")
    for lines in (("ip access-l X",), denied):
        with eos_rig.bare(eos_device) as driver:
            with pytest.raises((NapalmException, CommandError), match="Invalid input|deny|reverts"):
                driver.load_merge_candidate(config="\n".join(lines))
                driver.commit_config()
            driver.discard_config()
        assert eos_device.config()["running"] == before
    assert open_eos.read().state == EMPTY


def test_the_product_takes_none_of_the_tools_with_hazards() -> None:
    """nornir-napalm discards nothing after a failure; hier-config detaches last; aerleon stays behind its fence."""
    names = "nornir|nornir_napalm|hier_config|aerleon|ciscoconfparse2?"
    tools = re.compile(rf"^\s*(?:from|import) ({names})\b", re.MULTILINE)
    fences = {ROOT / "drivers" / "appliance" / "generated.py": {"aerleon"}}
    for folder in ("drivers", "chains", "orchestrator", "frontend"):
        for path in (ROOT / folder).rglob("*.py"):
            assert set(tools.findall(path.read_text())) == fences.get(path, set()), path
