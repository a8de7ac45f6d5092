# SPDX-License-Identifier: Apache-2.0
"""`viaduct explain`, `trace`, `findings`, `device ...`: commands that look and change nothing."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from frontend.cli.chains import CHAIN, TENANT
from frontend.cli.printing import DONE, FAILED, Failure, plain
from frontend.cli.session import session_of

devices = typer.Typer(help="Devices. Operators only.", no_args_is_help=True)
DEVICES = ("id", "name", "kind", "driver", "site", "condition", "reason")
FINDINGS = ("id", "severity", "code", "device", "chain_name", "detail", "opened_at")
POLL_S = 0.5
LOGIN_S = 120.0


def add_to(root: typer.Typer) -> None:
    for command in (explain, trace, findings):
        root.command()(command)


def explain(
    context: typer.Context, chain: Annotated[str, CHAIN], tenant: Annotated[str, TENANT] = ""
) -> None:
    """Why each function of a chain runs where it does, what else there is, and what would change the choice."""
    session = session_of(context)
    row = session.found("chain", chain, tenant)
    why = session.rest.get(f"chains/{row['id']}/why/")
    session.printer.data(why)
    say = session.printer.say
    if why["reasons"]:
        say(f"[red]Chain {plain(row['name'])} has no place as things are:[/]")
        for reason in why["reasons"]:
            say(f"  {plain(reason['detail'])}")
        for remedy in why["remedies"]:
            say(f"  enough would be: {plain(remedy)}")
        if not session.printer.is_json:
            raise typer.Exit(FAILED)
    for hop in why["hops"]:
        chosen = hop["chosen"]
        where = f"{', '.join(chosen['offers'])}, cost {float(chosen['cost']):.2f}" if chosen else "passed by"
        say(f"[bold]{hop['position'] + 1}. {plain(hop['function'])}[/]: {plain(where)}")
        if hop["reason"]:
            say(f"   {plain(hop['reason'])}")
        for other in hop["rejected"]:
            told = other.get("excluded") or f"cost {float(other['cost']):.2f}"
            say(f"   [dim]not[/] {plain(', '.join(other['offers']))}: {plain(told)}")
        for flip in hop["flips"]:
            say(f"   [cyan]would change:[/] {plain(flip['words'])}")
    for binding in why["bindings"]:
        say(f"[yellow]Limit:[/] {plain(binding['words'])}")


def trace(
    context: typer.Context,
    chain: Annotated[str, CHAIN],
    src: Annotated[str, typer.Option("--src", help="Address where the packet starts.")],
    dst: Annotated[str, typer.Option("--dst", help="Address where it is to go.")],
    port: Annotated[int | None, typer.Option("--port", help="Destination port; any if left out.")] = None,
    protocol: Annotated[str, typer.Option("--protocol", help="tcp, udp, sctp, icmp or icmpv6.")] = "tcp",
    held: Annotated[
        bool, typer.Option("--held", help="As devices were read to hold, not as they are to.")
    ] = False,
    tenant: Annotated[str, TENANT] = "",
) -> None:
    """The way of one packet and of its reply, hop by hop. Nothing is sent. Exit code 1 if it does not arrive."""
    session = session_of(context)
    row = session.found("chain", chain, tenant)
    query: dict[str, Any] = {"source": src, "destination": dst, "protocol": protocol}
    query |= {"states": "held" if held else "wanted", **({} if port is None else {"port": port})}
    view = session.rest.get(f"chains/{row['id']}/trace/", **query)
    session.printer.data(view)
    if view["detail"]:
        raise Failure(view["detail"])
    for course in view["courses"]:
        session.printer.say(f"[bold]{course['direction']}[/] {plain(course['packet'])}")
        for step in course["steps"]:
            place = f"{step['device']}:{step['port']}" if step["port"] else step["device"]
            function = f"[green]{plain(step['function'])}[/] " if step["function"] else ""
            session.printer.say(
                f"  {plain(place)}  {function}{plain(step['action'])}  [dim]{plain(step['item'])}[/]"
            )
        leaves = f", leaves as {course['leaves_as']}" if course["leaves_as"] != course["packet"] else ""
        session.printer.say(
            f"  = {course['outcome']} on {plain(course['device'])}: {plain(course['detail'] + leaves)}"
        )
    arrives = all(course["outcome"] in ("routed", "base") for course in view["courses"])
    raise typer.Exit(DONE if arrives else FAILED)


def findings(
    context: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    code: Annotated[str, typer.Option(help="Only with this code.")] = "",
) -> None:
    """What is wrong now, the newest first."""
    session = session_of(context)
    query = {**({} if all_ else {"is_open": "true"}), **({"code": code} if code else {})}
    session.printer.rows(session.rest.rows("findings/", **query), FINDINGS, "Nothing was found wrong.")


@devices.command("list")
def list_(context: typer.Context, condition: Annotated[str, typer.Option(help="Only those.")] = "") -> None:
    """All devices, with what is known of them."""
    session = session_of(context)
    query = {"condition": condition} if condition else {}
    session.printer.rows(
        session.rest.rows("devices/", **query), DEVICES, "No device. Next: load a fabric file."
    )


@devices.command()
def test(context: typer.Context, device: Annotated[str, typer.Argument(help="Name or number.")]) -> None:
    """Have a worker log in to a device, and say what it said. Nothing is written to it."""
    session = session_of(context)
    row = session.found("device", device)
    path = f"devices/{row['id']}/test-login/"
    login = session.rest.send("POST", path).json()["login"]
    deadline = time.monotonic() + LOGIN_S
    while login["status"] == "pending":
        if time.monotonic() > deadline:
            raise Failure(f"no worker tried within {LOGIN_S:.0f} s. Fix: look whether workers run")
        time.sleep(POLL_S)
        login = session.rest.get(path)["login"]
    session.printer.data({"device": row["name"], **login})
    say = session.printer.say
    if login["status"] != "succeeded":
        raise Failure(f"{row['name']} let nobody in: {login['error']}")
    say(
        f"[green]{plain(row['name'])}[/]: {plain(login['platform'])} {plain(login['version'])} {plain(login['serial'])}"
    )
    say(f"  proved by: {plain(login['verified'])}; items of ours: {login['items']}")
    for line in login["missing"]:
        say(f"  [yellow]missing:[/] {plain(line)}")
