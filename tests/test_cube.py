"""The cube: its cells against a loop over the axes, what it says, and pictures as files, in colours one can see."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_norm as tn
from tinygrad_norm.graph import Picture, RenderError, draw_norms
from tinygrad_norm.graph.cube import CLASSIC
from tinygrad_norm.graph.picture import MARGIN, THEMES, Box, Lines, Polygon, Text, contrast, mixed

SVG = "{http://www.w3.org/2000/svg}"
TAGS = {"svg", "title", "desc", "rect", "path", "text"}

Point = tuple[float, float]


class Cell(NamedTuple):
    place: tuple[int, ...]
    group: int
    fill: str
    corners: tuple[Point, ...]


class Seen(NamedTuple):
    """What is on a picture of cubes, read from its SVG."""

    cells: list[Cell]
    lines: dict[tuple[str, float], list[frozenset[Point]]]
    texts: list[str]


def points(path: str) -> list[list[Point]]:
    parts = [re.findall(r"-?[\d.]+", part) for part in path.split("M")[1:]]
    return [[(round(float(x), 1), round(float(y), 1)) for x, y in zip(p[::2], p[1::2], strict=True)] for p in parts]


def seen(picture: Picture) -> Seen:
    cells, lines, texts = [], defaultdict(list), []
    for element in ElementTree.fromstring(picture.svg()):
        if element.tag == f"{SVG}text":
            texts.append("".join(element.itertext()))
        elif element.get("data-cell"):
            (corners,) = points(element.attrib["d"])
            place = tuple(map(int, element.attrib["data-cell"].split(",")))
            cells.append(Cell(place, int(element.attrib["data-group"]), element.attrib["fill"], tuple(corners)))
        elif element.tag == f"{SVG}path":
            look = (element.attrib["stroke"], float(element.attrib["stroke-width"]))
            lines[look] += [frozenset(ends) for ends in points(element.attrib["d"])]
    return Seen(cells, lines, texts)


def loop(split: tuple[int, ...], kept: list[bool], sides: tuple[int, ...]) -> np.ndarray:
    """Which mean each value has a share in: one value after another, a new number for each new combination."""
    numbers: dict[tuple[int, ...], int] = {}
    found = np.empty(split, int)
    for index in np.ndindex(*split):
        found[index] = numbers.setdefault(tuple(i for i, keep in zip(index, kept, strict=True) if keep), len(numbers))
    return found.reshape(sides)


@st.composite
def patterns(draw: st.DrawFn) -> tuple[str, tuple[int, ...], dict[str, int], np.ndarray]:
    """A pattern, a shape, the lengths it needs, and the group of each value along three sides."""
    names = iter("abcdefgh")
    axes = [[next(names) for _ in range(n)] for n in draw(st.lists(st.integers(1, 2), min_size=1, max_size=4))]
    lengths = {name: draw(st.integers(1, 3)) for axis in axes for name in axis}
    kept = draw(st.lists(st.sampled_from(sorted(lengths)), unique=True))
    left = " ".join(f"({' '.join(axis)})" if len(axis) > 1 else axis[0] for axis in axes)
    shape = tuple(int(np.prod([lengths[name] for name in axis])) for axis in axes)
    sides = (*(*shape, 1, 1)[:2], int(np.prod(shape[2:])))
    groups = loop(tuple(lengths.values()), [name in kept for name in lengths], sides)
    given = {axis[-1]: lengths[axis[-1]] for axis in axes if len(axis) > 1}
    return f"{left} -> {' '.join(kept)}", shape, given, groups


# The cells.


@given(patterns())
def test_cells_are_coloured_by_the_mean_they_share(case: Any) -> None:
    pattern, shape, lengths, groups = case
    picture = seen(tn.draw_pattern(pattern, shape, **lengths))
    shown = groups[:8, :8, :16]
    assert all(cell.group == groups[cell.place] for cell in picture.cells)
    # Of a cube the three faces that meet at the first cell, of a sheet all cells.
    fronts = [0, 1, 2] if len(shape) > 2 else [2]
    visible = [place for axis in fronts for place in np.ndindex(shown.shape) if place[axis] == 0]
    assert Counter(cell.place for cell in picture.cells) == Counter(visible)
    look = THEMES["light"]
    assert all((cell.fill in look.marked) == (cell.group == 0) for cell in picture.cells)
    assert {cell.fill for cell in picture.cells} <= {*look.marked, *sum(look.cell, ())}


def middle(points: Any) -> np.ndarray:
    return np.mean(list(points), axis=0)


@given(patterns())
def test_dots_mark_the_first_group_so_that_colour_is_not_the_only_sign(case: Any) -> None:
    pattern, shape, lengths, _ = case
    picture = seen(tn.draw_pattern(pattern, shape, **lengths))
    dots = picture.lines[THEMES["light"].dot, 4.5]
    marked = [cell for cell in picture.cells if cell.group == 0]
    assert len(dots) == len(marked)
    for dot, cell in zip(dots, marked, strict=True):
        np.testing.assert_allclose(middle(dot), middle(cell.corners), atol=0.3)


@given(patterns())
def test_strong_lines_run_where_neighbours_share_no_mean(case: Any) -> None:
    pattern, shape, lengths, _ = case
    picture = seen(tn.draw_pattern(pattern, shape, **lengths))
    sides = defaultdict(list)
    for cell in picture.cells:
        for ends in pairwise((*cell.corners, cell.corners[0])):
            sides[frozenset(ends)].append(cell.group)
    between = {side for side, groups in sides.items() if len(groups) == 1 or groups[0] != groups[1]}
    line = THEMES["light"].line
    assert set(picture.lines[line, 1.8]) == between
    assert set(picture.lines[line, 0.5]) == set(sides) - between


@pytest.mark.parametrize("pattern", [*CLASSIC.values(), "n c h w -> n h", "n c h w ->"])
def test_cells_of_one_group_have_one_mean_and_others_another(pattern: str) -> None:
    """Against the library's own means: values that are all different give means that are."""
    shape, lengths = (3, 4, 2, 3), {"g": 2} if "g" in pattern else {}
    x = np.random.default_rng(0).normal(size=shape)
    mean, _ = tn.moments(x, pattern, **lengths)
    split = (3, 2, 2, 2, 3) if lengths else shape
    of_each = np.broadcast_to(mean, split).reshape(3, 4, 6)
    found = defaultdict(set)
    for cell in seen(tn.draw_pattern(pattern, shape, **lengths)).cells:
        found[cell.group].add(of_each[cell.place])
    assert all(len(means) == 1 for means in found.values())
    assert len({mean for means in found.values() for mean in means}) == len(found)


