"""Exercises: every right answer is judged right, every wrong one wrong, with words that name what is wrong."""

import ast
import re
import subprocess
import sys

import numpy as np
import pytest
from exercise_words import SAID
from test_core_is_enough import ROOT, code_lines

import tinygrad_norm as tn
from tinygrad_norm.exercises import exercises, judge
from tinygrad_norm.exercises.answers import NAMES
from tinygrad_norm.exercises.exercise import exercise
from tinygrad_norm.exercises.mistakes import MISTAKES

WRONG = [
    pytest.param(one.name, function, mistake, id=f"{one.name}-{mistake.__name__}")
    for one in exercises()
    for function, mistakes in one.module.WRONG.items()
    for mistake in mistakes
]


def answer(name, **functions):
    """The right answer, with some functions replaced."""
    return {**vars(exercise(name).module), **functions}


def said(judged):
    return " ".join(judged.text().split())


def file_with(tmp_path, name, source):
    path = tmp_path / f"{name}.py"
    path.write_text(source, encoding="utf-8")
    return path


# Right answers, stubs and wrong answers.


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_is_right_as_a_file(name, tmp_path):
    judged = judge(file_with(tmp_path, name, exercise(name).solution()))
    assert judged.right, judged.text()
    assert said(judged).startswith(f"Exercise {name}: right. ")
    for function in exercise(name).functions:
        assert f"{function}(" in judged.text()


@pytest.mark.parametrize("name", NAMES)
def test_the_stub_runs_and_is_not_filled_in(name, tmp_path):
    path = file_with(tmp_path, name, exercise(name).stub())
    subprocess.run([sys.executable, str(path)], check=True)
    judged = judge(path)
    assert not judged.right
    assert judged.findings[0].wrong == ("it is not filled in yet",)
    assert len(judged.findings) == len(exercise(name).functions)


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_gives_the_statement_and_nothing_of_the_answer(name):
    stub, solution = exercise(name).stub("mine.py"), exercise(name).solution()
    for text in (stub, solution):
        assert ast.get_docstring(ast.parse(text)) == exercise(name).statement
        assert f'EXERCISE = "{name}"' in text
        assert not re.search("WRONG|HINTS|The judge", text)
    assert stub.count("raise NotImplementedError") == len(exercise(name).functions)
    assert "exercise check mine.py" in stub
    for node in ast.parse(stub).body:
        if isinstance(node, ast.FunctionDef) and node.name in exercise(name).functions:
            assert ast.get_docstring(node).startswith("Return ")
            assert len(node.body) == 2


def test_every_mistake_has_words_of_its_own():
    """The table of this file names each, so that none is judged without a look at what is said of it."""
    assert {name: [*mistakes] for name, mistakes in SAID.items()} == {
        one.name: [mistake.__name__ for mistakes in one.module.WRONG.values() for mistake in mistakes]
        for one in exercises()
    }
    assert min(len(mistakes) for mistakes in SAID.values()) >= 3


@pytest.mark.parametrize(("name", "function", "mistake"), WRONG)
def test_a_wrong_answer_is_wrong_and_it_is_said_what_is(name, function, mistake):
    judged = judge(answer(name, **{function: mistake}))
    assert not judged.right
    finding = judged.findings[exercise(name).functions.index(function)]
    which, *words = SAID[name][mistake.__name__]
    labels = [f"the gradient of {n}" if function == "backward" else n for n in which.split()]
    others = [f"the gradient of {n}" if function == "backward" else n for n in exercise(name).outputs(function)]
    if name != "own_norm":
        assert [sentence.split(":")[0].split(" has")[0] for sentence in finding.wrong] == labels
        made = MISTAKES[exercise(name).module.WRONG[function][mistake]]
        assert finding.mistakes == {" ".join(mistake.__doc__.split()): made}
        assert f'This is a common mistake, "{made.title}". ' in said(judged)
        assert f" More: {made.page} " in f"{said(judged)} "
    assert finding.right == tuple(label for label in others if label not in labels)
    for word in words:
        assert word in said(judged)
    if function == "backward" and "shape" not in finding.wrong[0].split(": ")[0]:
        assert any(line.startswith("g = ") for line in finding.code)


def test_a_wrong_answer_to_one_function_leaves_the_others_right():
    judged = judge(answer("normalize", backward=exercise("normalize").module.constant_statistics))
    assert [bool(finding.wrong) for finding in judged.findings] == [False, True]


