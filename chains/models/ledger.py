# SPDX-License-Identifier: Apache-2.0
"""What the machine keeps: outbox, leases, desired and observed state, findings, audit. No I/O."""

from __future__ import annotations

from django.db import models

from chains.models.change import Change, Plan
from chains.models.intent import Chain
from chains.models.inventory import Device, Offer
from chains.models.tenancy import Tenant


class Outbox(models.Model):
    """A bell to ring: "look at <topic> <ref>". Written in the transaction of the write it belongs to."""

    class Topic(models.TextChoices):
        CHANGE = "change"
        CHAIN = "chain"
        DEVICE = "device"
        LOGIN = "login"

    topic = models.CharField(max_length=16, choices=Topic)
    ref = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    rung_at = models.DateTimeField(null=True, blank=True, db_index=True)


class Lease(models.Model):
    """Who may write to a device. Expiry by the database's clock; epoch is raised by every take-over."""

    device = models.OneToOneField(Device, on_delete=models.CASCADE, related_name="lease")
    holder = models.CharField(max_length=150, blank=True)
    epoch = models.PositiveBigIntegerField(default=0)
    expires_at = models.DateTimeField(null=True, blank=True)


class Contribution(models.Model):
    """What one chain wants on one device (drivers.codec form). A device's desired state is the union."""

    chain = models.ForeignKey(Chain, on_delete=models.CASCADE, related_name="contributions")
    device = models.ForeignKey(Device, on_delete=models.PROTECT, related_name="contributions")
    items = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["chain", "device"], name="contribution_once")]


class Use(models.Model):
    """What a chain in force takes: an offer for one hop. Written with the decision."""

    chain = models.ForeignKey(Chain, on_delete=models.CASCADE, related_name="uses")
    hop_position = models.PositiveSmallIntegerField()
    offer = models.ForeignKey(Offer, on_delete=models.PROTECT, related_name="uses")
    bandwidth_mbps = models.PositiveIntegerField()
    entries = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["chain", "hop_position", "offer"], name="use_once")]


class LinkUse(models.Model):
    """What a chain in force takes on a link: bandwidth in each direction, and the stage tags it uses."""

    chain = models.ForeignKey(Chain, on_delete=models.CASCADE, related_name="link_uses")
    link = models.ForeignKey("chains.Link", on_delete=models.CASCADE, related_name="uses")
    from_a_mbps = models.PositiveIntegerField(default=0)
    from_b_mbps = models.PositiveIntegerField(default=0)
    tags = models.JSONField(default=list)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["chain", "link"], name="link_use_once")]


class DeviceStatus(models.Model):
    """Desired and observed state of one device. observed null: never read.

    attached: objects of others inside ours or in their way, one line each. pending: the name of a commit that
    the device will take back by itself, "" for none. failures: in a row; closed_until: left alone until then,
    because of them. probes_due_at: when it is asked next what its probes found.
    """

    class Condition(models.TextChoices):
        UNKNOWN = "unknown"
        IN_SYNC = "in_sync"
        DRIFTED = "drifted"
        UNREACHABLE = "unreachable"

    device = models.OneToOneField(Device, on_delete=models.CASCADE, related_name="status")
    desired_generation = models.PositiveBigIntegerField(default=0)
    observed_generation = models.PositiveBigIntegerField(default=0)
    observed = models.JSONField(null=True, blank=True)
    counters = models.JSONField(default=dict)
    links_up = models.JSONField(default=dict)
    foreign = models.PositiveIntegerField(default=0)
    attached = models.JSONField(default=list)
    pending = models.CharField(max_length=63, blank=True)
    failures = models.PositiveSmallIntegerField(default=0)
    closed_until = models.DateTimeField(null=True, blank=True)
    condition = models.CharField(max_length=16, choices=Condition, default=Condition.UNKNOWN)
    reason = models.CharField(max_length=512, blank=True)
    observed_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    probes_due_at = models.DateTimeField(null=True, blank=True)


