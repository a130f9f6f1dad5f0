"""Norms and what LAPACK does: values are NumPy's, derivatives right to second order, where they stand and where not."""

import itertools
import math

import numpy as np
import pytest
from numpy_agreement import agrees, drawn
from primitive_table import check_derivatives

import tinygrad_norm as tn
from tinygrad_norm import Tensor

inf = math.inf


def regular(*shape):
    """Matrices with singular values between 1 and 3."""
    x = drawn(shape)
    u, s, vh = np.linalg.svd(x)
    return u * np.linspace(1, 3, s.shape[-1]) @ vh


def spread(shape):
    """Numbers whose sizes, and those of their sums, are at least 0.75 apart, so that the largest stays the largest."""
    rng = np.random.default_rng(len(shape))
    sizes = rng.permutation(np.cumsum(rng.uniform(0.75, 1.25, math.prod(shape)))).reshape(shape)
    return sizes * rng.choice([-1, 1], shape)


def positive(*shape):
    x = regular(*shape)
    return x @ x.mT


# Norms.

NORMS = [
    (shape, ord, axis)
    for shape, axes in {(3,): [None, 0], (2, 3): [None, 0, -1, (0, 1), (-1, 0)], (2, 3, 2): [None, 1, (2, 0)]}.items()
    for axis in axes
    for ord in ([None, 1, 2, 3, 0.5, -1, -2.5, inf, -inf] if (shape == (3,) or isinstance(axis, int)) else [None])
    + (["fro", 1, -1, inf, -inf] if isinstance(axis, tuple) or (axis is None and len(shape) == 2) else [])
]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(("shape", "ord", "axis"), NORMS)
def test_norm(shape, ord, axis, keepdims):
    x = spread(shape)
    y = np.linalg.norm(Tensor(x, requires_grad=True), ord, axis, keepdims)
    want = np.asarray(np.linalg.norm(x, ord, axis, keepdims))
    assert (y.shape, y.dtype, y.requires_grad) == (want.shape, want.dtype, True)
    np.testing.assert_allclose(y.data, want, rtol=1e-14)
    # NumPy's norm of complex numbers has no complex derivative, so ours is differentiated there: its values are right.
    check_derivatives(lambda x: tn.ops.norm(x, ord, axis, keepdims), [x], np.random.default_rng(3))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("ord", [None, 1, 3, 0.5, inf, -2])
def test_norms_keep_the_dtype(dtype, ord):
    x = Tensor([3, -4], requires_grad=True, dtype=dtype)
    y = np.linalg.norm(x, ord)
    assert y.dtype == dtype == tn.grad(y, x).dtype
    assert y.dtype == np.linalg.norm(x.data, ord).dtype or dtype == np.float16


def test_vector_norm_and_matrix_norm():
    x = drawn((2, 3, 4))
    for ord, axis, keepdims in itertools.product([0, 1, 2, 2.5, inf, -inf], [None, 1, (0, 2)], [False, True]):
        y = np.linalg.vector_norm(Tensor(x), axis=axis, keepdims=keepdims, ord=ord)
        want = np.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)
        np.testing.assert_allclose(y.data, want, rtol=1e-14)
    for ord, keepdims in itertools.product(["fro", 1, -inf], [False, True]):
        y = np.linalg.matrix_norm(Tensor(x), ord=ord, keepdims=keepdims)
        np.testing.assert_allclose(y.data, np.linalg.matrix_norm(x, ord=ord, keepdims=keepdims), rtol=1e-14)


@pytest.mark.parametrize("ord", [None, 1, 2, 3, 1.5, 0.5, -1, -2.5, inf, -inf])
def test_the_norm_of_zeros_is_0_with_gradient_0(ord):
    x = Tensor(np.zeros(3), requires_grad=True)
    y = np.linalg.norm(x, ord)
    g = tn.grad(y, x, create_graph=True)
    assert y.item() == 0
    assert not g.data.any()
    # Between 1 and 2, the second derivative is infinite wherever an element is 0.
    if g.requires_grad and ord != 1.5:
        assert not tn.grad(g, x, [1.0, 2.0, 3.0]).data.any()


def test_a_row_of_zeros_beside_others_has_gradient_0_alone():
    x = Tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    y = np.linalg.norm(x, axis=1)
    assert y.data.tolist() == [0, 5]
    np.testing.assert_allclose(tn.grad(y, x, [7.0, 10.0]).data, [[0, 0], [6, 8]], rtol=1e-15)


