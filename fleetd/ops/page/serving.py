"""Pages as answers: rendered once for all who look between two changes, packed once, and sent once to each."""

from __future__ import annotations

import gzip
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property

import anyio
from aiohttp import web

from fleetd.ops.page.frame import content_security_policy

FRESH = 2.0
"""Seconds for which a rendering serves everybody who asks, unless a pass has ended since."""
MOST_KEPT = 16
"""Renderings that are kept; the one that nobody asked for longest goes first."""
PACKING = 4
"""gzip's level: a third of the time of its default, and a page hardly larger."""


@dataclass
class Rendered:
    """A rendering, made for one pass and packed once, however many look."""

    version: int
    at: float
    body: bytes
    status: int = 200
    kind: str = "text/html"

    @cached_property
    def packed(self) -> bytes:
        """The body by gzip."""
        return gzip.compress(self.body, PACKING, mtime=0)

    @cached_property
    def tag(self) -> str:
        """Of the content: the same for the same bytes, whatever they are packed by."""
        return hashlib.sha256(self.body).hexdigest()[:20]


@dataclass(frozen=True)
class Whole:
    """What a page says, before it is bytes."""

    text: str
    status: int = 200
    kind: str = "text/html"


class Renderings:
    """The newest rendering of a few pages."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Rendered] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: Hashable, version: int, make: Callable[[], Awaitable[Whole]]) -> Rendered:
        """The rendering of that key for this version, a short while old at the most."""
        at = anyio.current_time()
        found = self._kept.get(key)
        if found is None or found.version != version or at - found.at >= FRESH:
            whole = await make()
            found = Rendered(version, at, whole.text.encode(), whole.status, whole.kind)
            self._kept[key] = found
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return found


def answer(request: web.Request, rendered: Rendered) -> web.Response:
    """As the client takes it: packed or not, and nothing but its tag where it has it already."""
    headers: Mapping[str, str] = {
        # Kept for asking again: each time the tag says whether it is still so.
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": content_security_policy(),
        "ETag": f'W/"{rendered.tag}"',
        "Vary": "Accept-Encoding",
    }
    known = request.if_none_match or ()
    if rendered.status == 200 and any(one.value in {"*", rendered.tag} for one in known):
        response = web.Response(status=304, headers=headers)
    else:
        packed = _takes_gzip(request)
        body = rendered.packed if packed else rendered.body
        response = web.Response(
            body=body, status=rendered.status, content_type=rendered.kind, charset="utf-8", headers=headers
        )
        if packed:
            response.headers["Content-Encoding"] = "gzip"
    return response


def _takes_gzip(request: web.Request) -> bool:
    for accepted in request.headers.get("Accept-Encoding", "").split(","):
        name, _, quality = accepted.replace(" ", "").lower().partition(";q=")
        if name == "gzip":
            return quality.strip("0.") != "" or not quality
    return False
