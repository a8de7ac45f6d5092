# SPDX-License-Identifier: Apache-2.0
"""The command line against a running server and a worker: what is printed, what is done, and the exit codes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import yaml
from django.db import connection

from chains import models
from chains.engine.bells import answer
from chains.engine.relay import carry_bells
from chains.services.actor import SYSTEM
from chains.services.tokens import token_create
from drivers import fake
from frontend.cli.app import main
from tests.builders import tenant

ROOT = Path(__file__).resolve().parents[2]
WEB: dict[str, Any] = {
    "name": "web",
    "source": "clients",
    "destination": "servers",
    "classifiers": [{"protocol": "tcp", "destination_ports": "80", "family": 4}],
    "hops": [
        {
            "function": "ngfw",
            "policy": {
                "default": "deny",
                "rules": [{"verdict": "permit", "protocol": "tcp", "destination_ports": "80"}],
            },
        }
    ],
}
SSH = {
    **WEB,
    "name": "ssh",
    "classifiers": [{"protocol": "tcp", "destination_ports": "22", "family": 4}],
    "hops": [{"function": "ngfw", "policy": {"default": "permit", "rules": []}}],
}


@dataclass
class Cli:
    """Runs `viaduct` as a person would and gives exit code, standard output and standard error."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = main(list(arguments))
        told = self.capsys.readouterr()
        return code, told.out, told.err

    def json(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        code, out, err = self("--json", *arguments)
        assert not err, err
        return code, [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def worker(server: str) -> Iterator[None]:
    """Answers bells as a worker's process does."""
    end = Event()

    def work() -> None:
        while not end.wait(0.05):
            carry_bells(answer)
        connection.close()

    thread = Thread(target=work)
    thread.start()
    yield
    end.set()
    thread.join(timeout=30)
    assert not thread.is_alive()


@pytest.fixture
def as_(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., Cli]:
    """as_("tenant-a"): with an editor's token of the tenant; as_(""): an operator's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "200")

    def logged_in(name: str = "tenant-a", role: str = "") -> Cli:
        role = role or ("editor" if name else "operator")
        _, token = token_create(
            actor=SYSTEM, name=f"cli-{name}-{role}", role=role, tenant=tenant(name) if name else None
        )
        monkeypatch.setenv("VIADUCT_SERVER", server)
        monkeypatch.setenv("VIADUCT_TOKEN", token)
        return Cli(capsys)

    return logged_in


def written(folder: Path, *chains: dict[str, Any]) -> str:
    path = folder / "chains.yaml"
    path.write_text(yaml.safe_dump({"chains": list(chains)}))
    return str(path)


def held() -> int:
    """How many items the devices hold."""
    total = 0
    for name in models.Device.objects.exclude(driver="").values_list("name", flat=True):
        with fake.box(name) as box:
            total += len(box.state)
    return total


@pytest.mark.usefixtures("worker")
def test_from_a_file_to_the_devices_and_back(as_: Callable[..., Cli], tmp_path: Path) -> None:
    cli, file = as_(), written(tmp_path, WEB)
    code, out, _ = cli("plan", "-f", file)
    assert code == 2 and "+ chain web is to be created" in out
    assert not models.Chain.objects.exists(), "a plan of a file touches nothing"
    code, _, err = cli("apply", "-f", file)
    assert code == 1 and "--yes" in err and not models.Chain.objects.exists()
    code, out, _ = cli("apply", "-f", file, "--yes")
    assert code == 0 and "succeeded" in out, out
    assert held() > 0 and models.Chain.objects.get().status == "ready"
    assert cli("plan", "-f", file)[0] == 0
    assert cli("plan", "web")[0] == 0

    code, out, _ = cli("trace", "web", "--src", "10.10.1.7", "--dst", "10.10.2.9", "--port", "80")
    assert code == 0 and "ngfw" in out and out.count("= routed") == 2, out
    code, out, err = cli("trace", "web", "--src", "10.10.1.7", "--dst", "10.10.2.9", "--port", "81")
    assert code == 1 and "does not mean this packet" in err
    code, out, _ = cli("explain", "web")
    assert code == 0 and "1. ngfw: " in out and "not " in out, out

    changed = {**WEB, "priority": 3}
    code, out, _ = cli("plan", "-f", written(tmp_path, changed))
    assert code == 2 and "priority: 0 -> 3" in out
    code, out, _ = cli("apply", "-f", written(tmp_path, changed), "--yes")
    assert code == 0, out
    number = models.Change.objects.latest("pk").pk
    assert models.Chain.objects.get().priority == 3
    code, out, _ = cli("undo", str(number))
    assert code == 2 and "Next: viaduct apply" in out
    plan = models.Plan.objects.latest("pk").pk
    code, out, _ = cli("apply", str(plan))
    assert code == 0 and models.Chain.objects.get().priority == 0

    assert cli("chain", "delete", "web", "--yes")[0] == 0
    for _ in range(600):
        if not models.Chain.objects.exists():
            break
        Event().wait(0.1)
    assert held() == 0 and not models.Chain.objects.exists()


@pytest.mark.usefixtures("worker")
def test_a_program_gets_one_object_a_line(as_: Callable[..., Cli], tmp_path: Path) -> None:
    cli, file = as_(), written(tmp_path, WEB)
    code, rows = cli.json("plan", "-f", file)
    assert (code, rows) == (2, [{"chain": "web", "action": "create", "fields": []}])
    code, made = cli.json("chain", "create", "-f", file)
    assert code == 0 and made[0]["name"] == "web"
    code, (plan,) = cli.json("plan", "web")
    assert code == 2 and plan["status"] == "ready" and plan["chain"] == made[0]["id"]
    code, events = cli.json("apply", str(plan["id"]))
    assert code == 0 and events[-1]["event"] == "succeeded"
    logged = [event["text"] for event in events if event["event"] == "log"]
    assert logged == list(models.ChangeEvent.objects.order_by("pk").values_list("text", flat=True))
    code, again = cli.json("watch", str(events[-1]["change"]))
    assert code == 0 and again == events
    code, (view,) = cli.json("trace", "web", "--src", "10.10.1.7", "--dst", "10.10.2.9", "--port", "80", "--held")
    assert [course["direction"] for course in view["courses"]] == ["forward", "reverse"]
    functions = [step["function"] for step in view["courses"][0]["steps"] if step["function"]]
    assert functions == ["ngfw"] and view["courses"][0]["outcome"] == "routed"
    assert cli.json("findings") == (0, [])


def test_what_is_exported_is_what_is_there(as_: Callable[..., Cli], tmp_path: Path) -> None:
    cli = as_()
    assert cli("chain", "create", "-f", written(tmp_path, WEB, SSH))[0] == 0
    code, out, _ = cli("export")
    assert code == 0
    exported = yaml.safe_load(out)["chains"]
    assert [chain["name"] for chain in exported] == ["ssh", "web"]
    path = tmp_path / "out.yaml"
    assert cli("export", "-o", str(path))[0] == 0 and path.read_text() == out
    code, rows = cli.json("plan", "-f", str(path))
    assert code == 2 and [row["action"] for row in rows] == ["apply", "apply"]  # stored, not in force
    code, rows = cli.json("plan", "-f", written(tmp_path, WEB), "--prune")
    assert [(row["chain"], row["action"]) for row in rows] == [("web", "apply"), ("ssh", "delete")]


def test_operators_name_the_tenant_and_tenants_do_not(as_: Callable[..., Cli], tmp_path: Path) -> None:
    both = [{**WEB, "tenant": name} for name in ("tenant-a", "tenant-b")]
    operator = as_("")
    assert operator("chain", "create", "-f", written(tmp_path, *both))[0] == 0
    code, _, err = operator("chain", "show", "web")
    assert code == 1 and "tenant-a, tenant-b" in err and "--tenant" in err
    assert "chain 1" not in err and operator("chain", "show", "web", "--tenant", "tenant-b")[0] == 0
    code, _, err = operator("plan", "-f", written(tmp_path, WEB))
    assert code == 1 and "names its `tenant`" in err
    own = as_("tenant-a", "viewer")
    code, _, err = own("plan", "-f", written(tmp_path, both[0]))
    assert code == 1 and "leave `tenant` out" in err
    assert [row["tenant"] for row in own.json("chain", "list")[1]] == ["tenant-a"]
    code, _, err = own("chain", "delete", "web", "--yes")
    assert code == 1 and "role may not" in err


def test_an_edit_in_the_editor(as_: Callable[..., Cli], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = as_()
    cli("chain", "create", "-f", written(tmp_path, WEB))
    monkeypatch.setenv("EDITOR", "sed -i 's/priority: 0/priority: 5/'")
    monkeypatch.delenv("VISUAL", raising=False)
    code, out, _ = cli("chain", "edit", "web")
    assert code == 0 and "priority: 0 -> 5" in out
    assert models.Chain.objects.get().priority == 5
    monkeypatch.setenv("EDITOR", "true")
    assert cli("chain", "edit", "web")[:2] == (0, "No change.\n")
    monkeypatch.setenv("EDITOR", "false")
    code, _, err = cli("chain", "edit", "web")
    assert code == 1 and "nothing was done" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("chain", "show", "nobody"), "there is no chain 'nobody'"),
        (("watch", "999999"), "error:"),
        (("apply", "web"), "no number of a plan"),
        (("plan",), "name one chain, or a file"),
        (("plan", "web", "-f", "x.yaml"), "name one chain, or a file"),
        (("plan", "-f", "nowhere.yaml"), "nowhere.yaml"),
        (("frobnicate",), "viaduct --help"),
        (("chain", "list", "--wrong"), "viaduct --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_every_error_is_exit_code_one_and_says_what_to_do(
    as_: Callable[..., Cli], arguments: tuple[str, ...], told: str
) -> None:
    code, out, err = as_()(*arguments)
    assert code == 1 and told in err and not out, (code, out, err)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "text",
    ["", "chains: 5", "- a", "chains: [{}]", "chains: [{name: a}, {name: a}]", "chains: []\nother: 1", "a: [", "\x00"],
)
def test_a_file_that_makes_no_sense_is_refused(as_: Callable[..., Cli], tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    code, _, err = as_()("plan", "-f", str(path))
    assert code == 1 and "odd.yaml" in err


def test_the_token_is_kept_for_the_owner_alone_and_never_shown(
    server: str, as_: Callable[..., Cli], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = as_()
    token = os.environ["VIADUCT_TOKEN"]
    monkeypatch.delenv("VIADUCT_SERVER")
    monkeypatch.delenv("VIADUCT_TOKEN")
    code, _, err = cli("chain", "list")
    assert code == 1 and "viaduct login" in err
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "frontend.cli", *arguments]
        return subprocess.run(command, input=text, text=True, capture_output=True, env=environ, check=False)

    wrong = run("login", "--server", server, text="vdt_00.nothing\n")
    assert wrong.returncode == 1 and not (tmp_path / "config" / "viaduct" / "account.json").exists()
    done = run("login", "--server", server, text=f"{token}\n")
    assert done.returncode == 0 and token not in done.stdout + done.stderr, done.stderr
    path = tmp_path / "config" / "viaduct" / "account.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listed = run("chain", "list")
    assert listed.returncode == 0 and "\x1b" not in listed.stdout, "colours only on a terminal"
    path.chmod(0o644)
    code, _, err = cli("chain", "list")
    assert code == 1 and "can be read by others" in err and token not in err


def test_a_token_goes_nowhere_without_tls(as_: Callable[..., Cli], monkeypatch: pytest.MonkeyPatch) -> None:
    cli = as_()
    monkeypatch.setenv("VIADUCT_SERVER", "http://viaduct.example")
    code, _, err = cli("chain", "list")
    assert code == 1 and "no TLS" in err
    monkeypatch.setenv("VIADUCT_SERVER", "http://127.0.0.1:9")
    code, _, err = cli("chain", "list")
    assert code == 1 and "does not answer" in err and "Fix:" in err


def test_text_of_others_is_no_command_to_the_terminal(as_: Callable[..., Cli], tmp_path: Path) -> None:
    cli = as_()
    row = {**WEB, "description": "[bold red]\\[/] odd"}
    assert cli("chain", "create", "-f", written(tmp_path, row))[0] == 0
    models.Chain.objects.update(status_reason="\x1b]0;owned\x07 [link=http://x]x[/link]")
    code, out, _ = cli("chain", "show", "web")
    assert code == 0 and "\x1b" not in out and "[link=http://x]x[/link]" in out and "[bold red]" in out


def test_completion_is_offered_for_the_shell() -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "_VIADUCT_COMPLETE": "complete_bash", "COMP_WORDS": "viaduct cha",
               "COMP_CWORD": "1"}  # fmt: skip
    command = [sys.executable, "-m", "frontend.cli"]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert "chain" in done.stdout, done.stderr