def test_the_code_of_a_message_shows_the_fault():
    """What is pasted gives exactly the numbers of the sentence."""
    mistake = exercise("batch_norm").module.constant_statistics
    finding = judge(answer("batch_norm", backward=mistake)).findings[0]
    values = {}
    exec("\n".join(finding.code), {"np": np}, values)
    (at, got, want) = re.search(r"entry \[(.*)\] is (\S+); it should be (\S+)", finding.wrong[0]).groups()
    index = tuple(map(int, at.split(",")))
    arguments = [values[n] for n in ("g", "x", "gamma", "beta")]
    assert mistake(*arguments)[0][index] == pytest.approx(float(got), rel=1e-4)
    assert exercise("batch_norm").module.backward(*arguments)[0][index] == pytest.approx(float(want), rel=1e-4)


# Mistakes in other words, which are not in the exercises.


def test_a_mistake_is_recognized_whoever_writes_it():
    def backward(g, x, gamma, beta):
        n = len(x)
        mu, v = x.mean(axis=0), ((x - x.mean(axis=0)) ** 2).mean(axis=0)
        ivar = 1 / np.sqrt(v + 1e-3)
        dxhat = g  # g * gamma
        divar = (dxhat * (x - mu)).sum(axis=0)
        dvar = -0.5 * divar * (v + 1e-3) ** -1.5
        dxmu = dxhat * ivar + 2 * (x - mu) * dvar / n
        return dxmu - dxmu.sum(axis=0) / n, (g * (x - mu) * ivar).sum(axis=0), g.sum(axis=0)

    (finding,) = judge({"backward": backward}, "batch_norm").findings
    assert finding.right == ("the gradient of gamma", "the gradient of beta")
    assert finding.mistakes == {"gamma is missing: the gradient of x̂ is g * gamma, not g.": MISTAKES["gamma-missing"]}
    assert "gamma is missing" in finding.looks_like


def test_two_mistakes_at_once_are_both_named():
    def backward(g, x, w):
        return g * x, (g * x).mean(axis=0)

    (finding,) = judge({"backward": backward}, "multiply").findings
    assert finding.right == ()
    assert [words.split(":")[0] for words in finding.mistakes] == [
        "The factors are swapped",
        "This is the mean over the batch, but it must be the sum",
    ]


def test_a_mistake_of_nobodys_has_the_checkers_words_alone():
    (finding,) = judge({"backward": lambda g, x: 3 * (g - g.mean(axis=0))}, "centre").findings
    assert finding.mistakes == {}
    assert "3 times the right gradient" in finding.looks_like


@pytest.mark.parametrize("name", [name for name in NAMES if name != "own_norm"])
def test_zeros_and_the_cotangent_are_never_right(name):
    right = exercise(name).module

    def zeros_for(function):
        def zeros(*arguments):
            returned = getattr(right, function)(*arguments)
            return tuple(map(np.zeros_like, returned)) if isinstance(returned, tuple) else np.zeros_like(returned)

        return zeros

    judged = judge(answer(name, **{function: zeros_for(function) for function in exercise(name).functions}))
    assert all(finding.wrong for finding in judged.findings)


def test_a_right_answer_may_be_written_otherwise():
    def backward(g, x, gamma, beta):
        n = len(x)
        centred = x - x.sum(axis=0) / n
        r = (np.sum(centred**2, axis=0) / n + 1e-3) ** -0.5
        dgamma, dbeta = np.einsum("nc,nc,c->c", g, centred, r), g.sum(axis=0)
        return [gamma * r / n * (n * g - dbeta - centred * r * dgamma), dgamma, dbeta]

    assert judge({"backward": backward}, "batch_norm").right


def test_running_statistics_are_pytorchs():
    torch = pytest.importorskip("torch")
    layer, x = torch.nn.BatchNorm1d(3).double(), np.random.default_rng(0).normal(size=(4, 3))
    before = [layer.running_mean.numpy().copy(), layer.running_var.numpy().copy()]
    layer(torch.tensor(x))
    for got, want in zip(
        exercise("running_statistics").module.update(x, *before), (layer.running_mean, layer.running_var), strict=True
    ):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-12)


# A norm of one's own.

EPS = 1e-3


def length(x):
    return x / np.sqrt((x * x).sum(axis=1, keepdims=True) + EPS)


def length_backward(g, x):
    s = np.sqrt((x * x).sum(axis=1, keepdims=True) + EPS)
    return (g - x * (g * x).sum(axis=1, keepdims=True) / s**2) / s


def largest(x):
    return x / (np.abs(x).max(axis=1, keepdims=True) + EPS)


def largest_backward(g, x):
    rows, s = np.arange(len(x)), np.abs(x).max(axis=1) + EPS
    d, k = g / s[:, None], np.abs(x).argmax(axis=1)
    d[rows, k] -= (g * x).sum(axis=1) / s**2 * np.sign(x[rows, k])
    return d


def deviation(x):
    return (x - x.mean(axis=0)) / (np.abs(x - x.mean(axis=0)).mean(axis=0) + EPS)


