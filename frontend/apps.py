# SPDX-License-Identifier: Apache-2.0
"""The Django application of the pages."""

from __future__ import annotations

from django.apps import AppConfig


class FrontendConfig(AppConfig):
    name = "frontend"
