# SPDX-License-Identifier: Apache-2.0
"""What a fabric file says of trust: credentials in the vault, and devices that need not prove who they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from chains.fabric.load import FabricRefused, load, read
from chains.models import AuditRow, Device
from chains.references import is_reference

FABRIC = Path(__file__).resolve().parents[2] / "lab" / "fabrics" / "demo.yaml"
TEXT = FABRIC.read_text()
SETTINGS = 'settings: {bridge: leaf1, base_table: "1"'


def with_(settings: str = "", credential: str = '""') -> str:
    assert SETTINGS in TEXT
    text = TEXT.replace(SETTINGS, f"{SETTINGS}{settings}", 1)
    head, mark, rest = text.partition("name: leaf1\n")
    assert mark and 'credential: ""' in rest
    return head + mark + rest.replace('credential: ""', f"credential: {credential}", 1)


def trail() -> list[str]:
    return [row.action for row in AuditRow.objects.filter(subject="device leaf1").order_by("id")]


@pytest.mark.django_db
def test_every_load_that_sets_or_ends_it_is_in_the_audit() -> None:
    load(with_())
    assert trail() == []
    load(with_(', unverified: "yes"'))
    load(with_(', unverified: "yes"'))
    assert trail() == ["device.unverified"]
    load(with_(', unverified: "yes"').replace("latency_us: 10", "latency_us: 11"))
    assert trail() == ["device.unverified"], "it stays as it was"
    load(with_(', unverified: "no"'))
    assert trail() == ["device.unverified", "device.verified"]
    load(with_(', unverified: "yes"'))
    assert trail()[2:] == ["device.unverified"]


@pytest.mark.django_db
def test_a_new_device_that_is_not_verified_is_in_the_audit() -> None:
    load(with_(', unverified: "yes"'))
    assert trail() == ["device.unverified"]


def test_doubtful_words_are_faults() -> None:
    for word in ("true", "YES", "1", ""):
        with pytest.raises(FabricRefused, match='unverified is "yes" or "no"'):
            read(with_(f', unverified: "{word}"'))


def test_how_many_lines_fit_is_a_number() -> None:
    for word in ("many", "0", "-5", ""):
        with pytest.raises(FabricRefused, match="table_lines is how many lines fit"):
            read(with_(f', table_lines: "{word}"'))
    read(with_(', table_lines: "512"'))


@pytest.mark.django_db
def test_a_credential_in_the_vault_can_be_named() -> None:
    load(with_(credential='"vault:leafs"'))
    assert Device.objects.get(name="leaf1").credential == "vault:leafs"


@pytest.mark.parametrize(
    "text", ["vault:", "vault:A", "vault:a/b", "vault:a b", "vault:" + "x" * 64, "vault", "s3cret", "file:x"]
)
def test_what_is_no_reference_is_a_fault_and_is_not_repeated(text: str) -> None:
    assert not is_reference(text)
    with pytest.raises(FabricRefused) as caught:
        read(with_(credential=f'"{text}"'))
    (fault,) = caught.value.faults
    assert "vault:NAME" in fault.detail
    assert f'"{text}"' not in str(fault)
