"""A Debian with a running systemd, on a root of its own: made by debootstrap, gone when the block is left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

from tests.support.processes import until

SUITE = "bookworm"
PYTHON = "3.11"
"""What ``python3`` is in there."""
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,sqlite3"
NAMESPACES = ("--pid", "--mount", "--uts", "--ipc", "--net")
WITH_US = ("setpriv", "--pdeathsig=KILL")
"""What begins a command that the kernel ends when these tests are killed."""
BOOT = Path(__file__).with_name("boot.sh")
SOURCES = Path("/etc/apt")
PATIENCE = 120.0
"""Seconds that one command in there may take; the machine that tests may be busy."""


def mirror(sources: Path = SOURCES) -> str | None:
    """The mirror that this machine's own apt has for the suite, or for another of Debian's; None without any."""
    places = [place for path in sorted(sources.glob("sources.list*/*")) for place in _places(path)]
    places += [place for path in sources.glob("sources.list") for place in _places(path)]
    own = [uri for uri, suites in places if SUITE in suites]
    related = [uri for uri, _ in places if uri.rstrip("/").endswith("/debian")]
    return next(iter([*own, *related]), None)


def _places(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(URI, suites) in a file of apt's: stanzas (sources.list(5), deb822) or lines."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    if path.suffix == ".sources":
        for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
            fields = {k.lower(): v.split() for k, v in re.findall(r"^([\w-]+):(.*(?:\n .*)*)", stanza, re.MULTILINE)}
            if "deb" in fields.get("types", ()) and fields.get("enabled", ["yes"]) != ["no"]:
                yield from ((uri, fields.get("suites", [])) for uri in fields.get("uris", ()))
        return
    for line in lines:
        found = re.match(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)", line)
        if found is not None:
            yield found[1], [found[2]]


def obstacle() -> str | None:
    """Why no systemd can be booted here; None where it can. Programs that are missing are the marker's business."""
    if os.geteuid() != 0:
        return "not root"
    if Path("/proc/self/uid_map").read_text().split() != ["0", "0", str(2**32 - 1)]:
        return "root of a user namespace, not of the machine"
    tried = subprocess.run(
        ["unshare", *NAMESPACES, "--cgroup", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if tried.returncode != 0:
        return f"no namespaces, or no mounts in them: {tried.stderr.strip()}"
    if mirror() is None:
        return f"no Debian mirror in {SOURCES}"
    return None


class Machine:
    """The machine, from outside."""

    def __init__(self, init: int) -> None:
        self.init = init
        """Its process 1, as this machine's processes are numbered."""

    def sh(self, command: str, *, check: bool = True, timeout: float = PATIENCE, **environment: str) -> str:
        """Run a shell command in there as root; what it printed. It must succeed unless ``check`` is false."""
        done = self.run(command, timeout=timeout, **environment)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, command: str, *, timeout: float = PATIENCE, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command in there as root."""
        plain = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
        return subprocess.run(
            ["nsenter", f"--target={self.init}", *NAMESPACES, "--cgroup", "--wd", "sh", "-c", command],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env=plain | environment,
        )

    def is_up(self) -> bool:
        """Whether it has booted, and no unit has failed."""
        return self.run("systemctl is-system-running").stdout == "running\n"

    def get(self, url: str) -> Any:
        """The JSON at a URL in there; None when nobody answers."""
        asking = f"import urllib.request as u; print(u.urlopen('{url}', timeout=30).read().decode())"
        done = self.run(f'python3 -S -c "{asking}"')
        return json.loads(done.stdout) if done.returncode == 0 else None

    def show(self, unit: str, name: str) -> str:
        """A property of a unit, e.g. ``MainPID``."""
        return self.sh(f"systemctl show --value --property={name} {unit}").strip()

    def until_shown(self, unit: str, seconds: float = PATIENCE, **wanted: str) -> None:
        """Wait until a unit's properties are so."""

        def shown() -> dict[str, str]:
            return {name: self.show(unit, name) for name in wanted}

        until(
            lambda: shown() == wanted,
            seconds=seconds,
            every=0.5,
            saying=lambda: f"{shown()}\n{self.sh(f'journalctl -u {unit} -o cat --no-pager -n 50')}",
        )


class Den:
    """A directory in memory that is seen in a mount namespace of its own, and gone with the process that holds it."""

    def __init__(self, root: Path, holder: int) -> None:
        self.root = root
        """Its path in there."""
        self.seen = Path(f"/proc/{holder}/root{root}")
        """Its path from here."""
        self.enter = ("nsenter", f"--target={holder}", "--mount")
        """What begins a command that runs in there."""


@contextmanager
def den(root: Path) -> Iterator[Den]:
    """A den at ``root``."""
    root.mkdir()
    mounting = 'mount -t tmpfs -o mode=0755 tmpfs "$1" && echo ready && exec sleep infinity'
    with subprocess.Popen(
        [*WITH_US, "unshare", "--mount", "sh", "-c", mounting, "sh", str(root)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "ready\n"
            yield Den(root, holder.pid)
        finally:
            holder.kill()


def make_root(place: Den) -> None:
    """A minimal Debian, by debootstrap."""
    where = mirror()
    assert where is not None
    done = subprocess.run(
        [*place.enter, "debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(place.root), where],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=540,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def make_wheelhouse(project: Path, wheelhouse: Path) -> None:
    """What ``pip install project`` needs in there, where the network is empty: its libraries and its build tool."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    with_these = ["--only-binary=:all:", f"--python-version={PYTHON}", f"--dest={wheelhouse}"]
    with TemporaryDirectory() as folder:
        subprocess.run([*pip, "wheel", "--no-deps", f"--wheel-dir={folder}", str(project)], check=True, timeout=300)
        (wheel,) = Path(folder).glob("*.whl")
        subprocess.run([*pip, "download", *with_these, str(wheel), "hatchling"], check=True, timeout=300)
    for own in wheelhouse.glob("fleetd-*.whl"):
        own.unlink()


@contextmanager
def booted(place: Den) -> Iterator[Machine]:
    """Boot what is in there; on the way out it is killed, and nothing of it is left on this machine."""
    log, group = place.root.parent / "boot.log", f"fleetd-test-{os.getpid()}"
    with log.open("w") as stream, witnesses() as unharmed:
        outside = subprocess.Popen(
            [
                *(*WITH_US, *place.enter, "unshare", *NAMESPACES, "--fork", "--kill-child"),
                *("sh", str(BOOT), str(place.root), group),
            ],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        init, inside = 0, ""
        try:
            init = until(lambda: child_of(outside.pid), saying=log.read_text)
            inside = str(Path(f"/proc/{init}/ns/pid").readlink())
            machine = Machine(init)
            until(
                lambda: outside.poll() is not None or machine.is_up(),
                seconds=PATIENCE,
                every=0.5,
                saying=lambda: (
                    f"it does not boot: {log.read_text()}"
                    f"{machine.run('systemctl --failed --no-pager; systemctl list-jobs').stdout}"
                ),
            )
            assert outside.poll() is None, log.read_text()
            yield machine
        finally:
            if init and outside.poll() is None:
                os.kill(init, signal.SIGKILL)
            else:
                outside.kill()
            outside.wait(timeout=60)
            remove_cgroups(group)
        assert str(place.root) not in Path("/proc/self/mountinfo").read_text(), "a mount was left behind"
        assert processes_in(inside) == [], "a process was left behind"
        assert unharmed(), "a file of this machine was cleared"


@contextmanager
def witnesses() -> Iterator[Callable[[], bool]]:
    """Files where a booting systemd clears; the callable says whether they are still there."""
    with ExitStack() as stack:
        names = [stack.enter_context(NamedTemporaryFile(dir=place)).name for place in ("/run", "/tmp")]
        yield lambda: all(Path(name).exists() for name in names)


def processes_in(namespace: str) -> list[int]:
    """The processes in a PID namespace."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "ns/pid").readlink()) == namespace:
                found.append(int(process.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def child_of(pid: int) -> int:
    """The only child of a process, 0 without one."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text() or 0)
    except FileNotFoundError:
        return 0


def remove_cgroups(group: str) -> None:
    """Remove the empty groups that the machine leaves in this machine's hierarchy."""
    subprocess.run(
        ["unshare", "--mount", "sh", "-c", REMOVE, "sh", group], check=True, timeout=60, capture_output=True
    )


REMOVE = """
at=$(mktemp -d)
mount -t cgroup2 cgroup2 "$at"
[ ! -d "$at/$1" ] || find "$at/$1" -depth -type d -exec rmdir {} +
umount "$at"
rmdir "$at"
"""
