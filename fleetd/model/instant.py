"""An instant as reports and answers hold it. A module of its own: what needs no reports needs no msgspec."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

Instant = Annotated[datetime, Meta(tz=True)]
"""With a time zone: an answer without one cannot be used."""
