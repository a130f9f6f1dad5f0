"""The tour, shortened: its files, its words, its numbers re-computed, and that a seed settles all of them."""

import importlib.util
import inspect
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import tour as package
from tinygrad_norm.datasets import split_digits
from tinygrad_norm.table import Table, shown
from tinygrad_norm.tour import report, statistics, training
from tinygrad_norm.tour.report import Finding, markdown, page

SVG = "{http://www.w3.org/2000/svg}"
EPS = 1e-5
LETTERS = list("abcdefgh")
PICTURES = {"batch_norm.svg", "batch_norm_backward.svg", "norms.svg"}
PAGES = {"bn.html"}
PLOTS = {"a_shift.png", "e_interaction.png", "g_race.png"} if importlib.util.find_spec("matplotlib") else set()


def shortened(monkeypatch):
    monkeypatch.setattr(training, "RACE_STEPS", {training.DEPTH: 20, 1: 20})
    monkeypatch.setattr(training, "SHIFT_STEPS", 20)


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    out, said = tmp_path_factory.mktemp("tour") / "a folder" / "to be made", []
    with pytest.MonkeyPatch.context() as monkeypatch:
        shortened(monkeypatch)
        findings = package.run(str(out), 0, said.append)
    return SimpleNamespace(out=out, findings=findings, said=said, **{f.letter: f for f in findings})


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """The same seed as in `tour`, on a machine without matplotlib."""
    out, find_spec = tmp_path_factory.mktemp("again"), importlib.util.find_spec
    with pytest.MonkeyPatch.context() as monkeypatch:
        shortened(monkeypatch)
        monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "matplotlib" else find_spec(n, *a))
        package.run(out, 0, lambda text: None)
    return out


def nodes_of(path):
    groups = [g for g in ElementTree.parse(path).iter(f"{SVG}g") if g.get("class") == "node"]
    return [["".join(t.itertext()) for t in group.iter(f"{SVG}text")] for group in groups]


def test_all_files_are_there_and_the_findings_name_them(tour):
    assert {path.name for path in tour.out.iterdir()} == {"report.md", "index.html"} | PICTURES | PAGES | PLOTS
    assert [f.letter for f in tour.findings] == LETTERS
    assert {name for f in tour.findings for name in f.files} == PICTURES | PAGES | PLOTS
    for name in PLOTS:
        assert (tour.out / name).read_bytes().startswith(b"\x89PNG")


def test_the_pictures_show_the_step_and_its_gradient(tour):
    forward = nodes_of(tour.out / "batch_norm.svg")
    assert len(forward) <= 12
    assert {"x", "γ", "β", "μ", "x−μ", "σ²", "x̂", "y"} <= {node[0] for node in forward}
    backward = nodes_of(tour.out / "batch_norm_backward.svg")
    assert {"y", "dL/dy", "dL/dx̂", "dL/dσ²", "dL/dμ", "dL/dx", "dL/dγ", "dL/dβ"} <= {node[0] for node in backward}


def test_the_report_has_every_claim_with_its_number_and_code(tour):
    text = (tour.out / "report.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.)\. ", text, flags=re.M) == LETTERS
    sections = re.split(r"^## ", text, flags=re.M)[1:]
    for finding, section in zip(tour.findings, sections, strict=True):
        for words in (finding.title, finding.claim, finding.number, f"```python\n{finding.code}\n```", finding.text):
            assert words.strip()
            assert words in section
        assert re.search(r"\d", finding.number)
        assert f"This speaks {'for' if finding.holds else 'against'} the claim" in section
        assert len(re.findall(r"^\| ", section, flags=re.M)) == sum(len(t.rows) + 2 for t in finding.tables)
    assert set(re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)) == PICTURES | PLOTS


