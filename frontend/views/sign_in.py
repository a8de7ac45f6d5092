# SPDX-License-Identifier: Apache-2.0
"""Log-in with local accounts, and log-out by POST. Guessing is slowed down by a limit on failures."""

from __future__ import annotations

import hashlib

from django.contrib.auth.views import LoginView, LogoutView
from django.core.cache import cache
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

MAX_FAILURES = 10
WINDOW_S = 300


class SignIn(LoginView):
    """Counts failures by account and address in the process's cache: a brake, not a wall."""

    template_name = "frontend/login.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: object, **names: object) -> HttpResponse:
        if cache.get(_bucket(request), 0) >= MAX_FAILURES:
            context = {"minutes": WINDOW_S // 60, "form": self.get_form_class()(request)}
            response = render(request, self.template_name, context, status=429)
            response["Retry-After"] = str(WINDOW_S)
            return response
        return super().post(request, *args, **names)

    def form_invalid(self, form: Form) -> HttpResponse:
        bucket = _bucket(self.request)
        cache.add(bucket, 0, WINDOW_S)
        cache.incr(bucket)
        response = super().form_invalid(form)
        response.status_code = 422
        return response

    def form_valid(self, form: Form) -> HttpResponse:
        cache.delete(_bucket(self.request))
        return super().form_valid(form)


def _bucket(request: HttpRequest) -> str:
    account = request.POST.get("username", "")[:150].casefold()
    asked = f"{request.META.get('REMOTE_ADDR', '')} {account}"
    return "login-failures:" + hashlib.sha256(asked.encode()).hexdigest()


sign_in = never_cache(SignIn.as_view())
sign_out = LogoutView.as_view(http_method_names=["post", "options"])
