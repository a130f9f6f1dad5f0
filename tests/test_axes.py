"""Names of axes: given by rank and by Tensor, and followed through every operation and into the gradient."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from primitive_table import COMPOSITES, ROWS
from test_graph import svg_texts

import tinygrad_norm as tn
from tinygrad_norm import cli, ops
from tinygrad_norm.engine.primitive import PRIMITIVES
from tinygrad_norm.graph.axes import axis_names, names_of_axes
from tinygrad_norm.graph.axis_rules import _ELEMENTWISE, _RULES


def leaf(name, *shape, requires_grad=True):
    return tn.tensor(np.random.default_rng(len(name)).normal(size=shape), requires_grad, name=name)


def names(y, axes):
    """The names of a Tensor's axes, with "-" where one has none."""
    return " ".join(name or "-" for name in names_of_axes(axes, [y])[y])


def formulas(*outputs, axes, **options):
    return [v.text for v in tn.draw(*outputs, axes=axes, open=True, **options).graph.vertices if v.text]


X, P, Q, K = leaf("x", 2, 3, 4), leaf("p", 2, 3, 1), leaf("q", 5, 2, 4), leaf("k", 5, 3, 4)
ONE, SQUARE = leaf("one", 1, 3, 1), leaf("square", 2, 3, 3)
AXES = {"x": "a b c", "p": "a b o", "q": "n q d", "k": "n k d", "one": "i b j", "square": "a r s"}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        # Elementwise: axes meet from the right, and one that is repeated says nothing.
        (lambda: np.tanh(X), "a b c"), (lambda: 1 - X, "a b c"), (lambda: ops.relu(X), "a b c"),
        (lambda: X.astype("float32"), "a b c"), (lambda: np.clip(X, 0, 1), "a b c"), (lambda: ops.silu(X), "a b c"),
        (lambda: X * leaf("w", 4), "a b c"), (lambda: leaf("w", 4) * X, "a b c"), (lambda: P * X, "a b c"),
        (lambda: X - P, "a b c"), (lambda: leaf("w", 3, 1) * P, "a b o"), (lambda: P * leaf("w", 4), "a b -"),
        (lambda: ONE * X, "a b c"), (lambda: ONE + leaf("w", 2, 3, 4), "- b -"), (lambda: ONE * ONE, "i b j"),
        (lambda: np.broadcast_to(X, (7, 2, 3, 4)), "- a b c"), (lambda: np.broadcast_to(P, (2, 3, 9)), "a b -"),
        (lambda: np.where(X.data > 0, X, 0.0), "a b c"), (lambda: np.where(X > 0, leaf("w", 4), 0.0), "- - -"),
        (lambda: np.maximum(X, P), "a b c"), (lambda: X**2, "a b c"), (lambda: abs(X), "a b c"),
        # Reductions drop axes, or keep them.
        (lambda: X.sum(1), "a c"), (lambda: X.mean((0, 2)), "b"), (lambda: X.max(-1, keepdims=True), "a b c"),
        (X.sum, ""), (lambda: X.mean(()), "a b c"), (lambda: X.min(0), "b c"), (lambda: X.var(2), "a b"),
        (lambda: np.prod(X, 0), "b c"), (lambda: np.cumsum(X, 1), "a b c"), (lambda: ops.softmax(X, 1), "a b c"),
        (lambda: ops.logsumexp(X, 0), "b c"), (lambda: X - X.mean(1, keepdims=True), "a b c"),
        # Rearranging.
        (lambda: X.T, "c b a"), (lambda: X.mT, "a c b"), (lambda: X.transpose(1, 2, 0), "b c a"),
        (lambda: np.moveaxis(X, 0, -1), "b c a"), (lambda: np.expand_dims(X, (0, 2)), "- a - b c"),
        (lambda: ONE.reshape(1, 1, 3), "- - b"), (lambda: P.reshape(2, 3), "a b"),
        (lambda: X.reshape(1, 2, 3, 1, 4), "- a b - c"), (P.squeeze, "a b"),
        (lambda: X.reshape(6, 4), "- c"), (lambda: X.reshape(2, 12), "a -"), (lambda: X.reshape(4, 3, 2), "- - -"),
        (lambda: X.reshape(2, 3, 2, 2), "a b - -"), (lambda: X.reshape(-1), "-"), (lambda: np.flip(X), "a b c"),
        (lambda: np.pad(X, 1), "a b c"),
        # Products.
        (lambda: Q @ K.mT, "n q k"), (lambda: K @ Q.mT, "n k q"), (lambda: X @ leaf("w", 4, 9), "a b -"),
        (lambda: leaf("w", 9, 3) @ X, "a - c"), (lambda: X @ leaf("w", 4), "a b"), (lambda: leaf("w", 3) @ X, "a c"),
        (lambda: np.einsum("nqd,nkd->qkn", Q, K), "q k n"), (lambda: np.einsum("...d,d->...", X, leaf("w", 4)), "a b"),
        (lambda: np.einsum("abc,cz->zb", X, leaf("w", 4, 9)), "- b"),
        (lambda: np.tensordot(Q, K, ((2,), (2,))), "- - - -"),
        (lambda: SQUARE @ SQUARE.mT, "a r r"), (lambda: np.linalg.solve(SQUARE, X), "a s c"),
        (lambda: np.linalg.det(SQUARE), "a"),
        # Selecting and joining.
        (lambda: X[1], "b c"), (lambda: X[:, 0], "a c"), (lambda: X[..., 0], "a b"),
        (lambda: X[None, :, 1:, None], "- a b - c"),
        (lambda: X[..., None, ::2], "a b - c"), (lambda: X[0, ..., 0], "b"), (lambda: X[np.array([0, 1])], "- - -"),
        (lambda: X[X.data > 0], "-"), (lambda: X[True], "- - - -"), (lambda: np.split(X, 2, 2)[1], "a b c"),
        (lambda: ops.scatter(P, (slice(None), slice(3), 0), (2, 4, 5, 1)), "a b - o"),
        (lambda: ops.scatter(ONE, (None, slice(3), 0, slice(1)), (4, 5, 2)), "b - j"),
        (lambda: ops.scatter(P, (slice(None), np.arange(3)), (2, 4, 1)), "- - -"),
        (lambda: np.concatenate((X, X), 1), "a b c"), (lambda: np.concatenate((X, P), 2), "a b -"),
        (lambda: np.concatenate((X, leaf("w", 2, 3, 4)), 0), "a b c"), (lambda: np.stack((X, X), 1), "a - b c"),
        (lambda: np.stack((X, X), -1), "a b c -"), (lambda: ops.sliding_windows(X, (2,)), "a b c -"),
        (lambda: ops.overlap_add(X, (2, 6), (1,)), "a b"),
        # Names that differ are no names.
        (lambda: X + leaf("p", 2, 3, 4), "a b -"), (lambda: X + X.transpose(0, 1, 2), "a b c"),
    ],
)  # fmt: skip
def test_names_follow_the_data(call, expected):
    y = call()
    there = {x.name for x in names_of_axes("", [y])}
    assert names(y, ["", {name: text for name, text in AXES.items() if name in there}]) == expected