def test_tables_are_well_formed(tour):
    for finding in tour.findings:
        for table in finding.tables:
            assert len(table.rows) > 0
            assert {len(row) for row in table.rows} == {len(table.headings)}
            lines = table.markdown().splitlines()[2:]
            assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(table.headings) + 1}
            assert set(lines[1]) == set("| -")
            assert not {"nan", "inf", "-inf", "-"} & {cell for row in table.cells() for cell in row}


class Page(HTMLParser):
    """What a page refers to, its text, and whether its elements close."""

    def __init__(self, text):
        super().__init__()
        self.references, self.text, self.open, self.names = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_complete_and_asks_nobody_for_anything(tour):
    source = (tour.out / "index.html").read_text(encoding="utf-8")
    page = Page(source)
    assert page.open == []
    assert set(page.references) == PICTURES | PAGES | PLOTS
    assert all((tour.out / name).is_file() for name in page.references)
    assert not {"script", "link", "iframe"} & set(page.names)
    assert not re.search(r"https?:|url\(|@import", source)
    text = "".join(page.text)
    for finding in tour.findings:
        for words in (finding.title, finding.claim, finding.number, finding.code, *(t.title for t in finding.tables)):
            assert words in text
    assert page.names.count("table") == sum(len(f.tables) for f in tour.findings)


def test_each_step_says_claim_number_code_and_file(tour):
    assert len(tour.said) == 9
    for finding, text in zip(tour.findings, tour.said, strict=False):
        found = dict(re.findall(r"^   (claim|number|code|file) +(.+)$", text, flags=re.M))
        assert found["claim"] == finding.claim
        assert found["number"] == f"{finding.number}  ({'for' if finding.holds else 'AGAINST'} the claim)"
        assert found["code"] == finding.code
        assert all((tour.out / name).exists() for name in found["file"].split(", "))
    assert str(tour.out / "index.html") in tour.said[-1]


def test_the_code_shown_is_a_line_of_the_source(tour):
    lines = "".join(inspect.getsource(module) for module in (statistics, training)).splitlines()
    marked = {line.partition(report.MARK)[0].strip() for line in lines if report.MARK in line}
    assert {finding.code for finding in tour.findings} == marked
    with pytest.raises(ValueError, match="no line marked"):
        report.shown_line(shown)


@pytest.mark.exhaustive
def test_a_seed_settles_every_number_with_and_without_matplotlib(tour, again):
    assert {path.name for path in again.iterdir()} == {"report.md", "index.html"} | PICTURES | PAGES
    for name in ("report.md", *PICTURES, *PAGES):
        first = re.sub(r"!\[[^\]]*\]\(\w+\.png\)\n*", "", (tour.out / name).read_text(encoding="utf-8"))
        second = (again / name).read_text(encoding="utf-8")
        assert [a for a, b in zip(first.split(), second.split(), strict=True) if a != b] == []
    assert set(Page((again / "index.html").read_text(encoding="utf-8")).references) == PICTURES | PAGES


@pytest.mark.exhaustive
def test_another_seed_gives_other_numbers(tour, tmp_path, monkeypatch):
    shortened(monkeypatch)
    findings = package.run(tmp_path, 7, lambda text: None)
    assert [a.letter for a, b in zip(tour.findings, findings, strict=True) if repr(a.tables) == repr(b.tables)] in (
        [],
        ["h"],
    )
    assert "--seed 7" in (tmp_path / "report.md").read_text(encoding="utf-8")


def hidden(step, width=64):
    """The first layer's output on the training set, and the random numbers that follow, re-made in NumPy."""
    rng = np.random.default_rng([0, 100 + step])
    return first_layer(rng, width), rng


def first_layer(rng, width=64):
    weight = rng.uniform(-1 / 8, 1 / 8, (width, 64)).astype(np.float32)
    bias = rng.uniform(-1 / 8, 1 / 8, width).astype(np.float32)
    return (split_digits(0).train_images @ weight.T + bias).astype(np.float64)


def normalized(x):
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + EPS)


