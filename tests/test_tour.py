"""The tour, shortened: its files, its page, what it says and when, and that a seed settles all of it."""

import contextlib
import importlib.util
import io
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.short_tour import short_tour
from tinygrad_norm import tour as package
from tinygrad_norm.table import Table, shown
from tinygrad_norm.tour.meter import Meter
from tinygrad_norm.tour.page import page
from tinygrad_norm.tour.pictures import variant
from tinygrad_norm.tour.report import Finding, apart, markdown

SVG = "{http://www.w3.org/2000/svg}"
LETTERS = list("abcdefgh")
PICTURES = {"batch_norm.svg", "batch_norm_backward.svg", "norms.svg"}
PAGES = {"bn.html", "norms.html"}
PLOTS = {"a_shift.png", "e_interaction.png", "g_race.png"} if importlib.util.find_spec("matplotlib") else set()


class Clock(Meter):
    """A meter that keeps what it counted and when."""

    def __init__(self, total):
        super().__init__(total)
        self.counted, self.times = [], []
        Clock.last = self

    def add(self, seconds):
        super().add(seconds)
        self.counted.append(seconds)
        self.times.append(time.process_time())


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    out, said = tmp_path_factory.mktemp("tour") / "a folder" / "to be made", []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(package, "Meter", Clock)
        findings = short_tour(str(out), 0, lambda text: said.append((text, {path.name for path in out.iterdir()})))
    return SimpleNamespace(out=out, findings=findings, said=said, meter=Clock.last, **{f.letter: f for f in findings})


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """The same seed as in `tour`, on a machine without matplotlib."""
    out, find_spec = tmp_path_factory.mktemp("again"), importlib.util.find_spec
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "matplotlib" else find_spec(n, *a))
        short_tour(out)
    return out


def variants(names):
    return {variant(name, narrow, dark) for name in names for narrow in (False, True) for dark in (False, True)}


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def nodes_of(path):
    groups = [g for g in ElementTree.parse(path).iter(f"{SVG}g") if g.get("class") == "node"]
    return [["".join(t.itertext()) for t in group.iter(f"{SVG}text")] for group in groups]


def test_all_files_are_there_and_the_findings_name_them(tour):
    assert files_in(tour.out) == {"report.md", "index.html"} | variants(PICTURES | PLOTS) | PAGES
    assert [f.letter for f in tour.findings] == LETTERS
    assert {name for f in tour.findings for name in f.files} == PICTURES | PAGES | PLOTS
    for name in variants(PLOTS):
        assert (tour.out / name).read_bytes().startswith(b"\x89PNG")


def test_the_pictures_show_the_step_and_its_gradient(tour):
    for name in variants(["batch_norm.svg"]):
        forward = nodes_of(tour.out / name)
        assert len(forward) <= 12
        assert {"x", "γ", "β", "μ", "σ²", "x̂", "y"} <= {node[0].split(" ")[0] for node in forward}
    for name in variants(["batch_norm_backward.svg"]):
        backward = {node[0].split(" ")[0] for node in nodes_of(tour.out / name)}
        assert {"y", "dL/dy", "dL/dx̂", "dL/dσ²", "dL/dμ", "dL/dx", "dL/dγ", "dL/dβ"} <= backward


