"""The one way from a command to the daemon that runs on its config file, and to no other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import anyio

from fleetd import config
from fleetd.model.errors import ConfigError
from fleetd.model.report import WhoIs
from fleetd.model.settings import ProviderSettings, Settings
from fleetd.ops.addressee import for_config, for_state
from fleetd.ops.control_client import ControlClient
from fleetd.ops.control_errors import NoAnswer, NoDaemon, NotAllowed, NotReached, OtherDaemon, UnusableAnswer
from fleetd.ops.socket_pointer import words
from fleetd.store.lock import is_locked, read_holder
from fleetd.store.paths import CONTROL_SOCKET
from fleetd.wiring.extra import needs_postgres
from fleetd.wiring.places import control_sockets, load_settings, state_path

T = TypeVar("T")


async def ask(settings: Settings, kind: type[T], method: str, path: str, /, **body: Any) -> T:
    """One request to the daemon that runs on this config file, or that ``--state-dir`` names: its answer.

    The daemon itself says whether it is meant: what it is not asked as, it does not do.

    Raises:
        NoDaemon: none runs there; NotAllowed: this user may not ask it.
        NoAnswer: it hangs, and may carry an order out later; or it holds the state directory, and listens nowhere.
        OtherDaemon: one runs where this config leads, but on another file.
        OrderRefused: it declined.
    """
    refusal = NoDaemon(f"no daemon runs on {state_path(settings)}")
    other: OtherDaemon | None = None
    for socket in dict.fromkeys(_sockets(settings)):
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
            if not isinstance(refusal, NotAllowed):
                refusal = error
    if other is not None and not isinstance(refusal, NotAllowed):
        raise other
    if settings.daemon.state is not None and not isinstance(refusal, NotAllowed) and path != "/whoami":
        # None here acts, so it is asked who does: a standby holds its state directory, and listens nowhere.
        with needs_postgres(settings):
            from fleetd.wiring.replicas import ask_holder  # noqa: PLC0415

        return await ask_holder(settings, kind, method, path, body)
    if not isinstance(refusal, NotAllowed) and is_locked(state_path(settings)):
        holder = read_holder(state_path(settings))
        who = f"a daemon (pid {holder.pid})" if holder else "a daemon"
        raise NotReached(f"{who} holds {state_path(settings)} and cannot be reached ({refusal})") from refusal
    raise refusal


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
    """The settings with the state directory that the daemon on this file has, whatever the file says of it by now.

    Raises:
        OtherDaemon: the state directory is another daemon's, which runs on another file.
    """
    try:
        daemon = await found_daemon(settings)
    except NoDaemon:
        return settings
    return settings if daemon is None else _with_state(settings, Path(daemon.state_dir))


def load_for_daemon(path: Path, state_dir: Path | None = None) -> Settings:
    """What a command needs that speaks to the running daemon: a faulty file keeps nobody from asking or stopping it.

    Where the file has faults and a daemon runs on it, which then has the config from before them, the settings say
    no more than where it is; they have no fleets, and no key. So do those that ``state_dir`` is named for.

    Raises:
        ConfigError: the file has faults, and no daemon runs on it.
        OtherDaemon: the same, and where the file leads runs one on another file.
    """
    if state_dir is not None:
        named = Path(os.path.abspath(state_dir.expanduser()))  # noqa: PTH100 - without ".."
        return replace(_with_state(_nothing(path), named), asked_state_dir=named)
    try:
        return load_settings(path)
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
        return _with_state(found, Path(daemon.state_dir))


def _sockets(settings: Settings) -> Iterator[Path]:
    """Where the daemon may listen, the likeliest first."""
    asked = settings.asked_state_dir
    for identity, socket in words(os.environ):
        meant = asked is not None and identity.is_meant(for_state(asked))
        if meant or (asked is None and identity.is_meant(for_config(settings.source))):
            yield socket
    if asked is not None:
        yield asked / CONTROL_SOCKET
    yield from control_sockets(settings)


def _meant(settings: Settings) -> Mapping[str, str]:
    return for_config(settings.source) if settings.asked_state_dir is None else for_state(settings.asked_state_dir)


def _nothing(path: Path) -> Settings:
    return Settings(source=str(path), provider=ProviderSettings(kind="", base_url="", api_key=None), fleets=())


def _with_state(settings: Settings, state: Path | None) -> Settings:
    return replace(settings, daemon=replace(settings.daemon, state_dir=state))
