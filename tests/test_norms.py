"""The norms as mathematics: derivatives of every order, invariances, and what happens at the edges."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import reference
from closed_forms import averages, closed_form, inputs_of, labels
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm.engine.tensor import walk

EPS = 1e-5
few = settings(max_examples=25, deadline=None)


NORMS: dict[str, Callable[..., Any]] = {
    "batch_norm": lambda x, weight=None, bias=None, eps=EPS: tn.batch_norm(x, weight=weight, bias=bias, eps=eps),
    "layer_norm": lambda x, weight=None, bias=None, eps=EPS: tn.layer_norm(x, x.shape[1:], weight, bias, eps),
    "instance_norm": lambda x, weight=None, bias=None, eps=EPS: tn.instance_norm(x, weight=weight, bias=bias, eps=eps),
    "group_norm": lambda x, weight=None, bias=None, eps=EPS: tn.group_norm(x, 2, weight, bias, eps),
    "rms_norm": lambda x, weight=None, eps=EPS: tn.rms_norm(x, x.shape[1:], weight, eps),
}
CENTRED = [name for name in NORMS if name != "rms_norm"]
CASES = [(name, (2, 4, 2, 2)) for name in NORMS] + [(name, (3, 4)) for name in NORMS if name != "instance_norm"]
every_norm = pytest.mark.parametrize("name", NORMS)
every_case = pytest.mark.parametrize(("name", "shape"), CASES)


def differentiate(call: Callable[..., Any], g: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    """The output, and the gradient for each array."""
    leaves = [tn.tensor(a, requires_grad=True) for a in arrays]
    y = call(*leaves)
    return [y.data, *(gradient.data for gradient in tn.grad(y, leaves, g))]


class Drawn(NamedTuple):
    name: str
    x: np.ndarray
    rng: np.random.Generator

    @property
    def call(self) -> Callable[..., Any]:
        return NORMS[self.name]


@st.composite
def drawn(draw: st.DrawFn, names: Any = tuple(NORMS)) -> Drawn:
    """A norm and an input of four channels and distinct values, at least two of which share each statistic."""
    name = draw(st.sampled_from(names))
    space = draw(hnp.array_shapes(min_dims=int(name == "instance_norm"), max_dims=2, min_side=2, max_side=3))
    shape = (draw(st.integers(2, 3)), 4, *space)
    # Distinct eighths: no variance is nearly zero, and shifts by eighths are exact.
    x = draw(hnp.arrays(np.int64, shape, elements=st.integers(-500, 500), fill=st.nothing(), unique=True)) / 8
    return Drawn(name, x, np.random.default_rng(draw(st.integers(0, 2**32 - 1))))


# Derivatives.


@every_case
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_v03_derivatives_agree_with_mpmath_to_50_digits(name: str, shape: tuple[int, ...], order: int) -> None:
    rng = np.random.default_rng(order)
    inputs, g = inputs_of(name, shape, rng), rng.standard_normal(shape)
    directions = [[rng.standard_normal(v.shape) for v in inputs] for _ in range(order - 1)]
    leaves = [tn.tensor(v, requires_grad=True) for v in inputs]
    gradients = tn.grad(NORMS[name](*leaves), leaves, g, create_graph=True)
    for direction in directions:
        gradients = tn.grad(gradients, leaves, direction, create_graph=True)
    # A mistake in any element shows in the sum over all of them, each with a weight of its own.
    weights = [rng.standard_normal(v.shape) for v in inputs]
    expected = reference.slopes(getattr(reference, name), inputs, g, directions, weights, EPS)
    for gradient, weight, exact in zip(gradients, weights, expected, strict=True):
        # Where a derivative is zero, as by the bias from order 2 on, it is exactly so.
        terms = weight * gradient.data
        assert abs(terms.sum() - exact) <= 1e-9 * np.abs(terms).max()


@every_norm
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_v03_the_reference_agrees_with_finite_differences_at_50_digits(name: str, order: int) -> None:
    rng = np.random.default_rng(order)
    inputs, norm = inputs_of(name, (2, 4, 2), rng), getattr(reference, name)
    g, direction = rng.standard_normal((2, 4, 2)), [rng.standard_normal(v.shape) for v in inputs]
    exact = reference.derivative(norm, inputs, g, [direction] * order, EPS)
    numerical = reference.numerical_derivative(norm, inputs, g, direction, order, EPS)
    assert abs(exact - numerical) <= 1e-30 * abs(exact)


@every_case
def test_gradients_are_the_textbook_closed_forms(name: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    inputs, g = inputs_of(name, shape, rng), rng.standard_normal(shape)
    closed = closed_form(name, g, inputs, EPS)
    found = differentiate(NORMS[name], g, *inputs)
    for value, expected in zip(found, closed[: len(found)], strict=True):
        assert_allclose(value, expected, rtol=1e-12, atol=1e-13)


# Invariances.


@few
@given(drawn(CENTRED), st.integers(-1000, 1000))
def test_a_shift_of_what_shares_a_mean_changes_nothing(case: Drawn, shift: int) -> None:
    label = labels(case.name, case.x.shape)
    moved = case.x + (case.rng.permutation(label.max() + 1) + shift / 8)[label]
    # The mean of the moved values is rounded at their size, up to 200 where deviations may be 1/16.
    assert_allclose(case.call(moved, eps=0), case.call(case.x, eps=0), rtol=0, atol=1e-11)


@few
@given(drawn(), st.integers(-30, 30), st.sampled_from([-1, 1]))
def test_a_scale_changes_nothing_but_the_sign_without_eps(case: Drawn, exponent: int, sign: int) -> None:
    # Powers of two make no rounding errors, so the equality is exact.
    assert_array_equal(case.call(sign * 2.0**exponent * case.x, eps=0), sign * case.call(case.x, eps=0))
    assert_allclose(case.call(1.7 * case.x, eps=0), case.call(case.x, eps=0), rtol=1e-10, atol=1e-11)


@few
@given(drawn(["group_norm"]))
def test_layer_norm_over_all_but_the_batch_is_group_norm_with_one_group(case: Drawn) -> None:
    g = case.rng.standard_normal(case.x.shape)
    layer = differentiate(lambda x: tn.layer_norm(x, x.shape[1:]), g, case.x)
    group = differentiate(lambda x: tn.group_norm(x, 1), g, case.x)
    assert_allclose(layer, group, rtol=1e-12, atol=1e-12)


@few
@given(drawn(["instance_norm"]))
def test_instance_norm_is_group_norm_with_as_many_groups_as_channels(case: Drawn) -> None:
    g, (weight, bias) = case.rng.standard_normal(case.x.shape), case.rng.standard_normal((2, 4))
    instance = differentiate(NORMS["instance_norm"], g, case.x, weight, bias)
    group = differentiate(lambda x, weight, bias: tn.group_norm(x, 4, weight, bias), g, case.x, weight, bias)
    for ours, theirs in zip(instance, group, strict=True):
        assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@few
@given(drawn())
def test_permuting_samples_commutes_with_every_norm(case: Drawn) -> None:
    g, order = case.rng.standard_normal(case.x.shape), case.rng.permutation(len(case.x))
    y, dx = differentiate(case.call, g, case.x)
    assert_allclose(differentiate(case.call, g[order], case.x[order]), (y[order], dx[order]), rtol=1e-11, atol=1e-11)


@few
@given(drawn(CENTRED))
def test_gradients_sum_to_zero_over_what_shares_a_mean(case: Drawn) -> None:
    g, arrays = case.rng.standard_normal(case.x.shape), inputs_of(case.name, case.x.shape, case.rng)
    _, dx, *_ = differentiate(case.call, g, case.x, *arrays[1:])
    assert (np.abs(averages(case.name, dx)) <= 1e-14 * (1 + averages(case.name, np.abs(dx)))).all()


@few
@given(drawn())
def test_gradients_are_orthogonal_to_the_normalized_values_without_eps(case: Drawn) -> None:
    g, arrays = case.rng.standard_normal(case.x.shape), inputs_of(case.name, case.x.shape, case.rng)
    _, dx, *_ = differentiate(lambda *a: case.call(*a, eps=0), g, case.x, *arrays[1:])
    # A cotangent of size 1, divided by a deviation that is at least 1/16.
    assert_allclose(averages(case.name, dx * case.call(case.x, eps=0)), 0, atol=1e-12)


@few
@given(drawn(CENTRED), st.sampled_from([0, 1e-5, 1.0, 1e3]))
def test_the_variance_after_is_var_over_var_plus_eps(case: Drawn, eps: float) -> None:
    var = averages(case.name, (case.x - averages(case.name, case.x)) ** 2)
    y = case.call(case.x, eps=eps)
    assert_allclose(averages(case.name, y), 0, atol=1e-11)
    assert_allclose(averages(case.name, y * y), var / (var + eps), rtol=1e-11)


# Jacobians.


def test_without_eps_the_jacobian_of_batch_norm_is_a_projection_over_the_deviation() -> None:
    x = np.random.default_rng(0).standard_normal((7, 1))
    projection = tn.jacobian(lambda x: tn.batch_norm(x, eps=0), x).reshape(7, 7) * x.std()
    assert_allclose(projection @ projection, projection, atol=1e-14)
    assert_allclose(projection, projection.T, atol=1e-14)
    # It removes the mean and x̂: two of seven directions.
    assert_allclose(np.trace(projection), 5)


def test_batch_norm_keeps_features_apart_and_layer_norm_samples() -> None:
    x = np.random.default_rng(1).standard_normal((4, 3))
    batch = tn.jacobian(tn.batch_norm, x)
    layer = tn.jacobian(lambda x: tn.layer_norm(x, 3), x)
    same_feature = np.broadcast_to(np.eye(3, dtype=bool)[None, :, None, :], batch.shape)
    same_sample = np.broadcast_to(np.eye(4, dtype=bool)[:, None, :, None], layer.shape)
    assert_array_equal(batch != 0, same_feature)
    assert_array_equal(layer != 0, same_sample)


def test_the_identity_is_representable_but_only_in_value() -> None:
    x = np.random.default_rng(2).standard_normal((5, 1)) * 3 + 2
    weight, bias = np.sqrt(x.var(0) + EPS), x.mean(0)
    assert_allclose(tn.batch_norm(x, weight=weight, bias=bias), x, rtol=1e-14)
    training = tn.jacobian(lambda x: tn.batch_norm(x, weight=weight, bias=bias), x).reshape(5, 5)
    # The identity would carry a shift of the batch on; batch norm takes it out.
    assert_allclose(training @ np.ones(5), 0, atol=1e-14)
    given = {"mean": x.mean(0), "var": x.var(0)}
    testing = tn.jacobian(lambda x: tn.batch_norm(x, weight=weight, bias=bias, **given), x).reshape(5, 5)
    assert_allclose(testing, np.eye(5), rtol=1e-15, atol=0)


def test_with_given_statistics_the_jacobian_is_diagonal() -> None:
    rng = np.random.default_rng(3)
    x, weight, mean, var = rng.standard_normal((3, 2, 2)), *rng.uniform(1, 2, (3, 2))
    jacobian = tn.jacobian(lambda x: tn.batch_norm(x, weight=weight, mean=mean, var=var), x).reshape(12, 12)
    slopes = np.broadcast_to((weight / np.sqrt(var + EPS))[:, None], x.shape)
    assert_allclose(jacobian, np.diag(slopes.ravel()), rtol=1e-14, atol=0)


def test_given_statistics_receive_the_gradients_that_the_closed_form_gives_them() -> None:
    rng = np.random.default_rng(4)
    x, g = rng.standard_normal((2, 5, 3))
    mean, var = rng.uniform(1, 2, (2, 3))
    _, dmean, dvar = differentiate(lambda mean, var: tn.batch_norm(x, mean=mean, var=var), g, mean, var)
    assert_allclose(dmean, -(g / np.sqrt(var + EPS)).sum(0), rtol=1e-13)
    assert_allclose(dvar, (g * (x - mean)).sum(0) * -0.5 * (var + EPS) ** -1.5, rtol=1e-13)


# Numbers that are hard.


@pytest.mark.parametrize("constant", [0.0, 3.0, -1e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["batch_norm", "layer_norm"])
def test_v02_constant_input_gives_zero_and_a_centred_gradient(name: str, dtype: Any, constant: float) -> None:
    x, g = np.full((6, 4), constant, dtype), np.random.default_rng(6).standard_normal((6, 4)).astype(dtype)
    y, dx = differentiate(NORMS[name], g, x)
    expected = (g - averages(name, g.astype(np.float64))) / np.sqrt(1e-5)
    assert_array_equal(y, 0)
    assert np.abs(dx - expected).max() <= 1e-6 * np.abs(expected).max()


def test_v01_a_large_offset_costs_float32_little_and_float64_statistics_nothing() -> None:
    x = np.broadcast_to(1e4 + np.arange(16) * 1e-3, (3, 16)).astype(np.float32)
    exact = tn.layer_norm(x.astype(np.float64), 16)
    assert np.abs(tn.layer_norm(x, 16) - exact).max() <= 0.15
    precise = tn.normalize(x, "n c -> n", stats_dtype=np.float64)
    assert precise.dtype == np.float32
    assert np.abs(precise - exact).max() <= 1e-5


def test_v14_float16_statistics_are_computed_in_float32() -> None:
    x, g = np.full((1, 4), 300, np.float16), np.random.default_rng(7).standard_normal((1, 4)).astype(np.float16)
    y, dx = differentiate(lambda x: tn.rms_norm(x, 4), g, x)
    assert_array_equal(y, np.ones((1, 4), np.float16))
    assert_allclose(dx, (g - g.mean()) / 300, atol=1e-5)
    assert y.dtype == dx.dtype == np.float16
    assert tn.ops.mean(np.ones(70_000, np.float16)) == tn.tensor(np.ones(70_000, np.float16)).mean().item() == 1


@every_norm
@pytest.mark.parametrize("hostile", [np.nan, np.inf])
def test_nan_and_inf_contaminate_only_what_shares_their_statistics(name: str, hostile: float) -> None:
    rng = np.random.default_rng(8)
    x, g = rng.standard_normal((2, 3, 4, 2, 2))
    spoilt = x.copy()
    spoilt[1, 2, 0, 1] = hostile
    label = labels(name, x.shape)
    reached = label == label[1, 2, 0, 1]
    with np.errstate(invalid="ignore"):  # inf - inf
        found = differentiate(NORMS[name], g, spoilt)
    for value, clean in zip(found, differentiate(NORMS[name], g, x), strict=True):
        assert np.isnan(value[1, 2, 0, 1])
        assert_array_equal(value[~reached], clean[~reached])
        if np.isnan(hostile):
            assert np.isnan(value[reached]).all()


# Dtypes, arrays, and what is recorded.


@every_norm
@pytest.mark.parametrize("weight_dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_output_promotes_with_the_weight_and_gradients_keep_their_own_dtype(name, dtype, weight_dtype) -> None:
    rng = np.random.default_rng(9)
    x, *parameters = inputs_of(name, (2, 4, 3), rng)
    arrays = [x.astype(dtype), *(p.astype(weight_dtype) for p in parameters)]
    y, *gradients = differentiate(NORMS[name], rng.random(x.shape), *arrays)
    assert y.dtype == np.result_type(dtype, weight_dtype)
    assert [gradient.dtype for gradient in gradients] == [a.dtype for a in arrays]


@every_norm
@pytest.mark.parametrize("scalar", [float, np.float64, np.float32, np.array])
def test_v04_a_scalar_of_any_kind_as_eps_promotes_nothing(name: str, scalar: Callable[[float], Any]) -> None:
    rng = np.random.default_rng(17)
    arrays, g = inputs_of(name, (2, 4, 3), rng, np.float32), rng.standard_normal((2, 4, 3))
    found = differentiate(lambda *a: NORMS[name](*a, eps=scalar(EPS)), g, *arrays)
    assert {value.dtype for value in found} == {np.dtype(np.float32)}


@every_case
def test_arrays_give_the_arrays_that_tensors_hold(name: str, shape: tuple[int, ...]) -> None:
    inputs = inputs_of(name, shape, np.random.default_rng(10), np.float32)
    y = NORMS[name](*inputs)
    assert type(y) is np.ndarray
    assert_array_equal(y, NORMS[name](*map(tn.tensor, inputs)).data, strict=True)


@every_case
def test_where_x_needs_no_gradient_the_graph_is_the_affine_step_alone(name: str, shape: tuple[int, ...]) -> None:
    x, *parameters = inputs_of(name, shape, np.random.default_rng(11))
    y = NORMS[name](tn.tensor(x), *(tn.tensor(p, requires_grad=True) for p in parameters))
    recorded = [tensor.node.primitive.name for tensor in walk([y])]
    assert sorted(set(recorded) - {"reshape", "broadcast_to"}) == ["add", "multiply"][-len(parameters) :]
    assert recorded.count("multiply") == 1


def test_batch_norm_names_its_steps() -> None:
    x, weight, bias = inputs_of("batch_norm", (3, 4), np.random.default_rng(12))
    y = tn.batch_norm(tn.tensor(x, requires_grad=True), weight=weight, bias=bias)
    steps = {tensor.name: tensor for tensor in reversed(walk([y])) if tensor.name}
    assert list(steps) == ["μ", "x−μ", "σ²", "x̂", "y"]
    assert steps["y"] is y
    expected = [x.mean(0), x - x.mean(0), x.var(0), (x - x.mean(0)) / np.sqrt(x.var(0) + EPS)]
    for step, value in zip(steps.values(), expected, strict=False):
        assert_allclose(step.data, np.broadcast_to(value, step.shape), rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2, 2)])
def test_batch_norm_returns_the_statistics_it_used(shape: tuple[int, ...]) -> None:
    x, (given_mean, given_var) = np.random.default_rng(13).standard_normal(shape), np.ones((2, 4))
    _, mean, var = tn.batch_norm(x, return_statistics=True)
    axes = (0, *range(2, x.ndim))
    assert_allclose(mean, x.mean(axes, keepdims=True), atol=1e-15)
    assert_allclose(var, x.var(axes, keepdims=True), rtol=1e-14)
    _, again_mean, again_var = tn.batch_norm(x, mean=given_mean, var=given_var, return_statistics=True)
    assert_array_equal(again_mean, np.ones(mean.shape), strict=True)
    assert_array_equal(again_var, np.ones(var.shape), strict=True)


@pytest.mark.parametrize("shape", [(0, 4), (0, 4, 2, 2), (3, 4, 0)])
@every_norm
def test_an_empty_input_gives_an_empty_output(name: str, shape: tuple[int, ...]) -> None:
    arrays = inputs_of(name, shape, np.random.default_rng(15), np.float32)
    y, dx, *others = differentiate(NORMS[name], np.zeros(shape), *arrays)
    assert y.shape == dx.shape == shape
    assert y.dtype == dx.dtype == np.float32
    for gradient, parameter in zip(others, arrays[1:], strict=True):
        assert_array_equal(gradient, np.zeros_like(parameter))


def test_an_empty_batch_has_no_statistics() -> None:
    y, mean, var = tn.batch_norm(np.zeros((0, 3)), return_statistics=True)
    assert y.shape == (0, 3)
    assert mean is None
    assert var is None


def test_groups_of_one_element_give_exactly_the_bias_and_no_gradient() -> None:
    x, g = np.random.default_rng(16).standard_normal((2, 3, 4))
    y, dx = differentiate(lambda x: tn.group_norm(x, 4, bias=np.arange(4.0)), g, x)
    assert_array_equal(y, np.broadcast_to(np.arange(4.0), (3, 4)))
    assert_array_equal(dx, 0)


# Errors: each message names the argument.

X2, X4 = np.arange(12.0).reshape(3, 4), np.arange(48.0).reshape(3, 4, 2, 2)
BAD_EPS = [-1e-5, np.nan, np.inf]
ERRORS = [
    *((partial(norm, np.ones((3, 4, 2), dtype)), TypeError, f"floating input, not {np.dtype(dtype)}")
      for norm in NORMS.values() for dtype in (np.int64, bool)),
    *((partial(norm, X4, eps=eps), ValueError, "eps must be finite and not negative")
      for norm in NORMS.values() for eps in BAD_EPS),
    *((partial(norm, X4, np.ones(5)), ValueError, r"weight must have shape \(4,.*not \(5,\)")
      for norm in NORMS.values()),
    *((partial(NORMS[name], X4, None, np.ones(5)), ValueError, r"bias must have shape \(4,.*not \(5,\)")
      for name in CENTRED),
    (partial(tn.batch_norm, X2[0]), ValueError, r"expects \(N, C\).*\(4,\)"),
    (partial(tn.batch_norm, X2[:1]), ValueError, r"more than one value per channel.*\(1, 4\).*axes \(0,\)"),
    (partial(tn.batch_norm, X4[:1, :, :1, :1], mean=np.zeros(4)), ValueError, r"more than one value.*\(0, 2, 3\)"),
    (partial(tn.batch_norm, X4, mean=np.zeros(3)), ValueError, r"mean must have shape \(4,\), not \(3,\)"),
    (partial(tn.batch_norm, X4, var=np.ones((4, 1))), ValueError, r"var must have shape \(4,\), not \(4, 1\)"),
    *((partial(norm, X2, shape), ValueError, "normalized_shape")
      for norm in (tn.layer_norm, tn.rms_norm) for shape in (3, (), (4, 1), (2, 3, 4), [3])),
    (partial(tn.instance_norm, X2), ValueError, r"more than one spatial element.*\(3, 4\)"),
    (partial(tn.instance_norm, X4[..., :1, :1]), ValueError, r"more than one spatial element.*\(3, 4, 1, 1\)"),
    (partial(tn.group_norm, X2[0], 2), ValueError, r"expects \(N, C\).*\(4,\)"),
    *((partial(tn.group_norm, X2, groups), ValueError, "num_groups must be a positive integer that divides the 4")
      for groups in (0, -1, 3, 8, 2.0, True)),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_errors_name_the_argument(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# An empty input is not the output.

FUNCTIONS = {
    **NORMS,
    "normalize": lambda x: tn.normalize(x, "n c ... -> c"),
    "local_response_norm": lambda x: tn.local_response_norm(x, 3),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_output_for_an_empty_input_is_another_tensor_connected_to_it(name: str) -> None:
    x = tn.tensor(np.zeros((0, 4, 2)), requires_grad=True, name="mine")
    y = FUNCTIONS[name](x)
    assert y is not x
    assert x.name == "mine"
    y.backward(np.zeros(y.shape))
    assert x.grad.shape == x.shape
    plain = np.zeros((0, 4, 2))
    assert FUNCTIONS[name](plain) is not plain


# Arguments of other kinds.


@pytest.mark.parametrize("name", FUNCTIONS)
def test_lists_are_arrays(name: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    call = FUNCTIONS[name]
    if name in ("layer_norm", "rms_norm"):
        call = partial(getattr(tn, name), normalized_shape=[4, 2])
    assert_array_equal(call(x.tolist()), call(x))


WRONG_KINDS = [
    *((partial(norm, X4, eps=eps), TypeError, "eps must be a real number, not")
      for norm in NORMS.values() for eps in ("1e-5", [1e-5], True, 1j)),
    *((partial(NORMS[name], X4, eps=None), TypeError, "eps must be a real number, not None") for name in CENTRED),
    *((partial(tn.local_response_norm, X4, 3, **{name: wrong}), TypeError, f"{name} must be a real number")
      for name in ("alpha", "beta", "k") for wrong in ("1", None)),
    *((partial(tn.local_response_norm, X4, 3, **{name: np.nan}), ValueError, f"{name} must be finite")
      for name in ("alpha", "beta", "k")),
    *((partial(norm, X2, shape), ValueError, "normalized_shape must be an integer .*or a sequence")
      for norm in (tn.layer_norm, tn.rms_norm) for shape in (4.0, None, (), (4.0,), True, "4", (-4,))),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG_KINDS)
def test_what_is_of_the_wrong_kind_is_named(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_numpy_integers_are_sizes_and_floats_are_not_whatever_was_asked_before() -> None:
    expected = tn.group_norm(X2, 2)
    assert_array_equal(tn.group_norm(X2, np.int64(2)), expected)
    assert_array_equal(tn.layer_norm(X2, (np.int32(4),)), tn.layer_norm(X2, 4))
    for wrong in (2.0, np.float64(2), "2", [2], None):
        with pytest.raises(ValueError, match="num_groups must be a positive integer"):
            tn.group_norm(X2, wrong)