def batch_norm_jacobian(x):
    """d y_ia / d x_jb = δ_ab (δ_ij - 1/n - x̂_i x̂_j / n) / sqrt(var + eps)."""
    n, features = x.shape
    result = np.zeros((n, features, n, features))
    for a in range(features):
        y = normalized(x)[:, a]
        result[:, a, :, a] = (np.eye(n) - 1 / n - np.outer(y, y) / n) / np.sqrt(x[:, a].var() + EPS)
    return result


def close(found, want, rtol=1e-6, atol=1e-9):
    # float32 layers differ in the last bits between linear algebra libraries.
    assert_allclose(found, want, rtol=rtol, atol=atol)


def test_the_numbers_of_b_are_those_of_numpy(tour):
    h, _ = hidden(1)
    pixels = split_digits(0).train_images.astype(np.float64)
    (table,) = tour.b.tables
    for row, x in zip(table.rows, (h[:64], h, pixels), strict=True):
        variance = normalized(x).var(axis=0)
        close(row[2:4], (variance.min(), variance.max()))
        assert max(row[1], row[4]) < 1e-10
        assert row[5] == (x.max(axis=0) == x.min(axis=0)).sum()
    assert f"{table.rows[2][5]} of 64 pixels never vary" in tour.b.number
    assert tour.b.holds


def test_the_numbers_of_c_are_the_closed_form(tour):
    h, rng = hidden(2)
    x = h[:64]
    g, inverse, y = rng.normal(size=x.shape), 1 / np.sqrt(x.var(axis=0) + EPS), normalized(x)
    through_x = g * inverse
    whole = (g - g.mean(axis=0) - y * (g * y).mean(axis=0)) * inverse
    parts, bias = tour.c.tables
    size = np.linalg.norm(whole)
    close([row[1] for row in parts.rows], [np.linalg.norm(v) for v in (through_x, whole - through_x)] + [size, size])
    close([row[2] for row in parts.rows], [abs(v.sum(axis=0)).max() for v in (through_x, whole - through_x)] + [0, 0])
    assert f"off by {100 * np.linalg.norm(through_x - whole) / size:.0f} %" in tour.c.number
    # Each wrong step finds the same gradient again: the bias grows in proportion to the steps, the loss stands still.
    steps, losses, norms, right_losses, right_norms = np.array(bias.rows).T
    assert_array_equal(steps, [0, 250, 500, 750, 1000])
    h, labels = first_layer(rng)[:256], split_digits(0).train_labels[:256]
    head = rng.normal(size=(64, 10)) / 8
    scores = np.exp(normalized(h) @ head)
    residual = scores / scores.sum(axis=1, keepdims=True) - np.eye(10)[labels]
    step = np.linalg.norm((residual @ head.T).mean(axis=0) / np.sqrt(h.var(axis=0) + EPS))
    close(norms, step * steps)
    assert norms[-1] > 1
    for values in (losses, right_losses):
        close(values, np.full(5, losses[0]), rtol=1e-9)
    assert max(right_norms) < 1e-9
    assert tour.c.holds


def test_the_numbers_of_d_are_the_closed_form(tour):
    h, _ = hidden(3, width=4)
    here, other = h[:8], h[8:16]
    scale, shift = np.sqrt(here.var(axis=0) + EPS), here.mean(axis=0)
    (table,) = tour.d.tables
    unit = np.eye(32).reshape(8, 4, 8, 4)
    slopes = [abs(scale[:, None, None] * batch_norm_jacobian(x) - unit).max() for x in (here, other)]
    elsewhere = abs(normalized(other) * scale + shift - other).max()
    close([row[1:] for row in table.rows], [(0, slopes[0]), (elsewhere, slopes[1]), (0, 0)])
    assert elsewhere > 1e-3
    assert min(slopes) > 0.1
    assert tour.d.holds


