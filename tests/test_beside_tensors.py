"""What stands beside a Tensor, or arrives as its cotangent: numbers of every kind are numbers, the rest is refused."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import Tensor

MASKED = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])


def leaf(dtype=np.float64):
    return Tensor([0.5, 1.5, 2.0], requires_grad=True, dtype=dtype)


@pytest.mark.parametrize(
    "number", [np.longdouble(0.5), Fraction(1, 2), Decimal("0.5"), np.array(Fraction(1, 2), object)]
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_numbers_of_any_kind_keep_the_dtype_in_products_and_choices(number, dtype):
    x, g = leaf(dtype), np.array([0.3, -1.2, 0.7], dtype)
    for name, y, want in (
        ("outer", np.outer(x, number)[:, 0], g * 0.5), ("kron", np.kron(x, number), g * 0.5),
        ("einsum", np.einsum(",i->i", number, x), g * 0.5), ("hstack", np.hstack([x[:1], x[1:]]) * number, g * 0.5),
        ("fmax", np.fmax(x, number), g * [0.5, 1, 1]), ("fmin", np.fmin(number, x), g * [0.5, 0, 0]),
    ):  # fmt: skip
        assert y.dtype == dtype, name
        assert_allclose(tn.grad(y, x, g).data, want, rtol=1e-3, err_msg=name)


def test_integers_past_64_bits_are_numbers():
    x, g = leaf(), np.array([0.3, -1.2, 0.7])
    for y, want in (
        (np.minimum(x, 10**20), g), (np.maximum(10**20, x), 0 * g), (np.fmin(x, 10**20), g), (np.fmax(x, -(10**20)), g),
    ):  # fmt: skip
        assert_array_equal(tn.grad(y, x, g).data, want)


def test_fmax_stacks_lists_of_tensors():
    x, g = leaf(), np.array([0.3, -1.2, 0.7])
    y = np.fmax(x, np.stack([x[1], np.float64(np.nan), x[0]]))
    assert_array_equal(tn.ops.fmax(x, [x[1], np.nan, x[0]]).data, y.data)
    assert_array_equal(tn.grad(tn.ops.fmax(x, [x[1], np.nan, x[0]]), x, g).data, [0, g[0] + g[1], g[2]])


@pytest.mark.parametrize(
    "other", [{"a": 1.0}.values(), (v for v in [1.0]), {1.0}, object()], ids=lambda x: type(x).__name__
)
def test_what_is_no_number_is_named(other):
    for combine in (lambda: leaf() * other, lambda: np.where([True, False, True], leaf(), other)):
        with pytest.raises(TypeError, match="operands must be numbers, not"):
            combine()


def test_iterators_of_tensors_join_whole():
    """The first one was lost, having been looked at."""
    x = leaf()
    for y in (tn.ops.stack(v * 1 for v in x), tn.ops.concatenate(v[None] for v in x)):
        assert_array_equal(y.data, x.data)
        assert_array_equal(tn.grad(y, x, np.array([1.0, -2.0, 3.0])).data, [1, -2, 3])


@pytest.mark.parametrize(
    "cotangent",
    [np.array([1j, 2, 3]), MASKED, ["1", "2", "3"], np.array(["2020-01-01"] * 3, "M8[D]"), [1.0, None, 2.0]],
    ids=["complex", "masked", "text", "dates", "None"],
)
def test_cotangents_are_real_numbers(cotangent):
    x = leaf()
    for pull in (
        lambda: (x * x).backward(cotangent), lambda: tn.grad(x * x, x, cotangent),
        lambda: tn.grad(x * x, x, cotangent, create_graph=True), lambda: tn.vjp(lambda x: x * x, x)[1](cotangent),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="a cotangent must hold real numbers"):
            pull()
    assert x.grad is None


def test_bounds_and_edges_are_real_numbers():
    x = leaf()
    for call in (
        lambda: np.clip(x, np.array([1j, 0, 0]), 3.0), lambda: np.clip(x, ["0", "1", "2"], 3.0),
        lambda: np.clip(x, MASKED, 3.0), lambda: np.diff(x, prepend=1j), lambda: np.diff(x, append="2"),
        lambda: np.gradient(x, 1j),
        lambda: np.ediff1d(x, to_end=np.ma.masked),
        lambda: np.pad(x, 1, constant_values="1"), lambda: np.pad(x, 1, constant_values=MASKED[:2]),
        lambda: np.pad(x, 1, constant_values=1j), lambda: np.linspace(x, "2"), lambda: np.linspace(x, MASKED),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            call()
    assert_array_equal(np.pad(x, 1, constant_values=Fraction(1, 2)).data, np.pad(x.data, 1, constant_values=0.5))
    assert_array_equal(tn.ops.clip(np.arange(3.0), [1, 1, 1], 2), [1, 1, 2])
    assert type(tn.ops.clip(np.arange(3.0), [1, 1, 1], 2)) is np.ndarray
    assert_array_equal(np.diff(Tensor([1, 3]), prepend=0.5).data, np.diff([1, 3], prepend=0.5))


def test_places_and_shares_can_be_tensors():
    """NumPy's own function would ask the Tensor again, without end."""
    x, g = leaf(), np.array([0.3, -1.2])
    assert_array_equal(tn.grad(np.delete(x, Tensor([1])), x, g).data, [g[0], 0, g[1]])
    for y in (np.quantile(x, Tensor([0.25, 0.5])), np.percentile(x, Tensor([25.0, 50.0]))):
        assert_array_equal(y.data, np.quantile(x.data, [0.25, 0.5]))
        assert_allclose(tn.grad(y, x, g).data, [g[0] / 2, g[0] / 2 + g[1], 0])
    for read in (np.quantile, np.percentile):
        with pytest.raises(TypeError, match="no gradient with respect to q"):
            read(x, Tensor(0.3, requires_grad=True))


def test_linspace_between_integers_and_places_where_something_holds():
    assert_allclose(np.linspace(Tensor(0), Tensor(5), 4).data, np.linspace(0, 5, 4), rtol=1e-15)
    (places,) = np.where(Tensor([0.0, 2.0, 0.0, 1.0]))
    assert_array_equal(places, [1, 3])
