"""How the Core API's parameters are read: where they travel, what type they have, how they are refused.

GET parameters are text in the query, and ``null`` there means null (the vendor's node client writes it so). POST
parameters are a JSON object; numbers and booleans may come as text, as in the page's own curl example.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fleetd.simulator.wire import BROKEN, Request

_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")


class CoreError(Exception):
    """A refusal in the Core API's form.

    Attributes:
        status: the status in the body.
        name: the body's ``error.name``.
    """

    def __init__(self, status: int, message: str, name: str = "Error") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.name = name


Kind = Literal["string", "number", "boolean"]
"""A parameter's type on the vendor's page."""


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a call."""

    kind: Kind
    required: bool = False
    nullable: bool = False
    """An explicit null is a value of its own, not the same as leaving it out."""


def text(*, required: bool = False, nullable: bool = False) -> Param:
    """A string."""
    return Param("string", required, nullable)


def number(*, required: bool = False) -> Param:
    """A number."""
    return Param("number", required)


def boolean(*, required: bool = False) -> Param:
    """A boolean."""
    return Param("boolean", required)


def read_query(params: Mapping[str, Param], request: Request) -> dict[str, Any]:
    """The parameters of a GET.

    Raises:
        CoreError: one is missing, unknown, repeated, of the wrong type, or in the body.
    """
    if request.raw.strip():
        raise CoreError(400, "The parameters of this call travel in the query, not in a body")
    given: dict[str, Any] = {}
    for name, value in request.query:
        if name in given:
            raise CoreError(400, f"{name} is given more than once")
        given[name] = None if value == "null" else value
    nulls = {name for name, value in given.items() if value is None}
    values = _read(params, given)
    return values | {name: None for name in nulls if name in params and not params[name].required}


def read_body(params: Mapping[str, Param], request: Request, machine_id: str | None) -> dict[str, Any]:
    """The parameters of a POST. A ``machineId`` in the body must be the path's.

    Raises:
        CoreError: one is missing, unknown, of the wrong type, or in the query; or the body is not a JSON object.
    """
    if request.query:
        raise CoreError(
            400, f"{request.query[0][0]}: the parameters of this call travel in the body, not in the query"
        )
    body = request.body
    if body is BROKEN:
        raise CoreError(400, "Unexpected token in JSON", "SyntaxError")
    if body is None:
        body = {}
    if not isinstance(body, dict):
        raise CoreError(400, "The body must be a JSON object")
    if machine_id is not None and "machineId" in body:
        if body["machineId"] != machine_id:
            raise CoreError(400, "machineId in the body differs from the one in the path")
        body = {name: value for name, value in body.items() if name != "machineId"}
    return _read(params, body)


def _read(params: Mapping[str, Param], given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = next((name for name in given if name not in params), None)
    if unknown is not None:
        raise CoreError(400, f"{unknown} is not a parameter of this call")
    values: dict[str, Any] = {}
    for name, param in params.items():
        value = given.get(name)
        if value is not None:
            values[name] = _convert(name, param.kind, value)
        elif param.required:
            raise CoreError(400, f"{name} is a required parameter")
        elif param.nullable and name in given:
            values[name] = None
    return values


def _convert(name: str, kind: Kind, value: Any) -> Any:
    match kind:
        case "string" if isinstance(value, str):
            return value
        case "number" if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        case "number" if isinstance(value, str) and _NUMBER.fullmatch(value):
            return float(value) if "." in value else int(value)
        case "boolean" if isinstance(value, bool):
            return value
        case "boolean" if isinstance(value, str) and value in {"true", "false"}:
            return value == "true"
        case _:
            raise CoreError(400, f"{name} must be a {kind}")
