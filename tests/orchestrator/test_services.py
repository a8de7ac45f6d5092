# SPDX-License-Identifier: Apache-2.0
"""The embedded services against the machine: real servers, real processes, real signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from orchestrator.services import postgres, valkey
from orchestrator.services.__main__ import instances, stop
from orchestrator.services.doctor import Need, needs, wrong_packages
from orchestrator.services.places import ServiceError, is_reachable_by_all, make_private, socket_folder
from orchestrator.services.postgres import start_postgres
from orchestrator.services.processes import ProcessGroup, members, read_stat
from orchestrator.services.serve import free_port
from orchestrator.services.valkey import start_valkey

NewState = Callable[[str], Path]
SLEEP = ("sleep", "300")
EMPTY: dict[str, str] = {}


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is not ours, with the same command line as ours."""
    process = subprocess.Popen(SLEEP, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_cluster_is_made_once_and_keeps_its_rows_over_a_restart(new_state: NewState) -> None:
    state = new_state("pg")
    url = start_postgres(state, environ=EMPTY)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    first = ProcessGroup(state).find("postgres")
    assert start_postgres(state, environ=EMPTY) == url
    assert ProcessGroup(state).find("postgres") == first, "the second start must reuse the running server"

    ProcessGroup(state).stop_all()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=1)

    before = time.monotonic()
    start_postgres(state, environ=EMPTY)
    assert time.monotonic() - before < 5, "only the first start makes a cluster"
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_a_cluster_survives_kill(new_state: NewState) -> None:
    state = new_state("pg")
    url = start_postgres(state, is_fast=True, environ=EMPTY)
    record = ProcessGroup(state).find("postgres")
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while members(record) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert start_postgres(state, is_fast=True, environ=EMPTY) == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_only_the_owner_reaches_the_cluster(new_state: NewState) -> None:
    state = new_state("pg")
    start_postgres(state, is_fast=True, environ=EMPTY)
    folder = postgres.home(state)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    if os.geteuid() == 0:
        script = "import os, sys; os.setuid(65533); os.listdir(sys.argv[1])"
        probe = [sys.executable, "-c", script, str(folder)]
        assert "PermissionError" in subprocess.run(probe, capture_output=True, text=True).stderr


