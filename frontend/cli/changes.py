# SPDX-License-Identifier: Apache-2.0
"""`viaduct plan`, `apply`, `watch`, `undo`: from what would be done to what was done, in Terraform's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from frontend.cli import declared
from frontend.cli.chains import CHAIN, TENANT, confirm
from frontend.cli.printing import DONE, FAILED, PENDING, SYMBOLS, Failure, plain
from frontend.cli.session import Session, session_of

ENDED = ("succeeded", "reverted", "cancelled", "failed")
FILE = typer.Option("--file", "-f", help='All chains of this YAML file; "-" for standard input.')
PRUNE = typer.Option("--prune", help="Chains that the file does not name are to go.")
NATIVE = typer.Option("--native", help="The exact text for each device, too.")


def add_to(root: typer.Typer) -> None:
    for command in (plan, apply, watch, undo):
        root.command()(command)


def plan(
    context: typer.Context,
    chain: Annotated[str, CHAIN] = "",
    file: Annotated[str, FILE] = "",
    tenant: Annotated[str, TENANT] = "",
    prune: Annotated[bool, PRUNE] = False,
    native: Annotated[bool, NATIVE] = False,
) -> None:
    """Show what would be done; nothing is. Of one chain the plan for its devices, of a file which chains differ.

    Exit codes: 0 no change, 1 error or refused, 2 changes pending.
    """
    session = session_of(context)
    if bool(chain) == bool(file):
        raise Failure("name one chain, or a file with -f. Fix: viaduct plan CHAIN, or viaduct plan -f FILE")
    if file:
        found = declared.compare(session, file, prune=prune)
        declared.show(session, found)
        raise typer.Exit(PENDING if found else DONE)
    row = session.found("chain", chain, tenant)
    made = session.rest.send("POST", f"chains/{row['id']}/plan/").json()
    raise typer.Exit(show_plan(session, made, with_native=native))


def apply(
    context: typer.Context,
    plan: Annotated[str, typer.Argument(help="Number of a plan that `viaduct plan` made.")] = "",
    file: Annotated[str, FILE] = "",
    prune: Annotated[bool, PRUNE] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Annotated[bool, typer.Option(help="Follow the change to its end.")] = True,
) -> None:
    """Do exactly what a plan says, or make everything as a file says, and follow it to the end."""
    session = session_of(context)
    if bool(plan) == bool(file):
        raise Failure("name one plan, or a file with -f. Fix: viaduct apply PLAN, or viaduct apply -f FILE")
    if file:
        found = declared.compare(session, file, prune=prune)
        declared.show(session, found)
        if not found:
            raise typer.Exit(DONE)
        confirm(session, f"Make {len(found)} change(s) as {file} says?", yes)
        raise typer.Exit(max([_apply_one(session, each, wait) for each in found], default=DONE))
    if not plan.isdecimal():
        raise Failure(f"{plan!r} is no number of a plan. Fix: viaduct plan CHAIN tells one")
    change = session.rest.send("POST", f"plans/{int(plan)}/apply/").json()
    raise typer.Exit(follow(session, change) if wait else _told(session, change))


def watch(
    context: typer.Context, change: Annotated[int, typer.Argument(help="Number of the change.")]
) -> None:
    """Follow a change to its end: its log, and how far it is. Exit code 1 if it did not succeed."""
    session = session_of(context)
    raise typer.Exit(follow(session, session.rest.get(f"changes/{change}/")))


def undo(
    context: typer.Context,
    change: Annotated[int, typer.Argument(help="Number of the change.")],
    force: Annotated[bool, typer.Option("--force", help="Although the chain was edited since.")] = False,
    native: Annotated[bool, NATIVE] = False,
) -> None:
    """Edit a chain back to what it was before a change, and plan that; `viaduct apply` does it."""
    session = session_of(context)
    made = session.rest.send("POST", f"changes/{change}/undo/", {"force": True} if force else {}).json()
    raise typer.Exit(show_plan(session, made, with_native=native))


def show_plan(session: Session, plan: Mapping[str, Any], *, with_native: bool = False) -> int:
    """Gives the exit code: DONE if there is nothing to do, FAILED if refused, else PENDING."""
    session.printer.data(plan)
    say, summary = session.printer.say, plan["summary"]
    if plan["status"] == "refused":
        say(f"[red]Plan {plan['id']} for chain {plain(plan['chain_name'])} is refused:[/]")
        for reason in plan["errors"]:
            say(f"  {plain(reason.get('detail', reason))}")
        return FAILED
    steps = [step for step in plan["steps"] if step["device"]]
    if not steps:
        say(
            f"No change: devices are wanted to hold what they are wanted to hold already (plan {plan['id']})."
        )
        return DONE
    for step in steps:
        say(f"[bold]{plain(step['device'])}[/] [dim]wave {step['wave']}, {plain(step['phase'])}[/]")
        for change in step["changes"]:
            say(f"  {SYMBOLS.get(change['action'], '?')} {plain(change['key'])}")
        if with_native:
            say(plain("\n".join(f"    {line}" for line in step["native"].splitlines())))
    for broken in summary.get("breaks", ()):
        say(f"[yellow]Breaks:[/] {plain(broken['detail'])}")
    for hop in summary.get("bypassed", ()):
        say(f"[yellow]Passed by:[/] {plain(hop['function'])}: {plain(hop['reason'])}")
    counts = f"{summary['create']} to create, {summary['update']} to change, {summary['delete']} to delete"
    risk = f"Risk {plain(summary['risk'])}: {plain(summary['risk_reason'])}." if summary.get("risk") else ""
    say(f"Plan {plan['id']}: {counts} on {len(summary['devices'])} devices. {risk}")
    say(f"Next: viaduct apply {plan['id']}")
    return PENDING


def follow(session: Session, change: Mapping[str, Any]) -> int:
    """The change's log as it grows, with a bar on a terminal. Gives the exit code."""
    printer, number = session.printer, change["id"]
    if change["status"] == "waiting":
        return _told(session, change)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    is_bar = printer.out.is_terminal and not printer.is_json
    with Progress(
        *columns, TimeElapsedColumn(), console=printer.out, disable=not is_bar, transient=True
    ) as bar:
        task = bar.add_task(f"change {number}", total=len(change["steps"]) or None)
        for event in session.rest.follow(f"changes/{number}/stream/"):
            if event.kind == "log":
                printer.data({"change": number, "event": "log", **event.data})
                device = f"{event.data['device']}: " if event.data.get("device") else ""
                printer.say(f"  {plain(device + str(event.data['text']))}")
            elif is_bar:
                steps = session.rest.get(f"changes/{number}/")["steps"]
                bar.update(task, completed=sum(step["status"] == "done" for step in steps))
    return _told(session, session.rest.get(f"changes/{number}/"))