def test_the_report_has_every_claim_with_its_number_and_code(tour):
    text = (tour.out / "report.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.)\. ", text, flags=re.M) == LETTERS
    sections = re.split(r"^## ", text, flags=re.M)[1:]
    for finding, section in zip(tour.findings, sections, strict=True):
        for words in (finding.title, finding.claim, finding.number, f"```python\n{finding.code}```", finding.text):
            assert words.strip()
            assert words in section
        assert re.search(r"\d", finding.number)
        assert f"This {'supports' if finding.holds else 'contradicts'} the claim" in section
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
    """What a page refers to, its text and programs, and whether its elements close."""

    def __init__(self, text):
        super().__init__()
        self.references, self.text, self.open, self.names, self.ids = [], [], [], [], []
        self.code, self.alternatives = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]
        self.ids += [value for name, value in attrs if name == "id"]
        self.code += [""] if tag == "pre" else []
        if tag == "img":
            self.alternatives.append(dict(attrs)["alt"])
        if tag not in ("meta", "img", "link", "br", "source"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in ("path", "rect")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if "pre" in self.open:
            self.code[-1] += data


def test_the_page_is_complete_and_asks_nobody_for_anything(tour):
    source = (tour.out / "index.html").read_text(encoding="utf-8")
    page = Page(source)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    inside = [name.removeprefix("#") for name in page.references if name.startswith("#")]
    files = [name for name in page.references if not name.startswith("#")]
    assert inside == LETTERS
    assert set(inside) <= set(page.ids)
    assert set(files) == variants(PICTURES | PLOTS) | PAGES | {"report.md"}
    assert all((tour.out / name).is_file() for name in files)
    # The two pages that a reader can play with come first.
    assert files[:2] == ["bn.html", "norms.html"]
    assert not {"script", "link", "iframe"} & set(page.names)
    assert not re.search(r"https?:|url\(|@import", source)
    assert "default-src 'none'" in source
    assert len(set(page.alternatives)) == len(PICTURES | PLOTS)
    assert min(map(len, page.alternatives)) > 60
    text = "".join(page.text)
    for finding in tour.findings:
        for words in (
            finding.title,
            finding.claim,
            finding.number,
            *finding.headline,
            *(t.title for t in finding.tables),
        ):
            assert words in text
        assert finding.text.replace("`", "").replace("\n\n", "") in text
    assert "`" not in text
    assert "0e+00" not in text
    assert page.names.count("table") == sum(len(f.tables) for f in tour.findings)
    assert page.names.count("details") == sum(len(t.rows) > 5 for f in tour.findings for t in f.tables) > 0


def test_the_lead_has_the_numbers_of_the_run(tour):
    text = "".join(Page((tour.out / "index.html").read_text(encoding="utf-8")).text)
    lead = text[: text.index("Step through")]
    without, normed = (row[2] for row in tour.g.tables[0].rows[:2])
    for accuracy in (without, normed):
        assert f"{100 * float(accuracy.split(' ')[0]):.0f}" in [
            f"{float(n):.0f}" for n in re.findall(r"[\d.]+(?= %)", lead)
        ]
    assert f"wrong by {tour.c.headline[0]}." in lead
    assert "after 20 training steps" in lead


@pytest.mark.parametrize("letter", LETTERS)
def test_programs_run_as_they_stand_and_print_the_main_number(tour, letter):
    programs = Page((tour.out / "index.html").read_text(encoding="utf-8")).code
    finding, program = getattr(tour, letter), programs[LETTERS.index(letter)]
    assert program == finding.code
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, f"program {letter}", "exec"), {"__name__": "__main__"})
    assert printed.getvalue().splitlines()[-1] == finding.headline[0]
    assert max(map(len, program.splitlines())) <= 66


def test_each_section_is_said_as_it_ends_and_fits_the_window(tour):
    assert len(tour.said) == 9
    for finding, (text, there) in zip(tour.findings, tour.said, strict=False):
        assert max(map(len, text.splitlines())) <= 60
        words = " ".join(text.split())
        for said in (
            f"{finding.letter}. {finding.title}",
            finding.claim,
            f"{finding.number} (supports",
            *finding.files,
        ):
            assert said.replace("(supports", "") in words
        # Its own files are there, those of later sections and the page are not.
        assert set(finding.files) <= there
        later = {name for f in tour.findings if f.letter > finding.letter for name in f.files}
        assert not there & (later | {"index.html", "report.md"})
    assert str(tour.out / "index.html") in tour.said[-1][0]


def test_the_progress_bar_ends_where_it_should(tour):
    assert_allclose(sum(tour.meter.counted), tour.meter.total)


@pytest.mark.exhaustive
def test_work_is_counted_as_it_takes_time(monkeypatch, tmp_path):
    """Whatever the machine: at every tenth of the work, about a tenth of the time has passed."""
    monkeypatch.setattr(package, "Meter", Clock)
    package.run(tmp_path, 0, lambda text: None)
    done = np.cumsum(Clock.last.counted) / Clock.last.total
    passed = (np.array(Clock.last.times) - Clock.last.times[0]) / (Clock.last.times[-1] - Clock.last.times[0])
    assert abs(done - passed).max() < 0.2