def deviation_backward(g, x):
    c = x - x.mean(axis=0)
    s = np.abs(c).mean(axis=0) + EPS
    d = g / s - (g * c).sum(axis=0) / s**2 * np.sign(c) / len(x)
    return d - d.mean(axis=0)


OWN = {"length": (length, length_backward), "largest": (largest, largest_backward),
       "deviation": (deviation, deviation_backward)}  # fmt: skip


@pytest.mark.parametrize("one", OWN)
def test_norms_of_ones_own_are_right_with_their_own_gradients_alone(one):
    for other, (_, backward) in OWN.items():
        judged = judge({"forward": OWN[one][0], "backward": backward}, "own_norm")
        assert judged.right == (one == other), judged.text()


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda x: 0 * x + 1, "the same everywhere"), (lambda x: x / x.sum(axis=1), "raises ValueError"),
        (lambda x: x.mean(axis=1), "shape (5,)"), (lambda x: (x - x.mean(0)) / np.sqrt(x.var(0)), "batch norm"),
        (lambda x: x / np.sqrt((x * x).mean(1, keepdims=True)), "RMS norm"),
        (lambda x: (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True), "this is layer norm, which exists"),
        (lambda x: x / 0, "not finite"),
    ],
)  # fmt: skip
def test_what_is_no_norm_of_ones_own(forward, words):
    judged = judge(answer("own_norm", forward=forward))
    assert words in judged.findings[0].wrong[0]
    assert "which must be right first" in judged.findings[1].wrong[0]


def test_an_error_of_ones_own_forward_is_told_while_the_gradient_is_judged():
    calls = []

    def forward(x):
        calls.append(x)
        if len(calls) > 60:
            raise KeyError("tired")
        return length(x)

    judged = judge({"forward": forward, "backward": length_backward}, "own_norm")
    assert judged.findings[0].wrong == ()
    assert "forward(x): Wrong: it raises KeyError: 'tired' (line " in said(judged)


# Recording is refused.


def by_grad(g, x):
    leaf = tn.tensor(x, requires_grad=True)
    return tn.grad(leaf - leaf.mean(axis=0), leaf, g).data


def by_vjp(g, x):
    return tn.vjp(lambda x: x - x.mean(axis=0), tn.Tensor(x, requires_grad=True))[1](g).data


def by_module(g, x):
    leaf = tn.tensor(x, requires_grad=True)
    tn.nn.BatchNorm1d(x.shape[1], dtype=x.dtype)(leaf).backward(g)
    return leaf.grad.data


def by_norm(g, x):
    return g - 0 * tn.batch_norm(x) - g.mean(axis=0)


def by_jacobian(g, x):
    return np.tensordot(g, tn.jacobian(lambda x: x - x.mean(axis=0), x).data, 2)


@pytest.mark.parametrize("backward", [by_grad, by_vjp, by_module, by_norm, by_jacobian])
def test_recording_is_refused_and_the_message_says_so(backward):
    judged = judge({"backward": backward}, "centre")
    assert not judged.right
    assert "Derive the gradient by hand, and compute with NumPy only" in said(judged)
    # Elsewhere everything is recorded as before, and these answers would have been right.
    x, g = np.random.default_rng(0).normal(size=(2, 4, 3))
    if backward is not by_module:
        np.testing.assert_allclose(backward(g, x), g - g.mean(axis=0))
    assert tn.is_recording()


def test_the_librarys_norms_are_refused_where_nothing_is_recorded():
    judged = judge(answer("normalize", forward=lambda x: tn.batch_norm(x, eps=EPS)))
    assert "which the exercises refuse" in said(judged)
    assert [bool(finding.wrong) for finding in judged.findings] == [True, False]


# What holds for all of them.


def test_statements_say_shapes_and_what_is_not_allowed():
    for one in exercises():
        assert "shape" in one.statement
        assert "Use NumPy only" in one.statement
        assert max(map(len, one.statement.splitlines())) <= 120
        assert all(f"{function}(" in one.statement for function in one.functions)


def test_every_input_varies_in_the_judging():
    """Axes of one size would hide what depends on it."""
    for one in exercises():
        shapes = [[x.shape for x in point] for point in one.points()]
        for axis in {axis for pattern in one.module.INPUTS.values() for axis in pattern.split()}:
            sizes = {
                shape[pattern.split().index(axis)]
                for point in shapes
                for pattern, shape in zip(one.module.INPUTS.values(), point, strict=True)
                if axis in pattern.split()
            }
            assert len(sizes) > 1, (one.name, axis)


def test_the_room_is_small():
    """Without the exercises and the list of mistakes, which are what the room is for."""
    files = (ROOT / "exercises").glob("*.py")
    assert sum(code_lines(path.read_text(encoding="utf-8")) for path in files) <= 600
