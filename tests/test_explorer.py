"""The explorer's recordings, before any browser: edges, routes, what shares a statistic, formulas."""

import json
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import cli
from tinygrad_norm.engine.primitive import PRIMITIVES
from tinygrad_norm.graph import formulas
from tinygrad_norm.graph.explorer.insights import routes, sharing, statistics_of
from tinygrad_norm.graph.explorer.recording import Recording
from tinygrad_norm.graph.explorer.scenes import EPS, example, norms

NAMES = list(norms())
SHAPES = {
    "batch_norm": (4, 3),
    "layer_norm": (4, 3),
    "instance_norm": (2, 2, 2, 2),
    "group_norm": (2, 4, 2, 2),
    "rms_norm": (4, 3),
}
every_norm = pytest.mark.parametrize("name", NAMES)


def recording(name, shape=None):
    norm = norms()[name]
    return Recording(norm.call, example(norm, shape or SHAPES[name]), axes=("n c", "n c h w", "n g c h w"))


def scene_data(page):
    """The JSON of a page, read as a browser reads it."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page.html, re.S)[1])


# Recordings.


@every_norm
def test_contributions_add_up_to_the_engines_gradients_in_order(name):
    """Each edge leaves only after all have arrived at its target, and sums are the engine's to the last bit."""
    found = recording(name)
    total, left = {found.y: found.cotangent}, set()
    for link in (link for link in found.links if link.before is not None):
        assert link.source not in left
        left.add(link.target)
        assert_array_equal(total[link.target], found.gradients[link.target])
        total[link.source] = link.after if link.source not in total else total[link.source] + link.after
        assert link.after.shape == link.source.shape
    for t, gradient in found.gradients.items():
        assert_array_equal(total[t], gradient)
    leaves = list(found.leaves.values())
    y, pullback = tn.vjp(norms()[name].call, *(leaf.data for leaf in leaves))
    assert_array_equal(found.y.data, y)
    for leaf, gradient in zip(leaves, pullback(found.cotangent), strict=True):
        assert_array_equal(found.gradients[leaf], gradient)


def test_broadcasts_are_folded_into_edges_and_their_sums_are_said():
    found = recording("batch_norm")
    words = {found.called(link.source).text: found.arriving(link) for link in found.links if link.chain}
    assert words["γ"] == "summed over n, along which γ was repeated"
    assert words["μ"] == "summed over n, along which μ was repeated"
    for link in found.links:
        assert (link.before.shape != link.after.shape) == bool(found.arriving(link))
        if link.chain:
            assert_allclose(link.before.sum(axis=0).reshape(link.after.shape), link.after, rtol=1e-13)
    grouped = recording("group_norm")
    (gamma,) = (link for link in grouped.links if link.source.name == "γ")
    assert grouped.arriving(gamma) == "summed over n, h, w, along which γ was repeated; reshaped back"


def test_x_and_its_deviations_get_two_contributions_each():
    found = recording("batch_norm")
    for name, others in (("x", {"x−μ", "μ"}), ("x−μ", {"x̂", "(x−μ)²"})):
        arrivals = [found.called(link.target).text for link in found.links if link.source.name == name]
        assert set(arrivals) == others
        assert len(arrivals) == 2


def test_a_function_that_uses_a_broadcast_twice_keeps_it():
    """Only bookkeeping with one user is folded: a broadcast that two operations use is an array of its own."""

    def twice(x):
        wide = tn.ops.broadcast_to(x, (3, 2))
        return wide * wide

    found = Recording(twice, {"x": np.array([1.0, 2.0])})
    assert [t.shape for t in found.tensors] == [(2,), (3, 2), (3, 2)]
    assert_allclose(found.gradients[found.leaves["x"]], (found.cotangent * 2 * np.array([1.0, 2.0])).sum(0))


