# SPDX-License-Identifier: Apache-2.0
"""A file of chains against what the server has: which to create, to change, to put in force, to delete.

The server itself says how it would store each (`?dry_run=true`), so what differs is what would differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frontend.cli import files
from frontend.cli.chains import show_differences
from frontend.cli.printing import Failure, plain
from frontend.cli.session import Session

CREATE, UPDATE, APPLY, DELETE = "create", "update", "apply", "delete"
SYMBOLS = {CREATE: "[green]+[/]", UPDATE: "[yellow]~[/]", APPLY: "[cyan]>[/]", DELETE: "[red]-[/]"}
WORDS = {
    CREATE: "is to be created",
    UPDATE: "is to be changed",
    APPLY: "is stored and not in force",
    DELETE: "goes",
}
TRY = {"dry_run": "true"}


@dataclass(frozen=True, slots=True)
class Difference:
    """wanted: the body to send. before, after: as the server has it and would have it. chain: its number."""

    action: str
    label: str
    chain: int | None
    tag: str
    wanted: files.Json
    before: files.Json
    after: files.Json


def compare(session: Session, path: str, *, prune: bool) -> list[Difference]:
    """In the file's order; deletions last. Nothing is touched. Errors: Failure naming the chain."""
    chains = files.read(path)
    is_operator = session.rest.get("me/")["tenant"] is None
    there = {_key(row, is_operator): row for row in session.rest.rows("chains/")}
    found = []
    for chain in chains:
        if bool(chain.get("tenant")) != is_operator:
            text = (
                "an operator names its `tenant`"
                if is_operator
                else "its tenant is the token's: leave `tenant` out"
            )
            raise Failure(f"{path}: chain {files.label(chain)}: {text}")
        try:
            found += _difference(session, chain, there.pop(files.label(chain), None), is_operator)
        except Failure as failure:
            raise Failure(f"{path}: chain {files.label(chain)}: {failure.text}", failure.problem) from None
    tenants = {chain.get("tenant") for chain in chains}
    gone = [
        row
        for row in there.values()
        if prune and row["is_wanted"] and (not is_operator or row["tenant"] in tenants)
    ]
    return found + [Difference(DELETE, _key(row, is_operator), row["id"], "", {}, {}, {}) for row in gone]


def _difference(
    session: Session, chain: files.Json, row: Mapping[str, Any] | None, is_operator: bool
) -> list[Difference]:
    label = files.label(chain)
    if row is None:
        made = session.rest.send("POST", "chains/", chain, query=TRY).json()
        return [Difference(CREATE, label, None, "", chain, {}, files.declared(made, with_tenant=is_operator))]
    if not row["is_wanted"]:
        raise Failure("it is being deleted. Fix: wait until it is gone, then repeat")
    body = {name: value for name, value in chain.items() if name != "tenant"}
    made = session.rest.send("PUT", f"chains/{row['id']}/", body, query=TRY).json()
    before, after = (files.declared(each, with_tenant=is_operator) for each in (row, made))
    tag = f'"{row["id"]}-{row["generation"]}"'
    if before != after:
        return [Difference(UPDATE, label, row["id"], tag, body, before, after)]
    is_in_force = row["observed_generation"] == row["generation"]
    return [] if is_in_force else [Difference(APPLY, label, row["id"], tag, body, before, after)]


def _key(row: Mapping[str, Any], is_operator: bool) -> str:
    return f"{row['tenant']}/{row['name']}" if is_operator else str(row["name"])


def show(session: Session, found: list[Difference]) -> None:
    for each in found:
        fields = [
            {"field": path, "before": one, "after": two}
            for path, one, two in files.differences(each.before, each.after)
        ]
        session.printer.data(
            {"chain": each.label, "action": each.action, "fields": fields if each.action == UPDATE else []}
        )
        session.printer.say(f"{SYMBOLS[each.action]} chain {plain(each.label)} {WORDS[each.action]}")
        if each.action == UPDATE:
            show_differences(session, each.before, each.after)
    counts = {
        action: sum(each.action == action for each in found) for action in (CREATE, UPDATE, APPLY, DELETE)
    }
    if not found:
        session.printer.say("No change: every chain of the file is stored so, and in force.")
        return
    session.printer.say(
        f"{counts[CREATE]} to create, {counts[UPDATE]} to change, {counts[APPLY]} to put in force, "
        f"{counts[DELETE]} to delete."
    )


def store(session: Session, each: Difference) -> int | None:
    """Write what the file says of it. Gives the chain that is to be planned, None if there is none."""
    if each.action == DELETE:
        session.rest.send("DELETE", f"chains/{each.chain}/")
        session.printer.say(f"{SYMBOLS[DELETE]} chain {plain(each.label)} goes once no device holds it")
        return None
    if each.action == CREATE:
        return int(session.rest.send("POST", "chains/", each.wanted).json()["id"])
    if each.action == UPDATE:
        session.rest.send("PUT", f"chains/{each.chain}/", each.wanted, tag=each.tag)
    return each.chain
