"""What the documents point at exists: links, anchors, files and commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from fleetd.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE_PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|toml|md|sh|yml|service|json|svg))`")
COMMAND = re.compile(r"(?:^|&& |; |\$\(|sudo )fleetd ((?:machines )?[a-z][a-z-]*)")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_that_is_named_exists(page: Path) -> None:
    places = (ROOT, ROOT / "fleetd", ROOT / "docs", ROOT / "deploy")
    named = set(CODE_PATH.findall(page.read_text("utf-8")))
    assert sorted(n for n in named if not any((place / n).exists() for place in places)) == []


def test_where_a_sentence_of_readme_is_kept_is_what_readme_says() -> None:
    """So that the list in the architecture ages with neither README nor the tree."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page.partition("| README says |")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (`.+`) \|$", table, re.MULTILINE)
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert len(rows) >= 20
    assert [sentence for sentence, _ in rows if sentence not in readme] == []
    files = [file for _, named in rows for file in CODE_PATH.findall(named)]
    assert [file for file in files if not (ROOT / "fleetd" / file).is_file()] == []


def test_each_way_through_the_code_names_at_most_six_files_that_there_are() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    ways = re.findall(r"^\| (.+?) \| (`.+)\|$", page.partition("## More ways")[2].partition("\n## ")[0], re.MULTILINE)
    named = {way: CODE_PATH.findall(files) for way, files in ways}
    assert len(named) >= 6
    assert {way: files for way, files in named.items() if not 2 <= len(files) <= 6} == {}
    assert [f for files in named.values() for f in files if not (ROOT / "fleetd" / f).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_that_is_shown_exists(page: Path) -> None:
    known = commands()
    shown = re.findall(r"```sh\n(.*?)```|`(fleetd [^`\n]*)`", page.read_text("utf-8"), re.DOTALL)
    for block in ("".join(found) for found in shown):
        for line in block.splitlines():
            for command in COMMAND.findall(line.partition("#")[0].strip()):
                assert command in known or command.split()[0] in known, line


def test_every_decision_is_in_the_list() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(LINK.findall((folder / "README.md").read_text("utf-8")))
    assert listed == {p.name for p in folder.glob("0*.md")}


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def commands() -> set[str]:
    top = typer.main.get_command(app)
    assert hasattr(top, "commands")
    return {*top.commands, *(f"machines {name}" for name in top.commands["machines"].commands)}
