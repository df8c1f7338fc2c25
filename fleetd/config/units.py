"""How the config file spells quantities: durations, shares, times of day, dates, money, addresses.

Every ``parse_*`` takes what TOML gave and returns the value, or raises Misspelt, whose text says what would be
right. They are pure, and never echo more of a value than ``shown`` lets through.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from fleetd.model.fleet import Limit

_DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,8})s)?(?:(\d{1,8})ms)?", re.ASCII)
_LOOSE_DURATION = re.compile(r"(\d{1,8}(?:\.\d{1,6})?)\s*([a-zµ]+)\.?", re.ASCII)
_LOOSE_UNITS = {
    "ms": ("ms", "msec", "msecs", "millisecond", "milliseconds"),
    "s": ("s", "sec", "secs", "second", "seconds"),
    "m": ("m", "min", "mins", "minute", "minutes"),
    "h": ("h", "hr", "hrs", "hour", "hours"),
    "d": ("d", "day", "days"),
}
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%", re.ASCII)
_CLOCK = re.compile(r"([01]\d|2[0-4]):([0-5]\d)", re.ASCII)
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?", re.ASCII)

LONGEST = timedelta(days=3650)
"""No duration in a config is longer: added to any instant it still is a date."""


class Misspelt(ValueError):
    """The value cannot be read; the text says what would be right. A ValueError, so that pydantic collects it."""


def parse_duration(
    value: object, *, at_least: timedelta = timedelta(milliseconds=1), at_most: timedelta = LONGEST
) -> timedelta:
    """A duration such as ``30s``, ``500ms``, ``1h30m`` or ``7d``. A bare 0 is taken where zero is allowed."""
    if isinstance(value, int) and not isinstance(value, bool) and value == 0 and at_least <= timedelta(0):
        return timedelta(0)
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        spelt = _guess_duration(f"{shown(value)}s") or "30s"
        raise Misspelt(f'expected a duration with its unit, got {shown(value)}: write "{spelt}" for seconds')
    if not isinstance(value, str):
        raise Misspelt(f'expected a duration such as "30s", "20m" or "1h30m", got {shown(value)}')
    match = _DURATION.fullmatch(value)
    if match is None or not value:
        guess = _guess_duration(value)
        right = f'write "{guess}"' if guess else 'write it as "500ms", "30s", "20m", "1h30m" or "7d"'
        raise Misspelt(f"expected a duration, got {shown(value)}: {right}")
    days, hours, minutes, seconds, millis = (int(g or 0) for g in match.groups())
    span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=millis)
    if span < at_least:
        raise Misspelt(f"expected at least {format_duration(at_least)}, got {shown(value)}")
    if span > at_most:
        raise Misspelt(f"expected at most {format_duration(at_most)}, got {shown(value)}")
    return span


def format_duration(span: timedelta) -> str:
    """The spelling that ``parse_duration`` reads, e.g. ``1h30m``; hours beyond a day are kept as days."""
    millis = span // timedelta(milliseconds=1)
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, millis = divmod(millis, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_limit(value: object) -> Limit:
    """A count such as 5, or a share such as ``25%``."""
    right = 'expected a count such as 5 or a share such as "25%"'
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise Misspelt(f"{right}, got {shown(value)}: it cannot be negative")
        return Limit(count=value)
    if isinstance(value, Decimal):
        raise Misspelt(f"{right}, got {shown(value)}{_percent_hint(value)}")
    if not isinstance(value, str):
        raise Misspelt(f"{right}, got {shown(value)}")
    match = _PERCENT.fullmatch(value)
    if match is None:
        hint = f': write {value} without quotes, or "{value}%"' if re.fullmatch(r"\d{1,3}", value, re.ASCII) else ""
        raise Misspelt(f"{right}, got {shown(value)}{hint}")
    percent = float(match[1])
    if percent > 100:
        raise Misspelt(f"expected a share of at most 100%, got {shown(value)}")
    return Limit(percent=percent)


def parse_time(value: object, *, midnight_ends: bool = False) -> int:
    """Minutes after local midnight of ``20:00``. ``24:00`` only where ``midnight_ends``, and is 1440."""
    if not isinstance(value, str):
        hint = f': write "{value:%H:%M}", in quotes' if hasattr(value, "hour") else ""
        raise Misspelt(f'expected a time of day in quotes such as "20:00", got {shown(value)}{hint}')
    match = _CLOCK.fullmatch(value)
    if match is None:
        short = re.fullmatch(r"(\d):([0-5]\d)", value, re.ASCII)
        hint = f': write "0{value}"' if short else ""
        raise Misspelt(f'expected a time of day such as "07:00" or "20:30", got {shown(value)}{hint}')
    minutes = int(match[1]) * 60 + int(match[2])
    if minutes > 1440 or (minutes == 1440 and not midnight_ends):
        right = '"24:00" is the latest' if midnight_ends else '"23:59" is the latest; midnight is "00:00"'
        raise Misspelt(f"expected a time of day, got {shown(value)}: {right}")
    return minutes


def parse_date(value: object) -> date:
    """A day such as ``2026-12-24``, quoted or as a TOML date."""
    day = value
    if isinstance(value, str) and _ISO_DATE.fullmatch(value):
        try:
            day = date.fromisoformat(value)
        except ValueError as e:
            raise Misspelt(f"expected a day of the calendar, got {shown(value)}: {e}") from e
    if not isinstance(day, date) or isinstance(day, datetime):
        raise Misspelt(f'expected a day such as "2026-12-24", got {shown(value)}')
    if not 2000 <= day.year <= 2199:
        raise Misspelt(f"expected a day of the years 2000 to 2199, got {shown(value)}")
    return day


def parse_decimal(value: object, *, what: str, zero: bool, at_most: Decimal = Decimal(1_000_000)) -> Decimal:
    """An exact number such as 0.51, not negative."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        hint = ": write it without quotes" if isinstance(value, str) and _is_number(value) else ""
        raise Misspelt(f"expected {what}, got {shown(value)}{hint}")
    number = Decimal(value)
    if not number.is_finite() or number > at_most:
        raise Misspelt(f"expected {what}, got {shown(value)}")
    if number < 0 or (number == 0 and not zero):
        raise Misspelt(f"expected {what}, {'not negative' if zero else 'above zero'}, got {shown(value)}")
    return number


