# SPDX-License-Identifier: Apache-2.0
"""Every address of the product: REST, its description, health, pages."""

from __future__ import annotations

from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from orchestrator import errors, health

urlpatterns = [
    path("api/v1/", include("chains.api.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    # Split: the page's script is a resource of its own, as the content security policy forbids inline script.
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    re_path(r"^api/(?P<rest>.*)$", errors.api_not_found),
    path("health/live", health.live, name="health-live"),
    path("health/ready", health.ready, name="health-ready"),
    path("", include("frontend.urls")),
]

handler400 = "orchestrator.errors.bad_request"
handler403 = "orchestrator.errors.forbidden"
handler404 = "orchestrator.errors.not_found"
handler500 = "orchestrator.errors.server_error"