def test_errors():
    with pytest.raises(ValueError, match="at least one input"):
        tn.explore(np.tanh)
    with pytest.raises(ValueError, match="computes a Tensor"):
        tn.explore(lambda x: 3.0, np.ones(2))
    with pytest.raises(ValueError, match=r"cotangent has shape \(2,\)"):
        Recording(np.tanh, {"x": np.ones(3)}, np.ones(2))
    with pytest.raises(ValueError, match=r"saved as \.html"):
        tn.explore(np.tanh, np.ones(2)).save("x.svg")


@pytest.mark.parametrize(
    ("fn", "inputs", "words"),
    [
        (lambda x: x, [np.ones(2)], "returned x itself"),
        (lambda x: (x * 2, x), [np.ones(2)], r"a tuple of 2; choose one of them, as in lambda x: f\(x\)\[0\]"),
        (lambda x: x.data * 2, [np.ones(2)], "it returned ndarray"),
        (lambda x: (x * 2).detach(), [np.ones(2)], "was not recorded"),
        (np.tanh, [np.ones((0, 3))], r"non-empty inputs: x\d? has shape \(0, 3\)"),
        (lambda x: x[:0], [np.ones(2)], "an empty array"),
        (tn.batch_norm, [np.ones((2, 2))] * 4, "takes arrays: x, or x, weight, bias; got an array of shape"),
        (tn.batch_norm, [np.ones((2, 2)), None], r"got .*, None\. .*lambda x: tn\.batch_norm"),
        (tn.layer_norm, [np.ones((4, 3)), 3], r"got .*, 3\. For other arguments, .*lambda x: tn\.layer_norm"),
        (tn.group_norm, [np.ones((4, 4, 2)), 2], r"lambda x: tn\.group_norm"),
    ],
)  # fmt: skip
def test_explore_says_what_is_wrong(fn, inputs, words):
    with pytest.raises(ValueError, match=words):
        tn.explore(fn, *inputs)


def test_half_a_surrogate_pair_is_written_out(tmp_path):
    page = tn.explore(np.tanh, tn.tensor([1.0], name="a\ud800b"))
    assert "aU+D800b" in page.save(tmp_path / "x.html").read_text(encoding="utf-8")


def test_the_command_names_what_it_explores(capsys, tmp_path):
    assert cli.main(["explore", "local_response_norm", "-o", str(tmp_path / "x.html")]) == 1
    assert f"one of {', '.join(NAMES)}, norms, or module:function" in capsys.readouterr().err


W = np.array([[1.0, 0.5, -2.0, 0.3], [0.2, -1.0, 0.7, 1.1], [-0.4, 0.9, 0.1, -0.6]])


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: tn.batch_norm(x @ W),  # of another array, wider than x
        lambda x: tn.batch_norm(x @ W @ W.T),
        lambda x: tn.batch_norm(2 * x),
        lambda x: tn.batch_norm(x) + x,  # not all of what y depends on
        lambda x: tn.batch_norm(x) ** 2 + tn.batch_norm(x),
        lambda x: tn.rms_norm(2 * x, 3),
        lambda x: tn.rms_norm(x, 3) + x,
        lambda x: tn.named("x̂", tn.named("x−μ", x - tn.named("μ", np.mean(x, 1, keepdims=True)))
                           / tn.named("σ²", np.mean(np.abs(x)))),
    ],
)  # fmt: skip
def test_the_closed_form_is_claimed_of_a_norm_of_x_alone(fn):
    found = Recording(fn, {"x": np.arange(12.0).reshape(4, 3) ** 2})
    x = found.leaves["x"]
    assert statistics_of(found, x) is None
    assert all(route.term is None for route in routes(found, x))
    assert "norm" not in scene_data(tn.explore(fn, x))["stages"][0]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: tn.batch_norm(x, eps=0.5), lambda x: np.tanh(tn.layer_norm(x, 3, eps=0.5) * 2),
        lambda x: tn.group_norm(x.reshape(4, 3, 1), 1, eps=0.5).sum(1),
    ],
)  # fmt: skip
def test_the_closed_form_has_the_graphs_own_eps(fn):
    found = Recording(fn, {"x": np.random.default_rng(3).normal(size=(4, 3))})
    x = found.leaves["x"]
    assert statistics_of(found, x).eps == 0.5
    assert sorted(route.term for route in routes(found, x)) == [0, 1, 2, 3]


