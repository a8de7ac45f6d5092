# SPDX-License-Identifier: Apache-2.0
"""The fabric as the operator describes it: devices, ports, links, functions, offers. No I/O."""

from __future__ import annotations

from django.core.validators import MinValueValidator
from django.db import models

from chains.models.tenancy import NAME


class Fabric(models.Model):
    """What the fabric file says about itself: one row. management: the prefix of the devices' addresses, or ""."""

    name = models.CharField(max_length=63, validators=[NAME])
    management = models.CharField(max_length=43, blank=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="fabric_is_one_row")]

    def __str__(self) -> str:
        return self.name


class Site(models.Model):
    """Devices that fail, and are maintained, together. needs_approval, changes_at_once: as of a tenant."""

    name = models.CharField(max_length=63, unique=True, validators=[NAME])
    needs_approval = models.BooleanField(default=False)
    changes_at_once = models.PositiveSmallIntegerField(default=16, validators=[MinValueValidator(1)])

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Vrf(models.Model):
    """A routing instance. tag: the VLAN that carries it on links between switches (operator's choice)."""

    name = models.CharField(max_length=63, unique=True, validators=[NAME])
    tag = models.PositiveSmallIntegerField(unique=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.CheckConstraint(condition=models.Q(tag__range=(1, 2999)), name="vrf_tag_range")]

    def __str__(self) -> str:
        return self.name


class Device(models.Model):
    """A switch, an appliance, a host, or something external that is drawn but never programmed.

    credential: a reference (`chains.references`), never the secret.
    settings: the driver's own options, documented in each driver. drift: what becomes of items of ours that
    somebody else changed; "" for the machine's own setting.
    """

    class Drift(models.TextChoices):
        ENFORCE = "enforce"  # made as wanted again
        REPORT = "report"  # left as they are, and said
        ADOPT = "adopt"  # the device is right, if every chain still passes all of its functions

    class Kind(models.TextChoices):
        SWITCH = "switch"
        APPLIANCE = "appliance"
        HOST = "host"
        EXTERNAL = "external"

    name = models.CharField(max_length=63, unique=True, validators=[NAME])
    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="devices")
    kind = models.CharField(max_length=16, choices=Kind)
    driver = models.CharField(max_length=63, blank=True)
    management = models.CharField(max_length=255, blank=True)
    credential = models.CharField(max_length=255, blank=True)
    settings = models.JSONField(default=dict, blank=True)
    is_enabled = models.BooleanField(default=True)
    drift = models.CharField(max_length=8, choices=Drift, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Credential(models.Model):
    """A secret that devices name as `vault:NAME`, sealed to the workers' key: only they can open it.

    key_id: which of their keys. rotated_at: when the secret was last set.
    """

    name = models.CharField(max_length=63, unique=True, validators=[NAME])
    ciphertext = models.BinaryField()
    key_id = models.CharField(max_length=16)
    created_at = models.DateTimeField(auto_now_add=True)
    rotated_at = models.DateTimeField()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Port(models.Model):
    """number: the device's own port number (OpenFlow), 0 if none. addresses: interface addresses.

    interface: the device's own name of it, such as Ethernet1/1; "" if it is the same. vrf: the name of the VRF where
    its operator has put it, on devices that route; "" if it does not matter.
    """

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="ports")
    name = models.CharField(max_length=63)
    number = models.PositiveIntegerField(default=0)
    mac = models.CharField(max_length=17, blank=True)
    interface = models.CharField(max_length=63, blank=True)
    vrf = models.CharField(max_length=63, blank=True)
    addresses = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["device", "name"]
        constraints = [models.UniqueConstraint(fields=["device", "name"], name="port_once")]

    def __str__(self) -> str:
        return f"{self.device.name}:{self.name}"


class Link(models.Model):
    """A cable between two ports. Capacity counts in each direction by itself. is_up: False while a switch at an end
    says that there is no link.
    """

    a = models.OneToOneField(Port, on_delete=models.CASCADE, related_name="link_a")
    b = models.OneToOneField(Port, on_delete=models.CASCADE, related_name="link_b")
    capacity_mbps = models.PositiveIntegerField()
    latency_us = models.PositiveIntegerField()
    mtu_bytes = models.PositiveIntegerField(default=1500)
    is_up = models.BooleanField(default=True)

    class Meta:
        ordering = ["a_id"]
        # Very few of many.
        indexes = [models.Index(fields=["id"], condition=models.Q(is_up=False), name="link_down")]


