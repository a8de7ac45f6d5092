# SPDX-License-Identifier: Apache-2.0
"""What every command has at hand: the printer, and the server, which is asked only once somebody needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import typer

from frontend.cli import account
from frontend.cli.printing import Failure, Printer
from frontend.cli.rest import Rest


@dataclass
class Session:
    printer: Printer = field(default_factory=Printer)
    _rest: Rest | None = None

    @property
    def rest(self) -> Rest:
        """Errors: Failure if nobody is logged in."""
        if self._rest is None:
            self._rest = Rest(account.load())
        return self._rest

    def found(self, kind: str, wanted: str, tenant: str = "") -> dict[str, Any]:
        """One chain or device, by its number or its name. Errors: Failure; of several the tenants are named."""
        if wanted.isdecimal():
            return cast(dict[str, Any], self.rest.get(f"{kind}s/{int(wanted)}/"))
        query = {"name": wanted, **({"tenant": tenant} if tenant else {})}
        rows = list(self.rest.rows(f"{kind}s/", **query))
        if not rows:
            raise Failure(f"there is no {kind} {wanted!r}. Fix: viaduct {kind} list")
        if len(rows) > 1:
            who = ", ".join(sorted(row["tenant"] for row in rows))
            raise Failure(
                f"several tenants have a {kind} {wanted!r}: {who}. Fix: add --tenant, or give its number"
            )
        return cast(dict[str, Any], self.rest.get(f"{kind}s/{rows[0]['id']}/"))


def session_of(context: typer.Context) -> Session:
    return cast(Session, context.find_root().obj)