@pytest.mark.parametrize("ord", [0.5, -1, -2.5])
def test_a_zero_beside_others_has_gradient_0_where_norms_have_a_cusp(ord):
    """The others' gradients are those at a point nearby, where nothing is 0, and so are their derivatives."""
    point, beside = [0.0, 4.0, -1.0], [1e-40, 4.0, -1.0]
    found = []
    for values in (point, beside):
        x = Tensor(values, requires_grad=True)
        y = np.linalg.norm(x, ord)
        first = tn.grad(y, x, 1.5, create_graph=True)
        found.append([y.data, first.data[1:], tn.grad(first, x, [0.0, 0.7, -2.0]).data[1:]])
        assert values is beside or first.data[0] == 0
    with np.errstate(divide="ignore"):
        assert found[0][0] == np.linalg.norm(point, ord)
    for at, near in zip(*found, strict=True):
        np.testing.assert_allclose(at, near, atol=1e-15)


def test_the_norm_of_order_0_counts_and_has_no_gradient():
    y = np.linalg.norm(Tensor([0.0, 2.0, 3.0], requires_grad=True), 0)
    assert (y.item(), y.requires_grad) == (2, False)


def test_norms_that_numpy_does_not_know_are_errors():
    x = Tensor(drawn((2, 3, 4)))
    for ord, axis in ((1, None), ("fro", 0), ("bogus", (0, 1)), (3, (0, 1)), (None, (0, 1, 2)), (None, (0, 0))):
        with pytest.raises(ValueError, match=r"norm|axis"):
            np.linalg.norm(x, ord, axis)


@pytest.mark.parametrize("ord", [2, -2, "nuc"])
def test_norms_of_singular_values_have_no_gradient_and_say_so(ord):
    x = Tensor(drawn((2, 3)), requires_grad=True, name="x")
    with pytest.raises(TypeError, match="singular values") as refusal:
        np.linalg.norm(x, ord)
    advice = str(refusal.value).split("; use ")[1].removesuffix(" for its value")
    assert eval(advice, {"np": np, "x": x}) == np.linalg.norm(x.data, ord)


# LAPACK.


def symmetric(function):
    """A function of the symmetric part: what NumPy reads of one half has a derivative by both."""
    return lambda x: function(0.5 * (x + x.swapaxes(-1, -2)))


LAPACK = {
    "inv": (np.linalg.inv, regular, [(3, 3), (2, 3, 3), (1, 1), (2, 1, 2, 2), (0, 3, 3)]),
    "det": (np.linalg.det, regular, [(3, 3), (2, 3, 3), (1, 1), (0, 2, 2)]),
    "matrix_power 1": (lambda x: np.linalg.matrix_power(x, 1), regular, [(2, 2)]),
    "matrix_power 5": (lambda x: np.linalg.matrix_power(x, 5), regular, [(2, 2), (2, 2, 2)]),
    "matrix_power -3": (lambda x: np.linalg.matrix_power(x, -3), regular, [(2, 2)]),
    "solve a vector": (lambda a: np.linalg.solve(a, np.arange(3).astype(a.dtype)), regular, [(3, 3), (2, 3, 3)]),
    "solve matrices": (lambda a: np.linalg.solve(a, np.ones((2, 3, 2), a.dtype)), regular, [(3, 3), (2, 3, 3)]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name, (*_, shapes) in LAPACK.items() for shape in shapes]
)
def test_lapack(name, shape):
    function, draw, _ = LAPACK[name]
    agrees(function, draw(*shape), tolerance=1e-8)


def test_the_power_0_is_the_identity():
    y = np.linalg.matrix_power(Tensor(regular(2, 3, 3), requires_grad=True), 0)
    np.testing.assert_array_equal(y.data, np.broadcast_to(np.eye(3), (2, 3, 3)))


@pytest.mark.parametrize("shapes", [((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (3,)), ((2, 1, 3, 3), (2, 3, 1))])
def test_solve_has_a_gradient_for_both_sides(shapes):
    a, b = shapes
    agrees(np.linalg.solve, regular(*a), drawn(b), tolerance=1e-8)


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3)])
def test_slogdet(shape):
    x = regular(*shape)
    for sign in (1, -1):
        result, want = np.linalg.slogdet(Tensor(sign * x)), np.linalg.slogdet(sign * x)
        np.testing.assert_array_equal(result.sign, want.sign)
        np.testing.assert_allclose(result.logabsdet.data, want.logabsdet, rtol=1e-14)
        check_derivatives(lambda x: tn.ops.slogdet(x)[1], [sign * x], np.random.default_rng(1))


def test_slogdet_stands_where_det_overflows():
    x = Tensor(np.eye(200) * 1e3, requires_grad=True)
    _, logarithm = np.linalg.slogdet(x)
    np.testing.assert_allclose(logarithm.item(), 200 * math.log(1e3), rtol=1e-14)
    np.testing.assert_allclose(tn.grad(logarithm, x).data, np.eye(200) * 1e-3, rtol=1e-14)


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3), (1, 1)])
@pytest.mark.parametrize("upper", [False, True])
def test_cholesky(shape, upper):
    x = positive(*shape)
    y = np.linalg.cholesky(Tensor(x), upper=upper)
    np.testing.assert_allclose(y.data, np.linalg.cholesky(x, upper=upper), rtol=1e-13)
    check_derivatives(symmetric(lambda x: tn.ops.cholesky(x, upper=upper)), [x], np.random.default_rng(1))