@every_norm
def test_routes_are_the_terms_of_the_closed_form(name):
    found = recording(name)
    by_term = {route.term: route.stations for route in routes(found, found.leaves["x"])}
    if name == "rms_norm":
        assert by_term == {0: ("y", "x̂", "x"), 2: ("y", "x̂", "mean x²", "x")}
        return
    assert by_term == {
        0: ("y", "x̂", "x−μ", "x"),
        1: ("y", "x̂", "x−μ", "μ", "x"),
        2: ("y", "x̂", "σ²", "x−μ", "x"),
        3: ("y", "x̂", "σ²", "x−μ", "μ", "x"),
    }
    assert statistics_of(found, found.leaves["x"]).eps == EPS


@every_norm
def test_cells_that_share_a_statistic_are_those_that_move_each_other(name):
    """By moving each cell of x and looking at y: nothing of how it was recorded."""
    norm, (x, *others) = norms()[name], example(norms()[name], SHAPES[name]).values()
    found = recording(name)
    ids = sharing(found, found.leaves["x"]).ids.ravel()
    for j, place in enumerate(np.ndindex(*x.shape)):
        moved = x.copy()
        moved[place] += 0.37
        changed = np.abs(norm.call(moved, *others) - norm.call(x, *others)).ravel() > 1e-9
        assert_array_equal(changed, ids == ids[j])


@pytest.mark.parametrize(
    ("fn", "found"),
    [
        (lambda x: x / np.abs(x).max(axis=1, keepdims=True), ([0, 0, 0, 1, 1, 1], "axis 1", "max")),
        (lambda x: x - x.mean(), ([0] * 6, "axes 0, 1", "mean")),
        (lambda x: (x.reshape(3, 2) - x.reshape(3, 2).sum(0)) * 2, ([0, 1, 0, 1, 0, 1], "axis 0", "sum")),
        (lambda x: x.T - x.T.mean(0), None),  # moved about: it is not said by places
        (np.tanh, None),
        (lambda x: (x @ np.ones((3, 3))).mean(0) * x, None),
    ],
)
def test_what_is_shared_in_a_function_of_ones_own(fn, found):
    recorded = Recording(fn, {"x": np.array([[1.0, 2.0, 4.0], [0.5, -1.0, 3.0]])})
    shares = sharing(recorded, recorded.leaves["x"])
    assert (shares and (shares.ids.ravel().tolist(), shares.over, shares.kind)) == found


def test_an_input_that_is_not_used_is_shown_with_a_gradient_of_zero():
    data = scene_data(tn.explore(lambda x, z: z * 2, np.ones(2), np.ones(2)))
    stage, program = data["stages"][0], data["programs"][0]
    box = stage["boxes"][stage["x"]]
    assert box["name"] == "x"
    assert program["vertices"][box["g"]]["value"] == [0, 0]
    assert stage["routes"] == []


def test_graphs_with_more_paths_than_can_be_followed_are_shown_and_too_large_ones_refused():
    def doubled(times):
        def fn(x):
            for _ in range(times):
                x = x + x
            return x

        return fn

    found = Recording(doubled(300), {"x": np.ones(1)})
    assert found.paths(found.leaves["x"]) == []
    assert len(found.called(found.tensors[100]).text) <= formulas.LONGEST
    four = Recording(doubled(4), {"x": np.ones(1)})
    assert len(four.paths(four.leaves["x"])) == 16
    with pytest.raises(ValueError, match=r"501 arrays.* at most 400: explore a smaller part"):
        tn.explore(doubled(500), np.ones(1))


