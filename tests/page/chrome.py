"""Headless Chromium by its DevTools protocol (chromedevtools.github.io/devtools-protocol), over one websocket."""

from __future__ import annotations

import base64
import itertools
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import anyio

from tests.page.png import small
from tests.support.processes import until

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # as root there is none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--disable-lcd-text",
    "--remote-debugging-port=0",
)

_BY_SCRIPT = "NavigationEntryMarkedSkippable"
"""What a browser notes of a link that no finger has touched; these tests touch none."""

_LEFT = (
    "Inspected target navigated",
    "context was destroyed",
    "Cannot find context",
    "Cannot find default execution",
)


class BrowserError(AssertionError):
    """The browser refuses a command, or a script in it threw."""


class Navigated(BrowserError):
    """The page went away while it was asked something."""


class Tab:
    """One page: commands, and everything that it complained about."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        """Console errors and warnings, exceptions, violations of the page's policy, failed requests."""
        self.navigations = 0
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._arrived: dict[int, anyio.Event] = {}
        self._events: list[tuple[str, dict[str, Any]]] = []

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; its result."""
        number = next(self._numbers)
        self._arrived[number] = anyio.Event()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        with anyio.fail_after(30):
            await self._arrived[number].wait()
        answer = self._answers.pop(number)
        if "error" in answer:
            left = any(words in str(answer["error"]) for words in _LEFT)
            raise (Navigated if left else BrowserError)(f"{method}: {answer['error']}")
        return dict(answer["result"])

    async def run(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; promises are awaited."""
        result = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise BrowserError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    async def until(self, expression: str, *, seconds: float = 20) -> Any:
        """Ask until the expression is true."""
        with anyio.move_on_after(seconds):
            while True:
                with suppress(Navigated):
                    value = await self.run(expression)
                    if value:
                        return value
                await anyio.sleep(0.1)
        raise BrowserError(f"never: {expression}; the page says: {await self.run('document.body.innerText')}")

    async def follow(self, expression: str) -> None:
        """Run what leads to another page."""
        with suppress(Navigated):
            await self.run(expression)

    async def heard(self, event: str, *, seconds: float = 20) -> dict[str, Any]:
        """What came with the first event of that name."""
        for _ in range(int(seconds / 0.05)):
            found = [what for name, what in self._events if name == event]
            if found:
                return found[0]
            await anyio.sleep(0.05)
        raise BrowserError(f"never: {event}")

    async def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        await self.ask("Page.navigate", url=url)
        await self.until(f"document.readyState === 'complete' && location.href.startsWith({url!r})")

    async def look(self, *, dark: bool, width: int, height: int = 900, phone: bool = False) -> None:
        """As what the page is seen from now on."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce"}
        await self.ask("Emulation.setEmulatedMedia", features=[scheme, motion])
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )

    async def screenshot(self, *, tallest: int | None = None) -> bytes:
        """The whole page as PNG, cut off at a height."""
        size = (await self.ask("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], tallest or size["height"])}
        shot = await self.ask(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip | {"scale": 1}
        )
        return small(base64.b64decode(shot["data"]))

    async def listen(self) -> None:
        """Take in what the browser sends, for as long as it does."""
        async for message in self._socket:
            heard = message.json()
            if "id" in heard:
                self._answers[heard["id"]] = heard
                self._arrived.pop(heard["id"]).set()
            else:
                self._note(heard["method"], heard["params"])

    def _note(self, event: str, what: dict[str, Any]) -> None:
        self._events.append((event, what))
        if event == "Runtime.exceptionThrown":
            self.complaints.append(str(what["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and what["type"] in {"error", "warning", "assert"}:
            self.complaints.append(str(what["args"]))
        elif event == "Log.entryAdded" and what["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(what["entry"]["text"])
        elif event == "Audits.issueAdded" and _BY_SCRIPT not in str(what):
            self.complaints.append(str(what["issue"]))
        elif event == "Page.frameNavigated" and "parentId" not in what["frame"]:
            self.navigations += 1


@asynccontextmanager
async def chromium() -> AsyncIterator[Tab]:
    """A browser with an empty profile and one tab; gone afterwards."""
    with _process() as port:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                address = next(t["webSocketDebuggerUrl"] for t in await answer.json() if t["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as socket, anyio.create_task_group() as group:
                tab = Tab(socket)
                group.start_soon(tab.listen)
                for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
                    await tab.ask(f"{domain}.enable")
                yield tab
                group.cancel_scope.cancel()


@contextmanager
def _process() -> Iterator[str]:
    """Chromium; the port of its DevTools. It and its children are one process group, killed at the end."""
    with tempfile.TemporaryDirectory(prefix="fleetd-chromium-", ignore_cleanup_errors=True) as profile:
        log, port = Path(profile) / "log", Path(profile) / "DevToolsActivePort"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                ["chromium", *FLAGS, f"--user-data-dir={profile}", "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=os.environ | {"HOME": profile},
                start_new_session=True,
            )
        try:
            until(lambda: port.exists() and port.read_text(), saying=lambda: f"no chromium: {log.read_text()}")
            yield port.read_text().partition("\n")[0]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
