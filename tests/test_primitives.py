"""Every primitive against NumPy and against oracles that know nothing of its rules, for every row of the table."""

from functools import partial

import numpy as np
import numpy_rows
import primitive_table
import pytest
from draws import each_case
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matrix_rows import MATRIX_COMPOSITES, MATRIX_ROWS
from numpy.testing import assert_array_equal
from primitive_table import assert_close, central_difference, check_derivatives, random_directions
from strategies import NONZERO, SMOOTH, arrays, generators, view_of

import tinygrad_norm as tn
from tinygrad_norm import Tensor
from tinygrad_norm.engine.context import surrounding
from tinygrad_norm.engine.primitive import PRIMITIVES
from tinygrad_norm.engine.tensor import walk

ROWS = primitive_table.ROWS + numpy_rows.ROWS + MATRIX_ROWS
COMPOSITES = primitive_table.COMPOSITES + numpy_rows.COMPOSITES + MATRIX_COMPOSITES
pytestmark = pytest.mark.usefixtures("erf_without_scipy")
DTYPES = [np.float16, np.float32, np.float64]


def over(rows):
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.label)


every_primitive = over(ROWS)
every_row = over(ROWS + COMPOSITES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


# What holds for every primitive.


def test_the_table_has_every_primitive():
    assert {row.name for row in ROWS} == set(PRIMITIVES)


@every_primitive
@each_case
def test_every_input_has_a_rule_and_every_rule_a_formula(row, inputs, static, rng):
    primitive = PRIMITIVES[row.name]
    recorded = [y.node for y in walk([row.call(*(Tensor(x, True) for x in inputs), **static)])]
    (node,) = (node for node in recorded if node.primitive is primitive)
    assert primitive.symbol.strip()
    assert len(primitive.formulas) == len(tuple(primitive.rules))
    assert all(formula.strip() for formula in primitive.formulas)
    for i in range(len(node.inputs)):
        assert callable(primitive.rules[i])


@every_row
@each_case
def test_forward_is_numpys(row, inputs, static, rng):
    want = np.asarray(row.reference(*inputs, **static))
    y = row.call(*map(Tensor, inputs), **static)
    assert isinstance(y, Tensor)
    assert y.dtype == want.dtype
    # sigmoid and rsqrt are written differently here and there; all others are equal but for the order of sums.
    assert_close(y.data, want, 1e-14)
    on_arrays = row.call(*inputs, **static)
    assert isinstance(on_arrays, np.ndarray | np.generic)
    np.testing.assert_array_equal(on_arrays, y.data)


@every_row
@each_case
def test_derivatives(row, inputs, static, rng):
    function = partial(row.call, **static)
    if row.analytic:
        check_derivatives(function, inputs, rng, order=3 if row.elementwise else 2)
    else:
        # A cast to float32 rounds each value to 6e-8 of its size, which is at most 3 here.
        check_derivatives(function, inputs, rng, oracle=central_difference, tolerance=1e-6)


@over([row for row in ROWS + COMPOSITES if row.linear])
@each_case
def test_linear_primitives_have_their_adjoint(row, inputs, static, rng):
    """<g, L x> = <L* g, x>; the others are affine or not linear, so for them the identity fails."""
    xs = [Tensor(x, requires_grad=True) for x in inputs]
    y = row.call(*xs, **static)
    g = rng.normal(size=y.shape).astype(y.dtype)
    y.backward(g)
    # A cast rounds to float32, and its transpose rounds the cotangent instead.
    tolerance = 1e-6 if row.name == "astype" else 1e-13
    assert_close(np.sum(g * y.data), sum(np.sum(x.grad.data * x.data) for x in xs), tolerance)


@every_row
@each_case
def test_complex_tensors_flow_forward(row, inputs, static, rng):
    points = [x + 0.1j * rng.normal(size=x.shape) for x in inputs]
    with surrounding(analytic=True):
        y = row.call(*map(Tensor, points), **static)
        assert not y.requires_grad
        assert_close(y.data, row.call(*points, **static), 1e-15)


@every_dtype
@every_row
@each_case
def test_dtype_and_shape_and_kind_are_kept(row, inputs, static, rng, dtype):
    """In both modes, also for the gradient of the gradient; and both modes give the same numbers."""
    xs = [Tensor(x, requires_grad=True, dtype=dtype) for x in inputs]
    y = row.call(*xs, **static)
    assert y.dtype == (dtype if row.name != "astype" else row.reference(xs[0].data).dtype)
    g = rng.normal(size=y.shape).astype(y.dtype)
    y.backward(g)
    gradients = tn.grad(y, xs, g, create_graph=True)
    seconds = tn.grad(gradients, xs, random_directions(rng, xs), create_graph=True)
    for x, gradient, second in zip(xs, gradients, seconds, strict=True):
        for found in (x.grad, gradient, second):
            assert isinstance(found, Tensor)
            assert (found.shape, found.dtype) == (x.shape, x.dtype)
            assert type(found.data) is np.ndarray
        assert_close(gradient.data, x.grad.data, float(np.finfo(dtype).eps))


@every_row
@each_case
def test_v08_gradients_own_their_memory(row, inputs, static, rng):
    xs = [Tensor(x, requires_grad=True) for x in inputs]
    y = row.call(*xs, **static)
    seed = rng.normal(size=y.shape).astype(y.dtype)
    y.backward(seed)
    gradients = [x.grad.data for x in xs]
    gradients += [g.data for g in tn.grad(y, xs, seed)]
    gradients += [g.data for g in tn.grad(y, xs, seed, create_graph=True)]
    for i, gradient in enumerate(gradients):
        assert gradient.base is None
        assert gradient.flags.owndata
        others = [*gradients[:i], seed, y.data, *(x.data for x in xs), *inputs]
        assert not any(np.shares_memory(gradient, other) for other in others)


@every_primitive
@each_case
def test_v08_gradients_share_nothing_with_a_seed_that_is_differentiated(row, inputs, static, rng):
    """They depend on the seed, and the sum of <v, gradient> has the output of a linear primitive as its gradient."""
    xs = [Tensor(x, requires_grad=True) for x in inputs]
    y = row.call(*xs, **static)
    seed = Tensor(rng.normal(size=y.shape), requires_grad=True, dtype=y.dtype)
    found = tn.grad(y, xs, seed, create_graph=True)
    for i, gradient in enumerate(found):
        others = [*found[:i], seed, *xs]
        assert all(gradient is not other and not np.shares_memory(gradient, other) for other in others)
    if row.linear:
        back = tn.grad(found, seed, [x.data for x in xs])
        assert_close(back.data, y.data, 1e-6 if row.name == "astype" else 1e-13)


@every_row
@each_case
def test_inputs_and_cotangents_are_not_changed(row, inputs, static, rng):
    before = [x.copy() for x in inputs]
    xs = [Tensor(x, requires_grad=True) for x in inputs]
    y = row.call(*xs, **static)
    seed = rng.normal(size=y.shape).astype(y.dtype)
    given_seed, values = seed.copy(), y.numpy()
    y.backward(given_seed)
    tn.grad(y, xs, given_seed, create_graph=True)
    for x, leaf, copy in zip(inputs, xs, before, strict=True):
        np.testing.assert_array_equal(x, copy)
        np.testing.assert_array_equal(leaf.data, copy)
    np.testing.assert_array_equal(given_seed, seed)
    np.testing.assert_array_equal(y.data, values)


@every_row
@each_case
def test_layout_does_not_matter(row, inputs, static, rng):
    """Values and gradients are those of contiguous arrays: the layout is the input's, a view's, or the seed's."""
    xs = [Tensor(x, requires_grad=True) for x in inputs]
    y = row.call(*xs, **static)
    seed = rng.normal(size=y.shape).astype(y.dtype)
    y.backward(seed)
    base_of_seed, view_of_seed = view_of(seed, rng)
    laid_out = [view_of(x, rng) for x in inputs]
    leaves = [Tensor(view(base), requires_grad=True) for base, view in laid_out]
    bases = [Tensor(base, requires_grad=True) for base, _ in laid_out]
    from_leaves = row.call(*leaves, **static)
    from_views = row.call(*(view(base) for base, (_, view) in zip(bases, laid_out, strict=True)), **static)
    assert_close(from_leaves.data, y.data, 1e-14)
    assert_close(from_views.data, y.data, 1e-14)
    assert_close(row.call(*(view(base) for base, view in laid_out), **static), y.data, 1e-14)
    from_leaves.backward(view_of_seed(base_of_seed))
    from_views.backward(view_of_seed(base_of_seed))
    for x, leaf, base, (_, view) in zip(xs, leaves, bases, laid_out, strict=True):
        assert_close(leaf.grad.data, x.grad.data, 1e-14)
        assert_close(view(base.grad.data), x.grad.data, 1e-14)


# Equal elements are the kink of max and min, and make a matrix that has no inverse.
@over([row for row in ROWS if row.name not in ("max", "min", "solve", "det", "logabsdet", "cholesky")])
@each_case
def test_repeated_inputs_receive_the_sum(row, inputs, static, rng):
    """A stride-0 input, recorded or not, is an array like any other, and its source receives every element's part."""
    first, *rest = inputs
    if first.size == 0:
        return
    source = Tensor(first.flat[0], requires_grad=True)
    spread = np.broadcast_to(first.flat[0], first.shape)
    x = Tensor(spread, requires_grad=True)
    if row.name in ("maximum", "minimum") and np.any(np.abs(spread - rest[0]) < 1e-6):
        return
    y = row.call(x, *rest, **static)
    from_source = row.call(np.broadcast_to(source, first.shape), *rest, **static)
    g = rng.normal(size=y.shape).astype(y.dtype)
    y.backward(g)
    from_source.backward(g)
    assert_close(from_source.data, y.data, 1e-14)
    assert_close(source.grad.data, x.grad.data.sum(), 1e-13)


SENTENCES = ("maximum", "minimum", "clip", "root")


@over([row for row in ROWS if row.elementwise and row.name not in SENTENCES])
@each_case
def test_the_formula_is_the_rule(row, inputs, static, rng):
    """What drawings show of an elementwise primitive is Python, but for the sentences of the piecewise ones."""
    node = row.call(*(Tensor(x, requires_grad=True) for x in inputs), **static).node
    operands = dict(zip(node.primitive.operands, node.arrays, strict=True))
    y = np.asarray(node.primitive.forward(*node.arrays, **node.static))
    g = rng.normal(size=y.shape).astype(y.dtype)
    for formula, rule, x in zip(node.primitive.formulas, node.primitive.rules, node.inputs, strict=True):
        if isinstance(x, Tensor):
            shown = eval(formula, {**vars(np), **node.static, **operands, "g": g, "y": y})
            assert_close(rule(g, y, *node.arrays, **node.static), np.broadcast_to(shown, x.shape), 1e-14)


BINARY = [row for row in ROWS if row.name in ("add", "subtract", "multiply", "divide", "maximum", "minimum")]


@over(BINARY)
@given(data=st.data(), rng=generators)
def test_broadcasting_is_a_sum_backward(row, data, rng):
    """The gradient under broadcasting is that of the repeated operand, summed over its repetitions."""
    found = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0))
    a, b = (
        data.draw(arrays(shape, domain)) for shape, domain in zip(found.input_shapes, (SMOOTH, NONZERO), strict=True)
    )
    b = b + 5 if row.name in ("maximum", "minimum") else b
    small = [Tensor(x, requires_grad=True) for x in (a, b)]
    large = [Tensor(np.broadcast_to(x, found.result_shape), requires_grad=True) for x in (a, b)]
    y, z = row.call(*small), row.call(*large)
    g = rng.normal(size=found.result_shape)
    y.backward(g)
    z.backward(g)
    np.testing.assert_array_equal(y.data, z.data)
    for x, repeated in zip(small, large, strict=True):
        lead = repeated.ndim - x.ndim
        total = repeated.grad.data.sum(axis=tuple(range(lead)))
        ones = tuple(i for i, n in enumerate(x.shape) if n == 1)
        assert_close(x.grad.data, total.sum(axis=ones, keepdims=True), 1e-13)


