"""The explorer's numbers, before any browser: recordings edge by edge, formulas, scenes, what the page is made of."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import cli
from tinygrad_norm.engine.primitive import PRIMITIVES
from tinygrad_norm.graph import formulas
from tinygrad_norm.graph.explorer import explore_norm, explore_norms
from tinygrad_norm.graph.explorer.data import numbers
from tinygrad_norm.graph.explorer.insights import invariants, routes, statistics_of
from tinygrad_norm.graph.explorer.recording import Recording
from tinygrad_norm.graph.explorer.scenes import (
    EPS,
    example,
    norms,
    scenes_of_family,
    scenes_of_function,
    scenes_of_norm,
)
from tinygrad_norm.graph.offline import as_json
from tinygrad_norm.graph.text import shortened

HOSTILE = [
    '"];evil[label="',
    "a\nb",
    "</script><script>alert(1)</script>",
    "<b>x</b>",
    r"\nabla",
    "x" * 10_000,
    "&lt;",
    "\u2028",
]
NAMES = list(norms())
SHAPES = {"batch_norm": (4, 3), "layer_norm": (4, 3), "instance_norm": (2, 2, 2, 2), "group_norm": (2, 4, 2, 2)}
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
    x, weight, bias = found.leaves.values()
    y, pullback = tn.vjp(norms()[name].call, x.data, weight.data, bias.data)
    assert_array_equal(found.y.data, y)
    for leaf, gradient in zip((x, weight, bias), pullback(found.cotangent), strict=True):
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


@every_norm
def test_four_routes_carry_the_terms_of_the_closed_form(name):
    found = recording(name)
    x = found.leaves["x"]
    by_route = routes(found, x)
    assert len(by_route) == 4
    for route in by_route:
        assert_allclose(route.contribution, route.expected, rtol=1e-12, atol=1e-14)
    assert_allclose(sum(route.contribution for route in by_route), found.gradients[x], rtol=1e-12, atol=1e-13)
    through = {route.stations: np.abs(route.contribution).max() for route in by_route}
    assert through["y", "x̂", "σ²", "x−μ", "μ", "x"] < 1e-15
    assert min(size for stations, size in through.items() if len(stations) < 6) > 1e-3
    # The terms, by hand from the values shown.
    parts = statistics_of(found, x)
    assert parts.eps == EPS
    slope = found.gradients[parts.x_hat].reshape(parts.centred.shape)
    inverse = 1 / np.sqrt(parts.var.data + EPS)
    assert_allclose(by_route[0].contribution.reshape(slope.shape), slope * inverse, rtol=1e-12)


@every_norm
def test_invariants_hold(name):
    found = recording(name)
    x = found.leaves["x"]
    sums, orthogonal, means, variances = (values for _, values, _ in invariants(found, x, "n"))
    assert np.abs(sums).max() < 1e-14
    assert np.abs(orthogonal).max() < 1e-3
    assert np.abs(means).max() < 1e-14
    var = statistics_of(found, x).var.data.ravel()
    assert_allclose(variances.ravel(), var / (var + EPS), rtol=1e-12)


@every_norm
def test_differences_agree_at_every_array_and_would_not_with_a_wrong_gradient(name):
    found = recording(name)
    for t, gradient in found.gradients.items():
        by_differences, uncertain = found.by_differences(t)
        assert_allclose(by_differences, gradient, rtol=1e-6, atol=1e-8)
        assert (np.abs(by_differences - gradient) <= uncertain).all()
        assert uncertain.max() < 1e-5 * max(1, np.abs(gradient).max())
        assert np.abs(by_differences - 1.01 * gradient).max() > 1e-5 * np.abs(gradient).max()


@every_norm
def test_what_a_cell_depends_on_is_what_moves_it(name):
    """By moving each cell of x and looking, for values and for gradients: nothing of the engine's derivatives."""
    norm, inputs = norms()[name], example(norms()[name], SHAPES[name])
    found = Recording(norm.call, inputs)
    depends = found.depends(found.leaves["x"])
    for j, place in enumerate(np.ndindex(*inputs["x"].shape)):
        moved = inputs["x"].copy()
        moved[place] += 0.37
        other = Recording(norm.call, {**inputs, "x": moved}, found.cotangent)
        for t, u in zip(found.tensors, other.tensors, strict=True):
            value, gradient = depends[t]
            changed = np.abs(u.data - t.data).ravel() > 1e-9
            assert_array_equal(value[:, j], changed)
            slopes = np.abs(other.gradients[u] - found.gradients[t]).ravel() > 1e-9
            # A finite move shows every dependence; where none is expected, none may be seen.
            assert not (slopes & ~gradient[:, j]).any()
    value, gradient = depends[found.y]
    same = {
        "batch_norm": lambda i, j: i[1] == j[1], "layer_norm": lambda i, j: i[0] == j[0],
        "instance_norm": lambda i, j: i[:2] == j[:2], "group_norm": lambda i, j: (i[0], i[1] // 2) == (j[0], j[1] // 2),
    }[name]  # fmt: skip
    cells = list(np.ndindex(*inputs["x"].shape))
    expected = np.array([[same(i, j) for j in cells] for i in cells])
    assert_array_equal(value, expected)
    assert_array_equal(depends[found.leaves["x"]][1], expected)


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
        (np.tanh, [np.ones((0, 3))], r"no numbers to show: x\d? has shape \(0, 3\)"),
        (lambda x: x[:0], [np.ones(2)], "without numbers"),
        (tn.batch_norm, [np.ones((2, 2))] * 4, "takes arrays: x, or x, weight, bias; not an array of shape"),
        (tn.batch_norm, [np.ones((2, 2)), None], r"not .*, None\. .*lambda x: tn\.batch_norm"),
        (tn.layer_norm, [np.ones((4, 3)), 3], r"not .*, 3\. With other arguments .*lambda x: tn\.layer_norm"),
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
    assert cli.main(["explore", "rms_norm", "-o", str(tmp_path / "x.html")]) == 1
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
        lambda x: tn.rms_norm(x, 3),
        lambda x: tn.named("x̂", tn.named("x−μ", x - tn.named("μ", np.mean(x, 1, keepdims=True)))
                           / tn.named("σ²", np.mean(np.abs(x)))),
    ],
)  # fmt: skip
def test_the_closed_form_is_claimed_of_a_norm_of_x_alone(fn):
    found = Recording(fn, {"x": np.arange(12.0).reshape(4, 3) ** 2})
    x = found.leaves["x"]
    assert statistics_of(found, x) is None
    assert invariants(found, x, "n") == []
    assert all(route.term is None for route in routes(found, x))
    assert "closedForm" not in scene_data(tn.explore(fn, x))["scenes"][0]


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
    assert_allclose(sum(route.expected for route in routes(found, x)), found.gradients[x], rtol=1e-12, atol=1e-14)


