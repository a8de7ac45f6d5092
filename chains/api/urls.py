# SPDX-License-Identifier: Apache-2.0
"""Addresses under /api/v1/. An id is a positive bigint; anything else is no address."""

from __future__ import annotations

from django.urls import path, register_converter

from chains.api import (
    approval,
    chains,
    changes,
    credentials,
    devices,
    fabric,
    findings,
    freeze,
    inventory,
    logins,
    plans,
    prices,
    segments,
    stream,
    subscribers,
    tenants,
    tokens,
    trace,
    traffic,
    undo,
    whatif,
    why,
    windows,
)
from chains.api.manners.parsers import MAX_INTEGER


class Identity:
    """A primary key in a path, in its one spelling."""

    regex = "[1-9][0-9]{0,18}"

    def to_python(self, value: str) -> int:
        if int(value) > MAX_INTEGER:
            raise ValueError("no bigint")
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)


register_converter(Identity, "identity")

app_name = "api"
urlpatterns = [
    path("audit/", findings.AuditListApi.as_view(), name="audit-list"),
    path("chains/", chains.ChainListApi.as_view(), name="chain-list"),
    path("chains/<identity:id>/", chains.ChainApi.as_view(), name="chain"),
    path("chains/<identity:id>/counters/", chains.ChainCountersApi.as_view(), name="chain-counters"),
    path("chains/<identity:id>/explain/", chains.ChainExplainApi.as_view(), name="chain-explain"),
    path("chains/<identity:id>/plan/", chains.ChainPlanApi.as_view(), name="chain-plan"),
    path("chains/<identity:id>/trace/", trace.ChainTraceApi.as_view(), name="chain-trace"),
    path("chains/<identity:id>/why/", why.ChainWhyApi.as_view(), name="chain-why"),
    path("chains/<identity:id>/traffic/", traffic.ChainTrafficApi.as_view(), name="chain-traffic"),
    path("changes/", changes.ChangeListApi.as_view(), name="change-list"),
    path("changes/<identity:id>/", changes.ChangeApi.as_view(), name="change"),
    path("changes/<identity:id>/approve/", approval.ChangeApproveApi.as_view(), name="change-approve"),
    path("changes/<identity:id>/cancel/", approval.ChangeCancelApi.as_view(), name="change-cancel"),
    path("changes/<identity:id>/events/", changes.ChangeEventsApi.as_view(), name="change-events"),
    path("changes/<identity:id>/retry/", changes.ChangeRetryApi.as_view(), name="change-retry"),
    path("changes/<identity:id>/stream/", stream.ChangeStreamApi.as_view(), name="change-stream"),
    path("changes/<identity:id>/undo/", undo.ChangeUndoApi.as_view(), name="change-undo"),
    path("credentials/", credentials.CredentialListApi.as_view(), name="credential-list"),
    path("credentials/<identity:id>/", credentials.CredentialApi.as_view(), name="credential"),
    path("devices/", devices.DeviceListApi.as_view(), name="device-list"),
    path("devices/<identity:id>/", devices.DeviceApi.as_view(), name="device"),
    path("devices/<identity:id>/adopt/", devices.DeviceAdoptApi.as_view(), name="device-adopt"),
    path("devices/<identity:id>/enforce/", devices.DeviceEnforceApi.as_view(), name="device-enforce"),
    path("devices/<identity:id>/save/", devices.DeviceSaveApi.as_view(), name="device-save"),
    path("devices/<identity:id>/test-login/", logins.DeviceTestLoginApi.as_view(), name="device-test-login"),
    path("fabric/", fabric.FabricApi.as_view(), name="fabric"),
    path("findings/", findings.FindingListApi.as_view(), name="finding-list"),
    path("freeze/", freeze.FreezeApi.as_view(), name="freeze"),
    path("functions/", inventory.FunctionListApi.as_view(), name="function-list"),
    path("instances/", inventory.InstanceListApi.as_view(), name="instance-list"),
    path("instances/<identity:id>/", inventory.InstanceApi.as_view(), name="instance"),
    path("links/", inventory.LinkListApi.as_view(), name="link-list"),
    path("me/", tenants.MeApi.as_view(), name="me"),
    path("offers/", inventory.OfferListApi.as_view(), name="offer-list"),
    path("offers/<identity:id>/", inventory.OfferApi.as_view(), name="offer"),
    path("plans/", plans.PlanListApi.as_view(), name="plan-list"),
    path("plans/<identity:id>/", plans.PlanApi.as_view(), name="plan"),
    path("plans/<identity:id>/apply/", plans.PlanApplyApi.as_view(), name="plan-apply"),
    path("prices/", prices.PriceApi.as_view(), name="prices"),
    path("reserve/", whatif.ReserveApi.as_view(), name="reserve"),
    path("segments/", segments.SegmentListApi.as_view(), name="segment-list"),
    path("segments/<identity:id>/", segments.SegmentApi.as_view(), name="segment"),
    path("sites/", inventory.SiteListApi.as_view(), name="site-list"),
    path("sites/<identity:id>/", inventory.SiteApi.as_view(), name="site"),
    path("subscribers/", subscribers.SubscriberApi.as_view(), name="subscriber"),
    path("tenants/", tenants.TenantListApi.as_view(), name="tenant-list"),
    path("tenants/<identity:id>/", tenants.TenantApi.as_view(), name="tenant"),
    path("tokens/", tokens.TokenListApi.as_view(), name="token-list"),
    path("tokens/<identity:id>/", tokens.TokenApi.as_view(), name="token"),
    path("what-if/", whatif.WhatIfApi.as_view(), name="what-if"),
    path("windows/", windows.WindowListApi.as_view(), name="window-list"),
    path("windows/<identity:id>/", windows.WindowApi.as_view(), name="window"),
]
