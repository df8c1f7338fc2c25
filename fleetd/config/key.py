"""Reading the API key and the database's password from where the config says they are. No message shows them."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from fleetd.config.reading import placed
from fleetd.model.errors import ConfigError, Fault, KeyUnusable
from fleetd.model.settings import KeySource

_PATH = "provider.api_key"
_LONGEST = 4096
"""Bytes; what is longer is another file."""


def read_key(source: KeySource, environ: Mapping[str, str], *, config: str = "config") -> str:
    """The API key, without the line end around it.

    Args:
        source: where the config says it is.
        environ: the process's environment.
        config: the config's name, for the message.

    Raises:
        KeyUnusable: it is missing, empty, unreadable, or cannot be a key.
    """
    found = _from_environment(source, environ) if source.env is not None else _from_file(source, environ)
    if isinstance(found, Fault):
        raise KeyUnusable(config, placed((found,), Path(config)))
    key = found.strip()
    problem = _problem(key)
    if problem is not None:
        raise KeyUnusable(config, placed((Fault(_PATH, f"{source} {problem}"),), Path(config)))
    return key


def read_password(source: KeySource, environ: Mapping[str, str], *, config: str = "config") -> str:
    """The password, without the line end around it. Arguments as ``read_key``.

    Raises:
        ConfigError: it is missing, empty, unreadable, or more than one word of ASCII.
    """
    try:
        return read_key(source, environ, config=config)
    except KeyUnusable as error:
        faults = tuple(
            Fault(
                "daemon.state_password", f.problem.replace("the API key", "the password").replace("API key", "such")
            )
            for f in error.faults
        )
    raise ConfigError(config, faults)


def key_warnings(source: KeySource, environ: Mapping[str, str]) -> tuple[Fault, ...]:
    """What is unwise about where the key stands: a file that everyone on this machine can read."""
    path = _file_of(source, environ)
    if source.env is not None or isinstance(path, Fault):
        return ()
    try:
        mode = path.stat().st_mode
    except OSError:
        return ()  # read_key says why
    if mode & stat.S_IROTH:
        return (Fault(_PATH, f"{source} can be read by everyone on this machine: chmod 600 it"),)
    return ()


def _from_environment(source: KeySource, environ: Mapping[str, str]) -> str | Fault:
    value = environ.get(source.env or "")
    if value is None:
        return Fault(_PATH, f"{source} is not set; set it to the API key")
    return value


def _from_file(source: KeySource, environ: Mapping[str, str]) -> str | Fault:
    path = _file_of(source, environ)
    if isinstance(path, Fault):
        return path
    try:
        # Looked at before it is opened: opening a named pipe would wait for its writer.
        if not stat.S_ISREG(path.stat().st_mode):
            return Fault(_PATH, f"{source} is not a regular file")
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
    except OSError as e:
        return Fault(_PATH, f"{source} cannot be read: {e.strerror or type(e).__name__}")
    if len(content) > _LONGEST:
        return Fault(_PATH, f"{source} holds more than {_LONGEST} bytes; it should hold the API key alone")
    # Latin-1 reads any byte; what is not ASCII is refused afterwards.
    return content.decode("latin-1")


def _file_of(source: KeySource, environ: Mapping[str, str]) -> Path | Fault:
    if source.credential is None:
        return source.file or Path()
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return Fault(
            _PATH,
            f"{source} can only be read in a systemd service with LoadCredential={source.credential}:FILE "
            "($CREDENTIALS_DIRECTORY is not set); elsewhere use env or file",
        )
    return Path(directory) / source.credential


def _problem(key: str) -> str | None:
    if not key:
        return "is empty; it should hold the API key"
    if len(key.split()) > 1:
        return "holds more than one word; it should hold the API key alone"
    if not (key.isascii() and key.isprintable()):
        return "holds characters that no API key has"
    return None
