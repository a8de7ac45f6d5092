# SPDX-License-Identifier: Apache-2.0
"""What tenants want: segments and chains. Rows and constraints, no I/O."""

from __future__ import annotations

from django.db import models

from chains.models.inventory import Device, Function, Port, Realm, Vrf
from chains.models.tenancy import NAME, Tenant


class Segment(models.Model):
    """A set of prefixes of one tenant in one VRF. tenant null: the operator's, usable by all ("outside").

    mtu_bytes: the largest packet that starts here.
    """

    tenant = models.ForeignKey(
        Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="segments"
    )
    name = models.CharField(max_length=63, validators=[NAME])
    vrf = models.ForeignKey(Vrf, on_delete=models.PROTECT, related_name="segments")
    prefixes = models.JSONField(default=list)
    mtu_bytes = models.PositiveIntegerField(default=1500)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="segment_once", nulls_distinct=False)
        ]

    def __str__(self) -> str:
        return self.name


class Attachment(models.Model):
    """A switch port where a segment lives. prefixes: what lives here, [] for all of the segment's."""

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="attachments")
    port = models.ForeignKey(Port, on_delete=models.PROTECT, related_name="attachments")
    prefixes = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["port_id"]
        constraints = [models.UniqueConstraint(fields=["segment", "port"], name="attachment_once")]


class Chain(models.Model):
    """Classifiers -> ordered hops, from `source` to `destination` and back. The primary key is its number on devices.

    generation: raised by every edit of the intent. observed_generation: the one that devices were
    read back to hold. revision: of the path that is in force (0: none yet), part of every key.
    buckets: of the path in force, by function: which member of a group serves which part of the source prefixes.
    shares_fate: no packet is let in while a hop that blocks has nobody.
    is_wanted false: being deleted; the row goes when the last device was read back without it.
    """

    class Status(models.TextChoices):
        DRAFT = "draft"  # never applied
        PENDING = "pending"  # a change is wanted
        APPLYING = "applying"
        READY = "ready"  # read back equals desired, generation observed
        DEGRADED = "degraded"  # in force, but a hop has no healthy instance, or drift is being repaired
        ERROR = "error"
        UNKNOWN = "unknown"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="chains")
    name = models.CharField(max_length=63, validators=[NAME])
    description = models.CharField(max_length=255, blank=True)
    source = models.ForeignKey(Segment, on_delete=models.PROTECT, related_name="chains_from")
    destination = models.ForeignKey(Segment, on_delete=models.PROTECT, related_name="chains_to")
    priority = models.PositiveSmallIntegerField(default=0)
    bandwidth_mbps = models.PositiveIntegerField(default=10)
    latency_budget_us = models.PositiveIntegerField(null=True, blank=True)
    shares_fate = models.BooleanField(default=False)
    generation = models.PositiveIntegerField(default=1)
    observed_generation = models.PositiveIntegerField(default=0)
    revision = models.PositiveSmallIntegerField(default=0)
    buckets = models.JSONField(default=dict, blank=True)
    is_wanted = models.BooleanField(default=True)
    status = models.CharField(max_length=16, choices=Status, default=Status.DRAFT)
    status_reason = models.CharField(max_length=512, blank=True)
    status_at = models.DateTimeField(auto_now_add=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["tenant__name", "name"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="chain_once"),
            models.CheckConstraint(condition=models.Q(priority__lte=15), name="chain_priority_range"),
            models.CheckConstraint(condition=models.Q(id__lt=1 << 24), name="chain_number_range"),
        ]
        # Every sweep looks for the few that are not as they should be, among very many that are.
        indexes = [
            models.Index(fields=["status"], name="chain_status"),
            models.Index(fields=["id"], condition=models.Q(is_wanted=False), name="chain_unwanted"),
        ]

    def __str__(self) -> str:
        return self.name


class Classifier(models.Model):
    """Which packets between the chain's segments. family 0: both; ports and dscp as in drivers.state.Match."""

    chain = models.ForeignKey(Chain, on_delete=models.CASCADE, related_name="classifiers")
    position = models.PositiveSmallIntegerField()
    family = models.PositiveSmallIntegerField(default=0)
    protocol = models.CharField(max_length=8, blank=True)
    source_port_first = models.PositiveIntegerField(default=0)
    source_port_last = models.PositiveIntegerField(default=65535)
    destination_port_first = models.PositiveIntegerField(default=0)
    destination_port_last = models.PositiveIntegerField(default=65535)
    dscp = models.SmallIntegerField(default=-1)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["chain", "position"], name="classifier_once")]


class Hop(models.Model):
    """One function of a chain. policy: checked by services.policy per capability. realm/device: a pin, or none.

    instances: how many share the traffic; standby: how many more are kept ready. branch_dscp: packets that leave the
    hop with this mark take a tail of their own, -1 for none; a hop of the tail names in `branch_of` where it begins.
    """

    class FailureMode(models.TextChoices):
        BLOCK = "block"
        BYPASS = "bypass"

    chain = models.ForeignKey(Chain, on_delete=models.CASCADE, related_name="hops")
    position = models.PositiveSmallIntegerField()
    function = models.ForeignKey(Function, on_delete=models.PROTECT, related_name="hops")
    failure_mode = models.CharField(max_length=8, choices=FailureMode, default=FailureMode.BLOCK)
    policy = models.JSONField(default=dict, blank=True)
    realm = models.CharField(max_length=16, choices=Realm, blank=True)
    device = models.ForeignKey(
        Device, null=True, blank=True, on_delete=models.PROTECT, related_name="pinned_hops"
    )
    instances = models.PositiveSmallIntegerField(default=1)
    standby = models.PositiveSmallIntegerField(default=0)
    branch_dscp = models.SmallIntegerField(default=-1)
    branch_of = models.PositiveSmallIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["chain", "position"], name="hop_once")]