def test_an_input_that_is_not_used_is_shown_with_a_gradient_of_zero():
    scene = scene_data(tn.explore(lambda x, z: z * 2, np.ones(2), np.ones(2)))["scenes"][0]
    x = scene["nodes"][scene["x"]]
    assert (x["name"], x["gradient"], x["valueSets"] != x["gradientSets"]) == ("x", [0, 0], True)
    assert scene["routes"] == []


def test_a_dependence_shows_also_where_its_derivative_is_zero_by_chance():
    found = Recording(lambda x: x * x * x, {"x": np.zeros(3)})
    value, gradient = found.depends(found.leaves["x"])[found.y]
    assert_array_equal(value, np.eye(3, dtype=bool))
    assert not gradient.any()
    assert_array_equal(found.depends(found.leaves["x"])[found.leaves["x"]][1], np.eye(3, dtype=bool))
    centred = Recording(tn.batch_norm, {"x": np.array([[1.0], [2.0], [3.0]])})
    variance = next(t for t in centred.tensors if t.name == "σ²")
    assert centred.depends(centred.leaves["x"])[variance][0].all()  # though x is μ in the middle


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
    assert four.is_examined
    assert not Recording(doubled(100), {"x": np.ones(64)}).is_examined
    with pytest.raises(ValueError, match=r"501 arrays.* at most 400: explore a smaller step"):
        tn.explore(doubled(500), np.ones(1))


