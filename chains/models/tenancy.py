# SPDX-License-Identifier: Apache-2.0
"""Tenants, their members and their API tokens. Rows and constraints, no I/O."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models

# \Z, not $: `$` also matches before a final line feed.
NAME = RegexValidator(
    r"\A[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z", "Lower-case letters, digits and hyphens, 1 to 63."
)


class Role(models.TextChoices):
    """What a person or a token may do. Operators act on the inventory and on every tenant."""

    VIEWER = "viewer"
    EDITOR = "editor"
    OPERATOR = "operator"


class Tenant(models.Model):
    """Who owns segments and chains; the isolation boundary.

    needs_approval: a second person has to agree to each of its changes. changes_at_once: how many of its changes
    may be worked on side by side.
    """

    name = models.CharField(max_length=63, unique=True, validators=[NAME])
    needs_approval = models.BooleanField(default=False)
    changes_at_once = models.PositiveSmallIntegerField(default=4, validators=[MinValueValidator(1)])
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A person's role in one tenant."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.VIEWER)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "tenant"], name="membership_once")]


class ApiToken(models.Model):
    """A bearer token `vdt_<key_id>.<secret>`; only an HMAC of the secret is kept.

    tenant is null for an operator's token. The tenant of a request comes from here and nowhere else.
    owner: the person behind it, who cannot be a second person to their own changes by using it. Null: not known.
    """

    key_id = models.CharField(max_length=16, unique=True)
    digest = models.CharField(max_length=64)
    name = models.CharField(max_length=63)
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="tokens")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="tokens"
    )
    role = models.CharField(max_length=16, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(role="operator", tenant__isnull=True)
                | (~models.Q(role="operator") & models.Q(tenant__isnull=False)),
                name="token_tenant_fits_role",
            )
        ]