class LoginTest(models.Model):
    """The last log-in that an operator asked for on a device: what the device said, or why there was none.

    missing: prerequisites, each with the exact line to add. verified: how the device proved who it is. due_at: a worker
    looks at it then, while it is pending; attempts: by workers, of which some may have died.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    device = models.OneToOneField(Device, on_delete=models.CASCADE, related_name="login_test")
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    asked_by = models.CharField(max_length=150)
    asked_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    ended_at = models.DateTimeField(null=True, blank=True)
    platform = models.CharField(max_length=255, blank=True)
    version = models.CharField(max_length=255, blank=True)
    serial = models.CharField(max_length=255, blank=True)
    verified = models.CharField(max_length=255, blank=True)
    missing = models.JSONField(default=list)
    items = models.PositiveIntegerField(null=True, blank=True)
    error = models.CharField(max_length=512, blank=True)

    class Meta:
        # Every sweep looks for those that nobody has answered.
        indexes = [
            models.Index(fields=["due_at"], condition=models.Q(status="pending"), name="login_test_pending")
        ]


class Finding(models.Model):
    """A proven problem with a witness. Open while closed_at is null."""

    class Severity(models.TextChoices):
        INFO = "info"
        WARNING = "warning"
        CRITICAL = "critical"

    code = models.CharField(max_length=32)
    severity = models.CharField(max_length=16, choices=Severity, default=Severity.WARNING)
    device = models.ForeignKey(
        Device, null=True, blank=True, on_delete=models.CASCADE, related_name="findings"
    )
    chain = models.ForeignKey(Chain, null=True, blank=True, on_delete=models.CASCADE, related_name="findings")
    plan = models.ForeignKey(Plan, null=True, blank=True, on_delete=models.SET_NULL, related_name="findings")
    detail = models.TextField()
    witness = models.JSONField(default=dict)
    opened_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["code", "device", "chain"],
                condition=models.Q(closed_at__isnull=True),
                name="finding_open_once",
                nulls_distinct=False,
            )
        ]


class Freeze(models.Model):
    """An operator's stop: while a row has no `lifted_at`, nothing is written to any device."""

    reason = models.CharField(max_length=255)
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)
    lifted_by = models.CharField(max_length=150, blank=True)
    lifted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["lifted_at"],
                condition=models.Q(lifted_at__isnull=True),
                name="freeze_once",
                nulls_distinct=False,
            )
        ]


class KeptReply(models.Model):
    """What a write with an Idempotency-Key was answered. Committed with the write, so both are there or neither.

    owner: the token or person, and the tenant. fingerprint: keyed SHA-256 over method, path and body.
    sealed: the body, encrypted, as a reply may hold a secret.
    """

    owner = models.CharField(max_length=63)
    key = models.CharField(max_length=128)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(default=0)
    headers = models.JSONField(default=dict)
    sealed = models.BinaryField(default=bytes)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "key"], name="kept_reply_once")]


class AuditRow(models.Model):
    """Who did what. Append-only."""

    at = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=150)
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    action = models.CharField(max_length=63)
    subject = models.CharField(max_length=150)
    detail = models.JSONField(default=dict)
    request_id = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["-id"]


class Condition(models.Model):
    """One question about a chain, its answer, why, and since when. Written when an answer changes, never guessed.

    generation: of the intent that the answer is about. since: when `status` last changed.
    """

    class Kind(models.TextChoices):
        READY = "ready"  # in force, read back, healthy: all below at once
        APPLIED = "applied"  # the devices were given this generation
        IN_SYNC = "in_sync"  # they hold what was given
        HEALTHY = "healthy"  # every hop has a function that lives
        PROGRESSING = "progressing"  # a change is under way

    class Answer(models.TextChoices):
        TRUE = "true"
        FALSE = "false"
        UNKNOWN = "unknown"

    chain = models.ForeignKey(Chain, on_delete=models.CASCADE, related_name="conditions")
    kind = models.CharField(max_length=16, choices=Kind)
    status = models.CharField(max_length=8, choices=Answer, default=Answer.UNKNOWN)
    reason = models.CharField(max_length=63)
    detail = models.CharField(max_length=512, blank=True)
    generation = models.PositiveIntegerField(default=0)
    since = models.DateTimeField()

    class Meta:
        ordering = ["kind"]
        constraints = [models.UniqueConstraint(fields=["chain", "kind"], name="condition_once")]
        # Every sweep looks for the few chains that are not ready.
        indexes = [
            models.Index(
                fields=["chain"],
                condition=models.Q(kind="ready") & ~models.Q(status="true"),
                name="condition_not_ready",
            )
        ]


class Traffic(models.Model):
    """What a chain's items counted lately: at most three samples, oldest first.

    samples: [{"at": seconds of the database's clock, "devices": {name: {key: [packets, dropped]}}}]; a device that did
    not answer is left out. watched_until: it is measured until then, because somebody looks. due_at: when next.
    """

    chain = models.OneToOneField(Chain, on_delete=models.CASCADE, related_name="traffic")
    samples = models.JSONField(default=list)
    watched_until = models.DateTimeField()
    due_at = models.DateTimeField(null=True, db_index=True)


class DeviceWrite(models.Model):
    """One push to one device, written down before it is made. Append-only, but for how it ended.

    change null: a repair of drift. epoch: of the lease it was made under. digest: SHA-256 of the bytes.
    ended_at null: not known how it ended.
    """

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="writes")
    change = models.ForeignKey(Change, null=True, blank=True, on_delete=models.SET_NULL, related_name="writes")
    purpose = models.CharField(max_length=16)
    epoch = models.PositiveBigIntegerField()
    digest = models.CharField(max_length=64)
    began_at = models.DateTimeField(db_index=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]
