# SPDX-License-Identifier: Apache-2.0
"""The web process: `uvicorn orchestrator.asgi:application`. ASGI: an open event stream holds no thread."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
application = get_asgi_application()
