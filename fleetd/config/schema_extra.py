"""What JSON Schema says beyond the classes: how our spellings look, and which keys go together."""

from __future__ import annotations

from pydantic.config import JsonDict

from fleetd.config.parameters import settable
from fleetd.model.vendor import ParameterType

FLEET_NAME_PATTERN = "^[a-z](?:[a-z0-9-]{0,29}[a-z0-9])?$"
"""Lower case, because it becomes part of machine names; at most 31, so that a machine's name stays below 40."""

SOURCE_NAME_PATTERN = "^[A-Za-z][A-Za-z0-9_-]{0,30}$"

DURATION_JSON: JsonDict = {
    "type": "string",
    "pattern": r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$",
    "minLength": 2,
    "examples": ["30s", "20m", "1h30m"],
}
LIMIT_JSON: JsonDict = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": r"^\d{1,3}(\.\d+)?%$", "examples": ["25%"]},
    ]
}
MONEY_JSON: JsonDict = {"type": "number", "minimum": 0}
NUMBER_JSON: JsonDict = {"type": "number", "exclusiveMinimum": 0}
CLOCK_JSON: JsonDict = {"type": "string", "pattern": "^([01][0-9]|2[0-4]):[0-5][0-9]$", "examples": ["20:00"]}
DATE_JSON: JsonDict = {"type": "string", "format": "date"}
ENV_NAME_JSON: JsonDict = {"type": "string", "pattern": "^[A-Z_][A-Z0-9_]*$"}

API_KEY_RULE: JsonDict = {"minProperties": 1, "maxProperties": 1}
FLEET_NAMES_RULE: JsonDict = {"propertyNames": {"pattern": FLEET_NAME_PATTERN}}
PROVIDER_RULE: JsonDict = {
    "if": {"properties": {"kind": {"const": "simulator"}}},
    "then": {},
    "else": {"required": ["api_key"], "properties": {"simulator": False}},
}
IDLE_SOURCE_RULE: JsonDict = {
    "allOf": [
        {"if": {"properties": {"kind": {"const": kind}}}, "then": {"required": [*needed]}}
        for kind, needed in (("prometheus", ("url", "query", "below")), ("exec", ("argv",)), ("http", ("url",)))
    ]
}

_JSON_TYPES: dict[ParameterType, str] = {str: "string", int: "integer", bool: "boolean"}

MACHINE_JSON: JsonDict = {
    "type": "object",
    "properties": {
        name: {"type": _JSON_TYPES[kind], "description": f"{' and '.join(homes)}."}
        for name, kind, homes in settable()
    },
    "required": ["region", "machineType", "templateId"],
    "additionalProperties": False,
}
