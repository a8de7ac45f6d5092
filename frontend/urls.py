# SPDX-License-Identifier: Apache-2.0
"""The pages' addresses."""

from __future__ import annotations

from django.urls import path

from frontend.views import (
    approval,
    chain_edit,
    chains,
    changes,
    devices,
    freeze,
    ledger,
    overview,
    plans,
    sign_in,
    stream,
    subscribers,
    whatif,
    windows,
)

app_name = "ui"
urlpatterns = [
    path("login/", sign_in.sign_in, name="login"),
    path("logout/", sign_in.sign_out, name="logout"),
    path("", overview.overview, name="overview"),
    path("chains/", chains.chain_list, name="chain-list"),
    path("chains/new/", chain_edit.chain_new, name="chain-new"),
    path("chains/<int:id>/", chains.chain, name="chain"),
    path("chains/<int:id>/live/", chains.chain_live, name="chain-live"),
    path("chains/<int:id>/edit/", chain_edit.chain_edit, name="chain-edit"),
    path("chains/<int:id>/plan/", chains.chain_plan, name="chain-plan"),
    path("chains/<int:id>/why/", chains.chain_why, name="chain-why"),
    path("chains/<int:id>/delete/", chains.chain_delete, name="chain-delete"),
    path("plans/<int:id>/", plans.plan, name="plan"),
    path("plans/<int:id>/apply/", plans.plan_apply, name="plan-apply"),
    path("changes/", changes.change_list, name="change-list"),
    path("changes/<int:id>/", changes.change, name="change"),
    path("changes/<int:id>/approve/", approval.change_approve, name="change-approve"),
    path("changes/<int:id>/cancel/", approval.change_cancel, name="change-cancel"),
    path("changes/<int:id>/progress/", changes.progress, name="change-progress"),
    path("changes/<int:id>/retry/", changes.change_retry, name="change-retry"),
    path("changes/<int:id>/undo/", changes.change_undo, name="change-undo"),
    path("changes/<int:id>/stream/", stream.change_stream, name="change-stream"),
    path("freeze/", freeze.freeze, name="freeze"),
    path("freeze/lift/", freeze.unfreeze, name="unfreeze"),
    path("devices/", devices.device_list, name="device-list"),
    path("devices/<str:name>/", devices.device, name="device"),
    path("devices/<str:name>/adopt/", devices.device_order, {"what": "adopt"}, name="device-adopt"),
    path("devices/<str:name>/enforce/", devices.device_order, {"what": "enforce"}, name="device-enforce"),
    path("devices/<str:name>/save/", devices.device_save, name="device-save"),
    path("devices/<str:name>/login/", devices.device_login, name="device-login"),
    path("devices/<str:name>/test-login/", devices.device_test_login, name="device-test-login"),
    path("findings/", ledger.finding_list, name="finding-list"),
    path("windows/", windows.window_list, name="window-list"),
    path("windows/<int:id>/", windows.window, name="window"),
    path("windows/<int:id>/delete/", windows.window_delete, name="window-delete"),
    path("what-if/", whatif.whatif, name="what-if"),
    path("subscribers/", subscribers.subscriber, name="subscriber"),
    path("audit/", ledger.audit_list, name="audit-list"),
]