def test_the_numbers_of_e_are_the_closed_form(tour):
    h, rng = hidden(4)
    jacobian = batch_norm_jacobian(h[:8, :6])
    layer = np.zeros_like(jacobian)
    for i, block in enumerate(batch_norm_jacobian(row[:, None])[:, 0, :, 0] for row in h[:8, :6]):
        layer[i, :, i, :] = block  # layer norm of a row is batch norm of a column
    blocks, spreads = tour.e.tables
    own, diagonal = np.eye(8, dtype=bool), np.eye(6, dtype=bool)[:, None, :]
    for row, j in zip(blocks.rows, (jacobian, layer), strict=True):
        sizes = np.sqrt((j**2).sum(axis=(1, 3)))
        close(row[1:], (sizes[own].mean(), sizes[~own].mean(), abs(np.where(diagonal, 0, j)).max()))
    assert blocks.rows[1][2] == 0  # exactly: samples do not interact in layer norm
    assert blocks.rows[0][3] == 0  # exactly: features do not in batch norm
    for size, row in zip((4, 32, 512), spreads.rows, strict=True):
        values = []
        for _ in range(200):
            company = rng.choice(np.arange(1, len(h)), size - 1, replace=False)
            values.append(normalized(h[[0, *company]])[0])
        spread = np.median(np.std(values, axis=0))
        close(row, (size, spread, spread * np.sqrt(size)))
    assert tour.e.holds


def test_the_family_counts_every_value_once(tour):
    (table,) = tour.h.tables
    assert [row[0] for row in table.rows] == ["batch", "layer", "instance", "group", "a new one"]
    assert [row[4] for row in table.rows] == [4, 32, 128, 64, 128]
    assert {row[4] * row[5] for row in table.rows} == {32 * 4 * 4 * 4}
    assert tour.h.holds


def test_accuracies_are_shares_and_training_shows_in_the_curves(tour):
    results = dict(tour.f.tables[0].rows)
    assert len(results) == 4
    assert all(0 <= value <= 1 for value in results.values())
    curves = tour.g.data["curves"]
    assert {depth for depth, _ in curves} == {training.DEPTH, 1}
    assert all(losses.shape == (training.SEEDS, 20) for losses in curves.values())
    assert curves[1, "batch"][:, -5:].mean() < curves[1, "batch"][:, :5].mean()
    assert [len(table.rows) for table in tour.g.tables] == [4, 4]
    assert [len(table.rows) for table in tour.a.tables] == [training.DEPTH]


def test_what_is_written_is_escaped_and_a_failed_claim_says_so():
    table = Table("a | b <i>", ("x|y", "<b>"), [(0.123456, "p|q"), (True, "&lt;")])
    finding = Finding("z", "<t>", "<claim> & more", "1 < 2.", False, "if a < b:", "one\n\ntwo", [table], ["p.svg"])
    assert (shown(0.123456), shown(1234567.0), shown(3), shown(True), shown("0.1234")) == (
        "0.123", "1.23e+06", "3", "True", "0.1234",
    )  # fmt: skip
    assert "| 0.123 | p\\|q |" in table.markdown()
    assert "against the claim" in markdown([finding], 0)
    assert "AGAINST" in finding.lines()
    html = Page(page([finding], 0))
    assert html.open == []
    for words in (
        "<t>",
        "<claim> & more",
        "1 < 2.",
        "if a < b:",
        "one",
        "&lt;",
        "p|q",
        "against the claim",
        "a | b <i>",
    ):
        assert words in "".join(html.text)
    assert html.names.count("p") == 5  # the heading's, claim, number, and two paragraphs


def test_the_pictures_can_be_saved_alone(tmp_path):
    forward, backward = package.save_pictures(tmp_path)
    assert {forward.name, backward.name} == PICTURES - {"norms.svg"}
    assert all(isinstance(path, Path) and path.parent == tmp_path for path in (forward, backward))
    assert tn.is_recording()
