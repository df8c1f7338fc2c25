"""Reading a config: TOML, then its shape, then what holds between keys. Every fault comes out in one go."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fleetd.config.checks import check
from fleetd.config.convert import to_settings
from fleetd.config.faults import Finding, dotted, in_file_order, translate
from fleetd.config.positions import Positions
from fleetd.config.schema import ConfigFile
from fleetd.config.syntax import syntax_fault
from fleetd.config.view import TableView
from fleetd.model.errors import ConfigError, Fault
from fleetd.model.settings import Settings

CUT = "does not end with a line end, as if it had been cut while it was written"


def load(path: Path, *, whole: bool = False) -> Settings:
    """The settings in a file.

    Args:
        path: the file.
        whole: refuse one whose last line has no end. A file that is read while somebody writes it may be cut
            anywhere, and ``target = 12`` reads as 1.

    Raises:
        ConfigError: the file cannot be read, is not valid TOML, or has faults; all of them are in it.
    """
    source = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = e.object[: e.start].count(b"\n") + 1
        raise ConfigError(source, (Fault(source, f"is not UTF-8 text (at byte {e.start})", line),)) from None
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise ConfigError(source, (Fault(source, f"cannot be read: {reason}"),)) from e
    if whole and _is_cut(text):
        raise ConfigError(source, (_cut(text, "end the last line, and reload again"),))
    return parse(text, source)


def file_warnings(path: Path) -> tuple[Fault, ...]:
    """What is suspicious about the file itself."""
    text = _text_of(path)
    return (_cut(text, "a reload refuses it; end the last line"),) if _is_cut(text) else ()


def placed(faults: Iterable[Fault], path: Path) -> tuple[Fault, ...]:
    """Faults that were found in the settings of a file, each with the line of its key."""
    positions = Positions(_text_of(path))
    return tuple(replace(f, line=positions.line_of(f.path)) if f.line is None else f for f in faults)


def _text_of(path: Path) -> str:
    """A file's text; "" where it has none that can be read: ``load`` says why."""
    try:
        return path.read_text("utf-8-sig")
    except (OSError, ValueError):
        return ""


def _cut(text: str, remedy: str) -> Fault:
    return Fault("end of file", f"{CUT}: {remedy}", text.count("\n") + 1)


def _is_cut(text: str) -> bool:
    return bool(text) and not text.endswith("\n")


def state_dir_of(path: Path) -> Path | None:
    """``daemon.state_dir`` of a file that may have faults; None where nothing can be made out."""
    raw = _toml(_text_of(path))
    daemon = raw.get("daemon") if isinstance(raw, dict) else None
    found = daemon.get("state_dir") if isinstance(daemon, dict) else None
    return path.absolute().parent / Path(found).expanduser() if isinstance(found, str) and found else None


def parse(text: str, source: str) -> Settings:
    """The settings in a text.

    Args:
        text: the file's content.
        source: the file's name, for messages; relative paths in the text are relative to its directory.

    Raises:
        ConfigError: it is not valid TOML, or has faults; all of them are in it.
    """
    raw = _toml(text)
    if isinstance(raw, Fault):
        raise ConfigError(source, (raw,))
    config, faults = _validate(raw, text)
    if config is None or faults:
        raise ConfigError(source, tuple(faults))
    return to_settings(config, source)


# The two steps below return their faults instead of raising them in an except block: a library's exception that
# went along as context could carry the file's text, and an API key put into it by mistake, into a traceback.


def _toml(text: str) -> dict[str, Any] | Fault:
    try:
        return tomllib.loads(text, parse_float=_exact)
    except tomllib.TOMLDecodeError as e:
        return syntax_fault(str(e), text)
    except RecursionError:
        return Fault("file", "is not valid TOML: nested too deeply")
    except ValueError:  # a number of thousands of digits
        return Fault("file", "is not valid TOML: a number is too long")


def _validate(raw: dict[str, Any], text: str) -> tuple[ConfigFile | None, list[Fault]]:
    config: ConfigFile | None = None
    found: list[Finding] = []
    try:
        config = ConfigFile.model_validate(raw)
    except ValidationError as e:
        found = translate(e, ConfigFile)
    view = TableView(raw, frozenset(loc for loc, _ in found))
    findings = in_file_order([*found, *check(view)], raw)
    positions = Positions(text) if findings else None
    faults = [Fault(dotted(loc), problem) for loc, problem in findings]
    return config, [replace(f, line=positions.line_of(f.path)) for f in faults] if positions else []


def _exact(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond all reason; every check refuses infinity
        return Decimal("Infinity")
