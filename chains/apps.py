# SPDX-License-Identifier: Apache-2.0
"""Tells Django about the domain. No signals, no start-up work."""

from __future__ import annotations

from django.apps import AppConfig


class ChainsConfig(AppConfig):
    name = "chains"
    verbose_name = "Viaduct"
    default_auto_field = "django.db.models.BigAutoField"
