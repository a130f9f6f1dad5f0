"""What is drawn: named arrays, domains, tied and literal sizes, sizes that vary, and the ways to ask for a check."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_norm as tn
from tinygrad_norm import GradientMismatch, cli
from tinygrad_norm.check import gradient_property, inputs

DOMAINS = {
    "real": lambda x: x.dtype == float,
    "positive": lambda x: (x > 0).all(),
    "mask": lambda x: x.dtype == bool,
    "integers": lambda x: x.dtype == np.int64,
    "labels:n": lambda x: x.dtype == np.int64 and (x >= 0).all() and (x < max(len(x), 1)).all(),
    "labels:10": lambda x: x.dtype == np.int64 and (x >= 0).all() and (x < 10).all(),
    "simplex": lambda x: (x > 0).all() and np.allclose(x.sum(-1), 1) | (x.shape[-1] == 0),
    "unit": lambda x: np.allclose((x * x).sum(-1), 1) | (x.shape[-1] == 0),
    "sorted": lambda x: (np.diff(x, axis=-1) > 0).all(),
    "triangular": lambda x: (np.triu(x, 1) == 0).all() and (np.abs(np.diagonal(x)) > 1e-7).all(),
    "spd": lambda x: np.allclose(x, x.T) and (np.linalg.eigvalsh(x) > 0).all(),
}


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("regime", ["generic", "edges"])
def test_arrays_keep_to_their_domain(domain, regime):
    drawn = inputs("n n", "n n", domains=(domain, domain))

    @given(drawn.generic() if regime == "generic" else drawn.edge_cases())
    def check(arrays):
        for x in arrays:
            assert DOMAINS[domain](x.astype(float) if x.dtype == np.float32 else x)

    check()
    for arrays in (drawn.ample(), drawn.ample(1e3), drawn.ample(1.0, (3, 5, 7))):
        assert all(map(DOMAINS[domain], arrays))


def sizes(drawn, seen):
    """Return all the shapes that a search draws."""
    tn.check_backward(
        lambda *xs: [seen.append(tuple(map(np.shape, xs))), xs[0] * 2][1],
        lambda g, *xs: (2 * g, *(0 * x for x in xs[1:])),
        drawn,
        seed=0,
        wrt=0,
    )
    return seen


def test_sizes_are_tied_and_literal():
    for x, gates, three, one in sizes(inputs("n h", "n 4h", "3", "1 n"), []):
        assert gates == (x[0], 4 * x[1])
        assert (three, one) == ((3,), (1, x[0]))


def test_multiples_and_least_sizes_vary():
    """Of groups of one channel each, group norm is instance norm."""
    generic = [shape for ((_, shape),) in [(s,) for s in sizes(inputs("n c", "c", multiples={"c": 4}), [])]]
    assert {4, 8, 12} == {shape[0] for shape in generic if shape[0]}
    assert {shape[0] for (shape,) in sizes(inputs("n", least={"n": 6}), []) if shape[0]} == {6, 7, 8}
    groups = inputs("n c l", multiples={"c": 4})

    def forward(x, groups=4):
        z = x.reshape(x.shape[0], groups, -1)
        z = (z - z.mean(-1, keepdims=True)) / np.sqrt(
            ((z - z.mean(-1, keepdims=True)) ** 2).mean(-1, keepdims=True) + 1e-3
        )
        return z.reshape(x.shape)

    backward = lambda g, x: tn.vjp(lambda x: tn.instance_norm(x, eps=1e-3), x)[1](g)  # noqa: E731
    with pytest.raises(GradientMismatch):
        tn.check_backward(forward, backward, groups, seed=0, budget="quick")


def test_what_never_varied_is_told():
    drawn = inputs("n 2c", "c 7", "", smallest=3, largest=3)
    assert drawn.unvaried([((3, 4), (2, 7), ()), ((2, 4), (2, 7), ())]) == [("c", 2)]
    assert drawn.unvaried([((3, 4), (2, 7), ()), ((3, 6), (3, 7), ())]) == [("n", 3)]
    assert inputs("3").unvaried([((3,),)]) == []


def test_ample_arrays_have_other_sides_where_asked():
    drawn = inputs("n c", "n 4c", "3", multiples={"n": 2}, least={"c": 6})
    assert [x.shape for x in drawn.ample()] == [(4, 6), (4, 24), (3,)]
    assert [x.shape for x in inputs("n c h").ample(1.0, (3, 5, 7))] == [(3, 5, 7)]


def test_large_arrays_are_of_distinct_values():
    @settings(max_examples=5)
    @given(inputs("n c", least={"n": 10, "c": 9}).generic())
    def check(arrays):
        (x,) = arrays
        assert len(np.unique(x)) == x.size > 64
        assert -4 <= x.min() < -3.5
        assert 3.5 < x.max() <= 4

    check()


def test_dtypes():
    drawn = inputs(x="n c", y="n", domains={"y": "labels:c"}, dtype="float32")
    assert [x.dtype for x in drawn.ample()] == [np.float32, np.int64]
    kinds = set()
    tn.check_backward(lambda x, y: [kinds.add(y.dtype.name), x * 2][1], lambda g, x, y: 2 * g, drawn, seed=0)
    assert kinds == {"int64"}


def test_names_order_the_arrays_and_stand_in_the_report():
    def forward(x, gamma, beta):
        return x * gamma + beta

    def backward(g, x, gamma, beta):
        return g * gamma, (g * x).sum(0), 2 * g.sum(0)

    for drawn in (inputs(x="n c", gamma="c", beta="c"), inputs(beta="c", x="n c", gamma="c")):
        with pytest.raises(GradientMismatch, match="the gradient of beta is wrong"):
            tn.check_backward(forward, backward, drawn, seed=0)
    with pytest.raises(GradientMismatch, match="the gradient of shift is wrong"):
        tn.check_backward(lambda *xs: xs[0] * xs[1] + xs[2], backward, inputs(x="n c", scale="c", shift="c"), seed=0)
    with pytest.raises(ValueError, match="inputs must name the first parameters, x, gamma, not x, beta"):
        tn.check_backward(forward, backward, inputs(x="n c", beta="c"), seed=0)
    with pytest.raises(ValueError, match=r"give one inputs\(\.\.\.\) for all random arrays"):
        tn.check_backward(forward, backward, inputs("n c"), inputs("c"), np.ones(2))


def test_users_strategies_of_structures():
    vectors = st.lists(st.floats(1, 2), min_size=3, max_size=3).map(np.array)
    pairs = st.fixed_dictionaries({"a": vectors, "b": vectors})
    both = lambda g, p: {"a": g * p["b"], "b": g * p["a"]}  # noqa: E731
    assert tn.check_backward(lambda p: p["a"] * p["b"], both, pairs, seed=0, budget="quick").examples >= 45
    with pytest.raises(GradientMismatch, match=r"the gradient of p\['b'\] is wrong"):
        tn.check_backward(
            lambda p: p["a"] * p["b"], lambda g, p: both(g, p) | {"b": 2 * g}, pairs, seed=0, budget="quick"
        )


@pytest.mark.parametrize(
    ("axes", "options", "words"),
    [
        (["n-1"], {}, "an axis must be a name or a size"),
        (["n"], {"multiples": {"c": 2}}, "least and multiples must be positive sizes of n, not c: 2"),
        (["n"], {"domains": ("imaginary",)}, "a domain must be one of real, positive, labels:c or labels:10, mask"),
        (["n"], {"domains": ("labels",)}, "not 'labels'"),
        (["n"], {"domains": ("labels:c",)}, "not 'labels:c'"),
        (["n"], {"domains": ("real", "real")}, "domains must have one entry for each of 1 arrays"),
        (["n"], {"domains": {"x": "real"}}, "domains must use the names of the arrays, which have none"),
        (["n c"], {"domains": ("spd",)}, "'spd' needs rows or square matrices"),
        ([""], {"domains": ("simplex",)}, "'simplex' needs rows or square matrices"),
        (["n"], {"edges": ("none such",)}, "edges must be among constant"),
        (["n"], {"dtype": "int8"}, "dtype must be float16, float32 or float64"),
        (["n"], {"lest": {"n": 3}}, "^lest=.* is not an option of inputs"),
        ([], {"x": "n", "lest": {"n": 3}}, "lest=.* is not an option of inputs\\(\\) nor axes, as in 'n c'"),
        ([], {"x": "n", "domains": {"y": "mask"}}, "domains must use the names of the arrays, x, not"),
    ],
)
def test_bad_arguments_are_told(axes, options, words):
    with pytest.raises(ValueError, match=words):
        inputs(*axes, **options)


# The decorator, the fixture and the command.


def scaled(x, gamma):
    return x * gamma


def scaled_backward(g, x, gamma):
    return g * gamma, (g * x).sum(0)


def test_the_decorator_takes_a_backward_function_and_all_options():
    gradient_property("n c", "c", backward=scaled_backward, budget="quick", rtol=1e-8, strict=True, seed=0)(scaled)()
    wrong = lambda g, x, gamma: (g * gamma, 2 * (g * x).sum(0))  # noqa: E731
    test = gradient_property(gamma="c", x="n c", backward=wrong, least={"n": 3}, edges=("zeros",), seed=0)(scaled)
    with pytest.raises(GradientMismatch, match="the gradient of gamma"):
        test()
    gradient_property("n c", "c", backward=wrong, wrt="x", budget="quick", seed=0)(scaled)()


def test_the_fixture_takes_pairs_and_layers(tmp_path):
    (tmp_path / "conftest.py").write_text("pytest_plugins = ['tinygrad_norm.check.pytest_plugin']\n")
    (tmp_path / "test_it.py").write_text(
        "import numpy as np, tinygrad_norm as tn\n"
        "class Twice:\n"
        "    forward = backward = lambda self, x: 2 * x\n"
        "def test_pair(gradient_check):\n"
        "    gradient_check(np.tanh, lambda g, x: g * (1 - np.tanh(x) ** 2), tn.check.inputs('n c'), rtol=1e-8)\n"
        "def test_layer(gradient_check):\n"
        "    gradient_check(Twice, tn.check.inputs('n c', edges=('zeros',)))\n"
        "def test_loss(gradient_check):\n"
        "    gradient_check(lambda x: ((x * x).sum(), 2 * x), None, tn.check.inputs('n c'))\n"
        "def test_wrong(gradient_check):\n"
        "    gradient_check(lambda x: np.tanh(x), lambda g, x: g * np.tanh(x), np.ones(3))\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "--gradient-budget",
        "quick",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "1 failed, 3 passed" in done.stdout, done.stdout
    assert "the gradient of x is wrong" in done.stdout


MINE = """
import numpy as np

