# SPDX-License-Identifier: Apache-2.0
"""Plans and the changes that apply them. What is applied is exactly the plan. No I/O."""

from __future__ import annotations

from django.db import models

from chains.models.intent import Chain
from chains.models.inventory import Device
from chains.models.tenancy import NAME


class Plan(models.Model):
    """placement: why each function runs where it does. path: both directions. proof: what was shown.

    intent: what the chain wanted when this was planned, as `services.intent` takes it back ({}: not known).
    base: {device: the chain's own items there when planned} in drivers.codec form. digest: SHA-256
    over everything that will be sent.
    """

    class Goal(models.TextChoices):
        APPLY = "apply"
        REMOVE = "remove"
        REPAIR = "repair"
        CLOSE = "close"  # lets no packet in while a hop has nobody; the rest stays

    class Status(models.TextChoices):
        READY = "ready"
        REFUSED = "refused"  # no placement, or the proof failed: see errors
        APPLIED = "applied"
        STALE = "stale"

    # A deleted chain's plans and changes stay: chain_name and tenant_name say whose they were.
    chain = models.ForeignKey(Chain, null=True, on_delete=models.SET_NULL, related_name="plans")
    chain_name = models.CharField(max_length=63)
    tenant = models.ForeignKey("chains.Tenant", on_delete=models.CASCADE, related_name="plans")
    goal = models.CharField(max_length=16, choices=Goal, default=Goal.APPLY)
    generation = models.PositiveIntegerField()
    base_revision = models.PositiveSmallIntegerField()
    revision = models.PositiveSmallIntegerField()
    status = models.CharField(max_length=16, choices=Status)
    placement = models.JSONField(default=dict)
    path = models.JSONField(default=dict)
    proof = models.JSONField(default=dict)
    intent = models.JSONField(default=dict)
    base = models.JSONField(default=dict)
    target = models.JSONField(default=dict)
    allocations = models.JSONField(default=list)
    summary = models.JSONField(default=dict)
    errors = models.JSONField(default=list)
    digest = models.CharField(max_length=64, blank=True)
    created_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]


class PlanStep(models.Model):
    """One push to one device. Steps of one wave may run side by side; waves run in order.

    device null: a "drain" step, which waits and pushes nothing. changes: [{key, action, before,
    after}] in drivers.codec form; native and reverse: the exact bytes.
    """

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="steps")
    wave = models.PositiveSmallIntegerField()
    phase = models.CharField(max_length=16)
    device = models.ForeignKey(
        Device, null=True, blank=True, on_delete=models.PROTECT, related_name="plan_steps"
    )
    changes = models.JSONField()
    native = models.TextField()
    reverse = models.TextField()

    class Meta:
        ordering = ["wave", "device__name"]
        constraints = [
            models.UniqueConstraint(
                fields=["plan", "wave", "device"], name="plan_step_once", nulls_distinct=False
            )
        ]


class Change(models.Model):
    """A network-wide transaction that applies one plan.

    needs_approval: why a second person has to agree first, "" if nobody has to. requested_by: the person who asked
    for it, as in `services.actor.Actor.person`. waits: why nothing happens now.
    is_urgent: it brings traffic back that is cut, so it waits for no window and no soak. attempts: of this
    phase (counted before they are made). broken: those of them that ended by what nobody foresaw, or never.
    canary_at: when the first device had been watched long enough. reverts_at: when the first device takes its
    unconfirmed commit back by itself.
    """

    class Status(models.TextChoices):
        WAITING = "waiting"  # for a second person
        PENDING = "pending"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        REVERTING = "reverting"
        REVERTED = "reverted"
        FAILED = "failed"  # parked: neither applied nor fully reverted; needs a person, see error
        CANCELLED = "cancelled"  # before anything was sent

    plan = models.OneToOneField(Plan, on_delete=models.PROTECT, related_name="change")
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    # The decision: set once everything was read back and probed. Before it: revert. After it: roll forward.
    decided_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    broken = models.PositiveSmallIntegerField(default=0)
    needs_approval = models.CharField(max_length=255, blank=True)
    approved_by = models.CharField(max_length=150, blank=True)
    approved_at = models.DateTimeField(null=True, blank=True)
    is_urgent = models.BooleanField(default=False)
    waits = models.CharField(max_length=255, blank=True)
    canary_at = models.DateTimeField(null=True, blank=True)
    reverts_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    created_by = models.CharField(max_length=150, blank=True)
    requested_by = models.CharField(max_length=63, blank=True)

    class Meta:
        ordering = ["-id"]
        # What is due, among very many that have ended.
        indexes = [models.Index(fields=["status", "due_at"], name="change_due")]


class Step(models.Model):
    """How far a change got with one plan step.

    label: the name under which the device holds its unconfirmed commit, written before the commit, so that any
    other process can confirm it or take it back; "" where the device has no such thing.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        SENT = "sent"  # written before the push: after a crash the device may hold it or not
        DONE = "done"
        REVERTED = "reverted"
        FAILED = "failed"

    change = models.ForeignKey(Change, on_delete=models.CASCADE, related_name="steps")
    plan_step = models.ForeignKey(PlanStep, on_delete=models.PROTECT, related_name="+")
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    label = models.CharField(max_length=63, blank=True)
    error = models.TextField(blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["plan_step__wave", "plan_step__device__name"]
        constraints = [models.UniqueConstraint(fields=["change", "plan_step"], name="step_once")]


class ChangeEvent(models.Model):
    """One line of a change's log. The id is the resume point of the event stream."""

    class Level(models.TextChoices):
        INFO = "info"
        WARNING = "warning"
        ERROR = "error"

    change = models.ForeignKey(Change, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(auto_now_add=True)
    level = models.CharField(max_length=8, choices=Level, default=Level.INFO)
    device = models.CharField(max_length=63, blank=True)
    text = models.TextField()

    class Meta:
        ordering = ["id"]


class ChangeWindow(models.Model):
    """When changes may begin, every week. tenant or site null: for all of them.

    Where no window fits a change it may begin at any time. weekdays: 0 (Monday) to 6. minutes: how long it is
    open; it may reach into the next day.
    """

    name = models.CharField(max_length=63, unique=True, validators=[NAME])
    tenant = models.ForeignKey(
        "chains.Tenant", null=True, blank=True, on_delete=models.CASCADE, related_name="windows"
    )
    site = models.ForeignKey(
        "chains.Site", null=True, blank=True, on_delete=models.CASCADE, related_name="windows"
    )
    weekdays = models.JSONField(default=list)
    opens_at = models.TimeField()
    minutes = models.PositiveSmallIntegerField()
    timezone = models.CharField(max_length=63, default="UTC")

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=models.Q(minutes__range=(1, 10080)), name="window_minutes_range")
        ]

    def __str__(self) -> str:
        return self.name