# The checks themselves: known-wrong rules must not pass.


def detached(rule):
    """Right to first order, and a constant beyond."""
    return lambda g, y, *xs, **s: rule(g, *(x.data if isinstance(x, Tensor) else x for x in (y, *xs)), **s)


MUTANTS = {
    "negated": lambda rule: lambda *xs, **s: -rule(*xs, **s),
    "a little too large": lambda rule: lambda *xs, **s: rule(*xs, **s) * (1 + 1e-5),
    "shifted": lambda rule: lambda *xs, **s: rule(*xs, **s) + 1e-5,
    "forgets the cotangent": lambda rule: lambda g, *xs, **s: rule(np.ones_like(g), *xs, **s),
}


def assert_rejects(test, row, **options):
    """One of the cases of a generic test must fail."""
    with pytest.raises(AssertionError):
        test(row, largest_first=True, **options)


class Mutated:
    """The rule of every operand, changed."""

    def __init__(self, rules, mutant):
        self.rules, self.mutant = rules, mutant

    def __getitem__(self, operand):
        return self.mutant(self.rules[operand])


def mutate(monkeypatch, row, mutant):
    primitive = PRIMITIVES[row.name]
    monkeypatch.setattr(primitive, "rules", Mutated(primitive.rules, mutant))


@over([row for row in ROWS if row.name != "sign"])  # whose gradient is 0
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=list(MUTANTS))
def test_derivatives_reject_wrong_rules(monkeypatch, row, mutant):
    mutate(monkeypatch, row, mutant)
    assert_rejects(test_derivatives, row)


