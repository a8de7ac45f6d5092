# SPDX-License-Identifier: Apache-2.0
"""The chain form: what a browser posts -> the data that services.intent takes, and its errors back to the fields.

Works without scripts: adding, removing and moving rows are submit buttons. No rule of the domain is repeated
here; the service judges, this module only finds the input that each of its errors belongs to. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chains.errors import FieldError, Problem

Row = dict[str, str]
PLAIN = ("name", "description", "source", "destination", "priority", "bandwidth_mbps", "latency_budget_us")
INTEGERS = ("priority", "bandwidth_mbps", "latency_budget_us")
CLASSIFIER = ("protocol", "source_ports", "destination_ports", "family", "dscp")
HOP = ("function", "failure_mode", "realm", "device", "instances", "standby", "policy", "branch")
HOP_NUMBERS = ("instances", "standby")
HOP_JSON = ("policy", "branch")
ROWS = {"classifiers": CLASSIFIER, "hops": HOP}
MOST = {"classifiers": 16, "hops": 12}  # rows that are read; the service has the same bounds
NEW_ROW: Mapping[str, Row] = {
    "classifiers": {"protocol": "tcp", "source_ports": "", "destination_ports": "", "family": "0", "dscp": ""},
    "hops": {
        "function": "", "failure_mode": "block", "realm": "", "device": "", "instances": "1", "standby": "0",
        "policy": "", "branch": "",
    },
}
EDIT = re.compile(r"(add|remove|up|down)-(classifiers|hops)(?:-([0-9]{1,2}))?")
EXAMPLES: Mapping[str, Any] = {
    "stateless_filter": {
        "default": "deny",
        "rules": [{"verdict": "permit", "protocol": "tcp", "destination_ports": "80"}],
    },
    "stateful_filter": {
        "default": "deny",
        "rules": [{"verdict": "permit", "protocol": "tcp", "destination_ports": "80"}],
    },
    "ips": {"patterns": [{"text": "evil-payload"}, {"hex": "deadbeef"}]},
    "nat": {"block_size": 256},
    "tap": {},
}


@dataclass(frozen=True, slots=True)
class FormRow:
    """One repeated row as the template needs it. prefix: of its inputs' names, "hops-0"."""

    prefix: str
    number: int
    values: Row
    is_first: bool
    is_last: bool

    @property
    def policy_lines(self) -> int:
        """The height of the policy's input."""
        return min(18, max(5, self.values.get("policy", "").count("\n") + 2))


@dataclass(frozen=True, slots=True)
class ChainForm:
    """Texts as in the inputs. errors: by input name; general: those that belong to none of them."""

    values: Row = field(default_factory=dict)
    classifiers: tuple[Row, ...] = ()
    hops: tuple[Row, ...] = ()
    errors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    general: tuple[str, ...] = ()

    @property
    def classifier_rows(self) -> tuple[FormRow, ...]:
        return _form_rows("classifiers", self.classifiers)

    @property
    def hop_rows(self) -> tuple[FormRow, ...]:
        return _form_rows("hops", self.hops)

    @property
    def listed_errors(self) -> list[tuple[str, tuple[str, ...]]]:
        return list(self.errors.items())

    @property
    def has_errors(self) -> bool:
        return bool(self.errors or self.general)


def blank() -> ChainForm:
    """A new chain: one classifier, one hop."""
    values = dict.fromkeys(PLAIN, "") | {"priority": "0", "bandwidth_mbps": "10"}
    return ChainForm(values, (dict(NEW_ROW["classifiers"]),), (dict(NEW_ROW["hops"]),))


def of_intent(intent: Mapping[str, Any]) -> ChainForm:
    """An existing chain, from selectors' chain intent."""
    values = {name: _text(intent.get(name)) for name in PLAIN}
    classifiers = tuple({name: _text(row.get(name)) for name in CLASSIFIER} for row in intent["classifiers"])
    hops = tuple(
        {name: _text(row.get(name)) for name in HOP} | {name: _pretty(row.get(name)) for name in HOP_JSON}
        for row in intent["hops"]
    )
    return ChainForm(values, classifiers, hops)


def posted(data: Mapping[str, str]) -> ChainForm:
    """What the browser sent, as it was typed."""
    values = {name: data.get(name, "").strip() for name in PLAIN}
    return ChainForm(values, _rows(data, "classifiers"), _rows(data, "hops"))


def edited(form: ChainForm, action: str) -> ChainForm | None:
    """The form after a row button; None if the action is none of them."""
    found = EDIT.fullmatch(action)
    if found is None:
        return None
    verb, name, number = found[1], found[2], int(found[3] or 0)
    rows = list(getattr(form, name))
    if verb == "add" and len(rows) < MOST[name]:
        rows.append(dict(NEW_ROW[name]))
    elif verb == "remove" and number < len(rows):
        rows.pop(number)
    elif verb in ("up", "down"):
        other = number + (1 if verb == "down" else -1)
        if 0 <= other < len(rows) and number < len(rows):
            rows[number], rows[other] = rows[other], rows[number]
    return replace(form, **{name: tuple(rows)})