# What it says.


def test_titles_sides_and_captions() -> None:
    picture = tn.draw_pattern("n (g c) h w -> n g", (4, 6, 4, 4), g=3)
    words = ("one mean and variance per n, g", "2 × 4 × 4 = 32 values each; 12 means")
    found = seen(picture).texts
    assert {"n (g c) h w -> n g", "n = 4", "g × c = 6", "h × w = 16", *words} <= set(found)
    assert picture.title == "n (g c) h w -> n g"
    assert "; ".join(words) in picture.description
    assert not [text for text in found if "shown" in text]


@pytest.mark.parametrize(
    ("pattern", "shape", "lengths", "labels"),
    [
        ("n c -> c", (4, 3), {}, ["n = 4", "c = 3"]),
        ("d -> d", (5,), {}, ["d = 5"]),
        ("(a b) -> b", (6,), {"a": 2}, ["a × b = 6"]),
        ("->", (), {}, []),
        ("n c l -> n c", (2, 3, 5), {}, ["n = 2", "c = 3", "l = 5"]),
        ("n c ... -> c", (2, 3, 2, 2, 2), {}, ["n = 2", "c = 3", "... = 8"]),
        ("... d -> ...", (2, 3, 4), {}, ["... = 2", "... = 3", "d = 4"]),
        ("n c d h w -> n d", (2, 3, 2, 2, 2), {}, ["n = 2", "c = 3", "d × h × w = 8"]),
    ],
)
def test_inputs_of_any_rank(pattern: str, shape: tuple[int, ...], lengths: dict[str, int], labels: list[str]) -> None:
    picture = seen(tn.draw_pattern(pattern, shape, **lengths))
    assert [text for text in picture.texts if re.search(r" = \d+$", text)] == labels
    assert tn.describe(pattern, shape, **lengths).split("; ")[0] in picture.texts
    assert picture.cells[0].group == 0