FLAT = ("add", "subtract", "pad", "absolute", "sign", "clip", "max", "min", "maximum", "minimum",
        "remainder", "fmod")  # fmt: skip


@over([row for row in ROWS if not row.linear and row.name not in FLAT])
def test_second_derivatives_reject_detached_rules(monkeypatch, row):
    mutate(monkeypatch, row, detached)
    assert_rejects(test_derivatives, row)


@every_primitive
def test_dtypes_reject_rules_that_make_float64(monkeypatch, row):
    mutate(monkeypatch, row, lambda rule: lambda *xs, **s: rule(*xs, **s) * np.ones(()))
    assert_rejects(test_dtype_and_shape_and_kind_are_kept, row, dtype=np.float32)


def test_v08_rejects_gradients_that_are_not_owned(monkeypatch):
    monkeypatch.setattr("tinygrad_norm.engine.tensor._owned", lambda g, borrowed, x: np.asarray(g))
    for row in ROWS:
        if row.name in ("add", "sum", "reshape", "transpose", "concatenate", "broadcast_to", "mean"):
            assert_rejects(test_v08_gradients_own_their_memory, row)


def test_float16_is_added_up_in_float32():
    """Ones in float16 add up to 2048 at most: 2048 + 1 rounds to 2048."""
    ones = np.ones((4097, 2), np.float16)
    x = tn.tensor(ones, requires_grad=True)
    for total in (x.sum(axis=0), tn.ops.sum(ones, axis=0), np.cumsum(x, axis=0)[-1], tn.ops.cumsum(ones, axis=0)[-1]):
        assert total.dtype == np.float16
        assert_array_equal(np.asarray(getattr(total, "data", total)), np.full(2, 4096, np.float16))
    # What was repeated adds up its cotangents, and a running sum those of the later ones.
    row = tn.tensor(ones[:1], requires_grad=True)
    (row + tn.tensor(ones)).backward(ones)
    assert_array_equal(row.grad.data, np.full((1, 2), 4096, np.float16))
    assert_array_equal(tn.grad(np.cumsum(x, axis=0), x, ones).data[0], np.full(2, 4096, np.float16))
    # What was read, or seen through windows, many times adds up likewise.
    (read,) = tn.grad([row[np.zeros(4097, int)]], [row], [ones])
    assert_array_equal(read.data, np.full((1, 2), 4096, np.float16))
    assert tn.ops.overlap_add(np.ones((3000, 3000), np.float16), (5999,), (1,))[2999] == 3000
