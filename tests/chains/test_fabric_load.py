# SPDX-License-Identifier: Apache-2.0
"""Fabric files and rows: all or nothing, twice is once, nothing that is needed goes, written back unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chains import models
from chains.errors import Forbidden
from chains.fabric.export import export
from chains.fabric.load import FabricRefused, load, read
from chains.fabric.text import write
from chains.services import intent
from tests.builders import (
    DEMO,
    NGFW,
    OPERATOR,
    allocation,
    apply,
    device,
    editor,
    fabric_text,
    link_use,
    make_chain,
    make_plan,
    offer,
    offer_use,
    swapped,
    tenant,
)

TEXT = fabric_text()
TABLES = (
    "Fabric", "Site", "Vrf", "Tenant", "Device", "Port", "Link", "Function", "Offer", "Instance", "Segment",
    "Attachment", "AuditRow", "Outbox", "DeviceStatus",
)  # fmt: skip


def rows() -> dict[str, list[object]]:
    """Everything, by primary key: a row that was replaced by its twin would show."""
    return {name: list(getattr(models, name).objects.order_by("pk").values()) for name in TABLES}


def without(*parts: str) -> str:
    """The file without the lines that hold one of the parts."""
    return "\n".join(line for line in TEXT.splitlines() if not any(part in line for part in parts)) + "\n"


def without_device(name: str) -> str:
    """The demo file without a device, its links, offers and ports of others that lead to it."""
    kept = []
    lines = iter(TEXT.splitlines())
    is_inside = False
    for line in lines:
        if line.startswith("  - name: "):
            is_inside = line == f"  - name: {name}"
        elif not line.startswith("    "):
            is_inside = False
        is_about = any(
            part in line for part in (f'"{name}:', f"device: {name},", f"name: {name}-", f'"leaf1:{name}')
        )
        if not is_inside and not is_about:
            kept.append(line)
    return "\n".join(kept) + "\n"


def refusal(text: str) -> str:
    before = rows()
    with pytest.raises(FabricRefused) as caught:
        load(text)
    assert rows() == before
    return "\n".join(str(fault) for fault in caught.value.faults)


@pytest.mark.django_db
def test_loading_makes_the_rows_and_loading_again_changes_none() -> None:
    summary = load(TEXT)
    assert {name: len(held.created) for name, held in summary.items()} == {
        "sites": 1, "vrfs": 3, "tenants": 2, "devices": 13, "links": 17, "functions": 4, "prices": 0, "offers": 12,
        "segments": 5,
    }  # fmt: skip
    assert models.Instance.objects.count() == 12 and models.DeviceStatus.objects.count() == 13
    assert str(device("leaf1").ports.get(name="spine1").link_a.b) == "spine1:leaf1"
    assert models.Outbox.objects.filter(topic="device").count() == 13
    before = rows()
    for text in (TEXT, write(export()), write(read(TEXT))):
        assert all(held.is_empty for held in load(text).values())
        assert rows() == before


@pytest.mark.django_db
def test_it_is_written_back_unchanged() -> None:
    canonical = write(read(TEXT))
    load(canonical)
    assert write(export()) == canonical
    assert export() == read(TEXT)


@pytest.mark.django_db
def test_the_demo_file_itself_loads_and_comes_back_with_the_same_meaning() -> None:
    load(DEMO.read_text())
    assert export() == read(DEMO.read_text())


@pytest.mark.usefixtures("fabric")
class TestSecondFile:
    def test_one_fault_anywhere_and_nothing_is_loaded(self) -> None:
        new_site = ("  - {name: lab}", "  - {name: lab}\n  - {name: new}")
        text = swapped(TEXT, new_site, ("vrf: internet, prefixes", "vrf: x, prefixes"))
        assert "no VRF x" in refusal(text)
        assert not models.Site.objects.filter(name="new").exists()

    def test_only_operators_load(self) -> None:
        with pytest.raises(Forbidden):
            load(TEXT, actor=editor())

    def test_a_change_keeps_the_rows_identity(self) -> None:
        before = {row.name: row.pk for row in models.Device.objects.all()}
        spine = device("spine1").ports.get(name="leaf1").pk
        text = swapped(
            TEXT,
            ("management: 10.250.0.13", "management: 10.250.0.113"),
            ("{name: leaf1, number: 1}", "{name: leaf1, number: 7}"),
            ("capacity_mbps: 10000, latency_us: 10,", "capacity_mbps: 5000, latency_us: 10,"),
            ("cost_fixed: 12}", "cost_fixed: 13, is_enabled: false}"),
        )
        summary = load(text)
        assert {name: held.changed for name, held in summary.items() if not held.is_empty} == {
            "devices": ("spine1",),
            "links": ("leaf1:spine1 - spine1:leaf1",),
            "offers": ("ngfw@fw2",),
        }
        assert {row.name: row.pk for row in models.Device.objects.all()} == before
        assert device("spine1").ports.get(pk=spine).number == 7
        assert not offer("ngfw@fw2").is_enabled and offer("ngfw@fw2").instance
        audited = models.AuditRow.objects.filter(action="fabric.load").latest("id")
        assert audited.detail["offers"]["changed"] == ["ngfw@fw2"]

    def test_demands_and_bounds_come_go_and_are_written_back(self) -> None:
        demanding = swapped(
            fabric_text(),
            ("{name: lab}", "{name: lab, needs_approval: true, changes_at_once: 3}"),
            ("{name: tenant-b}", "{name: tenant-b, needs_approval: true}"),
        )
        load(demanding)
        site, tenants = models.Site.objects.get(), models.Tenant.objects.in_bulk(field_name="name")
        assert (site.needs_approval, site.changes_at_once) == (True, 3)
        assert [tenants[name].needs_approval for name in ("tenant-a", "tenant-b")] == [False, True]
        text = write(export())
        assert "{name: lab, needs_approval: true, changes_at_once: 3}" in text
        assert "{name: tenant-b, needs_approval: true}" in text
        assert load(text)["tenants"].is_empty
        assert load(fabric_text())["sites"].changed == ("lab",)
        site.refresh_from_db()
        assert (site.needs_approval, site.changes_at_once) == (False, 16)

    def test_tags_can_be_swapped(self) -> None:
        load(
            swapped(
                TEXT,
                ("tenant-a, tag: 101", "tenant-a, tag: 102"),
                ("tenant-b, tag: 102", "tenant-b, tag: 101"),
            )
        )
        assert dict(models.Vrf.objects.values_list("name", "tag")) == {
            "internet": 10,
            "tenant-a": 102,
            "tenant-b": 101,
        }

    def test_a_new_vrf_takes_the_tag_of_one_that_goes(self) -> None:
        load(TEXT.replace("vrf: internet,", "vrf: world,").replace("{name: internet,", "{name: world,"))
        assert models.Segment.objects.get(name="outside").vrf.name == "world"
        assert not models.Vrf.objects.filter(name="internet").exists()

    def test_cables_can_be_moved_between_ports(self) -> None:
        text = swapped(TEXT, ('"leaf1:fw1-in"', '"leaf1:x"'), ('"leaf1:fw1-out"', '"leaf1:fw1-in"'))
        text = text.replace('"leaf1:x"', '"leaf1:fw1-out"')
        summary = load(text)
        assert len(summary["links"].created) == len(summary["links"].removed) == 2
        assert export() == read(text)

    def test_what_nobody_needs_goes(self) -> None:
        make_plan(make_chain(), target={"fw2": {}})  # never applied: it goes with the device
        text = without_device("fw2")
        summary = load(text)
        assert summary["devices"].removed == ("fw2",) and summary["offers"].removed == ("ngfw@fw2",)
        assert not models.Device.objects.filter(name="fw2").exists() and not models.Plan.objects.exists()
        assert export() == read(text)
        load(TEXT)
        assert export() == read(TEXT)

    def test_a_whole_tenant_goes_if_it_has_nothing(self) -> None:
        load(without("tenant: tenant-b", "{name: tenant-b}"))
        assert [row.name for row in models.Tenant.objects.all()] == ["tenant-a"]


@pytest.mark.usefixtures("fabric")
class TestWhatIsNeeded:
    def test_a_segment_a_function_and_a_tenant_of_a_chain_stay(self) -> None:
        make_chain("tenant-b")
        assert "segments[tenant-b/servers]: is not in the file but needed by chain tenant-b/web" in refusal(
            without("tenant: tenant-b, name: servers")
        )
        assert "functions[ngfw]" in refusal(without("function: ngfw", "name: ngfw"))
        found = refusal(without("tenant: tenant-b", "{name: tenant-b}"))
        assert "tenants[tenant-b]: is not in the file but needed by its chains" in found

    def test_what_a_chain_in_force_uses_stays(self) -> None:
        chain = make_chain(hops=[{**NGFW, "device": "fw2"}])
        assert "devices[fw2]" in refusal(without_device("fw2"))  # pinned
        uses = {"offer_uses": [offer_use("ngfw@fw2")], "link_uses": [link_use("fw2:in", "leaf2:fw2-in")]}
        apply(make_plan(chain, target={"fw2": {"x": {}}}, **uses))
        found = refusal(without_device("fw2"))
        for thing in ("devices[fw2]", "offers[ngfw@fw2]", "links[fw2:in - leaf2:fw2-in]"):
            assert f"{thing}: is not in the file but needed by chain tenant-a/web" in found
        assert "offers[ngfw@fw2]" in refusal(without("device: fw2, function"))

    def test_what_a_change_under_way_was_promised_stays(self) -> None:
        plan = make_plan(make_chain(), offer_uses=[offer_use("ngfw@fw2")])
        change = intent.change_create(actor=OPERATOR, plan=plan)
        assert f"plan {plan.pk}, which is being applied" in refusal(without("device: fw2, function"))
        assert change.status == models.Change.Status.PENDING

    def test_a_device_with_items_stays_what_it_is(self) -> None:
        apply(make_plan(make_chain(), target={"leaf2": {"x": {}}}))
        as_it_is = "  - name: leaf2\n    site: lab\n    kind: switch\n    driver: fake-switch"
        found = refusal(swapped(TEXT, (as_it_is, as_it_is.replace("fake-switch", "openvswitch"))))
        assert "devices[leaf2]: holds items of chain tenant-a/web" in found
        spare = swapped(
            TEXT, ("{name: inet, number: 3}", "{name: inet, number: 3}\n      - {name: spare, number: 9}")
        )
        load(spare)
        assert "the ports spare stay" in refusal(TEXT)

    def test_public_addresses_that_subscribers_have_stay_in_the_pool(self) -> None:
        apply(make_plan(make_chain(), allocations=[allocation("198.51.100.8/30")]))
        assert "the pool must keep 198.51.100.8/30" in refusal(
            TEXT.replace("198.51.100.0/28", "198.51.100.0/29")
        )
        load(TEXT.replace("198.51.100.0/28", "198.51.100.0/27"))

    def test_who_had_which_address_is_never_forgotten(self) -> None:
        chain = make_chain()
        apply(make_plan(chain, allocations=[allocation("198.51.100.8/30")]))
        chain.refresh_from_db()
        intent.chain_delete(actor=OPERATOR, chain=chain)
        chain.refresh_from_db()
        apply(make_plan(chain, goal=models.Plan.Goal.REMOVE))
        assert not models.Chain.objects.exists()
        assert "records of public addresses" in refusal(without("function: cgn", "name: cgn,"))

    def test_people_and_tokens_keep_their_tenant(self) -> None:
        models.ApiToken.objects.create(
            key_id="x",
            digest="x",
            name="x",
            tenant=tenant("tenant-b"),
            role="viewer",
            expires_at="2100-01-01T00:00Z",
        )
        assert "needed by its tokens" in refusal(without("tenant: tenant-b", "{name: tenant-b}"))

    def test_chains_of_a_changed_segment_have_to_be_planned_anew(self) -> None:
        touched, other = make_chain("tenant-a"), make_chain("tenant-b")
        apply(make_plan(touched))
        plan = make_plan(models.Chain.objects.get(pk=touched.pk))
        wider = ("vrf: tenant-a, prefixes: [10.10.2.0/24,", "vrf: tenant-a, prefixes: [10.10.2.0/23,")
        summary = load(swapped(TEXT, wider))
        assert summary["segments"].changed == ("tenant-a/servers",)
        touched.refresh_from_db()
        other.refresh_from_db()
        assert (touched.generation, touched.status, other.generation) == (2, models.Chain.Status.PENDING, 1)
        with pytest.raises(Exception, match="Fix: ask for a new plan"):
            intent.change_create(actor=OPERATOR, plan=plan)


@pytest.mark.django_db
class TestCommands:
    def test_load_and_export(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        source, first, second = (tmp_path / name for name in ("fabric.yaml", "first.yaml", "second.yaml"))
        source.write_text(TEXT)
        call_command("load_fabric", str(source))
        out = capsys.readouterr().out
        assert (
            "devices      13 created    0 changed    0 removed    0 unchanged" in out and "  + leaf1" in out
        )
        call_command("export_fabric", str(first))
        call_command("load_fabric", str(first))
        assert "devices       0 created    0 changed    0 removed   13 unchanged" in capsys.readouterr().out
        call_command("export_fabric", str(second))
        call_command("export_fabric")
        assert first.read_bytes() == second.read_bytes() == capsys.readouterr().out.encode()
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "fabric.yaml",
            "first.yaml",
            "second.yaml",
        ]

    def test_what_cannot_be_read_is_one_clear_line(self, tmp_path: Path) -> None:
        broken, binary = tmp_path / "broken.yaml", tmp_path / "binary.yaml"
        broken.write_text(TEXT.replace("fabric: demo", "fabrik: demo"))
        binary.write_bytes(b"fabric: \xff")
        for path in (broken, binary, tmp_path, tmp_path / "missing.yaml", tmp_path / "a\0b"):
            with pytest.raises(CommandError):
                call_command("load_fabric", str(path))
            if path.name != "a\0b" and path != tmp_path:
                with pytest.raises(CommandError):
                    call_command("load_fabric", "--check", str(path))
        with pytest.raises(CommandError):
            call_command("export_fabric", str(tmp_path / "no" / "such"))
        assert not models.Device.objects.exists()

    def test_a_check_needs_no_database(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        source = tmp_path / "fabric.yaml"
        source.write_text(TEXT)
        with CaptureQueriesContext(connection) as queries:
            call_command("load_fabric", "--check", str(source))
        assert not queries and "no fault found" in capsys.readouterr().out
