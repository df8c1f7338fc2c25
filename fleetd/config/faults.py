"""pydantic's errors in the operator's words, each with the path of its key."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fleetd.config.units import shown

Loc = tuple[str | int, ...]
"""Where a value stands: names of tables and keys, and places in lists."""

Finding = tuple[Loc, str]
"""A fault before it is put in the file's order: where, and what is wrong."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_SECRETIVE = re.compile(r"key|secret|token|password", re.IGNORECASE)


def dotted(loc: Iterable[str | int]) -> str:
    """``("fleets", "training", "windows", 0, "start")`` as ``fleets.training.windows[0].start``."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += ("." if path else "") + (part if _BARE_KEY.fullmatch(part) else _quoted(part))
    return path


def translate(error: ValidationError, root: type[BaseModel]) -> list[Finding]:
    """Every error of a validation against ``root``, in the file's words."""
    details = error.errors(include_url=False, include_context=True, include_input=True)
    return [(_place(d), _problem(d, root)) for d in details]


def in_file_order(findings: Iterable[Finding], raw: Mapping[str, Any]) -> list[Finding]:
    """Sorted as the keys stand in the file, each once; what is missing comes last in its table."""
    return sorted(dict.fromkeys(findings), key=lambda finding: _position(finding[0], raw))


def suggestion(word: str, known: Iterable[str], *, closeness: float = 0.6) -> str | None:
    """The known word that was probably meant; case and ``-``, ``_`` do not count. None when nothing is near.

    Args:
        word: what was written.
        known: what could have been meant.
        closeness: how alike the two must be, 0 to 1 (difflib's ratio).
    """
    by_plain = {_plain(k): k for k in known}
    close = get_close_matches(_plain(word), by_plain, n=1, cutoff=closeness)
    return by_plain[close[0]] if close else None


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The message for a key that a table does not have."""
    names = sorted(known)
    meant = suggestion(key, names)
    if meant is not None:
        return f"unknown key; did you mean {meant}?"
    return f"unknown key; known here: {', '.join(names)}"


def _place(detail: ErrorDetails) -> Loc:
    loc = detail["loc"]
    # Names of keys under api_key are not shown either: one of them could be the key, put in the wrong place.
    if detail["type"] == "extra_forbidden" and len(loc) > 1 and loc[-2] == "api_key":
        return loc[:-1]
    return loc


def _problem(detail: ErrorDetails, root: type[BaseModel]) -> str:
    loc, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    got = f", got {shown(detail['input'])}" if not any(_SECRETIVE.search(str(p)) for p in loc) else ""
    match kind:
        case "value_error":
            return str(context["error"])
        case "missing":
            return f"is missing: {_describe(root, loc)}"
        case "extra_forbidden":
            return _unknown(loc, root)
        case "literal_error":
            return _not_one_of(detail["input"], str(context["expected"]), got)
        case "greater_than_equal" | "less_than_equal":
            bound = f"least {context['ge']}" if "ge" in context else f"most {context['le']}"
            return f"expected at {bound}{got}"
        case "too_short":
            return "must not be empty"
        case _:
            return _brackets(detail) or f"expected {_EXPECTED.get(kind, 'another kind of value')}{got}"


_EXPECTED: Mapping[str, str] = types.MappingProxyType(
    {
        "model_type": "a table",
        "dict_type": "a table",
        "list_type": "a list, in [ ]",
        "int_type": "a whole number",
        "bool_type": "true or false, without quotes",
        "string_type": "text in quotes",
    }
)


def _describe(root: type[BaseModel], loc: Loc) -> str:
    table = _table_at(root, loc[:-1])
    field = table.model_fields.get(str(loc[-1])) if table is not None else None
    text = (field.description if field is not None else None) or ""
    return text[:1].lower() + text[1:].removesuffix(".") if text[1:2].islower() else text.removesuffix(".")


def _unknown(loc: Loc, root: type[BaseModel]) -> str:
    key = str(loc[-1])
    if len(loc) > 1 and loc[-2] == "api_key":
        return "expected exactly one of env, file or credential"
    table = _table_at(root, loc[:-1])
    known = list(table.model_fields) if table is not None else []
    if suggestion(key, known) is None:
        homes = sorted((h for h in _homes(root) if h[-1] == key), key=len)
        if homes:
            return f"unknown key here; {key} belongs in [{dotted(homes[0][:-1])}]"
    return unknown_key(key, known)


def _not_one_of(value: object, expected: str, got: str) -> str:
    allowed = re.findall(r"'([^']*)'", expected)
    if not allowed:
        return f"expected {expected}{got}"
    meant = suggestion(value, allowed) if isinstance(value, str) else None
    hint = f"; did you mean {_quoted(meant)}?" if meant is not None else ""
    return f"expected {_one_of(allowed)}{got}{hint}"


def _brackets(detail: ErrorDetails) -> str | None:
    where, value = dotted(detail["loc"]), detail["input"]
    if detail["type"] == "list_type" and isinstance(value, dict):
        return f"expected a list of tables: write [[{where}]], with double brackets"
    if detail["type"] in {"model_type", "dict_type"} and isinstance(value, list):
        return f"expected a single table: write [{where}], with single brackets"
    return None


def _one_of(allowed: list[str]) -> str:
    quoted = [_quoted(a) for a in allowed]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _table_at(root: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    """The class of the table at ``loc``; None where no table of ours stands."""
    here: Any = root
    for part in loc:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            here = _unwrapped(field.annotation) if field is not None else None
        elif get_origin(here) in {dict, list}:
            here = _unwrapped(get_args(here)[-1])
        else:
            return None
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _homes(table: type[BaseModel], at: Loc = ()) -> Iterable[Loc]:
    """Every key of the file, with NAME for the names that the operator gives."""
    for name, field in table.model_fields.items():
        here = _unwrapped(field.annotation)
        loc: Loc = (*at, name)
        yield loc
        if get_origin(here) in {dict, list}:
            loc = (*loc, "NAME") if get_origin(here) is dict else loc
            here = _unwrapped(get_args(here)[-1])
        if isinstance(here, type) and issubclass(here, BaseModel):
            yield from _homes(here, loc)


def _unwrapped(annotation: Any) -> Any:
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in {Union, types.UnionType}:
            annotation = next(a for a in get_args(annotation) if a is not types.NoneType)
        else:
            return annotation


def _position(loc: Loc, raw: Any) -> tuple[int, ...]:
    position, here = [], raw
    for part in loc:
        if isinstance(here, dict):
            keys = list(here)
            position.append(keys.index(part) if part in here else len(keys))
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            position.append(part)
            here = here[part]
        else:
            break
    return tuple(position)


def _plain(word: str) -> str:
    return word.replace("_", "").replace("-", "").lower()


def _quoted(text: str) -> str:
    escaped = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text.replace("\\", "\\\\"))
    return '"' + escaped.replace('"', '\\"') + '"'