def test_long_sides_are_cut_and_the_picture_says_so_without_building_the_input() -> None:
    # As an array its numbers would take 800 GB.
    picture = seen(tn.draw_pattern("n c h w -> c", (1000, 2000, 224, 224)))
    assert max(cell.place for cell in picture.cells)[:2] == (7, 7)
    assert len(picture.cells) == 8 * 8 + 2 * 8 * 16
    assert "shown: 8 of 1000 n, 8 of 2000 c, 16 of 50176 h × w" in picture.texts
    assert {"n = 1000", "c = 2000", "h × w = 50176"} <= set(picture.texts)
    assert all(cell.group == cell.place[1] for cell in picture.cells)


def test_the_four_norms_side_by_side() -> None:
    picture = draw_norms((4, 6, 2, 3), groups=3)
    found = seen(picture)
    assert [text for text in found.texts if text in CLASSIC] == list(CLASSIC)
    assert set(CLASSIC.values()) <= set(found.texts)
    edges, each = [], len(found.cells) // 4
    for i, (name, pattern) in enumerate(CLASSIC.items()):
        alone = seen(tn.draw_pattern(pattern, (4, 6, 2, 3), **({"g": 3} if name == "Group Norm" else {})))
        cells = found.cells[i * each : (i + 1) * each]
        assert [cell[:3] for cell in cells] == [cell[:3] for cell in alone.cells]
        edges += [f(x for cell in cells for x, _ in cell.corners) for f in (min, max)]
    assert edges == sorted(edges)


def test_the_four_norms_below_one_another_for_a_narrow_page() -> None:
    narrow = draw_norms(columns=1)
    tops = [text.at[1] for text in narrow.shapes if isinstance(text, Text) and text.text in CLASSIC]
    assert tops == sorted(set(tops))
    assert all(text.width <= narrow.width < 350 for text in narrow.shapes if isinstance(text, Text))


def test_what_cannot_be_drawn_is_refused() -> None:
    for shape in ((0, 3), (4, 0)):
        with pytest.raises(ValueError, match=rf"{re.escape(str(shape))} has an axis of size 0"):
            tn.draw_pattern("n c -> c", shape)
    with pytest.raises(ValueError, match="is kept but is not on the left"):
        tn.draw_pattern("n c -> k", (2, 3))
    with pytest.raises(ValueError, match="which is not divisible by g=4"):
        draw_norms(groups=4)
    with pytest.raises(ValueError, match="expected 4 axes"):
        draw_norms((2, 3))
    with pytest.raises(ValueError, match="'light' or 'dark', not 'sepia'"):
        tn.draw_pattern("n c -> c", (2, 3), theme="sepia")
    with pytest.raises(TypeError):
        tn.draw_pattern("n c -> c", (2.5, 3))  # type: ignore[arg-type]


# Colours.


def shades(start: str, end: str) -> list[str]:
    return [mixed(start, end, amount) for amount in np.linspace(0, 1, 101)]


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert contrast("#ffffff", "#ff0000") == pytest.approx(4.0, abs=0.005)
    assert (mixed("#102030", "#ff0080", 0), mixed("#102030", "#ff0080", 1)) == ("#102030", "#ff0080")
    assert mixed("#000000", "#ff8040", 0.5) == "#804020"


