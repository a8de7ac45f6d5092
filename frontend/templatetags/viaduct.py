# SPDX-License-Identifier: Apache-2.0
"""Template tags: status words with icon, icons, times with zone, counters. They format; they read nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from frontend import words
from frontend.drawing import compact

register = template.Library()
NONE = "\N{EM DASH}"


@register.simple_tag
def icon(name: str, style: str = "") -> SafeString:
    """An icon of the sprite; decoration only, so a word must stand beside it."""
    return format_html('<svg class="icon {}" aria-hidden="true"><use href="#i-{}"></use></svg>', style, name)


@register.simple_tag
def realm_icon(realm: str) -> SafeString:
    return icon(words.REALM_ICONS.get(realm, "circle-dashed"))


@register.simple_tag
def status(word: str, text: str = "") -> SafeString:
    """Icon, word and tone of a status."""
    look = words.look_of(word)
    sign = icon(look.icon, "spin" if look.is_moving else "")
    shown = text or word.replace("_", " ")
    return format_html('<span class="status is-{}">{}<span>{}</span></span>', look.tone, sign, shown)


@register.simple_tag
def condition(row: Any) -> SafeString:
    """Yes, no or unknown, of a row of `selectors.condition_list`."""
    look = words.look_of_condition(row.kind, row.status, row.reason)
    sign = icon(look.icon, "spin" if look.is_moving else "")
    return format_html(
        '<span class="status is-{}">{}<span>{}</span></span>', look.tone, sign, words.ANSWERS.get(row.status, "unknown")
    )


@register.filter
def reason_words(name: str) -> str:
    """"hop-lost" -> "hop lost"."""
    return str(name).replace("-", " ")


@register.simple_tag
def since(value: datetime) -> SafeString:
    """"3 minutes ago", with the exact time for who points at it."""
    local = timezone.localtime(value)
    exact = local.strftime("%Y-%m-%d %H:%M:%S ") + (local.tzname() or "UTC")
    text = '<time class="nowrap" datetime="{}" title="{}">{}</time>'
    return format_html(text, local.isoformat(timespec="seconds"), exact, ago(value))


@register.filter
def tone(word: str) -> str:
    return words.look_of(word).tone


@register.filter
def status_icon(word: str) -> str:
    return words.look_of(word).icon


@register.simple_tag
def when(value: datetime | None, missing: str = "never") -> SafeString:
    """"2026-11-23 04:57:12 UTC", machine-readable."""
    if value is None:
        return format_html("<span>{}</span>", missing)
    local = timezone.localtime(value)
    text = local.strftime("%Y-%m-%d %H:%M:%S ") + (local.tzname() or "UTC")
    return format_html('<time class="nowrap" datetime="{}">{}</time>', local.isoformat(timespec="seconds"), text)


@register.filter
def ago(value: datetime | None) -> str:
    """"3 minutes ago"; "" for never."""
    if value is None:
        return ""
    if (timezone.now() - value).total_seconds() < 60:
        return "just now"
    return f"{timesince(value, depth=1)} ago".replace("\N{NO-BREAK SPACE}", " ")


@register.filter
def count(value: Any) -> str:
    """Grouped digits; a question mark for what is not known."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if isinstance(value, int) else "?"


@register.filter
def short_count(value: int | None) -> str:
    return compact(value)


@register.filter
def octets(value: int | None) -> str:
    """Octets with a decimal unit."""
    return f"{compact(value)}B" if value is not None and value >= 10_000 else f"{compact(value)} B"


@register.filter
def cost(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


@register.filter
def latency(value: int | None) -> str:
    """Microseconds, as milliseconds from 1000 up."""
    if value is None:
        return NONE
    return f"{value} µs" if value < 1000 else f"{value / 1000:g} ms"


@register.filter
def bandwidth(value: int | None) -> str:
    """Mb/s, as Gb/s from 1000 up."""
    if value is None:
        return NONE
    return f"{value} Mb/s" if value < 1000 else f"{value / 1000:g} Gb/s"


@register.filter
def plus_one(value: int) -> int:
    """Positions are shown from 1."""
    return value + 1


@register.filter
def field(mapping: Mapping[str, Any], name: str) -> Any:
    return mapping.get(name, "")


@register.filter
def errors_of(form: Any, name: str) -> tuple[str, ...]:
    """The errors of one input of a frontend.chain_form.ChainForm."""
    return form.errors.get(name, ())


@register.filter
def plain_words(name: str) -> str:
    """"cost_fixed" -> "cost fixed"."""
    return str(name).replace("_", " ")


@register.filter
def as_json(value: Any) -> str:
    """Stored JSON, readable. The template escapes it."""
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)


@register.filter
def input_words(name: str) -> str:
    """"hops-0-policy" -> "hop 1 policy", for the summary of errors."""
    parts = name.split("-")
    if len(parts) == 3:
        kind = {"hops": "hop", "classifiers": "traffic"}.get(parts[0], parts[0])
        return f"{kind} {int(parts[1]) + 1} {parts[2]}".replace("_", " ")
    return name.replace("_", " ")