def _told(session: Session, change: Mapping[str, Any]) -> int:
    """How the change stands, and what can be done next."""
    printer, number, status = session.printer, change["id"], change["status"]
    printer.data({"change": number, "event": status, "error": change["error"], "waits": change["waits"]})
    if status == "succeeded":
        printer.say(f"[green]Change {number} succeeded.[/] To take it back: viaduct undo {number}")
        return DONE
    if status == "waiting":
        printer.say(
            f"[yellow]Change {number} waits for a second person:[/] {plain(change['needs_approval'])}"
        )
        return PENDING
    if status not in ENDED:
        waits = f": {plain(change['waits'])}" if change["waits"] else ""
        printer.say(f"Change {number} is {status}{waits}. Next: viaduct watch {number}")
        return PENDING
    printer.say(f"[red]Change {number} {status}:[/] {plain(change['error'] or change['waits'])}")
    return FAILED


def _apply_one(session: Session, wanted: declared.Difference, wait: bool) -> int:
    """What the file says of one chain: stored, planned, applied, followed."""
    chain = declared.store(session, wanted)
    if chain is None:
        return DONE
    made = session.rest.send("POST", f"chains/{chain}/plan/").json()
    if made["status"] == "refused" or not any(step["device"] for step in made["steps"]):
        return show_plan(session, made)
    change = session.rest.send("POST", f"plans/{made['id']}/apply/").json()
    return follow(session, change) if wait else _told(session, change)
