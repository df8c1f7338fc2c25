"""What every page has around its own part: head, banner with the headline and the search, footer; and its policy."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from urllib.parse import quote

from fleetd.ops.page.drawing import hatching
from fleetd.ops.page.headline import headline, lasts, title
from fleetd.ops.page.html import Child, Markup, join, tag
from fleetd.ops.page.scene import Scene
from fleetd.ops.page.words import clock
from fleetd.words.leases import holder_words, shown_by_words
from fleetd.words.phases import PHASES
from fleetd.words.times import span

REFRESH = 30
"""Seconds between reloads where there is no JavaScript."""
LONGEST_QUESTION = 200
"""Characters of what is looked for."""

_ICONS = {
    "ok": ("#1a7f4b", "M9 16.5l5 5 9-11"),
    "moving": ("#0a66c2", "M16 8v8l6 4"),
    "trouble": ("#c4281c", "M16 7v11M16 23v1"),
    "blind": ("#7d5200", "M11 12a5 5 0 1 1 7 5l-2 2M16 24v1"),
}


def document(scene: Scene, *parts: Markup | None, subject: str = "", asked: str = "") -> str:
    """A whole page.

    Args:
        scene: for what all pages have.
        parts: the page's own.
        subject: what the page is about, for the tab; "" for ``/``.
        asked: what was looked for.
    """
    words, mood = title(scene)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="robots", content="noindex"),
        tag("title", f"{subject} · {words}" if subject else words),
        Markup(f'<link rel="icon" href="{_icon(mood)}"{_icons()}>'),
        tag("noscript", tag("meta", http_equiv="refresh", content=REFRESH)),
        tag("style", Markup(_asset("page.css"))),
    )
    body = tag(
        "body",
        tag("a", "Skip to the page", class_="skip", href="#main"),
        hatching(),
        _banner(scene, mood, asked),
        tag("main", *parts, id="main", tabindex=-1),
        _footer(scene),
        tag("script", Markup(_asset("page.js"))),
    )
    whole = tag(
        "html",
        head,
        body,
        lang="en",
        data_build=_build(scene.version),
        data_root=scene.root or "./",
        data_subject=subject or None,
    )
    return f"<!doctype html>\n{whole}\n"


@cache
def content_security_policy() -> str:
    """What a browser may do with a page: run this script, use this style, ask this server, and nothing else."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash('page.js')}",
            f"style-src {_hash('page.css')}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


def _banner(scene: Scene, mood: str, asked: str) -> Markup:
    looked = scene.report.sight.believed_at
    ago = "no look was believed yet"
    if looked is not None:
        at = tag("time", clock(looked, scene.now), datetime=looked.isoformat())
        ago = join("looked ", at, f" UTC, {span(scene.now - looked)} ago")
    home = tag("a", tag("span", class_=f"lamp {mood}", aria_hidden="true"), "fleetd", href=scene.root or "./")
    return tag(
        "header",
        tag("h1", home),
        _search(scene, asked),
        tag("p", tag("span", id="link", hidden=True), tag("span", ago, id="asof"), class_="asof"),
        tag(
            "div",
            tag("p", headline(scene), id="headline", role="status"),
            tag("p", lasts(scene), id="lasts", class_="dim"),
            class_=f"how {mood}",
            id="how",
        ),
        id="banner",
    )


def _search(scene: Scene, asked: str) -> Markup:
    return tag(
        "form",
        tag("label", "Find a fleet or machine by name or id", class_="unseen", for_="q"),
        tag(
            "input",
            type="search",
            name="q",
            id="q",
            value=asked or None,
            maxlength=LONGEST_QUESTION,
            placeholder="find a fleet or machine",
            autocomplete="off",
            spellcheck="false",
        ),
        tag("button", "Find"),
        role="search",
        method="get",
        action=scene.root or "./",
    )


def _footer(scene: Scene) -> Markup:
    """The daemon itself, what the signs mean, and the same for machines."""
    daemon = scene.report.daemon
    parts: list[Child] = [f"fleetd {scene.version}" if scene.version else "fleetd"]
    if daemon.since is not None:
        parts.append(f"pid {daemon.pid}, since {clock(daemon.since, scene.now)} UTC")
    if config := scene.known.config or daemon.config:
        parts.append(config)
    if (lease := daemon.lease) is not None:
        parts += [f"lease: {holder_words(lease, scene.now)}", *filter(None, [shown_by_words(lease, scene.now)])]
    legend = [
        tag("li", tag("span", sign, class_=f"sign {phase}", aria_hidden="true"), words)
        for phase, (sign, words) in PHASES.items()
    ]
    pages = {"history": "history", "status.json": "status.json", "metrics": "metrics"}
    links = join(*[join(" " if n else None, tag("a", words, href=scene.root + to)) for n, (to, words) in
                   enumerate(pages.items())])  # fmt: skip
    return tag(
        "footer",
        tag("ul", legend, class_="phases", aria_label="What the signs mean"),
        tag("p", join(*[join(" · " if n else None, part) for n, part in enumerate(parts)])),
        tag("p", "All times are UTC unless they name a place. ", links),
    )


@cache
def _icons() -> Markup:
    """All of them, for a tab that nobody sees."""
    return Markup("".join(f' data-{mood}="{_icon(mood)}"' for mood in _ICONS))


@cache
def _icon(mood: str) -> str:
    colour, path = _ICONS[mood]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" '
        f'fill="{colour}"/><path d="{path}" fill="none" stroke="#fff" stroke-width="4" stroke-linecap="round" '
        'stroke-linejoin="round"/></svg>'
    )
    return "data:image/svg+xml," + quote(svg, safe=" =:/,").replace(" ", "%20")


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