def test_where_nobody_cannot_go_the_cluster_lies_elsewhere(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    state = tmp_path / "state"
    if os.geteuid() != 0:
        assert postgres.home(state) == state / "pg"
        return
    assert not is_reachable_by_all(state)
    try:
        with psycopg.connect(start_postgres(state, is_fast=True, environ=EMPTY)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert not postgres.home(state).is_relative_to(tmp_path)
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700, "no permission outside ours may change"
    finally:
        ProcessGroup(state).stop_all()
        postgres.remove(state)
    assert not postgres.home(state).parent.exists()


def test_the_environment_names_other_services(new_state: NewState) -> None:
    state = new_state("none")
    given = {"DATABASE_URL": "postgres://db.example/viaduct", "REDIS_URL": "redis://broker.example/0"}
    assert start_postgres(state, environ=given) == given["DATABASE_URL"]
    assert start_valkey(state, environ=given) == given["REDIS_URL"]
    assert list(state.iterdir()) == [], "nothing may be started or written then"


def test_valkey_keeps_its_messages_over_a_restart(new_state: NewState) -> None:
    state = new_state("valkey")
    url = start_valkey(state, environ=EMPTY)
    with redis.Redis.from_url(url, socket_timeout=2) as client:
        client.set("doorbell", "7")
    assert start_valkey(state, environ=EMPTY) == url
    path = state / "valkey" / valkey.SOCKET
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    ProcessGroup(state).stop_all()
    start_valkey(state, environ=EMPTY)
    with redis.Redis.from_url(url, socket_timeout=2) as client:
        assert client.get("doorbell") == b"7"


def test_two_instances_do_not_share_anything(new_state: NewState) -> None:
    first, second = new_state("first"), new_state("second")
    with redis.Redis.from_url(start_valkey(first, environ=EMPTY), socket_timeout=2) as client:
        client.set("mine", "1")
    with redis.Redis.from_url(start_valkey(second, environ=EMPTY), socket_timeout=2) as client:
        assert client.get("mine") is None
    ProcessGroup(first).stop_all()
    assert ProcessGroup(second).find("valkey") is not None


def test_stop_ends_ours_and_no_stranger(new_state: NewState, stranger: subprocess.Popen[bytes]) -> None:
    state = new_state("group")
    group = ProcessGroup(state)
    ours = group.start("one", SLEEP)
    assert group.stop_all() == ("one",)
    assert members(ours) == ()
    assert stranger.poll() is None


def test_a_reused_process_id_is_not_signalled(new_state: NewState, stranger: subprocess.Popen[bytes]) -> None:
    state = new_state("group")
    group = ProcessGroup(state)
    group.start("one", SLEEP)
    path = state / "run" / "one.json"
    record = json.loads(path.read_text())
    group.stop("one")
    found = read_stat(stranger.pid)
    assert found is not None
    # A record of ours whose process id now belongs to someone who started later
    path.write_text(json.dumps(record | {"pid": stranger.pid, "start_ticks": found.start_ticks - 1}))
    assert ProcessGroup(state).running() == ()
    assert ProcessGroup(state).stop("one") is False
    assert stranger.poll() is None


def test_a_process_that_ignores_term_is_killed_with_its_children(new_state: NewState) -> None:
    state = new_state("group")
    group = ProcessGroup(state)
    script = "trap '' TERM; sleep 300 & sleep 300 & echo up; wait; wait"
    record = group.start("stubborn", ("sh", "-c", script))
    group.await_ready(record, lambda: "up" in Path(record.log).read_text())
    assert len(members(record)) == 3
    assert group.stop("stubborn", timeout_s=0.3)
    assert members(record) == ()


def test_children_of_a_killed_leader_are_found_and_ended(new_state: NewState) -> None:
    state = new_state("group")
    group = ProcessGroup(state)
    record = group.start("leader", ("sh", "-c", "sleep 300 & echo up; wait"))
    group.await_ready(record, lambda: "up" in Path(record.log).read_text())
    os.kill(record.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while record.pid in members(record) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(members(record)) == 1
    assert ProcessGroup(state).stop_all() == ("leader",)
    assert members(record) == ()


def test_another_program_finds_what_runs(new_state: NewState) -> None:
    state = new_state("outer")
    inner = state / "inner"
    group = ProcessGroup(inner)
    record = group.start("one", SLEEP)
    assert instances(state) == (inner,)
    script = "import sys; from pathlib import Path; from orchestrator.services.__main__ import stop; "
    subprocess.run([sys.executable, "-c", script + "stop(Path(sys.argv[1]))", str(state)], check=True)
    assert members(record) == ()
    stop(state)


def test_stop_leaves_a_living_test_run_alone(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    for name in (f"{os.getpid()}-pg", f"{ended.pid}-pg"):
        (tmp_path / "test" / name / "run").mkdir(parents=True)
    assert instances(tmp_path) == (tmp_path / "test" / f"{ended.pid}-pg",)


def test_a_service_that_ends_says_why(new_state: NewState) -> None:
    group = ProcessGroup(new_state("group"))
    record = group.start("broken", ("sh", "-c", "echo no such luck >&2; exit 3"))
    with pytest.raises(ServiceError, match="broken ended: no such luck"):
        group.await_ready(record, lambda: False)
    with pytest.raises(ServiceError, match="cannot start absent"):
        group.start("absent", ("/no/such/program",))


def test_a_name_runs_once(new_state: NewState) -> None:
    group = ProcessGroup(new_state("group"))
    group.start("one", SLEEP)
    with pytest.raises(ServiceError, match="already runs"):
        ProcessGroup(group.state).start("one", SLEEP)


def test_a_stranger_in_a_private_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ServiceError, match="belongs to someone else"):
        make_private(tmp_path / "link")


def test_sockets_move_when_their_path_is_too_long(tmp_path: Path) -> None:
    assert socket_folder(tmp_path, "s") == tmp_path
    deep = tmp_path / ("x" * 100)
    assert len(str(socket_folder(deep, postgres.SOCKET) / postgres.SOCKET)) < 107
    assert socket_folder(deep, "s") == socket_folder(deep, "s") != socket_folder(tmp_path / ("y" * 100), "s")


def test_a_taken_port_is_not_chosen() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(0) > 1023


def test_doctor_tells_what_differs_from_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    windows = "colorama==1 ; sys_platform == 'win32'"
    pins = ("django==0.1 \\", "    --hash=sha256:00", "no-such-package==1", windows)
    lock.write_text("\n".join(pins))
    assert wrong_packages(lock) == ("django", "no-such-package")


def test_doctor_counts_named_services_as_met() -> None:
    given = {"DATABASE_URL": "postgres://db.example/x", "REDIS_URL": "redis://broker.example/0"}
    found = {need.name: need for need in needs(given)}
    assert found["database"].detail == "DATABASE_URL is set"
    assert found["broker"].detail == "REDIS_URL is set"


def test_doctor_gives_the_fix_for_what_is_missing() -> None:
    line = Need("nft", False, "not found", "apt-get install nftables", "real packets").line()
    assert line.startswith("missing  nft") and "apt-get install nftables" in line
