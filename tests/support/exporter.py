"""A tiny exporter that tests drive, and a real Prometheus that scrapes it."""

from __future__ import annotations

import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.ports import free_port
from tests.support.processes import until


class Exporter:
    """``gpu_active{host="..."}`` for every host in ``values``; can die and come back on its port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.values: dict[str, float] = {}
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        values = self.values

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = "".join(f'gpu_active{{host="{host}"}} {value}\n' for host, value in values.items())
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def prometheus(tmp_path: Path, targets: list[int], rules: str = "", job: str = "test") -> Iterator[str]:
    """A real server with its own storage; its URL."""
    port = free_port()
    home = tmp_path / "prometheus"
    home.mkdir()
    (home / "rules.yml").write_text(rules)
    (home / "prometheus.yml").write_text(
        "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 1s}\n"
        + (f"rule_files: [{home / 'rules.yml'}]\n" if rules else "")
        + f"scrape_configs:\n- job_name: {job}\n  static_configs:\n"
        + f"  - targets: [{', '.join(repr(f'127.0.0.1:{p}') for p in targets)}]\n"
    )
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={home / 'prometheus.yml'}",
                f"--storage.tsdb.path={home / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: _ready(url), saying=f"prometheus did not start: {(home / 'log').read_text()}")
            yield url
        finally:
            process.terminate()
            process.wait(timeout=20)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
