"""The config file's JSON Schema, for editors and ``fleetd schema``."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from fleetd.config.schema import ConfigFile


def json_schema() -> dict[str, Any]:
    """The schema, in the 2020-12 dialect; every key has a description, and a default where it may be left out."""
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **ConfigFile.model_json_schema(schema_generator=_TomlSchema),
    }


class _TomlSchema(GenerateJsonSchema):
    """TOML has no null: a key that may be left out is not one that may be null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", "") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False