@pytest.mark.parametrize("theme", THEMES)
def test_text_and_lines_stand_out_from_what_lies_beneath(theme: str) -> None:
    look = THEMES[theme]
    assert contrast(look.text, look.background) >= 4.5
    assert contrast(look.line, look.background) >= 3
    for marked, cells in zip(look.marked, look.cell, strict=True):
        assert contrast(look.dot, marked) >= 3
        for fill in (marked, *cells):
            assert contrast(look.line, fill) >= 3
        assert all(contrast(marked, fill) >= 3 for fill in cells)
    for fill in (*shades(*look.positive), *shades(*look.negative)):
        assert max(contrast(look.text, fill), contrast(look.background, fill)) >= 3
    for strong in (look.positive[1], look.negative[1]):
        assert contrast(strong, look.background) >= 3


@pytest.mark.parametrize("theme", THEMES)
def test_a_picture_has_the_colours_of_its_theme_alone(theme: str) -> None:
    source = draw_norms(theme=theme).source
    look = THEMES[theme]
    allowed = {look.background, look.text, look.line, look.dot, *look.marked, *sum(look.cell, ())}
    assert set(re.findall(r"#[0-9a-f]{6}", source)) <= allowed
    assert f'fill="{look.background}"/>' in source


# Pictures.


def of_text(text: str) -> Picture:
    cell = Polygon(((0, 0), (10, 0), (10, 10)), "#000000", text, (("cell", text),))
    return Picture.of([cell, Text((0, 0), text, "#000000")], text, text, "#ffffff")


