"""The mutants' own machinery: what is changed, which tests are asked, and that a broken rule is found."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.choosing import Chosen, choose
from tests.mutants.drawing import Mutant, draw, mutants_of
from tests.mutants.recording import Book, Record, Seen, state_of
from tests.mutants.report import Result, as_json, rooms, survivors, table
from tests.mutants.trying import Verdict, preload, try_tests

ROOT = Path(__file__).resolve().parents[2]
RULE = b'''"""A docstring."""
from typing import Protocol

class Port(Protocol):
    def due(self) -> bool:
        return True

def late(now: int, until: int = 3, *, words: str = "on time") -> bool:
    if now < until and not words:
        raise ValueError("not late, words missing")
    return max(now, until, key=abs) > 1
'''


def of(kind: str) -> list[str]:
    return [m.applied(RULE).decode() for m in mutants_of("fleetd/planner/rule.py", RULE) if m.kind.startswith(kind)]


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("comparison", {"now <= until", "now > until", ">= 1", "< 1"}),
        ("constant", {"until: int = 4", "> 2"}),
        ("and -> or", {"if (now < until or not words):"}),
        ("operand", {"if ((now < until)):", "if ((not words)):"}),
        ("not dropped", {"and (words)"}),
        ("condition negated", {"if (not (now < until and not words))"}),
        ("raise dropped", {"        pass"}),
        ("nothing returned", {"return None"}),
        ("max -> min", {"return min(now, until, key=abs)"}),
        ("argument key dropped", {"return max(now, until) > 1"}),
    ],
)
def test_what_is_changed(kind: str, lines: set[str]) -> None:
    found = of(kind)
    assert found
    for line in lines:
        assert any("".join(line.split()) in "".join(text.split()) for text in found), (line, found)


def test_words_for_people_ports_and_docstrings_are_left_alone() -> None:
    for text in of(""):
        assert '"on time"' in text
        assert "A docstring." in text
        assert "return True" in text
        assert "missing" in text or "pass" in text


@pytest.mark.long
def test_a_seed_draws_the_same_mutants_and_each_compiles() -> None:
    first, again, other = (draw(ROOT, sample=40, seed=seed, rooms=("planner",)) for seed in (1, 1, 2))
    assert first == again != other
    assert {m.room for m in first} == {"planner"}
    for mutant in first:
        source = (ROOT / mutant.path).read_bytes()
        assert ast.dump(ast.parse(mutant.applied(source))) != ast.dump(ast.parse(source)), mutant
        assert "\n-" in mutant.diff(source)


def test_the_most_specific_tests_come_first_and_as_many_as_time_allows(tmp_path: Path) -> None:
    path = "fleetd/planner/rule.py"
    source = tmp_path / path
    source.parent.mkdir(parents=True)
    source.write_bytes(RULE)
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "then").write_bytes(b"# a line that is gone\n" + RULE)
    seen = {
        "tests/planner/test_wide.py::test_a": Seen(1, True, {path: frozenset(range(9, 14))}),
        "tests/planner/test_wide.py::test_slow": Seen(99, True, {path: frozenset(range(8, 14))}),
        "tests/planner/test_wide.py::test_fails": Seen(1, False, {path: frozenset({10})}),
        "tests/planner/test_wide.py::test_other_line": Seen(1, True, {path: frozenset({12})}),
        "tests/planner/test_rule.py::test_b": Seen(1, True, {path: frozenset(range(1, 14))}),
    }
    book = Book(tmp_path, tmp_path, {"x": Record("x", seen, {path: "then"})})
    (mutant,) = (m for m in mutants_of(path, RULE) if m.text == "now <= until")
    chosen = choose(book, mutant, budget=60)
    assert [t.rpartition(":")[2] for t in chosen.tests] == ["test_b", "test_a"], "line 9 now, line 10 then"
    assert chosen.left_out == 1
    assert list(chosen.stages()) == [list(chosen.tests)]


def test_a_default_is_asked_about_by_the_tests_of_its_function(tmp_path: Path) -> None:
    path = "fleetd/planner/rule.py"
    for name in (path, "sources/then"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(RULE)
    seen = {
        "tests/planner/test_rule.py::test_that_imports": Seen(1, True, {path: frozenset({2, 4, 5, 8})}),
        "tests/planner/test_rule.py::test_that_calls": Seen(1, True, {path: frozenset({9, 11})}),
    }
    book = Book(tmp_path, tmp_path, {"x": Record("x", seen, {path: "then"})})
    (mutant,) = (m for m in mutants_of(path, RULE) if m.kind == "constant" and m.first_line == 8)
    assert list(choose(book, mutant, budget=60).tests) == ["tests/planner/test_rule.py::test_that_calls"]


@pytest.mark.parametrize(
    ("changed", "anew"),
    [
        ("planner/test_rule.py", True),
        ("planner/conftest.py", True),
        ("conftest.py", True),
        ("cloud/conftest.py", False),
    ],
)
def test_what_a_record_is_good_for(tmp_path: Path, changed: str, anew: bool) -> None:
    for name in ("planner/test_rule.py", "planner/conftest.py", "conftest.py", "cloud/conftest.py"):
        (tmp_path / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / name).write_text("")
    before = state_of(tmp_path, tmp_path / "tests/planner/test_rule.py")
    (tmp_path / "tests" / changed).write_text("# changed")
    assert (state_of(tmp_path, tmp_path / "tests/planner/test_rule.py") != before) is anew


TEST = "tests/mutants/test_mutants.py::test_words_for_people_ports_and_docstrings_are_left_alone"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ((b"isinstance(node, ast.JoinedStr)", b"isinstance(node, ast.JoinedStr) "), "survived"),
        ((b"if _is_no_rule(node):", b"if False:"), "killed"),
        ((b"import ast\n", b"import ast\nimport nothing_of_that_name\n"), "killed"),
        ((b"import ast\n", b"import ast\nimport time\ntime.sleep(60)\n"), "timeout"),
    ],
    ids=["the same", "a rule that is gone", "no module any more", "one that hangs"],
)
def test_a_mutant_is_tried(change: tuple[bytes, bytes], word: str) -> None:
    source = (ROOT / "tests/mutants/drawing.py").read_bytes()
    assert source.count(change[0]) == 1
    limit = 5 if word == "timeout" else 600
    verdict = try_tests("tests.mutants.drawing", source.replace(*change), [TEST], limit=limit, fresh=True)
    assert verdict.word == word, verdict


def test_all_that_a_child_is_to_find_imported_is_there() -> None:
    preload()


def test_the_table_counts_what_no_test_executes_apart(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x < 1\n")
    mutant = Mutant("a.py", "comparison", 0, 5, "x > 1", 1, 1, None)
    verdicts = (("killed", "t"), ("timeout", "t"), ("survived", ""), ("unreached", ""))
    results = [Result(mutant, Verdict(word, by, 1), Chosen({}, 0), 0.0) for word, by in verdicts]
    (room,) = rooms(results)
    assert (room.killed, room.survived, room.unreached, round(room.share)) == (2, 1, 1, 67)
    assert survivors(results, tmp_path).count("+x > 1") == 2
    assert table(results).splitlines()[1].split() == ["top", "4", "2", "1", "1", "66.7"]
    assert '"killed": 2' in as_json(results, tmp_path)