def parse_url(value: object, *, clear_text: bool) -> str:
    """An http or https address without a trailing slash.

    Args:
        value: what stands in the file.
        clear_text: whether http is allowed beyond loopback; it is not where a key travels.
    """
    if not isinstance(value, str):
        raise Misspelt(f'expected an address such as "https://host/path", got {shown(value)}')
    parts = _split(value)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"\s", value):
        # Not echoed: an address that cannot be read may hold a password.
        raise Misspelt('expected an address that starts with "https://" or "http://" and names a host')
    if parts.username is not None or parts.password is not None:
        raise Misspelt("must not hold a user or password: a secret may not stand in the config")
    if not clear_text and ("?" in value or "#" in value):
        raise Misspelt('expected an address without "?" and "#": the paths of calls are put behind it')
    if parts.scheme == "http" and not clear_text and not is_loopback(parts.hostname):
        raise Misspelt(
            f'expected "https://{parts.hostname}…": over plain http the API key would travel in clear text '
            "(allowed to this machine only, e.g. http://127.0.0.1:8080)"
        )
    return value.rstrip("/")


def parse_proxy(value: object) -> str:
    """An address of a host and port alone. http is fine: the provider's TLS goes through it unopened."""
    address = parse_url(value, clear_text=True)
    parts = _split(address)
    if parts is None or parts.path or "?" in address or "#" in address:
        raise Misspelt('expected a proxy\'s host and port such as "http://proxy.example:3128", without a path')
    return address


def parse_listen(value: object) -> str:
    """``host:port`` (``[::1]:8750`` for IPv6), or nothing."""
    right = 'expected host:port such as "127.0.0.1:8750", or "" to turn it off'
    if not isinstance(value, str):
        raise Misspelt(f"{right}, got {shown(value)}")
    if not value:
        return value
    host, colon, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not _is_host(bare, bracketed=bare != host):
        raise Misspelt(f"{right}, got {shown(value)}")
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
        raise Misspelt(f"{right}, got {shown(value)}: a port is a number up to 65535")
    return value


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, by its spelling alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def shown(value: object) -> str:
    """A value as a message may show it: one line, short, with nothing a terminal would act on."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, int) and abs(value) >= 10**18:
        return "a very large number"
    # repr() escapes whatever a terminal would act on, or that would reorder or hide text.
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _guess_duration(value: str) -> str | None:
    match = _LOOSE_DURATION.fullmatch(value.strip().lower())
    if match is None:
        return None
    unit = next((u for u, names in _LOOSE_UNITS.items() if match[2] in names), None)
    if unit is None:
        return None
    millis = Decimal(match[1]) * _SECONDS[unit] * 1000
    if millis != millis.to_integral_value() or millis > LONGEST / timedelta(milliseconds=1):
        return None
    return format_duration(timedelta(milliseconds=int(millis)))


def _percent_hint(share: Decimal) -> str:
    if not (share.is_finite() and Decimal("0.0001") <= share < 1):
        return ""
    return f': write "{float(share * 100):g}%"'


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,12}(\.\d{1,12})?", text, re.ASCII) is not None


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a port that is no number shows only here
    except ValueError:
        return None
    return parts


def _is_host(host: str, *, bracketed: bool) -> bool:
    if bracketed:
        try:
            return ip_address(host).version == 6
        except ValueError:
            return False
    return _HOST.fullmatch(host) is not None
