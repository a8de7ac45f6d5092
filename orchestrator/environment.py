# SPDX-License-Identifier: Apache-2.0
"""What the environment says about this instance, read once, by the settings."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from orchestrator.services import postgres, valkey
from orchestrator.services.places import state_folder

REQUIRED_IN_PRODUCTION = ("VIADUCT_SECRET_KEY", "VIADUCT_HOSTS", "DATABASE_URL", "REDIS_URL")


@dataclass(frozen=True, slots=True)
class Environment:
    """database_url and redis_url name the embedded services unless the environment names others."""

    state: Path
    is_production: bool
    is_debug: bool
    secret_key: str
    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    database_url: str
    redis_url: str
    log_level: str
    sweep_s: float
    observe_s: float
    soak_s: float
    breaker_s: float
    traffic_s: float
    drift: str
    approval_removals: int
    credential_key: str
    credential_public: str


def read(environ: Mapping[str, str] = os.environ) -> Environment:
    """Errors: ImproperlyConfigured, naming the variable."""
    is_production = environ.get("VIADUCT_PRODUCTION") == "1"
    is_debug = environ.get("VIADUCT_DEBUG") == "1"
    if is_production:
        missing = [name for name in REQUIRED_IN_PRODUCTION if not environ.get(name)]
        if missing:
            raise ImproperlyConfigured(f"VIADUCT_PRODUCTION=1 needs {', '.join(missing)}")
        if is_debug:
            raise ImproperlyConfigured("VIADUCT_DEBUG=1 shows secrets on error pages: not in production")
    state = state_folder()
    return Environment(
        state=state,
        is_production=is_production,
        is_debug=is_debug,
        secret_key=environ.get("VIADUCT_SECRET_KEY") or stored_secret(state / "secret_key"),
        hosts=_words(environ.get("VIADUCT_HOSTS", "localhost,127.0.0.1,[::1]")),
        origins=_words(environ.get("VIADUCT_ORIGINS", "")),
        database_url=environ.get("DATABASE_URL") or postgres.url(state),
        redis_url=environ.get("REDIS_URL") or valkey.url(state),
        log_level=environ.get("VIADUCT_LOG_LEVEL", "INFO"),
        sweep_s=_seconds(environ, "VIADUCT_SWEEP_S", 30.0),
        observe_s=_seconds(environ, "VIADUCT_OBSERVE_S", 30.0),
        soak_s=_seconds(environ, "VIADUCT_SOAK_S", 60.0, may_be_0=True),
        breaker_s=_seconds(environ, "VIADUCT_BREAKER_S", 60.0),
        traffic_s=_seconds(environ, "VIADUCT_TRAFFIC_S", 0.0, may_be_0=True),
        drift=environ.get("VIADUCT_DRIFT", "enforce"),
        approval_removals=_count(environ, "VIADUCT_APPROVAL_REMOVALS", 100),
        credential_key=environ.get("VIADUCT_CREDENTIAL_KEY") or own_credential_key(environ, state, is_production),
        credential_public=environ.get("VIADUCT_CREDENTIAL_PUBLIC", ""),
    )


def own_credential_key(environ: Mapping[str, str], state: Path, is_production: bool) -> str:
    """One machine makes its own. In production the web has the public key only, and nobody makes one by accident."""
    if is_production or environ.get("VIADUCT_CREDENTIAL_PUBLIC"):
        return ""
    path = state / "credential_key"
    # Any 32 octets are an X25519 key (RFC 7748 section 5).
    stored_secret(path, lambda: "vck_" + secrets.token_urlsafe(32))
    return f"file:{path}"


def stored_secret(path: Path, make: Callable[[], str] = lambda: secrets.token_urlsafe(48)) -> str:
    """The instance's own secret, made on first use. Two processes that start at once get the same one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    if not path.exists():
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(make())
        try:
            os.link(draft, path)  # refuses to replace: the first one wins
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text()


def _seconds(environ: Mapping[str, str], name: str, default: float, *, may_be_0: bool = False) -> float:
    text = environ.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 <= value < 86_400 or (value == 0 and not may_be_0):
        raise ImproperlyConfigured(f"{name}={text} is no number of seconds between 0 and a day")
    return value


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ImproperlyConfigured(f"{name}={text} is no whole number from 0 up")
    return int(text)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
