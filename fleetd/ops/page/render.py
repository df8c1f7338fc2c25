"""The page: a pure function of a ``Scene``. Sections are in ``sections.py`` and ``fleets.py``."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from urllib.parse import quote

from fleetd.ops.page import fleets, sections
from fleetd.ops.page.html import Markup, join, tag
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.words import clock, headline, troubles
from fleetd.words.blocked import blocked

REFRESH = 30
"""Seconds between reloads where there is no JavaScript."""

_ICONS = {
    "ok": ("#1a7f4b", "M9 16.5l5 5 9-11"),
    "moving": ("#0a66c2", "M16 8v8l6 4"),
    "trouble": ("#c4281c", "M16 7v11M16 23v1"),
}


def render(scene: Scene) -> str:
    """The whole document."""
    title, mood = _title(scene)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="robots", content="noindex"),
        tag("title", title),
        tag("link", rel="icon", href=_icon(mood)),
        tag("noscript", tag("meta", http_equiv="refresh", content=REFRESH)),
        tag("style", Markup(_asset("page.css"))),
    )
    body = tag(
        "body",
        tag("a", "Skip to the fleets", class_="skip", href="#fleets"),
        _banner(scene, mood),
        tag(
            "main",
            sections.problems(scene),
            sections.figures(scene),
            fleets.fleets(scene),
            tag(
                "div",
                sections.blocked_section(scene),
                sections.left_behind(scene),
                sections.under_way(scene),
                sections.vetoes(scene),
                sections.events(scene),
                class_="rail",
            ),
            fleets.machine_table(scene),
            sections.others(scene),
        ),
        sections.footer(scene),
        tag("script", Markup(_asset("page.js"))),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en', data_build=_build(scene.version))}\n"


@cache
def content_security_policy() -> str:
    """What a browser may do with the page: run this script, use this style, ask this server, and nothing else."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash('page.js')}",
            f"style-src {_hash('page.css')}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _banner(scene: Scene, mood: str) -> Markup:
    looked = scene.report.sight.believed_at or scene.now
    at = clock(looked, scene.now)
    return tag(
        "header",
        tag("h1", tag("span", class_=f"lamp {mood}", aria_hidden="true"), "fleetd"),
        tag("p", headline(scene.report, scene.now), id="headline", role="status"),
        tag(
            "p",
            tag("span", id="link", hidden=True),
            tag("span", join("as of ", tag("time", at, datetime=looked.isoformat()), " UTC"), id="asof"),
            class_="asof",
        ),
        id="banner",
    )


def _title(scene: Scene) -> tuple[str, str]:
    """The tab's title and its icon: how the fleets stand, seen from another tab."""
    views = scene.report.fleets.values()
    up, target = sum(f.up for f in views), sum(f.target for f in views)
    serious = [b for b in blocked(scene.report.blocked, scene.now) if not b.ordinary]
    if troubles(scene.report) or serious:
        return f"! {up}/{target} up · fleetd", "trouble"
    if views and all(f.converged for f in views):
        return f"{up}/{target} up · fleetd", "ok"
    return f"{up}/{target} up · fleetd", "moving"


def _icon(mood: str) -> str:
    colour, path = _ICONS[mood]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" '
        f'fill="{colour}"/><path d="{path}" fill="none" stroke="#fff" stroke-width="4" stroke-linecap="round" '
        'stroke-linejoin="round"/></svg>'
    )
    return "data:image/svg+xml," + quote(svg, safe=" =:/,")


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _hash(name: str) -> str:
    digest = hashlib.sha256(_asset(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _build(version: str) -> str:
    """Changes with the style and the script: an open page of another build loads itself anew."""
    text = version + _asset("page.css") + _asset("page.js")
    return hashlib.sha256(text.encode()).hexdigest()[:12]
