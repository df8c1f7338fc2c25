"""The kinds of values that the schema's fields have: how each is read, and what JSON Schema says of it."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from fleetd.config.schema_extra import (
    CLOCK_JSON,
    DATE_JSON,
    DURATION_JSON,
    ENV_NAME_JSON,
    LIMIT_JSON,
    MONEY_JSON,
    NUMBER_JSON,
)
from fleetd.config.units import (
    parse_date,
    parse_decimal,
    parse_duration,
    parse_limit,
    parse_listen,
    parse_proxy,
    parse_time,
    parse_url,
)
from fleetd.config.values import (
    parse_credential_name,
    parse_database,
    parse_env_name,
    parse_file_name,
    parse_float,
    parse_schedule,
    parse_text,
    parse_version,
)
from fleetd.model.fleet import Limit

_SECOND = timedelta(seconds=1)
_HOUR = timedelta(hours=1)

Span = Annotated[timedelta, PlainValidator(partial(parse_duration, at_least=_SECOND)), WithJsonSchema(DURATION_JSON)]
SpanOrZero = Annotated[
    timedelta, PlainValidator(partial(parse_duration, at_least=timedelta(0))), WithJsonSchema(DURATION_JSON)
]
Interval = Annotated[
    timedelta, PlainValidator(partial(parse_duration, at_least=_SECOND, at_most=_HOUR)), WithJsonSchema(DURATION_JSON)
]
Poll = Annotated[
    timedelta,
    PlainValidator(partial(parse_duration, at_least=timedelta(milliseconds=100), at_most=timedelta(minutes=10))),
    WithJsonSchema(DURATION_JSON),
]
CallTimeout = Annotated[
    timedelta,
    PlainValidator(partial(parse_duration, at_least=_SECOND, at_most=timedelta(minutes=10))),
    WithJsonSchema(DURATION_JSON),
]
Share = Annotated[Limit, PlainValidator(parse_limit), WithJsonSchema(LIMIT_JSON)]
Money = Annotated[
    Decimal,
    PlainValidator(partial(parse_decimal, what="an amount of dollars such as 0.51", zero=True)),
    WithJsonSchema(MONEY_JSON),
]
Positive = Annotated[
    float, PlainValidator(partial(parse_float, what="a number above zero", zero=False)), WithJsonSchema(NUMBER_JSON)
]
Threshold = Annotated[
    float, PlainValidator(partial(parse_float, what="a number such as 0.02", zero=False)), WithJsonSchema(NUMBER_JSON)
]
Opening = Annotated[int, PlainValidator(parse_time), WithJsonSchema(CLOCK_JSON)]
Closing = Annotated[int, PlainValidator(partial(parse_time, midnight_ends=True)), WithJsonSchema(CLOCK_JSON)]
Day = Annotated[date, PlainValidator(parse_date), WithJsonSchema(DATE_JSON)]
Text = Annotated[str, PlainValidator(parse_text), WithJsonSchema({"type": "string", "minLength": 1})]
FileName = Annotated[str, PlainValidator(parse_file_name), WithJsonSchema({"type": "string", "minLength": 1})]
EnvName = Annotated[str, PlainValidator(parse_env_name), WithJsonSchema(ENV_NAME_JSON)]
CredentialName = Annotated[
    str, PlainValidator(parse_credential_name), WithJsonSchema({"type": "string", "minLength": 1})
]
ProxyUrl = Annotated[
    str, PlainValidator(parse_proxy), WithJsonSchema({"type": "string", "pattern": "^https?://[^/?#]+/?$"})
]
KeyedUrl = Annotated[
    str, PlainValidator(partial(parse_url, clear_text=False)), WithJsonSchema({"type": "string", "format": "uri"})
]
Url = Annotated[
    str,
    PlainValidator(partial(parse_url, clear_text=True)),
    WithJsonSchema({"type": "string", "pattern": "^https?://"}),
]
DatabaseUrl = Annotated[
    str, PlainValidator(parse_database), WithJsonSchema({"type": "string", "pattern": "^postgres(ql)?://"})
]
Schedule = Annotated[str, PlainValidator(parse_schedule), WithJsonSchema({"type": "string"})]
Version = Annotated[int, PlainValidator(parse_version), WithJsonSchema({"const": 1})]
Count = Annotated[int, Field(ge=0, le=100_000)]
Listen = Annotated[str, PlainValidator(parse_listen), WithJsonSchema({"type": "string"})]
