# SPDX-License-Identifier: Apache-2.0
"""Addresses under /api/v1/."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