HOSTILE = {
    '"];evil[label="': '"];evil[label="', "a\nb": "a␊b", "</script>": "</script>", "<b>x</b>": "<b>x</b>",
    "\\nabla": "\\nabla", "$\\frac{$": "$\\frac{$", "&lt;": "&lt;", "]]><!--": "]]><!--", "": "", "a  b": "a  b",
    "\x00\x1b\x7f\t\r": "␀␛␡␉␍", "a\u202eb": "aU+202Eb", "\ud800\ufffe": "U+D800U+FFFE", "' onload='": "' onload='",
    "x" * 10_000: "x" * 79 + "…",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_v16_hostile_text_is_drawn_literally(text: str) -> None:
    """As title, description, tooltip, attribute and text, with no element more than a harmless one makes."""
    root = ElementTree.fromstring(of_text(text).svg())
    want, whole = HOSTILE[text], HOSTILE[text] if len(text) < 80 else text
    assert (root.findtext(f"{SVG}title"), root.findtext(f"{SVG}desc")) == (whole, whole)
    path, drawn = root.find(f"{SVG}path"), root.find(f"{SVG}text")
    assert path is not None
    assert drawn is not None
    assert path.findtext(f"{SVG}title", "") == whole
    assert "".join(drawn.itertext()).removeprefix(whole if len(text) > 80 else "") == want
    tags = Counter(element.tag.removeprefix(SVG) for element in root.iter())
    assert tags - Counter(["title"] * 3) == Counter(["svg", "desc", "rect", "path", "text"])


@given(st.text(max_size=120))
def test_v16_any_text_makes_well_formed_svg(text: str) -> None:
    tags = {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(of_text(text).svg()).iter()}
    assert tags == TAGS


def test_svg_names_itself_and_has_no_ids_and_nothing_that_runs() -> None:
    picture = draw_norms()
    root = ElementTree.fromstring(picture.svg())
    assert root.get("role") == "img"
    assert [root[0].tag, root[1].tag] == [f"{SVG}title", f"{SVG}desc"]
    assert (root[0].text, root[1].text) == (picture.title, picture.description)
    # Without ids several pictures can stand in one page.
    names = {name for element in root.iter() for name in element.attrib}
    assert not [name for name in names if name in ("id", "href", "style") or name.startswith("on")]
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == TAGS


def test_everything_lies_on_the_sheet_within_its_margin() -> None:
    for picture in (draw_norms(), tn.draw_pattern("n c -> c", (9, 2)), tn.draw_pattern("n c h w -> n", (1, 1, 50, 50))):
        box = Box.around(picture.shapes)
        left, top, right, bottom = box.left, box.top, picture.width - box.right, picture.height - box.bottom
        np.testing.assert_allclose([left, top, right, bottom], MARGIN, atol=1)


def test_two_builds_are_the_same_byte_for_byte_also_in_another_process() -> None:
    program = (
        "import sys\nfrom tinygrad_norm.graph import draw_norms\nsys.stdout.buffer.write(draw_norms().source.encode())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode() == draw_norms().source == draw_norms().svg()


def test_notebooks_show_svg() -> None:
    picture = tn.draw_pattern("n c -> c", (2, 3))
    shown, _ = picture._repr_mimebundle_(include=None, exclude=None)
    assert shown["image/svg+xml"] == picture.svg().replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)
    assert shown["text/plain"] == "Picture('n c -> c')"


def test_svg_is_saved_as_it_is_shown(tmp_path: Any) -> None:
    picture = draw_norms()
    path = picture.save(tmp_path / "x.SVG")
    assert path == tmp_path / "x.SVG"
    assert path.read_text(encoding="utf-8") == picture.svg()
    for name in ("x.jpg", "x", "x.svg.gz", ".svg", "x.dot"):
        with pytest.raises(ValueError, match=r"\.svg, \.png or \.pdf") as error:
            picture.save(tmp_path / name)
        assert name in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.SVG"]


@pytest.mark.parametrize("theme", THEMES)
def test_png_has_the_colours_of_the_svg(tmp_path: Any, theme: str) -> None:
    pytest.importorskip("typst")
    image = pytest.importorskip("matplotlib.image")
    picture = tn.draw_pattern("n c -> c", (2, 3), theme=theme)
    path = picture.save(tmp_path / "x.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    pixels = image.imread(str(path))[..., :3]
    assert pixels.shape[:2] == (picture.height * 2, picture.width * 2)
    for shape in picture.shapes:
        if isinstance(shape, Polygon):
            # A quarter of the way in from a corner there is neither a line nor a dot.
            x, y = 0.75 * np.array(shape.points[0]) + 0.25 * np.array(shape.points[2])
            colour = [int(shape.fill[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            np.testing.assert_allclose(pixels[round(2 * y), round(2 * x)], colour, atol=0.01)
        if isinstance(shape, Lines) and shape.width == 4.5:
            for (x, y), _ in shape.segments:
                colour = [int(shape.stroke[i : i + 2], 16) / 255 for i in (1, 3, 5)]
                np.testing.assert_allclose(pixels[round(2 * y), round(2 * x)], colour, atol=0.05)


def test_pdf_and_hostile_text(tmp_path: Any) -> None:
    pytest.importorskip("typst")
    first, second = (draw_norms((2, 2, 1, 2)).save(tmp_path / f"{i}.pdf").read_bytes() for i in range(2))
    assert first.startswith(b"%PDF")
    assert first == second
    assert b"Date" not in first
    for text in ("$\\frac{$", "\\nabla", "<b>x</b>", "a_b^c", '"];evil[label="', '#"} x'):
        assert of_text(text).save(tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_without_typst_the_error_says_what_to_install(tmp_path: Any, monkeypatch: Any, kind: str) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(RenderError, match=r"pip install 'tinygrad_norm\[print\]'.*\.svg") as error:
        draw_norms().save(tmp_path / f"x.{kind}")
    assert f"a {kind.upper()} needs typst" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_drawing_cubes_imports_nothing_heavy() -> None:
    program = (
        "import sys, tinygrad_norm as tn; tn.draw_pattern('n c -> c', (2, 3)).svg()\n"
        "print([n for n in ('typst', 'matplotlib', 'graphviz', 'xml') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