def letters(x):
    return " ".join("abcdef"[: np.ndim(x)])


@pytest.mark.usefixtures("erf_without_scipy")
@pytest.mark.parametrize("row", [r for r in ROWS + COMPOSITES if r.elementwise], ids=lambda row: row.label)
@given(data=st.data())
def test_what_computes_each_element_by_itself_keeps_every_name(row, data):
    inputs, static = data.draw(row.cases)
    tensors = [tn.tensor(x, x.dtype.kind == "f", name=f"x{i}") for i, x in enumerate(inputs)]
    if np.ndim(inputs[0]):
        assert names(row.call(*tensors, **static), {"x0": letters(inputs[0])}) == letters(inputs[0])


# What varies along an axis of which all places have the same, by its nature; and what is told arrays that vary.
UNEVEN = {"pad", "cumsum", "scatter", "overlap_add", "concatenate", "where", "clip"}


@pytest.mark.usefixtures("erf_without_scipy")
@pytest.mark.parametrize("row", [r for r in ROWS + COMPOSITES if r.name not in UNEVEN], ids=lambda row: row.label)
@given(data=st.data())
def test_a_name_is_that_of_the_axis_along_which_values_vary(row, data):
    """Of an operand that varies along one axis only, the result varies along none of the names of others."""
    inputs, static = data.draw(row.cases)
    if any(x.size == 0 for x in inputs) or not inputs[0].ndim:
        return
    axis = data.draw(st.integers(0, inputs[0].ndim - 1))
    first = inputs[0][tuple(slice(None) if i == axis else slice(1) for i in range(inputs[0].ndim))]
    evened = [first, *(x.ravel()[0] for x in inputs[1:])]
    tensors = [
        tn.tensor(np.broadcast_to(x, like.shape), True, name=f"x{i}")
        for i, (x, like) in enumerate(zip(evened, inputs, strict=True))
    ]
    result = row.call(*tensors, **static)
    found = names_of_axes({"x0": letters(inputs[0])}, [*tensors, result])[result]
    for i, name in enumerate(found):
        if name not in (None, "abcdef"[axis]) and result.size:
            assert np.ptp(result.data, axis=i).max(initial=0) <= 1e-12


