"""What the documents say is what the code does."""

import doctest
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_norm.engine.operators import FUNCTIONS

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITHOUT_EXAMPLES = (
    "batch-norm-live.md", "changelog.md", "comparison.md", "contributing.md", "glossary.md", "learn/index.md",
    "norms-live.md", "questions.md", "the-tour.md", "tour-report.md",
)  # fmt: skip
# The document on extending adds a function to the table when its examples run.
FUNCTIONS_BEFORE = dict(FUNCTIONS)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def refresh():
    """Return docs/refresh.py as a module."""
    spec = importlib.util.spec_from_file_location("refresh", ROOT / "docs" / "refresh.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def searching(path):
    """Pages whose examples search for faults, as the checker's own tests do, take longer than all others."""
    long = path.name in ("checking.md", "published-faults.md")
    return pytest.param(path, marks=pytest.mark.exhaustive) if long else path


def place(path):
    """Return where a document stands, by which its tests are called."""
    return path.relative_to(ROOT).as_posix()


def anchors(page):
    """Return what the headings of a page are called in links, as GitHub and the site do."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*map(searching, DOCUMENTS)], ids=place)
def test_examples_in_documents_run(path):
    failed, tried = doctest.testfile(str(path), module_relative=False)
    assert failed == 0
    assert tried > 0 or any(map(path.match, WITHOUT_EXAMPLES)) or "-figures" in path.name


def broken_links(path, text):
    """Return the links of a page to files that are not there, and to headings that another page does not have."""
    found = []
    for file, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text):
        target = path.parent / file if file else path
        if not file.startswith("https://") and not (
            target.exists() and (not anchor or target.suffix != ".md" or anchor in anchors(target))
        ):
            found.append(f"{file}#{anchor}")
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=place)
def test_links_lead_somewhere(path):
    assert broken_links(path, path.read_text(encoding="utf-8")) == []


def test_links_that_lead_nowhere_are_found():
    right = "[a](fusing.md#numbers) [b](#checks) [c](bn.html#step=1)"
    wrong = "[d](nothing.md) [e](fusing.md#nothing) [f](#nothing)"
    page = ROOT / "docs" / "getting-started.md"
    assert broken_links(page, right + wrong) == ["nothing.md#", "fusing.md#nothing", "#nothing"]


def test_the_readme_counts_the_lines_of_code():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"\.py\) \| [1-9]\d* \|", readme)) == 4
    assert refresh().counted(readme) == readme, "run python docs/refresh.py"


def test_the_family_table_is_the_codes():
    page = (ROOT / "docs" / "family.md").read_text(encoding="utf-8")
    assert page.count("| batch norm |") == 2
    assert refresh().tabulated(page) == page, "run python docs/refresh.py"


def test_the_list_of_numpys_functions_is_the_engines():
    page = (ROOT / "docs" / "numpy.md").read_text(encoding="utf-8")
    if f"With NumPy {np.__version__.rpartition('.')[0]}:" not in page:
        pytest.skip("the page was written with another NumPy, which has other functions")
    module = refresh()
    module.FUNCTIONS = FUNCTIONS_BEFORE
    assert module.listed(page) == page, "run python docs/refresh.py"
    for heading in (
        "With a gradient",
        "Plain results",
        "Data",
        "Refused, with what to use",
        "Refused: no gradient here",
    ):
        assert f"## {heading}\n" in page


def test_the_readme_holds_the_two_commands_on_lines_of_their_own():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert "    python -m pip install -e '.[plot]' && tinygrad-norm tour --out tour" in lines
    assert "    python -m pip install -e '.[test]' && python -m pytest" in lines


def test_the_numbers_of_the_story_are_those_of_the_report():
    story = (ROOT / "docs" / "the-tour.md").read_text(encoding="utf-8")
    report = (ROOT / "docs" / "tour-report.md").read_text(encoding="utf-8")
    quotes = dict(re.findall(r"(?m)^> \*\*(\w)\.\*\* (.*)$", story))
    assert sorted(quotes) == list("abcdefgh")
    for letter, quote in quotes.items():
        assert f"**Number.** {quote} This supports" in report, letter


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run_and_are_short(path, tmp_path):
    on_processes = path.stem == "several_processes"
    if on_processes:
        pytest.importorskip("mpi4py", reason="it needs the extra `mpi`")
    assert len(path.read_text(encoding="utf-8").splitlines()) <= (60 if on_processes else 40)
    done = subprocess.run(
        [sys.executable, str(path), str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
