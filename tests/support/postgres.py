"""A real PostgreSQL server of the tests' own: made in a temporary directory, on a free port of the loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

from tests.support.ports import free_port

_NUMBERS = count(1)


def programs() -> Path | None:
    """Where ``initdb`` and ``postgres`` are; Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return newest[-1].parent if newest else None


class Server:
    """One server. Its superuser ``fleetd`` needs no password, and ``secretive`` needs one."""

    def __init__(self, directory: Path) -> None:
        bin_directory = programs()
        assert bin_directory is not None
        self._bin = bin_directory
        self._data = directory / "data"
        self._log = directory / "log"
        self._as: list[str] = []
        if os.getuid() == 0:  # postgres refuses root
            self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(directory, "postgres")
        self.port = free_port()
        self._run("initdb", "-N", "-U", "fleetd", "-A", "trust", "-E", "UTF8", "--locale=C", "-D", str(self._data))
        (self._data / "pg_hba.conf").write_text(
            "host all secretive 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
        )

    def start(self) -> None:
        # A crash here is one of the server's processes: what the kernel has been given is there at the next start.
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "-w", "-D", str(self._data), "-l", str(self._log), "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        """``immediate`` is a crash: what was acknowledged is found again at the next start."""
        self._run("pg_ctl", "-w", "-D", str(self._data), "-m", how, "stop")

    def create(self) -> str:
        """The URL of a new database."""
        name = f"fleetd_{os.getpid()}_{next(_NUMBERS)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name: str, user: str = "fleetd") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{name}"

    def client(self, program: str, *arguments: str, stdin: str = "") -> str:
        """What one of the server's own clients (psql, pg_dump) writes."""
        where = os.pathsep.join([str(self._bin), os.environ.get("PATH", os.defpath)])
        found = shutil.which(program, path=where)
        assert found is not None, f"{program} is not installed"
        done = subprocess.run(
            [found, *arguments],
            capture_output=True,
            text=True,
            check=False,
            input=stdin,
            timeout=120,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
        return done.stdout

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._bin / program), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, cwd="/", timeout=120
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"


@contextmanager
def running_server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="fleetd-pg-") as place:
        server = Server(Path(place))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def execute(url: str, sql: str, *cells: object) -> list[tuple[object, ...]]:
    """One statement by somebody else's hand."""
    with psycopg.connect(url, autocommit=True) as db:
        cursor = db.execute(sql.encode(), cells)
        return cursor.fetchall() if cursor.description else []