# The factor of a matrix has axes of its own.
WITHOUT_A_RULE = {"cholesky"}


def test_every_primitive_has_a_rule():
    ufuncs = {name for name, primitive in PRIMITIVES.items() if isinstance(primitive.forward, np.ufunc)}
    assert {*PRIMITIVES} - ufuncs - {*_RULES} - _ELEMENTWISE == WITHOUT_A_RULE
    assert not {*_RULES} & _ELEMENTWISE


@st.composite
def chains(draw):
    """A function of x, 2×3×5, that keeps or drops its axes, by up to four operations."""
    kinds = ["tanh", "power", "transpose", "sum", "mean", "unit", "centred", "linear", "scaled", "index"]
    steps = draw(st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 5)), min_size=1, max_size=4))

    def function(x):
        for kind, i in steps:
            axis = i % x.ndim if x.ndim else None
            if kind in ("tanh", "power") or axis is None:
                x = np.tanh(x) if kind == "tanh" else x**3 * x
            elif kind in ("sum", "mean"):
                x = getattr(x, kind)(axis, keepdims=i > 2)
            elif kind == "transpose":
                x = np.swapaxes(x, axis, -1)
            elif kind == "unit":
                x = np.expand_dims(x, axis)
            elif kind == "centred":
                x = x - x.mean(axis, keepdims=True)
            elif kind == "linear":
                x = x @ leaf("weight", x.shape[-1], 7)
            elif kind == "scaled":
                x = x * leaf("scale", *x.shape[axis:])
            else:
                x = x[(slice(None),) * axis + (0,)]
        return x

    return function


@given(chains())
def test_an_axis_has_its_name_in_every_array_on_the_way_and_in_the_gradient(function):
    """The sizes 2, 3 and 5 tell the axes apart; 7 is that of what has no name."""
    x = leaf("x", 2, 3, 5)
    y = function(x)
    slope = tn.grad(y, x, leaf("seed", *y.shape), create_graph=True)
    found = names_of_axes({"x": "two three five"}, [x, y, slope])
    assert found[slope] == ("two", "three", "five")
    for t, axes in found.items():
        for name, size in zip(axes, t.shape, strict=True):
            assert size in (1, {"two": 2, "three": 3, "five": 5, None: size}[name])


def attention():
    x, k, v = leaf("x", 2, 3, 4), leaf("k", 2, 5, 4), leaf("v", 2, 5, 6)
    return tn.named("y", ops.softmax(tn.named("scores", x @ k.mT / 2.0)) @ v)


def test_a_softmax_says_what_it_sums_over():
    y = attention()
    axes = {"x": "n q d", "k": "n k d"}
    forward = formulas(y, axes=axes)
    assert [text for text in forward if "over" in text] == ["Σ over k"]
    assert not any("axis" in text for text in formulas(y, axes=axes, backward=True))
    assert [text for text in formulas(y, axes={"scores": "n q k"}) if "over" in text] == ["Σ over k"]
    texts = svg_texts(tn.draw(y, axes=axes, detail="slide", backward=True, open=True).svg(), "node")
    assert sum("Σ over k" in lines for lines, _ in texts) == 2
    texts = svg_texts(tn.draw(y, axes=axes).svg(), "node")
    assert [lines for lines, _ in texts if "softmax over k" in lines]


def test_gradients_have_the_axes_of_what_they_are_gradients_of():
    y = attention()
    found = formulas(y, axes={"x": "n q d", "k": "n k d", "v": "n k e"}, backward=True)
    assert [text for text in found if text.startswith("Σ")] == ["Σ over k", "Σ over k"]
    # A sum that undoes a broadcast, though only the network's input and its result have names.
    x, weight, bias = leaf("x", 8, 3), leaf("W", 3, 4), leaf("b", 4)
    loss = (np.tanh(x @ weight + bias) ** 2).mean()
    assert "Σ over n" in formulas(loss, axes={"x": "n d"}, backward=True)
    # The seed is recognized without a name, and through what carries a cotangent on as it is.
    y = (x + 1.0) @ weight
    slopes = tn.grad(y, [x, weight], leaf("", 8, 4), create_graph=True)
    found = names_of_axes({"x": "n d", "W": "d k"}, [y, *slopes])
    assert [found[g] for g in slopes] == [("n", "d"), ("d", "k")]
    assert found[slopes[0].node.inputs[0]] == ("n", "k")
    # What else a rule is made with, as the identity in that of a determinant, is no cotangent.
    found = names_of_axes(
        {"square": "a r s"}, [y := np.linalg.det(SQUARE), tn.grad(y.sum(), SQUARE, create_graph=True)]
    )
    assert [*found.values()][-1] == ("a", "r", "s")