def test_the_gradient_of_cholesky_is_shared_by_both_halves():
    x = Tensor(positive(3, 3), requires_grad=True)
    gradient = tn.grad(np.linalg.cholesky(x), x, drawn((3, 3))).data
    np.testing.assert_array_equal(gradient, gradient.T)


def cofactors(x):
    """Each element's minor with its sign: the definition, with NumPy's determinant."""
    y = np.empty_like(x)
    for i, j in np.ndindex(x.shape):
        y[i, j] = (-1) ** (i + j) * np.linalg.det(np.delete(np.delete(x, i, 0), j, 1))
    return y


SINGULAR = {
    "rank 2 of 3": np.array([[1.0, 2, 3], [2, 4, 6], [0, 1, 5]]), "rank 1 of 3": np.ones((3, 3)),
    "rank 0 of 3": np.zeros((3, 3)), "rank 0 of 1": np.zeros((1, 1)), "rank 0 of 2": np.zeros((2, 2)),
    "rank 2 of 4": np.diag([1.0, 0, 2, 0]), "large": 1e6 * np.array([[1.0, 2], [2, 4]]),
}  # fmt: skip


@pytest.mark.parametrize("x", SINGULAR.values(), ids=list(SINGULAR))
def test_the_gradient_of_a_determinant_is_its_cofactors_at_singular_matrices_too(x):
    leaf = Tensor(x, requires_grad=True)
    y = np.linalg.det(leaf)
    assert y.item() == np.linalg.det(x) == 0
    first = tn.grad(y, leaf, create_graph=True)
    scale = max(1, np.abs(x).max()) ** (len(x) - 1)
    np.testing.assert_allclose(first.data, cofactors(x), atol=1e-14 * scale)
    # A determinant is a polynomial of degree 1 in each element, so this difference of cofactors is exact.
    rng = np.random.default_rng(2)
    v = rng.normal(size=x.shape)
    for i, j in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[i, j] = 1
        want = np.sum(v * (cofactors(x + step) - cofactors(x - step))) / 2
        np.testing.assert_allclose(tn.grad(first, leaf, v).data[i, j], want, atol=1e-13 * scale)


def test_a_determinant_that_is_too_small_to_show_is_not_singular():
    x = Tensor(np.diag([1e-200, 1e-200]), requires_grad=True)
    y = np.linalg.det(x)
    assert y.item() == 0
    assert np.isfinite(tn.grad(y, x).data).all()


def test_one_singular_matrix_among_others():
    x = np.stack([np.ones((3, 3)), regular(3, 3), SINGULAR["rank 2 of 3"]])
    leaf = Tensor(x, requires_grad=True, dtype=np.float32)
    y = np.linalg.det(leaf)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.data, np.linalg.det(x), rtol=1e-5)
    g = np.array([2.0, 3.0, 5.0])
    np.testing.assert_allclose(
        tn.grad(y, leaf, g).data, g[:, None, None] * np.stack([*map(cofactors, x)]), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("name", ["inv", "det", "slogdet", "cholesky", "solve"])
def test_float16_is_computed_in_float32(name):
    x = Tensor([[2, 0], [0, 4]], requires_grad=True, dtype=np.float16)
    y = getattr(np.linalg, name)(*([x, x] if name == "solve" else [x]))
    y = y.logabsdet if name == "slogdet" else y
    assert y.dtype == np.float16
    assert tn.grad(y, x, np.ones(y.shape)).dtype == np.float16


@pytest.mark.parametrize("shape", [(2, 3), (3,), (), (2, 2, 3)])
@pytest.mark.parametrize("name", ["inv", "det", "slogdet", "cholesky", "matrix_power", "solve"])
def test_matrices_that_are_not_square_are_errors_that_name_the_shape(name, shape):
    further = {"matrix_power": [2], "solve": [drawn((3,))]}.get(name, [])
    with pytest.raises(np.linalg.LinAlgError, match=rf"{name} .*\({', '.join(map(str, shape))}"):
        getattr(np.linalg, name)(Tensor(drawn(shape)), *further)


def test_what_cannot_be_solved_is_an_error():
    for function, message in (
        (lambda: np.linalg.inv(Tensor(np.ones((2, 2)))), "Singular"),
        (lambda: np.linalg.cholesky(Tensor(-np.eye(2))), "positive definite"),
        (lambda: np.linalg.solve(Tensor(np.eye(2)), Tensor(np.ones(3))), r"\(2, 2\).*\(3,\)"),
        (lambda: np.linalg.solve(Tensor(np.eye(2)), Tensor(1.0)), r"\(2, 2\).*\(\)"),
    ):
        with pytest.raises(ValueError, match=message):
            function()