@pytest.mark.parametrize(
    ("fn", "x"),
    [
        (lambda x: np.max(x, axis=1), np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 1.0]])),
        (lambda x: np.maximum(x, 0), np.array([0.0, 1.0])),
        (lambda x: np.tanh(x.astype(np.float32)).astype(np.float64), np.array([0.5, 2.0])),
        (lambda x: tn.layer_norm(x, 3), np.array([[1e6, 1e6 + 1, 1e6 - 2]])),
    ],
    ids=["ties", "kink", "float32", "offset"],
)
def test_differences_say_how_uncertain_they_are(fn, x):
    """No gradient is blamed for a kink, a cast or an offset."""
    found = Recording(fn, {"x": x})
    for t, gradient in found.gradients.items():
        by_differences, uncertain = found.by_differences(t)
        assert (np.abs(by_differences - gradient) <= uncertain).all()
        assert (uncertain < 1).all()


def test_two_arrays_are_not_both_called_y():
    def model(x):
        return np.tanh(tn.batch_norm(x, weight=np.ones(2))) * 2

    found = Recording(model, {"x": np.array([[1.0, 2.0], [0.0, 5.0]])})
    assert [t.name for t in found.tensors if t.name in ("y", "output")] == ["y", "output"]
    assert Recording(np.tanh, {"x": np.ones(2)}).y.name == "y"
    assert Recording(lambda y: y * 2, {"y": np.ones(2)}).y.name == "output"


@every_norm
def test_to_three_digits_eps_is_not_seen(name):
    page = scene_data(explore_norm(name, shape=SHAPES[name]))
    scale = next(scene for scene in page["scenes"] if scene["key"] == "scale")
    assert scale["moved"]["x"]
    assert scale["moved"]["y"] == []
    assert "y: no cell changed" in scale["movedWords"]
    assert scale["movedWords"].endswith("(to three digits).")


def test_rounding_is_small_beside_what_was_added_up():
    found = recording("batch_norm")
    _, sums, largest = invariants(found, found.leaves["x"], "n")[0]
    assert np.abs(sums).max() < 1e-14
    assert largest > 1e-3


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


def text_of(tree):
    return tree if isinstance(tree, str) else "".join(text_of(child) for child in tree[1:])


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
    assert text_of(formulas.rule("g repeated", names).tree) == "∂L∂(x−μ)\u00a0repeated"
    for hostile in HOSTILE:
        assert shortened(hostile) in text_of(formulas.operation("add", [formulas.name(hostile), a]).tree)


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
def test_every_primitives_rule_has_a_tree(name):
    letters = {letter: formulas.name(letter) for letter in ("g", "y", "x", "a", "b", "n")}
    for formula in PRIMITIVES[name].formulas:
        assert text_of(formulas.rule(formula, letters).tree)


# Scenes.


def by_key(name="batch_norm", shape=(4, 3)):
    norm = norms()[name]
    return {scene.key: scene.recording for scene in scenes_of_norm(norm, example(norm, shape))}


def test_constant_statistics_change_the_gradient_and_nothing_else():
    scenes = by_key()
    train, constant = scenes["train"], scenes["constant"]
    assert_array_equal(train.y.data, constant.y.data)
    x = constant.leaves["x"]
    gamma = constant.leaves["γ"].data
    assert_allclose(
        constant.gradients[x], constant.cotangent * gamma / np.sqrt(train.leaves["x"].data.var(0) + EPS), rtol=1e-12
    )
    assert np.abs(constant.gradients[x] - train.gradients[train.leaves["x"]]).min() > 1e-6
    (only,) = routes(constant, x)
    assert only.stations == ("y", "x̂", "x−μ", "x")
    assert only.term is None
    # The statistics are arrays with names of their own.
    names = [constant.called(t).text for t in constant.tensors if t.node is None]
    assert names == ["x", "μ", "r", "γ", "β"]