class Price(models.Model):
    """What one unit of something costs on this network, where it is not the default of `chains.planning.worth`."""

    name = models.CharField(max_length=32, unique=True)
    cost = models.FloatField()

    class Meta:
        ordering = ["name"]
        constraints = [models.CheckConstraint(condition=models.Q(cost__gte=0), name="price_not_negative")]

    def __str__(self) -> str:
        return self.name


class Realm(models.TextChoices):
    """Where a function can run."""

    SWITCH = "switch"
    APPLIANCE = "appliance"
    HOST = "host"


class Function(models.Model):
    """A catalogue entry: what a hop may ask for.

    degraded_below, down_below: of a hop that several instances serve, so many percent have to be healthy.
    """

    class Capability(models.TextChoices):
        STATELESS_FILTER = "stateless_filter"
        STATEFUL_FILTER = "stateful_filter"
        IPS = "ips"
        NAT = "nat"
        TAP = "tap"

    name = models.CharField(max_length=63, unique=True, validators=[NAME])
    capability = models.CharField(max_length=32, choices=Capability)
    description = models.CharField(max_length=255, blank=True)
    degraded_below = models.PositiveSmallIntegerField(default=100)
    down_below = models.PositiveSmallIntegerField(default=1)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(degraded_below__lte=100, down_below__lte=models.F("degraded_below")),
                name="function_shares_in_order",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Mode(models.TextChoices):
    """How an appliance is plugged in."""

    TWO_ARM = "two_arm"  # routes between two ports
    ONE_ARM = "one_arm"  # routes, and gives back by the port it took from
    TRANSPARENT = "transparent"  # a bump in the wire between two ports


class Offer(models.Model):
    """ "This device can realise this function."

    inside/outside: the appliance's port names, "" in the other realms; mode: how it is plugged in. capacity_mbps: 0 is
    unlimited; measured_mbps: what it was seen to carry, 0 if nobody measured; entries: table entries (switch), 0 is
    unlimited. Each Gb/s needs a licence, cores and watts besides its own cost; measured_*: as seen, 0 if nobody
    measured, else in the declared one's place. settings: `pool` (prefix) and `block_size` for NAT. is_shared: may serve
    more than one tenant at once. probes: how it is asked whether it lives, see `chains.planning.probes`.
    is_last_resort: taken only where no other can serve.
    """

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="offers")
    function = models.ForeignKey(Function, on_delete=models.PROTECT, related_name="offers")
    realm = models.CharField(max_length=16, choices=Realm)
    inside = models.CharField(max_length=63, blank=True)
    outside = models.CharField(max_length=63, blank=True)
    mode = models.CharField(max_length=16, choices=Mode, default=Mode.TWO_ARM)
    capacity_mbps = models.PositiveIntegerField(default=0)
    measured_mbps = models.PositiveIntegerField(default=0)
    entries = models.PositiveIntegerField(default=0)
    latency_us = models.PositiveIntegerField(default=0)
    cost_per_gbps = models.FloatField(default=0)
    cost_fixed = models.FloatField(default=0)
    licence_per_gbps = models.FloatField(default=0)
    cores_per_gbps = models.FloatField(default=0)
    watts_per_gbps = models.FloatField(default=0)
    measured_cores_per_gbps = models.FloatField(default=0)
    measured_latency_us = models.PositiveIntegerField(default=0)
    is_shared = models.BooleanField(default=False)
    is_enabled = models.BooleanField(default=True)
    settings = models.JSONField(default=dict, blank=True)
    probes = models.JSONField(default=list, blank=True)
    is_last_resort = models.BooleanField(default=False)

    class Meta:
        ordering = ["device__name", "function__name"]
        constraints = [models.UniqueConstraint(fields=["device", "function"], name="offer_once")]

    def __str__(self) -> str:
        return f"{self.function.name}@{self.device.name}"


class Instance(models.Model):
    """An offer in use: its health and drain state, one row for each offer. Unknown is unknown.

    results: of its probes, by name, as they came last (drivers.probe.ProbeResult with `heard_s`, when that was by the
    database's clock). flaps: see `chains.planning.health`. probe_due_at: when workers ask it next.
    """

    class Health(models.TextChoices):
        UNKNOWN = "unknown"
        UP = "up"
        DOWN = "down"

    offer = models.OneToOneField(Offer, on_delete=models.CASCADE, related_name="instance")
    health = models.CharField(max_length=16, choices=Health, default=Health.UNKNOWN)
    health_reason = models.CharField(max_length=255, blank=True)
    health_at = models.DateTimeField(null=True, blank=True)
    is_draining = models.BooleanField(default=False)
    results = models.JSONField(default=dict)
    flaps = models.JSONField(default=dict)
    probe_due_at = models.DateTimeField(null=True, blank=True)
