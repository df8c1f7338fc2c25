"""The one way from a command to the daemon that runs on its config file, and to no other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import anyio

from fleetd import config
from fleetd.model.answers import WhoIs
from fleetd.model.errors import ConfigError
from fleetd.model.settings import ProviderSettings, Settings
from fleetd.ops.addressee import for_config, for_state, journal_of, mark_of
from fleetd.ops.control_client import ControlClient
from fleetd.ops.control_errors import (
    NoAnswer,
    NoDaemon,
    NotAllowed,
    NotReached,
    OtherDaemon,
    StandsBy,
    UnusableAnswer,
)
from fleetd.ops.socket_pointer import words
from fleetd.store.lock import is_locked, read_holder
from fleetd.store.paths import CONTROL_SOCKET
from fleetd.wiring.extra import needs_postgres
from fleetd.wiring.places import control_sockets, load_settings, state_path

T = TypeVar("T")

HERE = frozenset({"/whoami", "/reload"})
"""What is asked of the process that runs here, whether it acts or stands by, and never of one on another host."""


async def ask(settings: Settings, kind: type[T], method: str, path: str, /, **body: object) -> T:
    """One request to the daemon that runs on this config file, or that ``--state-dir`` names: its answer.

    The daemon itself says whether it is meant: what it is not asked as, it does not do.

    Raises:
        NoDaemon: none runs there; NotAllowed: this user may not ask it.
        NoAnswer: it hangs, and may carry an order out later; or it holds the state directory, and listens nowhere.
        OtherDaemon: one runs where this config leads, but on another file.
        OrderRefused: it declined.
    """
    refusal: NoDaemon = NoDaemon(f"no daemon runs on {state_path(settings)}")
    other: OtherDaemon | None = None
    for socket in dict.fromkeys(_sockets(settings, path)):
        try:
            return await ControlClient(socket, meant=_meant(settings)).ask(kind, method, path, **body)
        except OtherDaemon as error:
            other = other or error
        except UnusableAnswer:
            raise
        except NoAnswer as error:
            holder = read_holder(state_path(settings))
            who = f"the daemon (pid {holder.pid})" if holder else "the daemon"
            later = "" if method == "GET" else "; it may still carry this out when it does"
            raise NoAnswer(f"{who} does not answer{later} ({error})") from error
        except NoDaemon as error:
            if not isinstance(refusal, NotAllowed | StandsBy):
                refusal = error
    if other is not None and not isinstance(refusal, NotAllowed | StandsBy):
        raise other
    if settings.daemon.state is not None and not isinstance(refusal, NotAllowed) and path not in HERE:
        # None here acts, so it is asked who does.
        with needs_postgres(settings):
            from fleetd.wiring.replicas import ask_holder  # noqa: PLC0415

        return await ask_holder(settings, kind, method, path, body)
    raise _unreached(settings, refusal)


async def found_daemon(settings: Settings) -> WhoIs | None:
    """Who runs on this config file; None where nobody does.

    Raises:
        NotAllowed, NoAnswer, OtherDaemon: as ``ask``.
    """
    try:
        return await ask(settings, WhoIs, "GET", "/whoami")
    except (NotAllowed, NoAnswer):
        raise
    except NoDaemon:
        return None


async def at_its_state(settings: Settings) -> Settings:
    """The settings with the journal that the daemon on this file has, whatever the file says of it by now.

    Raises:
        OtherDaemon: the state directory is another daemon's, which runs on another file.
    """
    try:
        daemon = await found_daemon(settings)
    except NoDaemon:
        return settings
    return settings if daemon is None else _as_running(settings, daemon)


def load_for_daemon(path: Path, state_dir: Path | None = None, *, of_standby: bool = False) -> Settings:
    """What a command needs that speaks to the running daemon: a faulty file keeps nobody from asking or stopping it.

    Where the file has faults and a daemon runs on it, which then has the config from before them, the settings say
    no more than where it is, and its journal: in its own database, not in one that the file may name by now. They
    have no fleets, and no key. So do those that ``state_dir`` is named for.
    ``of_standby``: whether one that stands by here is meant itself.

    A sound file may name another database than the one that its replica runs on, which no reload changes. A veto is
    given where somebody obeys it: in the latter.

    Raises:
        NoAnswer, NotAllowed: a replica runs on this file in another database, and cannot be asked in which.
        ConfigError: the file has faults, and no daemon runs on it, or one that cannot say where its database is.
        OtherDaemon: the same, and where the file leads runs one on another file.
    """
    if state_dir is not None:
        named = Path(os.path.abspath(state_dir.expanduser()))  # noqa: PTH100 - without ".."
        return replace(_with_state(_nothing(path), named), asked_state_dir=named)
    try:
        settings = load_settings(path)
    except ConfigError as error:
        found = _with_state(_nothing(path), config.state_dir_of(path))
        try:
            daemon = anyio.run(found_daemon, found)
        except OtherDaemon as other:
            raise OtherDaemon(f"{error}\n{other}") from error
        except NotAllowed:
            raise error from None
        except NoAnswer:
            return found
        if daemon is None:
            raise
        if daemon.stands_by and not of_standby and daemon.state is None:
            raise
        return _as_running(found, daemon)
    return anyio.run(_in_its_database, settings) if _runs_elsewhere(settings) else settings


def _runs_elsewhere(settings: Settings) -> list[Path]:
    """Where one listens that has left word of running on this file, in another database than it names by now."""
    named, meant = mark_of(settings.daemon.state), for_config(settings.source)
    found = words(os.environ) if named else ()
    return [socket for who, socket in found if who.mark not in {"", named} and who.is_meant(meant)]


async def _in_its_database(settings: Settings) -> Settings:
    for socket in _runs_elsewhere(settings):
        try:
            who = await ControlClient(socket, meant=for_config(settings.source)).ask(WhoIs, "GET", "/whoami")
        except (NotAllowed, NoAnswer):
            raise
        except NoDaemon:
            continue  # it has been killed, and nobody has begun anew
        return _as_running(settings, who)
    return settings


def _as_running(settings: Settings, who: WhoIs) -> Settings:
    """The settings with the journal of the one that runs."""
    found = _with_state(settings, Path(who.state_dir))
    at, password = journal_of(who)
    return found if at is None else replace(found, daemon=replace(found.daemon, state=at, state_password=password))


def _sockets(settings: Settings, path: str) -> Iterator[Path]:
    """Where the daemon may listen, the likeliest first.

    Not where a replica stands by, if the one that acts can be asked for what it is: so one that hangs delays nobody.
    """
    asked = settings.asked_state_dir
    found = list(words(os.environ))
    past = (
        {s for who, s in found if who.stands_by} if settings.daemon.state is not None and path not in HERE else set()
    )
    for identity, socket in found:
        meant = asked is not None and identity.is_meant(for_state(asked))
        if socket not in past and (meant or (asked is None and identity.is_meant(for_config(settings.source)))):
            yield socket
    if asked is not None:
        yield asked / CONTROL_SOCKET
    yield from (socket for socket in control_sockets(settings) if socket not in past)


def _unreached(settings: Settings, refusal: NoDaemon) -> NoDaemon:
    """What it means that nobody who was asked does it."""
    if isinstance(refusal, StandsBy):
        return NotReached(f"{refusal}: ask on its host, or with a config here that says where the database is")
    if isinstance(refusal, NotAllowed) or not is_locked(state_path(settings)):
        return refusal
    holder = read_holder(state_path(settings))
    who = f"a daemon (pid {holder.pid})" if holder else "a daemon"
    return NotReached(f"{who} holds {state_path(settings)} and cannot be reached ({refusal})")


def _meant(settings: Settings) -> Mapping[str, str]:
    return for_config(settings.source) if settings.asked_state_dir is None else for_state(settings.asked_state_dir)


def _nothing(path: Path) -> Settings:
    return Settings(source=str(path), provider=ProviderSettings(kind="", base_url="", api_key=None), fleets=())


def _with_state(settings: Settings, state: Path | None) -> Settings:
    return replace(settings, daemon=replace(settings.daemon, state_dir=state))
