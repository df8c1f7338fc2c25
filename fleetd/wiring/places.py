"""Where things are, the config file, the state directory and the daemon's control socket, and who asks."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from pathlib import Path

from fleetd import config
from fleetd.model.settings import Settings
from fleetd.ops.escape import printable
from fleetd.ops.socket_pointer import SERVICE_RUNTIME
from fleetd.store.paths import CONTROL_SOCKET, control_socket_path, state_dir

DEFAULT_CONFIG = Path("/etc/fleetd/fleetd.toml")
SERVICE_STATE = Path("/var/lib/fleetd")
"""Where systemd's StateDirectory= puts the unit's state; commands in a shell look there too."""


def find_config(option: Path | None) -> Path:
    """The config file: the option, else $FLEETD_CONFIG, else /etc/fleetd/fleetd.toml."""
    if option is not None:
        return option
    named = os.environ.get("FLEETD_CONFIG")
    return Path(named) if named else DEFAULT_CONFIG


def absolute(settings: Settings) -> str:
    """The config's path as a shell in any directory can be given it."""
    return os.path.abspath(settings.source)  # noqa: PTH100 - without ".."


def load_settings(path: Path) -> Settings:
    """Read a config file.

    Raises:
        ConfigError: it cannot be read, or has faults; all of them are in it.
    """
    return config.load(path)


def reload_settings(path: Path) -> Settings:
    """Read a config file for a daemon that runs: one that may have been cut while it was written is refused.

    Raises:
        ConfigError: as ``load_settings``.
    """
    return config.load(path, whole=True)


def state_path(settings: Settings) -> Path:
    """The state directory of a config.

    Where neither the config nor the environment names one, the service's config has the service's state: a freeze
    given in a shell must reach the journal that the daemon reads. With another config, a shell finds the service's
    where it has none of its own.
    """
    chosen = state_dir(settings.daemon.state_dir, os.environ)
    if settings.daemon.state_dir is not None or "STATE_DIRECTORY" in os.environ:
        return chosen
    if Path(settings.source) == DEFAULT_CONFIG:
        return SERVICE_STATE
    # lexists: under DynamicUser= the service's is a link to where only root may look
    return SERVICE_STATE if os.path.lexists(SERVICE_STATE) and not os.path.lexists(chosen) else chosen


def control_sockets(settings: Settings) -> Iterator[Path]:
    """Where a daemon of this config may listen, the likeliest first."""
    state = state_path(settings)
    yield control_socket_path(os.environ, state)
    if state == SERVICE_STATE:
        yield SERVICE_RUNTIME / CONTROL_SOCKET


def myself() -> str:
    """Who gives an order, as a daemon would record it."""
    login, uid = os.environ.get("SUDO_USER", ""), os.getuid()
    behind = f" for {printable(login, 32)}" if uid == 0 and login else ""
    return f"{getpass.getuser()} (uid {uid}){behind}"
