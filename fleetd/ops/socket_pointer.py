"""The word that a daemon leaves of where it listens, by its config's path: for when that file says nothing."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import structlog
from msgspec.structs import asdict

from fleetd.ops.addressee import Identity

log = structlog.get_logger(__name__)

SERVICE_RUNTIME = Path("/run/fleetd")
"""systemd's RuntimeDirectory= of the unit."""
USERS_RUNTIME = Path("/run/user")
SHARED = Path("/tmp")  # noqa: S108 - a directory of the user's own is made in it, and checked
_SUFFIX = ".daemon.json"
_MOST = 1000
"""Words that are read in one directory."""


@contextmanager
def word_left(identity: Identity, socket: Path, environ: Mapping[str, str]) -> Iterator[None]:
    """Leave word while entered. Where that cannot be done, a sound config still leads to the socket."""
    document = {**asdict(identity.word()), "socket": str(socket.absolute()), "journal": identity.mark}
    written = None
    for directory in _own(environ):
        try:
            written = _write(directory, document)
        except OSError:
            continue
        break
    else:
        log.warning("control.word_failed", config=str(identity.config))
    try:
        yield
    finally:
        if written is not None and _read(written) == document:  # a later daemon may have written its own
            with suppress(OSError):
                written.unlink()
            with suppress(OSError):
                if written.parent.name.startswith("fleetd") and written.parent != SERVICE_RUNTIME:
                    written.parent.rmdir()


def words(environ: Mapping[str, str]) -> Iterator[tuple[Identity, Path]]:
    """(who, control socket) of every word that this user can find. Any of them may be stale: ask."""
    for directory in dict.fromkeys(_everywhere(environ)):
        try:
            found = sorted(directory.glob(f"*{_SUFFIX}"))[:_MOST] if _trusted(directory) else []
        except OSError:
            continue
        for path in found:
            document = _read(path)
            if isinstance(document, dict) and all(isinstance(document.get(k), str) for k in _KEYS):
                stands_by = document.get("stands_by") is True
                who = Identity.of(document["config"], Path(document["state_dir"]), stands_by=stands_by)
                yield replace(who, mark=str(document.get("journal") or "")), Path(document["socket"])


_KEYS = ("config", "state_dir", "socket")


def _own(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where this process may leave word, the best place first."""
    service = (environ.get("RUNTIME_DIRECTORY") or "").split(":")[0]
    if service:
        yield Path(service)
    yield from _of_user(os.getuid(), environ.get("XDG_RUNTIME_DIR"))


def _everywhere(environ: Mapping[str, str]) -> Iterator[Path]:
    yield from _own(environ)
    yield SERVICE_RUNTIME
    behind = environ.get("SUDO_UID", "")
    if os.getuid() == 0 and behind.isascii() and behind.isdigit():
        yield from _of_user(int(behind), None)


def _of_user(uid: int, runtime: str | None) -> Iterator[Path]:
    if runtime:
        yield Path(runtime) / "fleetd"
    # os.path answers no where it may not look, as in a unit with ProtectHome=; Path.is_dir raises before Python 3.14.
    if os.path.isdir(USERS_RUNTIME / str(uid)):  # noqa: PTH112
        yield USERS_RUNTIME / str(uid) / "fleetd"
    yield SHARED / f"fleetd-{uid}"


def _trusted(directory: Path) -> bool:
    """Not one that somebody else has made in a place where everybody may."""
    if directory.parent != SHARED:
        return True
    status = directory.lstat()
    owner = directory.name.removeprefix("fleetd-")
    return stat.S_ISDIR(status.st_mode) and str(status.st_uid) == owner and not status.st_mode & 0o022


def _write(directory: Path, document: Mapping[str, object]) -> Path:
    directory.mkdir(mode=0o700, parents=False, exist_ok=True)
    if not _trusted(directory):
        raise PermissionError(directory)
    for path in directory.glob(f"*{_SUFFIX}"):
        stale = _read(path)
        if isinstance(stale, dict) and not os.path.exists(str(stale.get("socket"))):  # noqa: PTH110 - any text
            path.unlink(missing_ok=True)
    name = hashlib.sha256(os.fsencode(str(document["config"]))).hexdigest()[:32]
    path = directory / f"{name}{_SUFFIX}"
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(document))
    draft.replace(path)
    return path


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