def test_the_time_left_is_sane_from_the_start(monkeypatch):
    """On a machine that is half as fast as the one that the work was measured on."""
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    meter = Meter(30)
    estimates = []
    for _ in range(30):
        estimates.append(meter.left)
        now[0] += 2
        meter.add(1)
    truth = 2 * np.arange(30, 0, -1)
    assert estimates[0] == 30
    assert (abs(estimates - truth)[5:] < truth[5:] / 3).all()
    assert (abs(estimates - truth)[25:] < 1).all()
    meter.add(1)  # more than there was to do
    assert (meter.done, meter.left) == (30, 0)
    # The first tenth of a second takes three, as modules are loaded: that does not make it an hour.
    meter = Meter(30)
    now[0] += 3
    meter.add(0.1)
    assert 30 < meter.left < 60


@pytest.mark.exhaustive
def test_a_seed_settles_every_number_with_and_without_matplotlib(tour, again):
    assert files_in(again) == {"report.md", "index.html"} | variants(PICTURES) | PAGES
    for name in ("report.md", *variants(PICTURES), *PAGES):
        first = re.sub(r"!\[[^\]]*\]\(\w+\.png\)\n*", "", (tour.out / name).read_text(encoding="utf-8"))
        second = (again / name).read_text(encoding="utf-8")
        assert [a for a, b in zip(first.split(), second.split(), strict=True) if a != b] == []
    references = Page((again / "index.html").read_text(encoding="utf-8")).references
    assert {name for name in references if name[0] != "#"} == variants(PICTURES) | PAGES | {"report.md"}


@pytest.mark.exhaustive
def test_another_seed_gives_other_numbers(tour, tmp_path):
    findings = short_tour(tmp_path, 7)
    assert [a.letter for a, b in zip(tour.findings, findings, strict=True) if repr(a.tables) == repr(b.tables)] in (
        [],
        ["h"],
    )
    assert "--seed 7" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert all("\nseed = 7\n" in finding.code for finding in findings if finding.letter != "h")


def test_what_is_written_is_escaped_and_a_failed_claim_says_so(tour):
    table = Table("a | b <i>", ("x|y", "<b>"), [(0.123456, "p|q"), (True, "&lt;")])
    assert (shown(0.123456), shown(1234567.0), shown(3), shown(True), shown("0.1234")) == (
        "0.123", "1.23e+06", "3", "True", "0.1234",
    )  # fmt: skip
    assert "| 0.123 | p\\|q |" in table.markdown()
    finding = Finding(
        "z", "<t>", "<claim> & more", ("<7>", "<what> it is"), "1 < 2.", False, "if a < b:", "one `<c>`\n\ntwo",
        [table], ['"><b>.svg'],
    )  # fmt: skip
    assert "This contradicts the claim" in markdown([finding], 0)
    assert "CONTRADICTS" in finding.lines(80)
    html = Page(page([*tour.findings, finding], 0))
    assert html.open == []
    text = "".join(html.text)
    for words in (
        "<t>",
        "<claim> & more",
        "<7>",
        "<what> it is",
        "1 < 2.",
        "if a < b:",
        "one <c>",
        "two",
        "&lt;",
        "p|q",
    ):
        assert words in text
    assert "a | b <i>" in text
    assert "This contradicts the claim" in text
    assert '"><b>.svg' in html.references


@pytest.mark.parametrize("width", [20, 79, 200])
def test_lines_are_as_wide_as_the_window(tour, width):
    for finding in tour.findings:
        lines = replace(finding, files=[]).lines(width).splitlines()
        assert max(map(len, lines)) <= width
    if width == 200:
        assert len(lines) <= 5


def test_what_differs_by_nothing_is_equal():
    assert (apart(0.0), apart(2.5e-17)) == ("equal", "equal to within 2e-17")
