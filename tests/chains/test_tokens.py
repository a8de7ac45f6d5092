# SPDX-License-Identifier: Apache-2.0
"""Tokens: only a hash is kept, they end by time and by revocation at once, and nobody makes more than they may."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from chains.errors import Forbidden, Invalid, NotFound, Problem
from chains.models import ApiToken, AuditRow, Membership, Role, Tenant
from chains.services.actor import actor_of_token
from chains.services.tokens import token_create, token_find, token_revoke, tokens_expired
from tests.builders import OPERATOR, editor, tenant, viewer

pytestmark = pytest.mark.usefixtures("fabric")


def make(**values: Any) -> tuple[ApiToken, str]:
    given = {"actor": OPERATOR, "name": "ci", "tenant": tenant(), "role": Role.EDITOR}
    return token_create(**{**given, **values})


def test_the_right_text_is_found_with_its_tenant() -> None:
    token, plaintext = make()
    found = token_find(plaintext)
    assert found == token and found.tenant == tenant()
    assert actor_of_token(found, "r").request_id == "r"


def test_neither_the_database_nor_the_audit_holds_the_secret() -> None:
    token, plaintext = make()
    secret = plaintext.partition(".")[2]
    assert len(secret) == 43  # 256 bits
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(
                f'SELECT count(*) FROM "{table}" AS each WHERE each::text LIKE %s', [f"%{secret}%"]
            )
            assert cursor.fetchone() == (0,), table
    assert AuditRow.objects.latest("id").detail["key_id"] == token.key_id


def test_a_copy_of_the_database_is_worth_nothing_without_the_key(settings: Any) -> None:
    _, plaintext = make()
    settings.SECRET_KEY = "another"
    assert token_find(plaintext) is None


@pytest.mark.parametrize("change", ["", " ", "\n", "\0", "x", "é", "\u2028", "A" * 1_000_000])
def test_nothing_but_the_very_text_is_taken(change: str) -> None:
    _, plaintext = make()
    assert token_find(plaintext) is not None
    if change:
        assert token_find(plaintext + change) is None
        assert token_find(change + plaintext) is None
    assert token_find(plaintext[:-1]) is None
    assert token_find(plaintext[:-1] + ("A" if plaintext[-1] != "A" else "B")) is None
    assert token_find(plaintext.upper()) is None
    assert token_find(change) is None
    _, other = make(name="other")
    assert token_find(plaintext.partition(".")[0] + "." + other.partition(".")[2]) is None


def test_a_token_ends_by_time_and_at_once_by_revocation() -> None:
    token, plaintext = make(days=1)
    ApiToken.objects.filter(pk=token.pk).update(expires_at=timezone.now())
    assert token_find(plaintext) is None
    token, plaintext = make(name="second")
    assert token_revoke(actor=OPERATOR, token=token).revoked_at is not None
    assert token_find(plaintext) is None
    first = ApiToken.objects.get(pk=token.pk).revoked_at
    assert token_revoke(actor=OPERATOR, token=token).revoked_at == first


def test_the_default_life_is_90_days() -> None:
    token, _ = make()
    assert timedelta(days=89) < token.expires_at - timezone.now() <= timedelta(days=90)


def test_use_is_noted_once_a_minute() -> None:
    token, plaintext = make()
    token_find(plaintext)
    first = ApiToken.objects.get(pk=token.pk).last_used_at
    token_find(plaintext)
    assert first is not None and ApiToken.objects.get(pk=token.pk).last_used_at == first


def test_tokens_that_ended_long_ago_are_dropped() -> None:
    token, _ = make()
    make(name="kept")
    ApiToken.objects.filter(pk=token.pk).update(expires_at=timezone.now() - timedelta(days=31))
    assert tokens_expired() == 1
    assert ApiToken.objects.get().name == "kept"


@pytest.mark.parametrize(
    "values",
    [
        {"name": ""},
        {"name": "x" * 64},
        {"name": "a\nb"},
        {"name": "a\u202eb"},
        {"days": 0},
        {"days": 367},
        {"days": True},
        {"days": "90"},
        {"role": "root"},
        {"role": Role.OPERATOR},
        {"tenant": None},
    ],
)
def test_wrong_values_make_no_token(values: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        make(**values)
    assert not ApiToken.objects.exists()


def test_nobody_gives_more_than_they_have() -> None:
    assert make(actor=editor(), role=Role.VIEWER)[0].tenant == tenant()
    for values, problem in (
        ({"actor": editor(), "role": Role.OPERATOR, "tenant": None}, Forbidden),
        ({"actor": editor("tenant-b")}, NotFound),
        ({"actor": viewer()}, Forbidden),
    ):
        with pytest.raises(problem):
            make(**values)
    own, _ = make()
    operators, _ = make(role=Role.OPERATOR, tenant=None)
    for actor, token in ((editor("tenant-b"), own), (viewer(), own), (editor(), operators)):
        with pytest.raises(Problem):
            token_revoke(actor=actor, token=token)
    assert not ApiToken.objects.exclude(revoked_at=None).exists()


def test_the_commands_print_once_and_refuse_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_token", "demo", "--tenant", "tenant-a")
    found = token_find(capsys.readouterr().out.strip())
    assert found is not None and found.role == Role.EDITOR
    call_command("create_token", "ops")
    found = token_find(capsys.readouterr().out.strip())
    assert found is not None and (found.role, found.tenant) == (Role.OPERATOR, None)
    for arguments in (
        ["x", "--tenant", "nobody"],
        ["x", "--days", "0"],
        ["", "--tenant", "tenant-a"],
        ["a\nb"],
    ):
        with pytest.raises(CommandError) as caught:
            call_command("create_token", *arguments)
        assert str(caught.value).isprintable()


def test_the_operator_command_makes_a_superuser(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    from django.contrib.auth.models import User

    monkeypatch.delenv("VIADUCT_PASSWORD", raising=False)
    call_command("create_operator", "ops")
    password = capsys.readouterr().out.strip()
    user = User.objects.get(username="ops")
    assert user.is_superuser and user.check_password(password)
    monkeypatch.setenv("VIADUCT_PASSWORD", "short")
    with pytest.raises(CommandError):
        call_command("create_operator", "ops")
    assert User.objects.get(username="ops").check_password(password)
    monkeypatch.setenv("VIADUCT_PASSWORD", "a-much-longer-phrase-7")
    call_command("create_operator", "ops")
    assert "a-much-longer" not in capsys.readouterr().out
    assert User.objects.get(username="ops").check_password("a-much-longer-phrase-7")
    with pytest.raises(CommandError):
        call_command("create_operator", "a b\n")


@pytest.mark.django_db
def test_a_member_is_made_once_and_an_operator_is_never_made_one(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = Tenant.objects.create(name="of-members")
    monkeypatch.setenv("VIADUCT_PASSWORD", "correct horse battery")
    for role in ("viewer", "editor"):
        call_command("create_member", "ann", tenant="of-members", role=role)
        member = Membership.objects.get(user__username="ann")
        assert (member.tenant, member.role, member.user.is_superuser) == (tenant, role, False)
        assert member.user.check_password("correct horse battery")
    call_command("create_operator", "root")
    with pytest.raises(CommandError, match="is an operator"):
        call_command("create_member", "root", tenant="of-members")
    with pytest.raises(CommandError, match="there is no tenant"):
        call_command("create_member", "bob", tenant="\udcff")
