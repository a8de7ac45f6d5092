# SPDX-License-Identifier: Apache-2.0
"""Django's settings. Values only: what depends on the environment comes from `environment.read`."""

from __future__ import annotations

import dj_database_url
from csp.constants import NONE, SELF, UNSAFE_INLINE

from orchestrator import environment

ENVIRONMENT = environment.read()

DEBUG = ENVIRONMENT.is_debug
SECRET_KEY = ENVIRONMENT.secret_key
ALLOWED_HOSTS = list(ENVIRONMENT.hosts)
CSRF_TRUSTED_ORIGINS = list(ENVIRONMENT.origins)

ROOT_URLCONF = "orchestrator.urls"
ASGI_APPLICATION = "orchestrator.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "csp",
    "chains",
    "frontend",
]

MIDDLEWARE = [
    "orchestrator.requests.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ],
        },
    },
]

# A connection lives as long as a request: event streams would otherwise hold one each.
DATABASES = {"default": dj_database_url.parse(ENVIRONMENT.database_url, conn_max_age=0)}

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True  # serves the applications' own files: no collecting before the first start

# --- people ---
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = ENVIRONMENT.is_production
CSRF_COOKIE_SECURE = ENVIRONMENT.is_production
CSRF_FAILURE_VIEW = "orchestrator.errors.csrf_failure"
SECURE_SSL_REDIRECT = ENVIRONMENT.is_production
SECURE_REDIRECT_EXEMPT = [r"^health/"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if ENVIRONMENT.is_production else None
SECURE_HSTS_SECONDS = 31_536_000 if ENVIRONMENT.is_production else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Inline style is allowed for the path drawings (SVG); inline script never.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_048_576  # bytes; the largest chain with every rule is a tenth of it

# --- REST ---
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "chains.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "PAGE_SIZE": 50,
    "EXCEPTION_HANDLER": "orchestrator.errors.handle",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Viaduct",
    "DESCRIPTION": "Takes tenants' traffic via the functions that their policies name.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# --- workers ---
# A message is a doorbell: it may be lost, doubled or late, and the row in PostgreSQL is what counts. So it is
# acknowledged when taken: late acknowledgement turns a task that kills its worker into a crash loop, and the
# sweep that every worker runs rings again what was lost.
CELERY_BROKER_URL = ENVIRONMENT.redis_url.replace("unix://", "redis+socket://", 1)
CELERY_BROKER_CONNECTION_TIMEOUT = 2.0
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_connect_timeout": 2.0,
    "socket_timeout": 10.0,  # without it a silent broker holds a worker for ever
    "health_check_interval": 15,
    "visibility_timeout": 120,
    "unacked_restore_interval": 2,  # with the defaults a message of a killed worker came back after 100 s
    "unacked_restore_throttle": 1,
    "max_retries": 1,
}
CELERY_TASK_PUBLISH_RETRY = False  # ringing must not hold the ringer: the sweep rings again
CELERY_RESULT_BACKEND = None
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_TASK_SOFT_TIME_LIMIT = 240  # seconds; a change renews its leases (60 s) while it runs
CELERY_TASK_TIME_LIMIT = 270
CELERY_TASK_DEFAULT_QUEUE = "viaduct"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 5.0
CELERY_WORKER_ENABLE_REMOTE_CONTROL = True
CELERY_ENABLE_UTC = True

# --- the engine: chains/engine/limits.py says what each number means ---
VIADUCT_SWEEP_S = ENVIRONMENT.sweep_s
VIADUCT_OBSERVE_S = ENVIRONMENT.observe_s
VIADUCT_SOAK_S = ENVIRONMENT.soak_s
VIADUCT_BREAKER_S = ENVIRONMENT.breaker_s
VIADUCT_TRAFFIC_S = ENVIRONMENT.traffic_s
VIADUCT_DRIFT = ENVIRONMENT.drift
VIADUCT_APPROVAL_REMOVALS = ENVIRONMENT.approval_removals

# --- credentials in the database: sealed with the public key, opened by workers with the private one ---
VIADUCT_CREDENTIAL_KEY = ENVIRONMENT.credential_key
VIADUCT_CREDENTIAL_PUBLIC = ENVIRONMENT.credential_public

# --- logs: one JSON object a line on standard error ---
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "orchestrator.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": ENVIRONMENT.log_level},
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        # Both log secrets or whole payloads below warning level.
        "paramiko": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        # Every scanner's wrong Host header would else leave a stack trace; the request gets its 400.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
    },
}