def data_of(form: ChainForm) -> tuple[dict[str, Any], tuple[FieldError, ...]]:
    """The service's data, and what could not even be read (numbers, JSON). Unreadable values are left out."""
    errors: list[FieldError] = []
    data: dict[str, Any] = {name: form.values[name] for name in PLAIN if name not in INTEGERS}
    for name in INTEGERS:
        _put_integer(data, name, form.values[name], name, errors)
    data.setdefault("latency_budget_us", None)
    data["classifiers"] = [_classifier(row, number, errors) for number, row in enumerate(form.classifiers)]
    data["hops"] = [_hop(row, number, errors) for number, row in enumerate(form.hops)]
    return data, tuple(errors)


def with_problem(form: ChainForm, problem: Problem) -> ChainForm:
    return with_errors(form, problem.errors, "" if problem.errors else problem.detail)


def with_errors(form: ChainForm, errors: Iterable[FieldError], general: str = "") -> ChainForm:
    """Each error goes to the input that its path names, or to the nearest one around it."""
    inputs: dict[str, list[str]] = {}
    rest = [general] if general else []
    for error in errors:
        name, inner = _input_of(error.field, form)
        text = f"{inner}: {error.detail}" if inner else error.detail
        if name:
            inputs.setdefault(name, []).append(text)
        else:
            rest.append(f"{error.field}: {error.detail}" if error.field else error.detail)
    return replace(form, errors={name: tuple(texts) for name, texts in inputs.items()}, general=tuple(rest))


def _input_of(path: str, form: ChainForm) -> tuple[str, str]:
    """"hops.0.policy.rules.2" -> ("hops-0-policy", "rules.2"); ("", "") if there is no such input."""
    parts = path.split(".")
    if parts[0] in PLAIN:
        return parts[0], ".".join(parts[1:])
    if parts[0] not in ROWS or len(parts) < 2 or not parts[1].isdigit():
        return "", ""
    if int(parts[1]) >= len(getattr(form, parts[0])):
        return "", ""
    names = ROWS[parts[0]]
    known = len(parts) > 2 and parts[2] in names
    name = parts[2] if known else names[0]
    return f"{parts[0]}-{parts[1]}-{name}", ".".join(parts[3:] if known else parts[2:])


def _form_rows(name: str, rows: tuple[Row, ...]) -> tuple[FormRow, ...]:
    last = len(rows) - 1
    return tuple(
        FormRow(f"{name}-{number}", number, row, number == 0, number == last) for number, row in enumerate(rows)
    )


def _rows(data: Mapping[str, str], name: str) -> tuple[Row, ...]:
    """Rows are numbered from 0 without a gap; the number that was shown is in `<name>-count`."""
    count = data.get(f"{name}-count", "0")
    shown = min(int(count), MOST[name]) if count.isascii() and count.isdigit() and len(count) < 4 else 0
    return tuple(
        {key: data.get(f"{name}-{number}-{key}", "").strip() for key in ROWS[name]} for number in range(shown)
    )


def _classifier(row: Row, number: int, errors: list[FieldError]) -> dict[str, Any]:
    data: dict[str, Any] = {name: row[name] for name in ("protocol", "source_ports", "destination_ports")}
    _put_integer(data, "family", row["family"], f"classifiers.{number}.family", errors)
    _put_integer(data, "dscp", row["dscp"], f"classifiers.{number}.dscp", errors)
    return data


def _hop(row: Row, number: int, errors: list[FieldError]) -> dict[str, Any]:
    data: dict[str, Any] = {name: row[name] for name in HOP if name not in (*HOP_NUMBERS, *HOP_JSON)}
    for name in HOP_NUMBERS:
        _put_integer(data, name, row[name], f"hops.{number}.{name}", errors)
    for name in HOP_JSON:
        if not row[name]:
            continue
        try:
            data[name] = json.loads(row[name], parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            detail = f"is not JSON: {error}" if isinstance(error, ValueError) else "is nested too deeply"
            errors.append(FieldError(f"hops.{number}.{name}", "invalid", detail))
    return data


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _put_integer(data: dict[str, Any], name: str, text: str, path: str, errors: list[FieldError]) -> None:
    if not text:
        return
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        data[name] = int(text)
    else:
        errors.append(FieldError(path, "invalid", "must be a whole number"))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _pretty(policy: Any) -> str:
    """One rule a line: short enough to read, long enough to edit."""
    if not isinstance(policy, Mapping):
        return json.dumps(policy) if policy else ""
    parts = [f"  {json.dumps(name)}: {_value(value)}" for name, value in policy.items()]
    return "{\n" + ",\n".join(parts) + "\n}" if parts else "{}"


def _value(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return "[\n" + ",\n".join(f"    {json.dumps(_filled(entry))}" for entry in value) + "\n  ]"
    return json.dumps(value)


def _filled(entry: Any) -> Any:
    """A rule without its empty fields: they mean "any"."""
    return {name: value for name, value in entry.items() if value != ""} if isinstance(entry, Mapping) else entry


def examples() -> dict[str, str]:
    """A policy to start from, by capability."""
    return {capability: _pretty(policy) for capability, policy in EXAMPLES.items()}
