"""Whom an order is for: the daemon of a config file, or of a state directory. The daemon decides, not the sender."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from msgspec.structs import replace

from fleetd.model.answers import WhoIs
from fleetd.model.settings import KeySource, Settings

CONFIG, CONFIG_REAL, CONFIG_FILE = "Fleetd-Config", "Fleetd-Config-Real", "Fleetd-Config-File"
"""Headers: a config's path, the same without links, and ``device:inode`` where the file is there."""
STATE = "Fleetd-State"
"""Header: a state directory; then the config does not matter."""
MISDIRECTED = 421
"""HTTP's status for an order that is for another daemon (RFC 9110, 15.5.20)."""
STANDS_BY = "stands_by"
"""With it, the reason where it is for the replica that acts, and this one stands by."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a daemon answers when it is asked who it is."""

    config: Path
    """Its config file, absolute, as it was named at the start; every reload reads what is there then."""
    state: Path
    """Its state directory, absolute."""
    stands_by: bool = False
    """Whether it is a replica that does not act."""
    database: str | None = None
    """Of a replica: where its journal is, and whoever acts is found."""
    password: KeySource | None = None
    """The database's."""
    mark: str = ""
    """By which its address is compared where it is not to be told; "" where the journal is a file."""

    @classmethod
    def of(cls, config: str | Path, state: Path, *, stands_by: bool = False) -> Identity:
        """With both paths made absolute now, before anybody changes the directory."""
        paths = Path(os.path.abspath(config)), Path(os.path.abspath(state))  # noqa: PTH100 - without ".."
        return cls(*paths, stands_by)

    @classmethod
    def running_on(cls, settings: Settings, state: Path, *, stands_by: bool = False) -> Identity:
        """Of a process with these settings, which no reload gives another journal."""
        named, daemon = cls.of(settings.source, state, stands_by=stands_by), settings.daemon
        mark = mark_of(daemon.state)
        return dataclasses.replace(named, database=daemon.state, password=daemon.state_password, mark=mark)

    def word(self) -> WhoIs:
        """What is left in a file, for whoever looks for it."""
        return WhoIs(pid=os.getpid(), config=str(self.config), state_dir=str(self.state), stands_by=self.stands_by)

    def answer(self) -> WhoIs:
        """The answer to ``GET /whoami``, which not everybody may ask."""
        return replace(self.word(), state=self.database, state_password=_places(self.password))

    def is_meant(self, headers: Mapping[str, str]) -> bool:
        """Whether an order with these headers is for this daemon; one that names nobody is for whom it reached."""
        if STATE in headers:
            asked = _path(headers[STATE])
            return asked == self.state or os.path.realpath(asked) == os.path.realpath(self.state)
        if CONFIG not in headers:
            return True
        real = headers.get(CONFIG_REAL)
        return (
            _path(headers[CONFIG]) == self.config
            or (real is not None and str(_path(real)) == os.path.realpath(self.config))
            or (CONFIG_FILE in headers and headers[CONFIG_FILE] == _file(self.config))
        )


def mark_of(database: str | None) -> str:
    """What stands for a database's address in a word, which others may read."""
    return "" if database is None else hashlib.sha256(database.encode()).hexdigest()[:32]


def journal_of(answer: WhoIs) -> tuple[str | None, KeySource | None]:
    """Where who has answered says that its journal is, and the password to it; (None, None) where that is a file."""
    given = answer.state_password
    if given is None:
        return answer.state, None
    file = given.get("file")
    source = KeySource(given.get("env"), None if file is None else Path(file), given.get("credential"))
    return answer.state, source


def _places(source: KeySource | None) -> dict[str, str] | None:
    if source is None:
        return None
    named = {"env": source.env, "file": source.file, "credential": source.credential}
    return {place: str(value) for place, value in named.items() if value is not None}


def for_config(config: str | Path) -> dict[str, str]:
    """The headers of an order for the daemon that runs on this config file, whether the file is there or not."""
    path = os.path.abspath(config)  # noqa: PTH100 - without ".."
    file = _file(path)
    named = {CONFIG: _text(path), CONFIG_REAL: _text(os.path.realpath(path))}
    return named if file is None else named | {CONFIG_FILE: file}


def for_state(state: Path) -> dict[str, str]:
    """The headers of an order for the daemon that acts on this state directory."""
    return {STATE: _text(os.path.abspath(state))}  # noqa: PTH100 - without ".."


def _text(path: str) -> str:
    return quote_from_bytes(os.fsencode(path))


def _path(text: str) -> Path:
    return Path(os.fsdecode(unquote_to_bytes(text)))


def _file(path: str | Path) -> str | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - text or path
    except (OSError, ValueError):
        return None
    return f"{status.st_dev}:{status.st_ino}"