def test_gradients_of_gradients_have_names_too():
    x, weight = leaf("x", 8, 3), leaf("W", 3, 4)
    slope = tn.grad((np.tanh(x @ weight) ** 2).sum(), x, create_graph=True)
    penalty = ((slope**2).sum(1) ** 0.5).mean()
    found = formulas(penalty, axes={"x": "n d", "W": "d k"}, backward=True)
    assert {"Σ over d", "mean over n"} <= {*found}
    assert not any("ax" in text.split() for text in found)
    again = tn.grad(penalty, [x, weight], create_graph=True)
    found = names_of_axes({"x": "n d", "W": "d k"}, [penalty, *again])
    assert [found[g] for g in again] == [("n", "d"), ("d", "k")]
    # Each order ends where the first did, after a reshape that says nothing of the axes.
    slope = tn.grad((X.reshape(6, 4).T ** 3).sum(), X, create_graph=True)
    again = tn.grad((slope**2).sum(), X, create_graph=True)
    found = names_of_axes({"x": "a b c"}, [slope, again])
    assert found[slope] == found[again] == ("a", "b", "c")


def test_a_given_name_prevails_over_what_would_follow():
    x = leaf("x", 2, 3)
    h = tn.named("h", x * 2.0)
    assert names(h * 1.0, {"x": "n c", "h": "rows columns"}) == "rows columns"
    assert names(x @ leaf("x", 3, 2), {"x": "n c"}) == "n c"


def test_a_text_for_a_rank_names_what_has_no_name_from_the_data():
    x, w = leaf("x", 4, 3), leaf("W", 3, 5)
    h = x @ w
    assert names(h, {"W": "c k"}) == "- k"
    assert names(h, ["n c", {"W": "c k"}]) == "n k"
    assert names(h.T, ["n c", {"W": "c k"}]) == "k n"
    # What follows from such a text is the last to count: by itself it names every Tensor of its rank.
    assert names(h, "n c") == names(h.T, "n c") == "n c"
    assert names(h.T.sum(0), "n c") == "c"
    assert names(x.sum(0), ["n c", "m"]) == "m"
    assert formulas(x.T.sum(0), axes="n c") == ["•ᵀ", "Σ over n"]


def test_axes_that_share_a_name_are_told_apart_by_numbers():
    x = leaf("x", 4, 3)
    assert names(x.T @ x, {"x": "n c"}) == "c c"
    assert formulas((x.T @ x).sum(1), axes={"x": "n c"})[-1] == "Σ over axis 1"
    assert formulas(x.sum((0, 1)), axes={"x": "n c"}) == ["Σ over n, c"]
    assert formulas(x.sum(()), axes={"x": "n c"}) == ["Σ over axes none"]
    assert formulas((x @ leaf("w", 3, 2)).sum(), axes={"x": "n c"})[-1] == "Σ over axes 0, 1"


def test_what_is_joined_is_joined_along_an_axis_of_the_result():
    x, y = leaf("x", 2, 3), leaf("y", 2, 3)
    assert formulas(np.stack((x, y), 2), axes="n c") == ["stack(x, y, along axis 2)"]
    assert formulas(np.stack((x, y), 2), axes=("n c", "n c pair")) == ["stack(x, y, along pair)"]
    assert formulas(np.concatenate((x, y)), axes={"x": "n c"}) == ["concatenate(x, y, along n)"]


