"""`tinygrad-norm draw`: norms by name, functions of one's own, and one line where something is wrong."""

import subprocess
import sys

import pytest
from dot_reader import read
from test_graph import HOSTILE, lines, svg_texts

from tinygrad_norm import cli
from tinygrad_norm.graph import RenderError

MINE = """
import numpy as np, tinygrad_norm as tn
def layer(x, w): return np.tanh(x @ w)
def two(a, b=None): return a * 2, a * 3
def many(first, *rest): return sum(rest, first)
def broken(x): return x / 0 if x.shape else 1 / 0
def stops(x): raise ValueError("line 1\\nline 2")
def number(x): return 3
def unrecorded(x): return x.detach()
class Inside:
    @staticmethod
    def square(x): return x * x
"""


@pytest.fixture
def here(own_module):
    return own_module("mine", MINE)


def drawn(*arguments):
    """The DOT of a picture that the command makes."""
    assert cli.main(["draw", *arguments, "-o", "out.dot"]) == 0
    with open("out.dot", encoding="utf-8") as file:
        return read(file.read())


def names(dot):
    return {lines(dot, node)[0] for node in dot.nodes}


def test_the_command_of_the_documents(here):
    command = "-m tinygrad_norm draw batch_norm --shape 8,3 --backward -o bn.svg"
    done = subprocess.run(
        [sys.executable, *command.split()], capture_output=True, text=True, check=False, encoding="utf-8"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "bn.svg: Drawing(38 boxes, 48 edges)\n"
    texts = [line for node in svg_texts((here / "bn.svg").read_text(encoding="utf-8"), "node") for line in node[0]]
    assert {"x", "γ", "β", "μ", "x−μ", "σ²", "x̂", "y", "dL/dx", "dL/dγ", "dL/dβ", "mean over n"} <= set(texts)


@pytest.mark.parametrize(
    ("name", "inputs", "over"),
    [
        ("batch_norm", {"x", "γ", "β"}, "mean over n"), ("layer_norm", {"x", "γ", "β"}, "mean over c"),
        ("instance_norm", {"x", "γ", "β"}, "mean over l"), ("group_norm", {"x", "γ", "β"}, "mean over c, l"),
        ("rms_norm", {"x", "γ"}, "mean over c"), ("local_response_norm", {"x"}, "mean over axis 3"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("here")
def test_every_norm_is_drawn_with_its_parameters(name, inputs, over):
    dot = drawn(name)
    assert inputs == {lines(dot, node)[0] for node, look in dot.nodes.items() if look.get("style") == "filled,rounded"}
    assert over in [line for node in dot.nodes for line in lines(dot, node)]
    assert {f"dL/d{x}" for x in inputs} <= names(drawn(name, "--backward"))


@pytest.mark.usefixtures("here")
def test_shapes_and_groups_are_those_that_are_given():
    dot = drawn("group_norm", "--shape", "2,6,4,4", "--groups", "3")
    assert ["x", "2×6×4×4"] in [lines(dot, node) for node in dot.nodes]
    assert ["μ", "mean over c, h, w", "2×3×1×1×1"] in [lines(dot, node) for node in dot.nodes]
    assert ["γ", "6"] in [lines(dot, node) for node in dot.nodes]
    weights = drawn("layer_norm", "--shape", "2,3,4")
    assert ["γ", "3×4"] in [lines(weights, node) for node in weights.nodes]


@pytest.mark.usefixtures("here")
def test_options_reach_the_drawing(capsys):
    assert len(drawn("batch_norm", "--detail", "slide").nodes) == 12
    assert "min " in "".join(lines(drawn("batch_norm", "--values"), "n0"))
    assert lines(drawn("batch_norm", "--collapse", "0"), "n1") == ["batch_norm", "13 operations", "8×3 → 8×3"]
    assert drawn("batch_norm", "--collapse", "batch_norm").nodes == drawn("batch_norm", "--repeat").nodes
    assert drawn("batch_norm", "--theme", "dark").nodes["n0"]["fillcolor"] == "#3a3110"
    named = drawn("batch_norm", "--axes", "sample c")
    assert "mean over sample" in [line for node in named.nodes for line in lines(named, node)]
    first, again, other = (drawn("batch_norm", "--values", "--seed", seed).nodes for seed in ("1", "1", "2"))
    assert first == again != other
    capsys.readouterr()
    assert cli.main(["draw", "batch_norm", "--max-nodes", "10", "-o", "x.svg"]) == 0
    assert capsys.readouterr().out == "x.svg: Drawing(2 boxes, 1 edges, collapsed to depth 0: 13 operations)\n"
    assert cli.main(["draw", "batch_norm", "--backward", "-o", "net.html"]) == 0
    with open("net.html", encoding="utf-8") as file:
        assert file.read().count("<title>net</title>") == 1


@pytest.mark.usefixtures("here")
def test_functions_of_ones_own():
    dot = drawn("mine:layer", "--shape", "4,3", "--shape", "3,2", "--backward")
    assert {"x", "w", "dL/dx", "dL/dw"} <= names(dot)
    assert len(drawn("mine:two", "--shape", "2").edges) == 2
    assert {"first", "rest0", "rest1"} <= names(drawn("mine:many", *["--shape", "2"] * 3))
    assert len(drawn("mine:Inside.square", "--shape", "2").edges) == 2
    assert len(drawn("mine:unrecorded", "--shape", "2").nodes) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nix"], "not 'nix'"), (["nix:f"], "ModuleNotFoundError: No module named 'nix'"), ([":"], "function, not ':'"),
        (["mine:nix", "--shape", "2"], "AttributeError: module 'mine' has no attribute 'nix'"),
        (["mine:layer", "--shape", "4,3"], "mine:layer takes x, w: pass --shape for each"),
        (["mine:layer", "--shape", "4,3", "--shape", "2"], "ValueError: matmul: shapes (4, 3) and (2,)"),
        (["mine:layer"], "passed 0 times"), (["mine:two", *["--shape", "2"] * 3], "takes a, b"),
        (["mine:stops", "--shape", "2"], "ValueError: line 1 line 2"),
        (["mine:number", "--shape", "2"], "got int"),
        (["mine:unrecorded", "--shape", "2", "--backward"], "requires_grad=True"),
        (["mine.py:layer"], "ModuleNotFound"),
        (["batch_norm", "--shape", "8"], "got an input of shape (8,)"),
        (["batch_norm", *["--shape", "8,3"] * 2], "--shape once"),
        (["group_norm", "--groups", "4"], "divides the 6 channels, not 4"),
        (["batch_norm", "--collapse", "x"], "'batch_norm'"),
        (["batch_norm", "--shape", "8,3", "--axes", "n c", "--axes", "a b"], "both name 2 axes"),
        (["batch_norm", "--max-nodes", "1"], "more than max_nodes=1"),
        (["batch_norm", "--shape", ",".join(["9" * 11] * 2)], "Error: "),
        (["batch_norm", "-o", "x.jpg"], ".dot, .svg, .png, .pdf or .html, not 'x.jpg'"),
        (["batch_norm", "-o", "no/x.svg"], "no/x.svg"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_and_status_1(here, capsys, arguments, words):
    assert cli.main(["draw", "-o", "out.svg", *arguments]) == 1
    out, error = capsys.readouterr()
    assert (out, len(error.splitlines())) == ("", 1)
    assert error.startswith("tinygrad-norm: ")
    assert words in error
    assert not (here / "out.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: TARGET, -o/--out"), (["batch_norm"], "required: -o/--out"),
        (["batch_norm", "-o", "x.svg", "--shape", "8;3"], "expected a shape such as 8,3, not '8;3'"),
        (["batch_norm", "-o", "x.svg", "--shape", "-8,3"], "expected one argument"),
        (["batch_norm", "-o", "x.svg", "--theme", "pink"], "invalid choice: 'pink'"),
        (["batch_norm", "-o", "x.svg", "--seed", "-1"], "--seed must not be negative"),
    ],
)  # fmt: skip
def test_bad_arguments_are_a_usage_error(here, capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["draw", *arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["mine.py"]


@pytest.mark.usefixtures("here")
def test_where_no_renderer_works_the_line_says_so(monkeypatch, capsys):
    def fails(source, kind="svg"):
        raise RenderError("install Graphviz")

    monkeypatch.setattr("tinygrad_norm.graph.drawing.render", fails)
    assert cli.main(["draw", "batch_norm", "-o", "x.svg"]) == 1
    assert capsys.readouterr().err == "tinygrad-norm: install Graphviz\n"


def test_a_hostile_parameter_name_is_drawn_literally(here):
    """Whatever a function calls its inputs."""
    for name in HOSTILE:
        (here / "mine.py").write_text(f"def f(x):\n  x.name = {name!r}\n  return x * 2", encoding="utf-8")
        sys.modules.pop("mine", None)
        assert names(drawn("mine:f", "--shape", "2")) == {HOSTILE[name], "× 2"}
