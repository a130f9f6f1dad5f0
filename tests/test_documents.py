"""What the documents say is what the code does."""

import doctest
import html
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import drawn
import made
import numpy as np
import numpy_functions
import pytest

import tinygrad_norm as tn
from tinygrad_norm.engine.operators import FUNCTIONS
from tinygrad_norm.exercises.mistakes import MISTAKES
from tinygrad_norm.nn.family import FAMILY

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
    return pytest.param(path, marks=pytest.mark.exhaustive) if path.name == "checking.md" else path


def place(path):
    """Return where a document stands, by which its tests are called."""
    return path.relative_to(ROOT).as_posix()


def headings_of(page):
    """Return the headings of a page, those of its mistakes, which the build writes, among them."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    of_mistakes = [
        mistake.title for mistake in MISTAKES.values() if Path(mistake.page.partition("#")[0]).stem == page.stem
    ]
    return re.findall(r"(?m)^#+ (.+)$", text) + of_mistakes


def anchors(page):
    """Return what the headings of a page are called in links, as GitHub and the site do."""
    headings = headings_of(page)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*map(searching, DOCUMENTS)], ids=place)
def test_examples_in_documents_run(path):
    failed, tried = doctest.testfile(str(path), module_relative=False)
    assert failed == 0
    assert tried > 0 or any(map(path.match, WITHOUT_EXAMPLES)) or "-figures" in path.name


MADE = {ROOT / "docs" / name for name in made.FILES}


def broken_links(path, text):
    """Return the links of a page to files that nobody has or makes, and to headings that another page does not have."""
    found = []
    for file, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text):
        target = (path.parent / file).resolve() if file else path
        is_there = target.exists() or (target in MADE and path.name != "README.md")
        if not file.startswith("https://") and not (
            is_there and (not anchor or target.suffix != ".md" or anchor in anchors(target))
        ):
            found.append(f"{file}#{anchor}")
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=place)
def test_links_lead_somewhere(path):
    assert broken_links(path, path.read_text(encoding="utf-8")) == []


def test_links_that_lead_nowhere_are_found():
    right = "[a](fusing.md#numbers) [b](#checks) [c](bn.html#step=1) ![d](g_race.png)"
    wrong = "[e](nothing.md) [f](fusing.md#nothing) [g](#nothing) [h](bm.html#step=1) ![i](../g_race.png)"
    page = ROOT / "docs" / "getting-started.md"
    dead = ["nothing.md#", "fusing.md#nothing", "#nothing", "bm.html#step=1", "../g_race.png#"]
    assert broken_links(page, right + wrong) == dead
    assert broken_links(ROOT / "README.md", "![a](docs/batch_norm.svg) ![b](docs/g_race.png)") == ["docs/g_race.png#"]


def test_the_readme_counts_the_lines_of_code():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"\.py\) \| [1-9]\d* \|", readme)) == 4
    assert refresh().counted(readme) == readme, "run python docs/refresh.py"


def words(svg):
    """Return what is written in a picture."""
    return [html.unescape(word) for word in re.findall(r"<text[^>]*>([^<]*)<", svg.read_text(encoding="utf-8"))]


def test_the_pictures_in_the_readme_show_what_the_code_draws(tmp_path):
    module = refresh()
    module.draw(tmp_path)
    for name in module.PICTURES:
        assert len(words(tmp_path / name)) > 20, name
        assert words(tmp_path / name) == words(ROOT / "docs" / name), "run python docs/refresh.py"


def test_pages_take_in_every_text_that_the_build_makes_and_no_other():
    pages = [path.read_text(encoding="utf-8") for path in DOCUMENTS]
    assert sorted(re.findall(r"(?m)^```\{made\} (\S+)$", "\n".join(pages))) == sorted(made.TEXTS)


def test_the_tables_of_the_family_name_every_norm_once():
    tables = made.family().split("\n\n**")
    assert len(tables) == 2
    for table in tables:
        rows = re.findall(r"(?m)^\| (.*?) \|", table)
        assert rows == ["norm", "---", *(member.name for member in FAMILY)]
    assert "| batch norm | each channel, over the batch and space | n h w | n c h w -> c | 6 |" in tables[0]


@pytest.fixture
def functions(monkeypatch):
    """What the page on NumPy's functions lists, by its headings."""
    monkeypatch.setattr(numpy_functions, "FUNCTIONS", FUNCTIONS_BEFORE)
    _, *parts = re.split(r"(?m)^## (.*)\n", numpy_functions.listed())
    return dict(zip(parts[::2], parts[1::2], strict=True))


HEADINGS = ["With a gradient", "Plain results", "Data", "Refused, with what to use", "Refused: no gradient here"]


def test_every_function_of_numpys_is_listed_once(functions):
    assert list(functions) == HEADINGS
    every = numpy_functions.functions_of(np) | numpy_functions.functions_of(np.linalg)
    assert len(every) > 300
    text = "\n".join(functions.values())
    listed = re.findall(r"(?m)^\| `([\w.]+)` \|", text)
    for names in re.findall(r"(?m)^\*\*.*?\*\* (`.*`)\.$", text):
        listed += re.findall(r"`([\w.]+)`", names)
    assert sorted(name for name in listed if name in every) == sorted(every)


@pytest.mark.parametrize(
    ("heading", "name", "operands"),
    [
        ("With a gradient", "np.exp", 1),
        ("With a gradient", "np.linalg.det", 1),
        ("With a gradient", "np.matmul", 2),
        ("Plain results", "np.argmax", 1),
        ("Plain results", "np.greater", 2),
        ("Data", "np.zeros_like", 1),
        ("Refused, with what to use", "np.linalg.pinv", 1),
        ("Refused: no gradient here", "np.angle", 1),
    ],
)
def test_functions_do_what_their_heading_says(functions, heading, name, operands):
    assert [each for each in HEADINGS if f"`{name}`" in functions[each]] == [heading]
    function = (numpy_functions.functions_of(np) | numpy_functions.functions_of(np.linalg))[name]
    x = [tn.tensor(np.random.default_rng(0).normal(size=(3, 3)), requires_grad=True)] * operands
    if heading.startswith("Refused"):
        with pytest.raises(TypeError, match=re.escape(name)) as refusal:
            function(*x)
        assert ("; use " in str(refusal.value)) == ("what to use" in heading)
    else:
        y = function(*x)
        assert isinstance(y, tn.Tensor) == (heading != "Plain results")
        assert getattr(y, "requires_grad", False) == (heading == "With a gradient")


def test_the_plot_of_how_time_grows_shows_what_the_page_says():
    points = drawn.growth()
    assert list(points) == ["composition", "fused", "given", "PyTorch", "torch.compile", "JAX", "NumPy"]
    for elements, milliseconds in points.values():
        assert elements == [10**3, 10**4, 10**5, 10**6, 10**7, 10**8]
        assert milliseconds == sorted(milliseconds)


def test_the_readme_holds_the_two_commands_on_lines_of_their_own():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert "    python -m pip install -e '.[plot]' && tinygrad-norm tour --out tour" in lines
    assert "    python -m pip install -e '.[test]' && python -m pytest" in lines


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run_and_are_short(path, tmp_path):
    if path.stem == "several_processes":
        pytest.importorskip("mpi4py", reason="it needs the extra `mpi`")
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 80
    before = os.times()
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    after = os.times()
    assert done.returncode == 0, done.stderr
    assert done.stdout
    # Of the processor: a busy machine takes longer.
    seconds = after.children_user - before.children_user + after.children_system - before.children_system
    assert seconds < 10
