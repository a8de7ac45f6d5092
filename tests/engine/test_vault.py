# SPDX-License-Identifier: Apache-2.0
"""Encrypted credentials: sealed by who has the public key, opened by who has the private one, seen by nobody else."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from chains import models
from chains.engine import vault
from chains.engine.credentials import resolve
from chains.engine.limits import limits
from chains.engine.sessions import fleet_of, read
from chains.errors import Conflict, Forbidden, Invalid
from chains.services import credentials
from chains.services.actor import SYSTEM, Actor
from chains.services.sealing import new_pair
from drivers import fake, registry
from drivers.base import Rejected, Session, Target
from tests.engine import world

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = json.dumps({"user": "ops", "password": "canary-5f1d-canary"})


@pytest.fixture(autouse=True)
def keys(transactional_db: None, settings: Any) -> Iterator[tuple[str, str]]:
    fake.reset()
    world.load()
    private, public = new_pair()
    settings.VIADUCT_CREDENTIAL_KEY, settings.VIADUCT_CREDENTIAL_PUBLIC = private, public
    yield private, public
    fake.reset()


def opened(name: str = "leafs") -> str:
    return resolve(f"vault:{name}", "leaf1", vault.sealed_of([f"vault:{name}"]))


def stored() -> str:
    """All text and octets of all tables."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT row_to_json(one)::text FROM "{table}" AS one')
            found += [row[0] for row in cursor.fetchall()]
    rows = models.Credential.objects.values_list("ciphertext", flat=True)
    return "\n".join([*found, *(bytes(row).decode("latin-1") for row in rows)])


def test_only_the_private_key_opens_it(settings: Any, keys: tuple[str, str]) -> None:
    settings.VIADUCT_CREDENTIAL_KEY = ""  # as in the web process
    credentials.credential_set(actor=SYSTEM, name="leafs", secret=SECRET)
    assert "canary" not in stored()
    with pytest.raises(Rejected, match="VIADUCT_CREDENTIAL_KEY is not set"):
        opened()
    settings.VIADUCT_CREDENTIAL_KEY, settings.VIADUCT_CREDENTIAL_PUBLIC = keys[0], ""  # as in a worker
    assert opened() == SECRET
    settings.VIADUCT_CREDENTIAL_KEY = new_pair()[0]
    with pytest.raises(Rejected, match="which the workers do not have"):
        opened()


def test_a_device_is_opened_with_it_and_it_is_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    used = []

    @contextmanager
    def open_line(target: Target, timeout_s: float) -> Iterator[Session]:
        used.append(target.secret)
        if len(used) == 2:
            raise Rejected(f"{target.name}: what is {target.secret}?")
        with fake.SWITCH.open(target, timeout_s) as session:
            yield session

    line = {"line": replace(fake.SWITCH, name="line", open=open_line)}
    monkeypatch.setattr(registry, "DRIVERS", {**registry.DRIVERS, **line})
    models.Device.objects.filter(name="leaf1").update(driver="line", credential="vault:leafs")
    credentials.credential_set(actor=SYSTEM, name="leafs", secret=SECRET)
    assert models.Outbox.objects.filter(topic="device", ref=world.device("leaf1").pk).exists(), "it is read anew"
    for _ in range(2):
        with fleet_of([world.device("leaf1")], limits()) as fleet:
            answers = fleet.each({"leaf1": read}, is_anew=True)
            assert "canary" not in repr(fleet.targets) + repr(vars(fleet)["_vault"])
    assert used == [SECRET, SECRET]
    assert str(answers.errors["leaf1"]) == "leaf1: what is ***?"
    for topic, ref in models.Outbox.objects.values_list("topic", "ref"):
        assert "canary" not in f"{topic}{ref}"
    assert "canary" not in stored() + caplog.text


def test_a_row_moved_to_another_name_or_altered_does_not_open() -> None:
    credentials.credential_set(actor=SYSTEM, name="leafs", secret=SECRET)
    row = models.Credential.objects.get()
    models.Credential.objects.create(
        name="spines", ciphertext=row.ciphertext, key_id=row.key_id, rotated_at=row.rotated_at
    )
    with pytest.raises(Rejected, match="its row was altered"):
        opened("spines")
    octets = bytearray(row.ciphertext)
    octets[-1] ^= 1
    models.Credential.objects.filter(name="leafs").update(ciphertext=bytes(octets))
    with pytest.raises(Rejected, match="its row was altered") as caught:
        opened()
    assert "canary" not in str(caught.value)
    with pytest.raises(Rejected, match="there is no credential"):
        opened("nothing")


