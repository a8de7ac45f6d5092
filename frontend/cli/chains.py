# SPDX-License-Identifier: Apache-2.0
"""`viaduct chain ...` and `viaduct export`: chains one by one, and all of them as a file."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from frontend.cli import files
from frontend.cli.printing import Failure, plain
from frontend.cli.session import Session, session_of

app = typer.Typer(help="Chains: what tenants want.", no_args_is_help=True)
COLUMNS = ("id", "tenant", "name", "status", "source", "destination", "functions", "status_reason")
CHAIN = typer.Argument(help="Name or number of the chain.")
TENANT = typer.Option("--tenant", help="Operators: whose chain.")
FILE = typer.Option(
    "--file", "-f", help='YAML with chains, as `viaduct export` writes it; "-" for standard input.'
)


def add_to(root: typer.Typer) -> None:
    root.command("export")(export)


@app.command("list")
def list_(
    context: typer.Context,
    tenant: Annotated[str, TENANT] = "",
    status: Annotated[str, typer.Option(help="Only chains with this status.")] = "",
    find: Annotated[str, typer.Option("--find", "-q", help="Text in name or description.")] = "",
) -> None:
    """All chains, or those that are asked for."""
    session = session_of(context)
    query = {name: value for name, value in (("tenant", tenant), ("status", status), ("q", find)) if value}
    rows = (
        {**row, "functions": [hop["function"] for hop in row["hops"]]}
        for row in session.rest.rows("chains/", **query)
    )
    session.printer.rows(rows, COLUMNS, "No chain. Next: viaduct chain create -f FILE")


@app.command()
def show(context: typer.Context, chain: Annotated[str, CHAIN], tenant: Annotated[str, TENANT] = "") -> None:
    """One chain: intent, status, and what is known of it."""
    session = session_of(context)
    row = session.found("chain", chain, tenant)
    session.printer.data(row)
    if session.printer.is_json:
        return
    say = session.printer.say
    say(f"[bold]{plain(row['name'])}[/] (chain {row['id']} of {plain(row['tenant'])}): {row['status']}")
    if row["status_reason"]:
        say(f"  {plain(row['status_reason'])}")
    for condition in row["conditions"]:
        say(
            f"  {condition['kind']}: {condition['status']} {plain(condition['detail'] or condition['reason'])}"
        )
    say(plain(files.write([files.declared(row, with_tenant=False)]).rstrip()))


@app.command()
def create(
    context: typer.Context,
    file: Annotated[str, FILE],
    dry_run: Annotated[bool, typer.Option("--dry-run")] = False,
) -> None:
    """Create the chains of a file; nothing of it is in force until a plan is applied."""
    session = session_of(context)
    for chain in files.read(file):
        made = session.rest.send(
            "POST", "chains/", chain, query={"dry_run": "true"} if dry_run else None
        ).json()
        session.printer.data(made)
        done = (
            "would be created"
            if dry_run
            else f"created as {made['id']}. Next: viaduct plan {plain(made['name'])}"
        )
        session.printer.say(f"[green]+[/] chain {plain(files.label(chain))} {done}")


@app.command()
def edit(
    context: typer.Context,
    chain: Annotated[str, CHAIN],
    tenant: Annotated[str, TENANT] = "",
    file: Annotated[str, typer.Option("--file", "-f", help="Take this instead of opening $EDITOR.")] = "",
) -> None:
    """Change what a chain is to be, in $EDITOR. Refused if somebody else edits it meanwhile."""
    session = session_of(context)
    row = session.found("chain", chain, tenant)
    before = files.declared(row, with_tenant=False)
    after = _one(files.read(file), file) if file else _edited(before)
    after.pop("tenant", None)
    if after == before:
        session.printer.say("No change.")
        return
    tag = session.rest.send("GET", f"chains/{row['id']}/").headers.get("ETag", "")
    if f'"{row["id"]}-{row["generation"]}"' != tag:
        raise Failure("somebody edited the chain meanwhile. Fix: look at it again, then repeat")
    made = session.rest.send("PUT", f"chains/{row['id']}/", after, tag=tag).json()
    session.printer.data(made)
    show_differences(session, before, files.declared(made, with_tenant=False))
    session.printer.say(f"Stored. Next: viaduct plan {plain(made['name'])}")


@app.command()
def delete(
    context: typer.Context,
    chain: Annotated[str, CHAIN],
    tenant: Annotated[str, TENANT] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take a chain off the devices, then forget it."""
    session = session_of(context)
    row = session.found("chain", chain, tenant)
    confirm(session, f"Delete chain {row['name']} of {row['tenant']}, and take it off its devices?", yes)
    answer = session.rest.send("DELETE", f"chains/{row['id']}/")
    is_gone = answer.status_code == 204
    session.printer.data({"chain": row["id"], "name": row["name"], "is_gone": is_gone})
    later = "is gone" if is_gone else "goes once every device was read back without it"
    session.printer.say(f"[red]-[/] chain {plain(row['name'])} {later}")


def export(
    context: typer.Context,
    chain: Annotated[list[str] | None, typer.Argument(help="Names or numbers; all if none is given.")] = None,
    tenant: Annotated[str, TENANT] = "",
    output: Annotated[str, typer.Option("--output", "-o", help="A file instead of standard output.")] = "",
) -> None:
    """Chains as the file that `viaduct plan -f` and `viaduct apply -f` read."""
    session = session_of(context)
    if chain:
        rows = [session.found("chain", name, tenant) for name in chain]
    else:
        rows = list(session.rest.rows("chains/", **({"tenant": tenant} if tenant else {})))
    with_tenant = session.rest.get("me/")["tenant"] is None
    wanted = [files.declared(row, with_tenant=with_tenant) for row in rows if row["is_wanted"]]
    if session.printer.is_json:
        for row in wanted:
            session.printer.data(row)
    elif output:
        Path(output).write_text(files.write(wanted), encoding="utf-8")
    else:
        sys.stdout.write(files.write(wanted))


def confirm(session: Session, question: str, yes: bool) -> None:
    """Errors: Failure where nobody can be asked, typer.Abort for no."""
    if yes:
        return
    if session.printer.is_json or not sys.stdin.isatty():
        raise Failure(f"{question} Fix: nobody is there to be asked: add --yes")
    typer.confirm(question, abort=True)


def show_differences(session: Session, before: Any, after: Any) -> None:
    for path, one, two in files.differences(before, after):
        session.printer.say(f"    {plain(path)}: {plain(_told(one))} -> {plain(_told(two))}")


def _told(value: Any) -> str:
    return "(none)" if value is None else repr(value) if isinstance(value, str) else str(value)


def _one(chains: list[files.Json], file: str) -> files.Json:
    if len(chains) != 1:
        raise Failure(
            f"{file}: has {len(chains)} chains, and one is to be edited. Fix: viaduct apply -f {file}"
        )
    return dict(chains[0])


def _edited(before: files.Json) -> files.Json:
    """Errors: Failure if the editor fails, or if what it leaves makes no sense; it is kept then."""
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file:
        file.write(files.write([before]))
    try:
        code = subprocess.run([*editor, file.name], check=False).returncode
    except OSError as error:
        raise Failure(f"{editor[0]}: {error}. Fix: set EDITOR") from None
    if code:
        raise Failure(f"{editor[0]} ended with {code}; nothing was done. What you wrote: {file.name}")
    after = _one(files.read(file.name), file.name)
    os.unlink(file.name)
    return after
