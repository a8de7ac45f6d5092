# SPDX-License-Identifier: Apache-2.0
"""The domain's rows."""

from chains.models.change import Change, ChangeEvent, ChangeWindow, Plan, PlanStep, Step
from chains.models.intent import Attachment, Chain, Classifier, Hop, Segment
from chains.models.inventory import Device, Fabric, Function, Instance, Link, Offer, Port, Realm, Site, Vrf
from chains.models.ledger import (
    AuditRow,
    Condition,
    Contribution,
    DeviceStatus,
    DeviceWrite,
    Finding,
    Freeze,
    KeptReply,
    Lease,
    LinkUse,
    Outbox,
    PoolAllocation,
    Use,
)
from chains.models.tenancy import ApiToken, Membership, Role, Tenant

__all__ = [
    "ApiToken",
    "Attachment",
    "AuditRow",
    "Chain",
    "Change",
    "ChangeEvent",
    "ChangeWindow",
    "Classifier",
    "Condition",
    "Contribution",
    "Device",
    "DeviceStatus",
    "DeviceWrite",
    "Fabric",
    "Finding",
    "Freeze",
    "Function",
    "Hop",
    "Instance",
    "KeptReply",
    "Lease",
    "Link",
    "LinkUse",
    "Membership",
    "Offer",
    "Outbox",
    "Plan",
    "PlanStep",
    "PoolAllocation",
    "Port",
    "Realm",
    "Role",
    "Segment",
    "Site",
    "Step",
    "Tenant",
    "Use",
    "Vrf",
]