def test_two_arrays_are_not_both_called_y():
    def model(x):
        return np.tanh(tn.batch_norm(x, weight=np.ones(2))) * 2

    found = Recording(model, {"x": np.array([[1.0, 2.0], [0.0, 5.0]])})
    assert [t.name for t in found.tensors if t.name in ("y", "output")] == ["y", "output"]
    assert Recording(np.tanh, {"x": np.ones(2)}).y.name == "y"
    assert Recording(lambda y: y * 2, {"y": np.ones(2)}).y.name == "output"


# Formulas.


def test_formulas_of_rules_say_what_the_rules_compute():
    """Every formula that is an expression is evaluated, by Python, and is the rule's own result."""
    rng = np.random.default_rng(0)
    checked = set()
    for name, primitive in PRIMITIVES.items():
        for operand, formula in enumerate(primitive.formulas):
            values = {letter: rng.uniform(0.5, 1.5, (2, 2)) for letter in primitive.operands}
            try:
                code = compile(formula, name, "eval")
                with np.errstate(all="ignore"):  # 1.5 is outside of arcsin's domain, and NaN on both sides
                    y = primitive.forward(*values.values())
            except (SyntaxError, TypeError, ImportError):  # words; other arguments; erf without SciPy
                continue
            g = rng.normal(size=(2, 2))
            scope = {
                "g": g,
                "y": y,
                **values,
                **{f: getattr(np, f) for f in ("cos", "sin", "exp", "sign", "sqrt", "log", "pi")},
            }
            with np.errstate(all="ignore"):
                try:
                    expected = eval(code, scope)
                except NameError:
                    continue
                assert_allclose(primitive.rules[operand](g, y, *values.values()), expected, rtol=1e-13)
            checked.add(name)
    assert {
        "multiply",
        "divide",
        "square",
        "rsqrt",
        "tanh",
        "exp",
        "log",
        "sigmoid",
        "power",
        "cos",
        "absolute",
    } <= checked


def test_formulas_put_names_in_and_parentheses_where_they_are_needed():
    a, b, difference = formulas.name("a"), formulas.name("b"), formulas.name("x−μ")
    assert formulas.operation("subtract", [a, formulas.operation("add", [a, b])]).text == "a − (a + b)"
    assert formulas.operation("multiply", [difference, b]).text == "(x−μ) × b"
    assert formulas.operation("square", [difference]).text == "(x−μ)²"
    assert formulas.operation("mean", [a], {"over": "n, h"}).text == "mean over n, h of a"
    names = {"g": formulas.slope(difference), "b": b, "y": a, "n": formulas.number(4)}
    assert formulas.rule("-g * y / b", names).text == "−∂L/∂(x−μ) × a / b"
    assert formulas.rule("g / n, repeated", names).text == "∂L/∂(x−μ) / 4, repeated"
    assert formulas.rule("g repeated", names).text == "∂L/∂(x−μ) repeated"
    for hostile in ('"];evil[label="', "</script><b>", r"\nabla", "&lt;"):
        assert hostile in formulas.operation("add", [formulas.name(hostile), a]).text