def test_at_test_time_a_sample_is_alone():
    scenes = by_key()
    alone, batch = scenes["eval"], scenes["eval-batch"]
    assert alone.y.shape == (1, 3)
    assert_array_equal(alone.y.data[0], batch.y.data[0])
    assert_array_equal(alone.gradients[alone.leaves["x"]][0], batch.gradients[batch.leaves["x"]][0])
    assert np.abs(batch.y.data - scenes["train"].y.data).min() > 1e-6


def test_the_identity_holds_for_its_batch_and_with_stored_statistics_for_all():
    scenes = by_key()
    this, other, stored = scenes["identity"], scenes["identity-other"], scenes["identity-eval"]
    assert_allclose(this.y.data, this.leaves["x"].data, rtol=1e-12)
    assert np.abs(this.gradients[this.leaves["x"]] - this.cotangent).max() > 0.1
    assert np.abs(other.y.data - other.leaves["x"].data).max() > 0.1
    assert_allclose(stored.y.data, stored.leaves["x"].data, rtol=1e-12)
    assert_allclose(stored.gradients[stored.leaves["x"]], stored.cotangent, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "shape"), [("batch_norm", (4, 3)), ("layer_norm", (4, 3)), ("group_norm", (2, 4, 2, 2))]
)
def test_variants_move_what_their_texts_say(name, shape):
    scenes = by_key(name, shape)
    base = scenes["train"]
    x, dx = base.leaves["x"].data, base.gradients[base.leaves["x"]]
    same = (np.abs(base.depends(base.leaves["x"])[base.y][0]).T)[
        int(np.ravel_multi_index((1,) + (0,) * (x.ndim - 1), shape))
    ]
    cell = scenes["cell"]
    assert_array_equal((np.abs(cell.y.data - base.y.data) > 1e-9).ravel(), same)
    shift = scenes["shift"]
    assert_allclose(shift.y.data, base.y.data, atol=1e-12)
    assert_allclose(shift.gradients[shift.leaves["x"]], dx, atol=1e-12)
    scale = scenes["scale"]
    doubled = scale.leaves["x"].data != x
    assert doubled.sum() == base.depends(base.leaves["x"])[base.y][0][0].sum()
    assert_allclose(scale.y.data, base.y.data, atol=1e-4)
    assert_allclose(scale.gradients[scale.leaves["x"]][doubled], dx[doubled] / 2, rtol=1e-2, atol=1e-4)
    outlier = scenes["outlier"]
    touched = same.reshape(shape) & (outlier.leaves["x"].data == x)
    assert np.abs(outlier.gradients[outlier.leaves["x"]][touched]).max() < 0.2 * np.abs(dx[touched]).max()


def test_the_family_sees_the_same_numbers():
    scenes = scenes_of_family((2, 4, 2, 2), 2)
    assert [scene.key for scene in scenes] == NAMES
    for scene in scenes[1:]:
        assert_array_equal(scene.recording.leaves["x"].data, scenes[0].recording.leaves["x"].data)
        assert_array_equal(scene.recording.cotangent, scenes[0].recording.cotangent)
    group = scenes[3].recording
    expected = tn.group_norm(group.leaves["x"].data, 2, group.leaves["γ"].data, group.leaves["β"].data)
    assert_array_equal(group.y.data, expected)


# Pages.


class Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.parts, self.inside = [], [], {}, None

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.inside = tag if tag in ("script", "style") else None

    def handle_data(self, text):
        if self.inside:
            self.parts.setdefault(self.inside, []).append(text)

    def handle_endtag(self, tag):
        self.inside = None


def read(page):
    reader = Reader()
    reader.feed(page.html)
    return reader


def digest(text):
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@pytest.fixture(scope="module")
def bn():
    return explore_norm("batch_norm")