def forward(x, gamma, labels):
    return x * gamma, (x, gamma)

def backward(dout, cache):
    x, gamma = cache
    return dout * gamma, 2 * (dout * x).sum(0)

def root(x):
    return np.sqrt(x)

def right(g, x):
    return g / (2 * np.sqrt(x))

class Layer:
    def __init__(self):
        self.W = np.ones((3, 2))

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout):
        self.dW = 2 * self.x.T @ dout
        return dout @ self.W.T
"""


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (
            "forward,backward --axes x=nXc --axes gamma=c --axes labels=n --domains labels=labels:c",
            1,
            "gradient of gamma",
        ),
        (
            "forward,backward --axes x=nXc --axes gamma=c --axes labels=n --domains labels=mask --wrt x",
            0,
            "Judged by",
        ),
        ("forward,backward --axes nXc --axes c --axes n --wrt y", 1, "wrt must name inputs by position or name"),
        ("root,right --axes x=n --domains x=positive --least n=3 --multiples n=3 --rtol 1e-9 --strict", 0, "PASSED"),
        ("Layer --axes nX3 --without empty --without ties", 1, "gradient of W"),
        ("Layer --shape 4,3 --wrt x", 0, "PASSED"),
    ],
)
def test_the_command_takes_all_options(own_module, capsys, arguments, status, words):
    own_module("mine_with_options", MINE)
    target, *options = arguments.split()
    command = ["check", f"mine_with_options:{target}", *(option.replace("X", " ") for option in options)]
    assert cli.main([*command, "--budget", "quick"]) == status
    assert words in "".join(capsys.readouterr())


def test_options_of_the_command_that_are_wrong_are_told(capsys):
    for option, words in (
        ("--least n", "expected NAME=VALUE such as c=3, not 'n'"),
        ("--without none", "invalid choice: 'none'"),
    ):
        with pytest.raises(SystemExit):
            cli.main(["check", "module:f", "--axes", "n", *option.split()])
        assert words in capsys.readouterr().err
