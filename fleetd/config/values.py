"""How the config file spells names, paths, schedules and the place of the API key.

Like ``units``: each ``parse_*`` returns the value or raises Misspelt, whose text says what would be right. What may
be a secret put in the wrong place is never echoed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

from apscheduler.triggers.cron import CronTrigger

from fleetd.config.units import Misspelt, parse_decimal, parse_duration, shown

_ENV_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}", re.ASCII)
_CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_CRON_FIELDS = 5
_ALL_KINDS_OF_YEARS = "2000-2039"
"""Within these, each date falls on each weekday, the 29th of February too."""
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAYS = re.compile(rf"({'|'.join(_WEEK)})[a-z]*\s*(?:-|\.\.|to|through)\s*({'|'.join(_WEEK)})[a-z]*")

KEY_SPELLING = (
    'api_key = { env = "PAPERSPACE_API_KEY" }, { file = "/etc/fleetd/api-key" } '
    'or { credential = "paperspace-api-key" }'
)
"""Every way to say where the key is, for messages."""


def not_inline(value: object) -> object:
    """Lets a table pass; anything else may be the key itself, which must not stand in the file."""
    if isinstance(value, dict):
        return value
    raise Misspelt(
        f"the key must not stand in the config; say where it is read from: {KEY_SPELLING}. "
        "A key that was saved in a file others can read should be replaced"
    )


DATABASE_SPELLING = (
    'state_password = { file = "/etc/fleetd/db-password" }, { credential = "fleetd-db" } or { env = "FLEETD_DB" }'
)
"""Every way to say where the database's password is, for messages."""


def no_inline_password(value: object) -> object:
    """As ``not_inline``, of the database's password."""
    if isinstance(value, dict):
        return value
    raise Misspelt(f"the password must not stand in the config; say where it is read from: {DATABASE_SPELLING}")


def parse_database(value: object) -> str:
    """The address of a PostgreSQL database, without a password. What cannot be read is not echoed."""
    right = 'expected the address of a database such as "postgresql://fleetd@db.example/fleetd"'
    if not isinstance(value, str) or not value.startswith(("postgresql://", "postgres://")):
        raise Misspelt(right)
    try:
        parts = urlsplit(value)
        given = parse_qs(parts.query, keep_blank_values=True)
        port, password = parts.port, parts.password
    except ValueError as error:
        raise Misspelt(right) from error
    if any(ord(c) <= 32 for c in value) or port == 0 or parts.fragment:
        raise Misspelt(right)
    if password is not None or {"password", "sslpassword"} & set(given):
        raise Misspelt(f"must not hold the password; say where it is read from: {DATABASE_SPELLING}")
    if not parts.path.strip("/"):
        raise Misspelt(f"{right}: it names no database")
    return value


def parse_env_name(value: object) -> str:
    """The name of an environment variable. Lower case is refused: it is how keys look, and the name is shown."""
    if isinstance(value, str) and _ENV_NAME.fullmatch(value):
        return value
    raise Misspelt('expected the name (not the value) of an environment variable, such as "PAPERSPACE_API_KEY"')


def parse_credential_name(value: object) -> str:
    """The name of a systemd credential, which is a file name without a directory."""
    if isinstance(value, str) and _CREDENTIAL_NAME.fullmatch(value):
        return value
    raise Misspelt('expected the name given to LoadCredential= in the systemd unit, such as "paperspace-api-key"')


def parse_file_name(value: object) -> str:
    """A path; what it is relative to is the key's business."""
    if not isinstance(value, str):
        raise Misspelt(f"expected a path in quotes, got {shown(value)}")
    if not value or any(ord(c) < 32 for c in value):
        raise Misspelt("expected a path, got one that is empty or holds control characters")
    if value.startswith("~") and not value.startswith("~/"):
        raise Misspelt('expected a path; "~/" is the only form of "~" that is understood')
    return value


def parse_text(value: object) -> str:
    """Text that is not empty and has no control characters other than line ends and tabs."""
    if not isinstance(value, str):
        raise Misspelt(f"expected text in quotes, got {shown(value)}")
    if not value.strip():
        raise Misspelt("must not be empty")
    if any(ord(c) < 32 and c not in "\n\t" for c in value):
        raise Misspelt("must not hold control characters")
    return value


def no_span_of_days(value: object) -> object:
    """Lets a list of days pass; of ``mon-fri`` it says which days that are."""
    words = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    for word in words:
        match = _DAYS.fullmatch(word.strip().lower()) if isinstance(word, str) else None
        if match is not None:
            first, last = _WEEK.index(match[1]), _WEEK.index(match[2])
            days = [_WEEK[(first + n) % 7] for n in range((last - first) % 7 + 1)]
            raise Misspelt(f"expected single days, got {shown(word)}: write {str(days).replace(chr(39), chr(34))}")
    return value


def parse_version(value: object) -> int:
    """The version of the file format; there is one."""
    if isinstance(value, bool) or not isinstance(value, int) or value != 1:
        raise Misspelt(f"expected 1, the version that this fleetd reads, got {shown(value)}")
    return 1


def parse_float(value: object, *, what: str, zero: bool) -> float:
    """An inexact number, not negative."""
    return float(parse_decimal(value, what=what, zero=zero, at_most=Decimal(10) ** 12))


def parse_schedule(value: object) -> str:
    """A crontab line, or ``every 15m``; returned as it stands.

    Weekdays are taken by name only: APScheduler counts them from Monday = 0, cron from Sunday = 0.
    """
    right = 'expected a crontab line such as "0 6 * * *", or "every 15m"'
    if not isinstance(value, str):
        raise Misspelt(f"{right}, got {shown(value)}")
    word, _, span = value.partition(" ")
    if word == "every":
        parse_duration(span.strip(), at_least=timedelta(seconds=1))
        return value
    fields = value.split()
    if len(fields) != _CRON_FIELDS:
        hint = f': write "every {value}"' if re.fullmatch(r"\d+[smhd]", value, re.ASCII) else ""
        raise Misspelt(f"{right}, got {shown(value)}{hint}")
    if re.search(r"\d", fields[4].partition("/")[0]):
        raise Misspelt(
            f"{right}, got {shown(value)}: write weekdays by name (mon … sun), because crons number them differently"
        )
    try:
        CronTrigger.from_crontab(value, timezone=UTC)
    except ValueError as e:
        raise Misspelt(f"{right}, got {shown(value)}: {e}") from e
    minute, hour, day, month, weekday = fields
    trigger = CronTrigger(
        minute=minute, hour=hour, day=day, month=month, day_of_week=weekday, year=_ALL_KINDS_OF_YEARS, timezone=UTC
    )
    if trigger.get_next_fire_time(None, datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise Misspelt(f"{right}, got {shown(value)}, which never comes: none of its months has such a day")
    return value
