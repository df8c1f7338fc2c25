"""Between one replica and the provider, or the database: who sent which write when, and a network that breaks."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

_WRITE = re.compile(rb"^(POST|PUT|PATCH|DELETE) (\S+)", re.MULTILINE)


@dataclass(slots=True)
class Sent:
    at: float
    """Wall time."""
    what: str
    answered: float | None = None
    """When the first bytes of its answer came; None where none did."""


class Forwarder:
    """A port of its own; every request's first line is noted as its bytes come."""

    def __init__(self, url: str, host: str = "127.0.0.1") -> None:
        parts = urlsplit(url)
        self._to = (parts.hostname, parts.port)
        self.sent: list[Sent] = []
        self.passing = threading.Event()
        """Cleared, nothing goes through any more, and nobody is told: a network that swallows what is sent."""
        self.passing.set()
        self._listening = socket.create_server((host, 0))
        self.url = f"http://{host}:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.passing.set()
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                there, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(there,), daemon=True).start()

    def _serve(self, there: socket.socket) -> None:
        with there, suppress(OSError), socket.create_connection(self._to) as back:
            here: list[Sent] = []
            answers = threading.Thread(target=self._pass_on, args=(back, there, here, False), daemon=True)
            answers.start()
            self._pass_on(there, back, here, True)
            answers.join()

    def _pass_on(self, source: socket.socket, sink: socket.socket, here: list[Sent], asks: bool) -> None:
        """``here``: what was sent on this connection, one at a time."""
        with suppress(OSError):
            while chunk := source.recv(65536):
                at = time.time()
                if asks:
                    found = [Sent(at, one[0].decode()) for one in _WRITE.finditer(chunk)]
                    here += found
                    self.sent += found
                elif here and here[-1].answered is None:
                    here[-1].answered = at
                self.passing.wait()
                sink.sendall(chunk)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
