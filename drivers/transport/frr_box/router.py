# SPDX-License-Identifier: Apache-2.0
"""This router: FRR by vtysh, links by ip, one nftables table of our own. Runs as root on the router, see `__main__`."""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .config import (
    SEQUENCE,
    Sequence,
    attached,
    is_marked,
    is_ours_link,
    is_pbrs,
    is_policy,
    joined,
    marking,
    other_tables,
    ours,
    ours_of,
    sequences,
    stanzas_of,
)
from .files import replaced
from .grammar import ALIAS, FRR, KEEP, LINKS, NFT, TABLE, Refused
from .merging import merged
from .sysctls import sysctls

FOLDER = Path("/etc/frr")
WAIT_S = 2.0
# Where `systemctl enable viaduct-frr` puts it: without it, whoever restarts this router opens it.
HOOK = Path("/etc/systemd/system/sysinit.target.wants/viaduct-frr.service")


class Router:
    """This machine."""

    def __init__(self, pathspace: str, state: Path, hook: Path = HOOK) -> None:
        self.space = ["-N", pathspace] if pathspace else []
        self.pathspace = pathspace
        self.state = state / (pathspace or "default")
        self.hook = hook

    def run(self, *command: str, text: str = "", fine: tuple[int, ...] = (0,)) -> str:
        """Errors: Refused, with the program's words."""
        try:
            done = subprocess.run(
                command, input=text, text=True, capture_output=True, timeout=60, check=False
            )
        except FileNotFoundError:
            raise Refused(f"there is no program {command[0]}; install frr, nftables, iproute2") from None
        except subprocess.TimeoutExpired:
            raise Refused(f"{command[0]} does not end") from None
        if done.returncode not in fine:
            said = " | ".join(line for line in (done.stdout + done.stderr).splitlines()[-4:] if line.strip())
            raise Refused(f"{command[0]} ({done.returncode}): {said}")
        return done.stdout

    def show(self, what: str) -> str:
        return self.run("vtysh", *self.space, "-c", what)

    def ip(self, *words: str) -> list[dict[str, Any]]:
        return list(json.loads(self.run("ip", "-j", *words) or "[]"))

    def _config(self) -> str:
        """FRR's, as one could load it again."""
        lines = self.show("show running-config").splitlines()
        return joined([line for line in lines if not line.startswith(("Building ", "Current "))])

    def vtysh(self, text: str, *options: str) -> None:
        """Configure. Errors: Refused if FRR does not take a line."""
        file = self.state / "frr.next"
        file.write_text(text)
        self.run("vtysh", *self.space, *options, "-f", str(file))

    def table(self) -> list[dict[str, Any]]:
        """Ours as nft's JSON; nothing if there is none, which nft calls an error."""
        said = self.run("nft", "-j", "list", "table", *TABLE.split(), fine=(0, 1))
        return list(json.loads(said)["nftables"]) if said else []

    def rules(self, family: int) -> list[dict[str, Any]]:
        return self.ip(f"-{family}", "rule", "show")

    def read(self) -> dict[str, Any]:
        ruleset = list(json.loads(self.run("nft", "-j", "list", "ruleset"))["nftables"])
        rules = {str(family): self.rules(family) for family in (4, 6)}
        routes: dict[str, list[dict[str, Any]]] = {"4": [], "6": []}
        for family, found in rules.items():
            for table in sorted({rule["table"] for rule in found if is_marked(rule)}):
                routes[family] += [{**route, "table": table} for route in self._routes(family, table)]
        return {
            "frr": self._config(),
            "nft": ours_of(ruleset),
            "tables": other_tables(ruleset),
            "marking": marking(ruleset),
            "rules": rules,
            "routes": routes,
            "links": self._addressed(),
            "neighbours": self.ip("neighbour", "show", "nud", "permanent"),
            "sysctls": sysctls(),
            "boot": {"hook": str(self.hook), "is_there": self._has_hook()},
            "startup": self._startup(ours_of(ruleset)),
        }

    def _startup(self, table: list[dict[str, Any]]) -> dict[str, Any]:
        """What a restart would bring, in the words of `read`. What cannot be read is nothing."""
        try:
            return {"frr": self._starts_with(), "nft": self._kept_table(table)}
        except (OSError, UnicodeDecodeError, Refused):
            return {"frr": "", "nft": []}

    def _addressed(self) -> list[dict[str, Any]]:
        """With addresses. Whether one is still being checked for a twin (RFC 4862) passes by itself."""
        found: list[dict[str, Any]] = list(self.ip("-d", "address", "show"))
        for address in (address for link in found for address in link.get("addr_info", ())):
            address.pop("tentative", None)
        return found

    def _has_hook(self) -> bool:
        """Is there what runs `restore` when this machine starts?"""
        try:
            said = self.hook.read_text()
        except (OSError, UnicodeDecodeError):
            return False
        return "viaduct_frr" in said and "restore" in said

    def _routes(self, family: int | str, table: str) -> list[dict[str, Any]]:
        """Of a table; none if it never had one, which ip calls an error."""
        said = self.run("ip", "-j", f"-{family}", "route", "show", "table", table, fine=(0, 2))
        return list(json.loads(said or "[]"))

    def facts(self) -> dict[str, Any]:
        return {
            "version": self.show("show version"),
            "hostname": os.uname().nodename,
            "uptime": float(Path("/proc/uptime").read_text().split()[0]),
            "links": self.ip("-d", "link", "show"),
        }

    def check(self, parts: dict[str, list[str]]) -> None:
        self.run("nft", "-c", "-f", "-", text=joined(parts[NFT]))
        if parts[FRR]:
            self.vtysh(joined(parts[FRR]), "-C")

    # --- apply --------------------------------------------------------------------------------

    def apply(self, parts: dict[str, list[str]]) -> None:
        """Until nftables switches, no packet meets what is new; if something fails before, it goes away again."""
        before = self._config()
        self._file("before.conf").write_text(before)
        self._file("before.nft").write_text(self._listing())
        had = self._keeping(before)
        try:
            self._links(parts[LINKS])
            if parts[FRR]:
                self._route(parts[FRR], before)
            self._drop_strays()
            self.run("nft", "-f", "-", text=joined(parts[NFT]))
        except Refused:
            self._undo(before, had)
            raise
        # At once, before anything else can fail: whoever restarts this router gets what is in force, not what was.
        self._said("it is in force, but not what this router starts with", self._keep_table)
        why = "it is in force, but what is not needed any more is there still"
        self._said(why, lambda: self.sweep(parts[KEEP], [*had, *self._objects()]))
        self._said("it is in force, but not saved", self._save)

    def _said(self, why: str, do: Callable[[], None]) -> None:
        """Errors: Refused, with why before what went wrong."""
        try:
            do()
        except (Refused, OSError) as error:
            raise Refused(f"{why}: {error}") from error

    def _keep_table(self) -> None:
        replaced(self._file("table.nft"), self._listing())

    def _save(self) -> None:
        """Ours, as it is now, into what this router starts with; others' lines stay as their operator saved them."""
        self._keep_table()
        saved, running = self._starts_with(), self._config()
        stanzas = ["\n".join((head, *lines, "exit")) for head, lines in ours(running)]
        after = merged(saved, stanzas, self._keeping(running))
        if after != saved:
            replaced(FOLDER / self.pathspace / "frr.conf", after)

    def save(self) -> None:
        """Where a push could not, or somebody wrote over it."""
        self._said("it is in force, but not saved", self._save)

    def _starts_with(self) -> str:
        """FRR's configuration at the next start, as its operator wrote it."""
        try:
            return (FOLDER / self.pathspace / "frr.conf").read_text()
        except FileNotFoundError:
            return ""

    def _kept_table(self, ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Our table at the next start; asked of nft where it is not just the one in force."""
        file = self._file("table.nft")
        if not file.exists() or file.read_text() == self._listing():
            return ours if file.exists() else []
        script = 'nft -f "$0" && nft -j list ruleset'
        return ours_of(json.loads(self.run("unshare", "--net", "sh", "-e", "-c", script, str(file)))["nftables"])

    def _undo(self, before: str, had: list[str]) -> None:
        old = (
            f"{head}\n" + "".join(f"{line}\n" for line in lines) + "exit\n" for head, lines in ours(before)
        )
        self.vtysh("".join(old))
        self.sweep([*had, *self._objects()], self._keeping(self._config()))

    def _route(self, stanzas: list[str], before: str) -> None:
        """Twice at most: pbrd may answer a kernel that lost its rule by taking away the next one."""
        for _ in range(2):
            self._make_anew(stanzas, before)
            self._configure(joined(stanzas))
            if self._is_led(stanzas, before):
                return
            before = self._config()

    def _make_anew(self, stanzas: list[str], before: str) -> None:
        """Sequences that FRR has and the kernel has not go first: pbrd takes one that it has already for done."""
        held = dict(stanzas_of(before))
        known = [text for text in stanzas if held.get(text.split("\n")[0])]
        lost = sequences(known) - self._led(attached(before))
        heads = [
            found[0].split("\n")[0] for text in known if (found := SEQUENCE.match(text)) and sequences([text]) <= lost
        ]
        if heads:
            self.vtysh(joined([f"no {head}" for head in heads]))

    def _led(self, maps: dict[str, str]) -> set[Sequence]:
        """Whose kernel rule is there, with pbrd's route in its table. maps: interface -> its map."""
        found = set()
        for family in (4, 6):
            for rule in (one for one in self.rules(family) if is_marked(one)):
                name, routes = maps.get(rule.get("iif", "")), self._routes(family, rule["table"])
                if name and any(route["dst"] == "default" and is_pbrs(route) for route in routes):
                    found.add((name, family, int(rule["fwmark"], 0)))
        return found

    def _drop_strays(self) -> None:
        """Routes that somebody put into the tables of our rules: those packets are ours to lead."""
        for family in (4, 6):
            for table in {rule["table"] for rule in self.rules(family) if is_marked(rule)}:
                for route in self._routes(family, table):
                    if not is_pbrs(route):
                        metric = ("metric", str(route["metric"])) if "metric" in route else ()
                        self.run("ip", f"-{family}", "route", "del", route["dst"], *metric, "table", table)

    def _configure(self, text: str) -> None:
        """pbrd hears of a new interface a moment after the kernel made it, and refuses it until then."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                self.vtysh(text)
                return
            except Refused as error:
                if "does not exist" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _links(self, lines: list[str]) -> None:
        there = {link["ifname"] for link in self.ip("link", "show")}
        added = [line.split() for line in lines if line.startswith("link add ")]
        if any(words[5] in there for words in added):
            shown = {link["ifname"]: link for link in self.ip("-d", "link", "show")}
            for words in added:
                if words[5] in shown and not is_ours_link(shown[words[5]], words[3], int(words[-1])):
                    raise Refused(f"{words[5]} is there already and is not ours")
        wanted = [line for line in lines if not (line.startswith("link add ") and line.split()[5] in there)]
        if wanted:
            self.run("ip", "-batch", "-", text=joined(wanted))

    def _is_led(self, stanzas: list[str], before: str) -> bool:
        """Waits until the kernel has every sequence that an interface uses; bounded, as a next hop may be away."""
        maps = attached(before) | attached(joined(stanzas))
        wanted = {one for one in sequences(stanzas) if one[0] in maps.values()}
        deadline = time.monotonic() + WAIT_S
        while not wanted <= self._led(maps):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _keeping(self, config: str) -> list[str]:
        """What is there of ours, in the words of a `keep` section."""
        found = []
        for head, lines in stanzas_of(config):
            if head.startswith("pbr-map SI-t-"):
                found.append(f"map {head.split()[1]} {head.split()[3]}")
            found += [
                f"policy {head.split()[1]} {line.split()[1]}" for line in lines if is_policy(line, "SI-t-")
            ]
        return found + [f"link {name}" for name in self._our_links()]

    def _our_links(self) -> list[str]:
        links = self.ip("link", "show")
        return sorted(link["ifname"] for link in links if link.get("ifalias") == ALIAS)

    def _objects(self) -> list[str]:
        """Chains and counters of our table, chains first."""
        entries = [next(iter(entry.items())) for entry in self.table()]
        return [f"{kind} {value['name']}" for kind, value in entries if kind in ("chain", "counter")]

    def sweep(self, keep: list[str], there: list[str]) -> None:
        """What is there of ours and not kept goes: first what takes packets, then what it needs."""
        kept = set()
        for line in keep:
            words = line.split()
            kept |= {f"map {words[1]} {number}" for number in words[2:]} if words[0] == "map" else {line}
        gone = [line.split() for line in there if line not in kept]
        told = [
            f"interface {words[1]}\n no pbr-policy {words[2]}\nexit" for words in gone if words[0] == "policy"
        ]
        told += [f"no pbr-map {words[1]} seq {words[2]}" for words in gone if words[0] == "map"]
        if told:
            self.vtysh(joined(told))
        objects = [words for words in gone if words[0] in ("chain", "counter")]
        if objects:
            self.run(
                "nft", "-f", "-", text=joined([f"delete {kind} {TABLE} {name}" for kind, name in objects])
            )
        links = [f"link del dev {words[1]}" for words in gone if words[0] == "link"]
        if links:
            self.run("ip", "-batch", "-", text=joined(links))

    # --- the difference -----------------------------------------------------------------------

    def diff(self, parts: dict[str, list[str]]) -> str:
        self.check(parts)
        there = set(self._our_links())
        kept = {line.split()[1] for line in parts[KEEP] if line.startswith("link ")}
        lines = [f"-link {name}" for name in sorted(there - kept)]
        lines += [f"+link {name}" for name in sorted(kept - there)]
        config = self._config()
        lines += self._reloaded(merged(config, parts[FRR], parts[KEEP]))
        listing = self._listing()
        script = f"nft -f - <<'END'\n{joined(parts[NFT])}END\nnft -s list ruleset"
        if listing:
            script = f"nft -f - <<'END'\n{listing}END\n{script}"
        after = self.run("unshare", "--net", "sh", "-e", "-c", script)
        shown = difflib.unified_diff(listing.splitlines(), after.splitlines(), lineterm="", n=0)
        lines += [
            f"{line[0]}nft {line[1:]}"
            for line in shown
            if line[:1] in "+-" and line[:3] not in ("+++", "---")
        ]
        return joined(lines)

    def _reloaded(self, config: str) -> list[str]:
        """FRR's own tool says what it would do to get there."""
        file = self._file("frr.candidate")
        file.write_text(config)
        said = self.run(*self._reload("--test"), str(file))
        lines, sign = [], ""
        for line in said.splitlines():
            if line.startswith("Lines To "):
                sign = "-" if "Delete" in line else "+"
            elif sign and line.strip() and not line.startswith("="):
                lines.append(f"{sign}{line.removeprefix('no ')}" if sign == "-" else f"{sign}{line}")
        return lines

    def _reload(self, verb: str) -> tuple[str, ...]:
        space = ("--pathspace", self.pathspace) if self.pathspace else ()
        return ("/usr/lib/frr/frr-reload.py", verb, *space, "--bindir", "/usr/bin", "--stdout")

    # --- whole snapshots ----------------------------------------------------------------------

    def _file(self, name: str) -> Path:
        return self.state / name

    def _listing(self) -> str:
        """Of our table, without what counters hold; "" if there is none."""
        return self.run("nft", "-s", "list", "table", *TABLE.split(), fine=(0, 1))

    def rollback(self) -> None:
        """Links of ours that came meanwhile stay: nothing uses them. Errors: Refused without a snapshot."""
        if not self._file("before.conf").exists():
            raise Refused("there is no snapshot to go back to")
        self.run(*self._reload("--reload"), str(self._file("before.conf")))
        self._load("before.nft")

    def restore(self) -> None:
        if self._file("table.nft").exists():
            self._load("table.nft")

    def _load(self, name: str) -> None:
        self.run(
            "nft", "-f", "-", text=f"add table {TABLE}\ndelete table {TABLE}\n{self._file(name).read_text()}"
        )
