# SPDX-License-Identifier: Apache-2.0
"""Encrypted credentials for the API and the command: names and times, never a secret, nor its ciphertext."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from chains.models import Credential, Device
from chains.references import VAULT
from chains.selectors.tenancy import Asker, one, operators_only


def credential_list(actor: Asker) -> QuerySet[Credential]:
    """Errors: Forbidden."""
    operators_only(actor)
    return Credential.objects.defer("ciphertext")


def credential_get(actor: Asker, key: Any) -> Credential:
    """Errors: Forbidden, NotFound."""
    return one(credential_list(actor), key)


def credential_users(names: list[str]) -> dict[str, list[str]]:
    """Which devices name each of these credentials. One query."""
    found: dict[str, list[str]] = {name: [] for name in names}
    rows = Device.objects.filter(credential__in=[f"{VAULT}{name}" for name in names]).order_by("name")
    for device, reference in rows.values_list("name", "credential"):
        found[reference.removeprefix(VAULT)].append(device)
    return found
