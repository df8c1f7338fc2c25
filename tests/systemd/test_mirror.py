"""Where debootstrap gets its Debian: from where the machine that tests gets its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.systemd.machine import mirror

STANZAS = """
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""
OTHERS = "deb [signed-by=/k.gpg] https://packages.example/apt cloud-sdk-bookworm main\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sources.list.d/debian.sources": STANZAS, "sources.list.d/a.list": OTHERS}, "http://mirror.example/debian"),
        ({"sources.list": f"{OTHERS}deb https://in.house/remote-deb bookworm main\n"}, "https://in.house/remote-deb"),
        (
            {"sources.list": "deb [arch=amd64] http://other.example/debian/ trixie main\n"},
            "http://other.example/debian/",
        ),
        ({"sources.list": f"# deb http://mirror.example/debian bookworm main\n{OTHERS}"}, None),
        ({"sources.list.d/debian.sources": STANZAS.replace("Types: deb", "Types: deb-src")}, None),
        ({"sources.list.d/debian.sources": STANZAS.replace("Types: deb", "Enabled: no\nTypes: deb")}, None),
        ({}, None),
    ],
)
def test_the_mirror_is_the_machines_own(tmp_path: Path, files: dict[str, str], expected: str | None) -> None:
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert mirror(tmp_path) == expected