def test_keys_are_rotated_without_anybody_typing_a_secret(settings: Any, keys: tuple[str, str]) -> None:
    credentials.credential_set(actor=SYSTEM, name="leafs", secret=SECRET)
    private, public = new_pair()
    settings.VIADUCT_CREDENTIAL_KEY, settings.VIADUCT_CREDENTIAL_PUBLIC = f"{private}, {keys[0]}", public
    assert opened() == SECRET
    credentials.credential_set(actor=SYSTEM, name="new", secret="other")
    assert vault.reseal(SYSTEM) == ["leafs"]
    settings.VIADUCT_CREDENTIAL_KEY = private
    assert (opened(), opened("new")) == (SECRET, "other")
    assert vault.reseal(SYSTEM) == []
    assert models.AuditRow.objects.filter(action="credential.reseal").count() == 1


def test_keys_from_a_file_and_bad_ones(settings: Any, keys: tuple[str, str], tmp_path: Any) -> None:
    (tmp_path / "key").write_text(f"{new_pair()[0]}\n{keys[0]}\n")
    settings.VIADUCT_CREDENTIAL_KEY = f"file:{tmp_path / 'key'}"
    credentials.credential_set(actor=SYSTEM, name="leafs", secret=SECRET)
    assert opened() == SECRET
    for bad in (keys[1], keys[0][:-1], "vck_", "file:/nowhere"):
        settings.VIADUCT_CREDENTIAL_KEY = bad
        with pytest.raises(Rejected) as caught:
            opened()
        assert bad.removeprefix("file:") not in str(caught.value) or bad == "vck_"
    settings.VIADUCT_CREDENTIAL_PUBLIC = keys[0]  # the private one where the public one belongs
    with pytest.raises(Conflict, match="VIADUCT_CREDENTIAL_PUBLIC holds something that is no key") as refused:
        credentials.credential_set(actor=SYSTEM, name="leafs", secret=SECRET)
    assert keys[0] not in str(refused.value)


def test_who_may_and_what() -> None:
    tenant = models.Tenant.objects.get(name="tenant-a")
    with pytest.raises(Forbidden):
        credentials.credential_set(actor=Actor("ed", tenant, models.Role.EDITOR), name="leafs", secret=SECRET)
    for name, secret in (("Leafs", "x"), ("", "x"), ("a/b", "x"), ("leafs", ""), ("leafs", "a\0b"), ("x" * 64, "x")):
        with pytest.raises(Invalid):
            credentials.credential_set(actor=SYSTEM, name=name, secret=secret)
    row = credentials.credential_set(actor=SYSTEM, name="leafs", secret=SECRET)
    with pytest.raises(Conflict):
        credentials.credential_create(actor=SYSTEM, name="leafs", secret=SECRET)
    models.Device.objects.filter(name="leaf1").update(credential="vault:leafs")
    with pytest.raises(Conflict, match="leaf1 would have no credential"):
        credentials.credential_delete(actor=SYSTEM, credential=row)
    models.Device.objects.filter(name="leaf1").update(credential="")
    credentials.credential_delete(actor=SYSTEM, credential=row)
    actions = list(models.AuditRow.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["credential.create", "credential.delete"]
    assert "canary" not in stored()


def test_on_the_command_line(monkeypatch: pytest.MonkeyPatch, keys: tuple[str, str]) -> None:
    def run(*words: str, text: str = "") -> str:
        out = io.StringIO()
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        call_command("credential", *words, stdout=out)
        return out.getvalue()

    assert "vault:leafs is set" in run("set", "leafs", text=SECRET + "\n")
    assert opened() == SECRET
    assert "leafs  key" in run("list") and "no device" in run("list") and "canary" not in run("list")
    assert "0 credentials" in run("rotate")
    assert "vault:leafs is gone" in run("delete", "leafs")
    with pytest.raises(CommandError, match="no credential of that name"):
        run("delete", "leafs")
    with pytest.raises(CommandError):
        run("set", "leafs", text="")
    lines = run("keygen").splitlines()
    assert [line.partition("=")[2][:4] for line in lines] == ["vck_", "vcp_"]
