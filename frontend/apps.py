# SPDX-License-Identifier: Apache-2.0
"""The Django app of the web UI: templates, static files and template tags."""

from __future__ import annotations

from django.apps import AppConfig


class FrontendConfig(AppConfig):
    name = "frontend"
    verbose_name = "Viaduct"