def test_the_page_is_small_and_needs_nothing_else(bn):
    assert len(bn.html.encode()) < 300_000
    reader = read(bn)
    assert not {"link", "img", "iframe", "object", "base", "form"} & set(reader.tags)
    assert not [
        value for key, value in reader.attributes if key in ("src", "href", "xlink:href") and not value.startswith("#")
    ]
    assert set(re.findall(r"https?://[^\s\"'<]+", bn.html)) <= {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/1998/Math/MathML",
    }  # fmt: skip
    assert not [key for key, _ in reader.attributes if key.startswith("on") or key == "style"]


def test_the_policy_allows_this_script_and_this_style_only(bn):
    reader = read(bn)
    (policy,) = (value for key, value in reader.attributes if key == "content" and "default-src" in value)
    data, script = reader.parts["script"]
    (style,) = reader.parts["style"]
    assert policy == (
        f"default-src 'none'; script-src '{digest(script)}'; style-src '{digest(style)}'; base-uri 'none'; "
        "form-action 'none'"
    )
    assert json.loads(data)["version"] == 2
    assert "innerHTML" not in script
    assert not re.search(r"\beval\(|new Function", script)


def test_pages_are_the_same_every_time(bn):
    assert explore_norm("batch_norm").html == bn.html
    assert explore_norm("batch_norm", seed=1).html != bn.html


def test_scenes_share_programs_and_stages(bn):
    """Variants of an input are the same program with other numbers, so they take little room."""
    data = scene_data(bn)
    for part in ("program", "stage"):
        assert {scene[part] for scene in data["scenes"]} == set(range(len(data[f"{part}s"])))
    by_name = {scene["key"]: scene for scene in data["scenes"]}
    for key in ("cell", "shift", "scale", "outlier", "identity"):
        assert by_name[key]["program"] == by_name["train"]["program"]
        assert by_name[key]["given"] != by_name["train"]["given"]


def test_the_json_is_the_engines_to_seven_digits(bn):
    scenes = by_key()
    for scene in scene_data(bn)["scenes"]:
        found = scenes[scene["key"]]
        for node, t in zip(scene["nodes"], found.tensors, strict=True):
            assert_allclose(np.array(node["value"]), t.data.ravel(), rtol=1e-6, atol=0)
            if "gradient" in node:
                assert_allclose(np.array(node["gradient"]), found.gradients[t].ravel(), rtol=1e-6, atol=0)
    texts = [question["question"] for question in scene_data(bn)["questions"]]
    for words in ("which routes", "sum in ∂L/∂γ", "dx sum to zero", "statistics are constants", "restore the identity"):
        assert any(words in text for text in texts)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_v16_hostile_names_come_back_literally_and_stay_text(hostile):
    x = tn.tensor([[0.5, -1.0]], name=hostile)

    def function(values):
        with tn.scope(hostile):
            return tn.named(hostile, np.tanh(values) * 2) + 1

    function.__name__ = hostile
    page = tn.explore(function, x)
    reader = read(page)
    assert reader.tags.count("script") == 2
    assert reader.tags.count("b") == 2
    data = scene_data(page)
    names = [node["name"] for node in data["scenes"][0]["nodes"]]
    assert names[0] == shortened(hostile)
    assert data["scenes"][0]["nodes"][0].get("whole", names[0]) == hostile
    assert data["title"] == f"{hostile}, step by step"
    stage = data["stages"][0]
    assert [len(stage[part]) for part in ("boxes", "links")] == [4, 3]
    assert stage["boxes"][0].get("whole", stage["boxes"][0]["name"]) == hostile


def test_json_has_nothing_that_could_end_its_element():
    text = as_json({"a": "</script><!--&\u2028\u2029", "b": numbers(np.array([np.nan, np.inf, -np.inf, 1 / 3, 2.0]))})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text)["a"] == "</script><!--&\u2028\u2029"
    assert json.loads(text)["b"] == ["NaN", "∞", "−∞", 0.3333333, 2]