def test_parameters_of_one_name_are_told_apart_as_in_the_picture():
    class Net(tn.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm = tn.nn.Linear(3, 4, rng=0), tn.nn.LayerNorm(4)

        def forward(self, x):
            return self.norm(self.linear(x))

    x = leaf("x", 8, 3)
    y = Net()(x)
    called = {v.called for v in tn.draw(y).graph.vertices if v.called.endswith("weight")}
    assert called == {"linear.weight", "norm.weight"}
    found = formulas(y, axes={"x": "n d", "linear.weight": "k d"}, backward=True)
    assert "mean over k" in found
    assert "Σ over n" in found
    with pytest.raises(ValueError, match=r"'norm.weight' has 1 axes \(shape 4\), but 'k d' names 2"):
        tn.draw(y, axes={"weight": "k d"})


def test_a_parameter_is_where_the_forward_pass_uses_it():
    def once(x):
        with tn.scope("once"):
            return x @ once.weight

    x, other = leaf("x", 8, 3), leaf("weight", 5)
    once.weight = tn.nn.Parameter(np.ones((3, 3)))
    once.weight.name = "weight"
    y = once(x)
    # The gradient by x uses it, too.
    (own,) = [t for t in names_of_axes("", [y]) if t is once.weight]
    assert names_of_axes({"once.weight": "d k"}, [y, tn.grad(y.sum(), x, create_graph=True)])[own] == ("d", "k")
    twice = once(y) + other.sum()
    assert {v.called for v in tn.draw(twice).graph.vertices} & {"weight", "once.weight"} == {"weight"}
    with pytest.raises(ValueError, match=r"no Tensor is named 'once.weight'"):
        names_of_axes({"once.weight": "d k"}, [twice])


def test_axes_that_cannot_be_meant_are_refused():
    y = attention()
    for axes, words in (
        ({"x": "n q"}, r"'x' has 3 axes \(shape 2×3×4\), but 'n q' names 2"),
        ({"X": "n q d"}, r"no Tensor is named 'X'; the names are: 'k', 'x', 'scores', 'v', 'y'$"),
        (["n q d", "a b c"], "'n q d' and 'a b c' both name 3 axes"),
        ([{"x": "n q d"}, {"x": "a b c"}], "'n q d' and 'a b c' both name 'x'"),
    ):
        with pytest.raises(ValueError, match=words):
            tn.draw(y, axes=axes)
    with pytest.raises(ValueError, match="the names are: none"):
        tn.draw(tn.tensor(1.0), axes={"x": ""})
    for axes in (3, [1], {"x": ["n"]}, {3: "n q d"}, [None], {"x": None}):
        with pytest.raises(TypeError, match="axes must be a string"):
            tn.draw(y, axes=axes)


def test_an_error_half_way_is_not_hidden_by_names_for_what_was_not_reached():
    def step(x):
        total = x.mean(0)
        return tn.named("scores", np.tanh(total) @ np.ones((5, 5)))

    with pytest.raises(ValueError, match=r"matmul: shapes .* do not match") as raised:
        tn.draw(step, np.ones((2, 3)), axes={"x": "n d", "scores": "k"})
    assert "mean over n" in [v.text for v in raised.value.drawing.graph.vertices]


def test_axes_are_read_as_they_are_given():
    assert axis_names(None) == {}
    assert axis_names("n  c") == {2: ("n", "c")}
    assert axis_names(iter(["n c", {"loss": ""}, ""])) == {2: ("n", "c"), "loss": (), 0: ()}
    lone = leaf("x", 2, 3)
    assert names_of_axes({"x": "n c"}, [lone]) == {lone: ("n", "c")}
    assert names_of_axes(None, [lone]) == {}


def test_the_explorer_names_axes_too():
    def scores(q, k):
        return tn.named("scores", q @ k.mT)

    def attend(q, k):
        return ops.softmax(scores(q, k)) * 2.0

    q, k = np.ones((2, 3, 2)), np.arange(8.0).reshape(2, 2, 2)
    by_inputs = tn.explore(attend, q, k, axes={"q": "n q d", "k": "n k d"}).html
    assert "Σ over k" in by_inputs
    assert "over axis 2" not in by_inputs
    assert "Σ over k" in tn.explore(attend, q, k, axes={"scores": "n q k"}).html
    assert "Σ over axis 2" in tn.explore(attend, q, k).html
    # What a bias is summed over, which is said on its way.
    assert '"over":"n"' in tn.explore(lambda x, b: np.tanh(x + b), q[0], q[0, 0], axes={"x": "n d"}).html
    with pytest.raises(ValueError, match="no Tensor is named 'r'"):
        tn.explore(attend, q, k, axes={"r": "n q d"})
    with pytest.raises(ValueError, match=r"takes arrays.*axes\. For other arguments, explore a function"):
        tn.explore(tn.batch_norm, q[0], axes="n d")


def test_axes_from_the_command_line(own_module, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    own_module("mine", "import tinygrad_norm as tn\ndef f(x, k):\n    return tn.ops.softmax(x @ k.mT)\n")
    command = ["draw", "mine:f", "--shape", "2,3,4", "--shape", "2,5,4", "-o", "out.dot"]
    assert cli.main([*command, "--axes", "x=n q d", "--axes", "k=n k d", "--axes", "n c"]) == 0
    assert "softmax over k" in (tmp_path / "out.dot").read_text(encoding="utf-8")
    assert cli.main([*command, "--axes", "z=n q d"]) == 1
    assert "mine:f: axes: no Tensor is named 'z'; the names are: 'k', 'x'" in capsys.readouterr().err