@pytest.mark.parametrize(
    ("fn", "computed", "rules"),
    [
        (lambda x, w: x @ w, "x @ w", ["∂L/∂y @ wᵀ", "xᵀ @ ∂L/∂y"]),
        (lambda x, w: (x + 1) @ w, "(x + 1) @ w", ["∂L/∂y @ wᵀ", "(x + 1)ᵀ @ ∂L/∂y"]),
        (lambda x, w: x**w, "x^w", ["∂L/∂y × w × x^(w − 1)", "∂L/∂y × y × log(x)"]),
        (np.maximum, "max(x, w)", [f"∂L/∂y where {a} > {b}, ∂L/∂y / 2 where equal" for a, b in ("xw", "wx")]),
        (lambda x, w: np.square(x**2), "(x²)²", ["∂L/∂y × 2 × x²"]),
        (lambda x, w: np.abs(x), "|x|", ["∂L/∂y × sign(x)"]),
        (lambda x, w: np.expm1(x), "exp(x) − 1", ["∂L/∂y × (1 + y)"]),
        (lambda x, w: (x + w)[0], "(x + w)[0]", ["∂L/∂y scattered to where x + w was read"]),
        (lambda x, w: x.sum(0), "Σ over axis 0 of x", ["∂L/∂y repeated"]),
        (lambda x, w: x - 1e-5, "x − 1e-05", ["∂L/∂y"]),
        (lambda x, w: np.clip(x, -1, 2.5), "clip(x, −1, 2.5)", ["∂L/∂y where −1 <= x <= 2.5, else 0"]),
        (lambda x, w: np.clip(x, np.ones(2), None), "clip(x, data, ∞)", ["∂L/∂y where data <= x <= ∞, else 0"]),
        (lambda x, w: np.where(x.data > 1, x, w), "where(mask, x, w)",
         ["where(mask, ∂L/∂y, 0)", "where(mask, 0, ∂L/∂y)"]),
        (lambda x, w: np.where((x + w > 1) & (w < 1), x, w), "where((x + w > 1) and (w < 1), x, w)",
         [f"where((x + w > 1) and (w < 1), {parts})" for parts in ("∂L/∂y, 0", "0, ∂L/∂y")]),
        (lambda x, w: np.einsum("ij,jk->k", x, w), "einsum(ij,jk→k, x, w)",
         ["∂L/∂y contracted with the other operands"] * 2),
    ],
)  # fmt: skip
def test_formulas_read_as_in_a_book(fn, computed, rules):
    found = Recording(fn, {"x": np.array([[0.5, 2.0], [1.0, 3.0]]), "w": np.array([[1.5, 1.0], [2.0, 0.5]])})
    assert found.computed_by(found.y).text == computed
    links = [link for link in found.links if link.target is found.y and link.before is not None]
    links.sort(key=lambda link: link.operand)
    assert [found.rule(link).text for link in links] == rules


@pytest.mark.parametrize("name", sorted(PRIMITIVES))
def test_no_letter_of_a_primitives_rule_is_left(name):
    letters = {letter: formulas.name(letter) for letter in ("y", "x", "a", "b", "n")} | {"g": formulas.name("∂L")}
    for formula in PRIMITIVES[name].formulas:
        assert not re.search(r"\bg\b", formulas.rule(formula, letters).text)


def test_what_has_no_name_is_called_by_its_operation():
    """ε and r as in a book, a reduction with its axis, no t12."""

    def function(x):
        scores = tn.named("scores", x @ x.T)
        shifted = np.exp(scores - np.max(scores, axis=1, keepdims=True))
        spread = 1e-4 + np.mean(np.square(scores), axis=1, keepdims=True)
        return shifted * tn.ops.rsqrt(spread) + np.prod(shifted * shifted * shifted, axis=0)

    found = Recording(function, {"x": np.array([[0.5, 2.0], [1.0, 3.0]])})
    names = [found.called(t).text for t in found.tensors]
    assert found.epsilon == 1e-4
    assert {"max over axis 1", "difference", "r", "product"} <= set(names)
    assert len(names) == len(set(names))
    assert not [name for name in names if re.fullmatch(r"t\d+", name)]
    (root,) = (t for t in found.tensors if found.called(t).text == "r")
    assert "ε" in found.computed_by(root).text
    assert "ε" not in names


def test_what_a_step_of_the_library_gives_is_called_by_it():
    def named_in(fn):
        found = Recording(fn, {"x": np.array([[0.5, 2.0], [1.0, 3.0]])})
        return [found.called(t).text for t in found.tensors]

    assert "softmax" in named_in(lambda x: tn.ops.softmax(x, axis=1) @ x)
    twice = named_in(lambda x: tn.ops.softmax(tn.ops.softmax(x, axis=1) * 2, axis=0) + x)
    assert {"softmax", "softmax (2)"} <= set(twice)
    assert "log-softmax" in named_in(lambda x: tn.nn.cross_entropy(x, np.array([0, 1])))
    assert "weights" in named_in(lambda x: tn.named("weights", tn.ops.softmax(x, axis=1)) @ x)