def test_large_arrays_are_summarized():
    page = tn.explore(lambda x: np.tanh(x).sum(1), np.linspace(0, 1, 400).reshape(20, 20))
    node = scene_data(page)["scenes"][0]["nodes"][0]
    assert node["value"] == {"min": 0, "mean": 0.5, "max": 1}
    assert "differences" not in node
    assert len(page.html) < 200_000


def test_explore_names_inputs_and_knows_the_norms(bn):
    data = scene_data(
        tn.explore(lambda left, right: left @ right, np.ones((2, 2)), tn.tensor(np.ones((2, 2)), name="R"))
    )
    assert [node["name"] for node in data["scenes"][0]["nodes"]][:2] == ["left", "R"]
    numbers_ = example(norms()["batch_norm"], (4, 3))
    assert tn.explore(tn.batch_norm, *numbers_.values()).html == bn.html
    alone = scene_data(tn.explore(tn.layer_norm, np.array([[1.0, 2.0, 4.0], [0.0, 1.0, 5.0]])))
    assert [scene["key"] for scene in alone["scenes"]][:3] == ["train", "constant", "other"]
    assert "γ" not in [node["name"] for node in alone["scenes"][0]["nodes"]]


def test_running_statistics_are_left_alone():
    layer = tn.nn.BatchNorm1d(3, dtype=np.float64)
    before = layer.state_dict()
    tn.explore(layer, np.random.default_rng(0).normal(size=(4, 3)))
    for key, value in layer.state_dict().items():
        assert_array_equal(value, before[key])


def test_in_notebooks_the_page_is_in_a_sandbox(bn, tmp_path):
    frame = bn._repr_html_()
    assert frame.startswith('<iframe sandbox="allow-scripts"')
    assert html.unescape(re.search(r'srcdoc="(.*)"></iframe>', frame, re.S)[1]) == bn.html
    assert bn.save(tmp_path / "bn.html").read_text(encoding="utf-8") == bn.html
    assert re.fullmatch(r"Page\(\d+ kB\)", repr(bn))


def test_any_function_has_variants_of_its_first_input():
    scenes = scenes_of_function(lambda x, w: np.tanh(x @ w), {"x": np.eye(2), "w": np.array([[1.0, 2.0], [0.5, -1.0]])})
    assert [scene.key for scene in scenes] == ["run", "cell", "shift", "scale"]
    assert_array_equal(scenes[1].recording.leaves["x"].data, [[2, 0], [0, 1]])
    assert_allclose(scenes[3].recording.y.data, np.tanh(2 * scenes[0].recording.leaves["w"].data))


def test_variants_that_a_function_does_not_take_are_left_out():
    """Where 3 is added, more cells are positive, and the result has another shape; or the function raises."""

    def refuses(x):
        if x.data.max() > 2:
            raise ZeroDivisionError("too large")
        return x * x

    x = np.array([[-1.0, 0.5], [0.25, -4.0]])
    for fn in (lambda x: x[x > 0] * 2, refuses):
        assert [scene["key"] for scene in scene_data(tn.explore(fn, x))["scenes"]] == ["run", "cell", "scale"]


def test_parts_without_cells_and_open_bounds_are_shown():
    """Rolling all the way round leaves an empty part."""
    x = np.array([[-1.0, 0.5], [0.25, -4.0]])
    data = scene_data(tn.explore(lambda x: np.roll(x, 2, axis=1) * np.clip((x > 0).sum(), 1, None), x))
    nodes = data["scenes"][0]["nodes"]
    assert [2, 0] in [node["shape"] for node in nodes]
    assert any("∞" in node.get("by", "") for node in nodes)


def test_the_page_of_four_norms():
    page = explore_norms((2, 4, 2, 2), groups=2)
    data = scene_data(page)
    assert [scene["key"] for scene in data["scenes"]] == NAMES
    assert len(page.html.encode()) < 300_000
    lit = {scene["key"]: len(scene["sets"][scene["nodes"][scene["y"]]["valueSets"][0]]) for scene in data["scenes"]}
    assert lit == {"batch_norm": 8, "layer_norm": 16, "instance_norm": 4, "group_norm": 8}


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
