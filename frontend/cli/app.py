# SPDX-License-Identifier: Apache-2.0
"""`viaduct`: the commands and what they have in common. Exit codes: 0 done or no change, 1 error, 2 changes pending."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from frontend.cli import account, chains, changes, looking
from frontend.cli.printing import FAILED, Failure, Printer
from frontend.cli.rest import Rest
from frontend.cli.session import Session, session_of

app = typer.Typer(
    name="viaduct",
    help="Tenants' traffic through the functions their policies name. Exit codes: 0 done or no change, 1 error, "
    "2 changes pending.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# What the parser raises for all of it.
WRONG_USE = typer.BadParameter.__bases__

app.add_typer(chains.app, name="chain")
app.add_typer(looking.devices, name="device")
chains.add_to(app)
changes.add_to(app)
looking.add_to(app)


@app.callback()
def common(
    context: typer.Context,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, errors on standard error.")
    ] = False,
) -> None:
    context.obj = Session(Printer(is_json=json))


@app.command()
def login(
    context: typer.Context,
    server: Annotated[str, typer.Option(envvar=account.SERVER, help="Address of the server.", prompt=True)],
    ca: Annotated[str, typer.Option(help="File with the authority that signed its certificate.")] = "",
) -> None:
    """Keep a server and a token for the commands that follow. The token is read from standard input, never echoed."""
    printer = session_of(context).printer
    token = typer.prompt("Token", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    token = token.strip()
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise Failure("that is no token. Fix: give the line that create_token printed, vdt_...")
    given = account.Account(account.checked(server), token, os.path.abspath(ca) if ca else "")
    who = Rest(given).get("me/")
    path = account.save(given)
    printer.data({"server": given.server, "name": who["name"], "tenant": who["tenant"], "role": who["role"]})
    whose = f"tenant {who['tenant']}" if who["tenant"] else "all tenants"
    printer.say(f"Logged in to {given.server} as {who['name']}, {who['role']} of {whose}; kept in {path}.")


def main(arguments: list[str] | None = None) -> int:
    """The exit code. What was used wrongly is an error like any other: 2 means that changes are pending."""
    given = sys.argv[1:] if arguments is None else arguments
    printer = Printer(is_json="--json" in given)
    try:
        code = app(given, prog_name="viaduct", standalone_mode=False)
    except Failure as failure:
        printer.fail(failure)
        return FAILED
    except typer.Abort:
        printer.fail(Failure("given up; nothing was done"))
        return FAILED
    except BrokenPipeError:  # the reader has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  closed with the process
        return FAILED
    except WRONG_USE as error:
        told = error.format_message().strip().rstrip(".")
        if told:  # without a word: no command was named, and the help was shown
            printer.fail(Failure(f"{told}. Fix: viaduct --help, or viaduct COMMAND --help"))
        return FAILED
    return code if isinstance(code, int) else 0
