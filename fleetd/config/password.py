"""Reading the database's password from where the config says it is. No message ever shows it."""

from __future__ import annotations

from collections.abc import Mapping

from fleetd.config.key import read_key
from fleetd.model.errors import ConfigError, Fault, KeyUnusable
from fleetd.model.settings import KeySource


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
