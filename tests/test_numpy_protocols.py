"""What a Tensor is to NumPy and to Python: operators, functions, methods, refusals, and plain answers."""

import math
import operator

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm import Tensor


def positive(*shape, seed=3):
    return np.random.default_rng(seed).uniform(0.5, 2, shape)


def leaf(*shape, seed=5, **options):
    return Tensor(positive(*shape, seed=seed), requires_grad=True, **options)


def same(function, x, reference=None):
    """The function of a Tensor is a recorded Tensor with NumPy's values, and its derivative is the function's."""
    reference = reference or function
    y, want = function(x), np.asarray(reference(x.data))
    assert type(y) is Tensor
    assert type(y.data) is np.ndarray
    assert y.requires_grad
    assert (y.shape, y.dtype) == (want.shape, want.dtype)
    # Numbers are of size 1, and a mean may differ from NumPy's in its last place.
    np.testing.assert_allclose(y.data, want, rtol=1e-14, atol=1e-15)
    g, v = (np.random.default_rng(seed).normal(size=shape) for seed, shape in ((7, y.shape), (8, x.shape)))
    h = 1e-5
    difference = np.sum(g * (reference(x.data + h * v) - reference(x.data - h * v))) / (2 * h)
    # A central difference: its error is h**2 times a third derivative, and 1e-16 / h from rounding.
    np.testing.assert_allclose(np.sum(v * tn.grad(y, x, g).data), difference, rtol=1e-7, atol=1e-8)


OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]
OTHERS = {
    "array": positive(2, 3), "smaller array": positive(3), "larger array": positive(4, 1, 3), "0-d array": positive(),
    "float": 1.5, "int": 2, "np.float64": np.float64(1.5), "np.int64": np.int64(2), "float16 array": np.ones(3, "f2"),
    "int array": np.array([1, 2, 3]), "Tensor": Tensor(positive(3)), "0-d Tensor": Tensor(1.5),
    "strided array": positive(6)[::2], "stride-0 array": np.broadcast_to(1.5, (2, 3)),
}  # fmt: skip


@pytest.mark.parametrize("act", OPERATORS, ids=lambda act: act.__name__)
@pytest.mark.parametrize("other", OTHERS.values(), ids=list(OTHERS))
def test_operators_from_both_sides(act, other):
    plain = other.data if isinstance(other, Tensor) else other
    same(lambda x: act(x, other), leaf(2, 3), lambda x: act(x, plain))
    same(lambda x: act(other, x), leaf(2, 3), lambda x: act(plain, x))


@pytest.mark.parametrize(
    "shapes", [((2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((5, 2, 3), (3, 4))]
)
def test_matrix_products_from_both_sides(shapes):
    a, b = (positive(*shape) for shape in shapes)
    same(lambda x: x @ b, leaf(*shapes[0]))
    same(lambda x: a @ x, leaf(*shapes[1]))
    if max(map(len, shapes)) == 2:
        same(lambda x: x.dot(b), leaf(*shapes[0]))
        same(lambda x: np.dot(a, x), leaf(*shapes[1]))


def test_matrix_products_that_do_not_fit_are_errors():
    for a, b in [((2, 3), (2, 3)), ((), (3,)), ((3,), (2,))]:
        with pytest.raises(ValueError, match="do not match"):
            leaf(*a) @ leaf(*b)
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\) cannot be broadcast"):
        leaf(2) + leaf(3)


FUNCTIONS = {
    "neg": operator.neg, "pos": operator.pos, "abs": abs, "sqrt": np.sqrt, "exp": np.exp, "log": np.log,
    "log1p": np.log1p, "expm1": np.expm1, "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "square": np.square,
    "absolute": np.absolute, "sign": np.sign, "negative": np.negative,
    "maximum": lambda x: np.maximum(1.25, x), "minimum": lambda x: np.minimum(x, 1.25),
    "clip": lambda x: np.clip(x, 0.75, 1.5), "clip method": lambda x: x.clip(0.75, 1.5),
    "clip keywords": lambda x: np.clip(x, max=1.5, min=None), "where": lambda x: np.where(x > 1, x * x, 3),
    "sum": np.sum, "mean": np.mean, "var": np.var, "std": np.std, "max": np.max, "min": np.min,
    "sum of axis": lambda x: np.sum(x, axis=-1, keepdims=True), "sum method": lambda x: x.sum((0, -1)),
    "mean of axis": lambda x: x.mean(1), "var with ddof": lambda x: x.var(axis=0, ddof=1),
    "std of axis": lambda x: np.std(x, -2, keepdims=True), "max of axis": lambda x: x.max(axis=(0, 2)),
    "min of axis": lambda x: np.min(x, axis=1), "sum dtype": lambda x: np.sum(x, dtype=np.float64),
    "cumsum": np.cumsum, "cumsum of axis": lambda x: x.cumsum(1),
    "add.reduce": np.add.reduce, "add.reduce of axis": lambda x: np.add.reduce(x, axis=(1, 2), keepdims=True),
    "add.reduce of all": lambda x: np.add.reduce(x, axis=None), "maximum.reduce": np.maximum.reduce,
    "minimum.reduce": lambda x: np.minimum.reduce(x, axis=1),
    "reshape": lambda x: np.reshape(x, (6, -1)), "reshape method": lambda x: x.reshape(3, -1),
    "reshape to a shape": lambda x: x.reshape((4, 6)), "ravel": np.ravel, "ravel method": lambda x: x.ravel(),
    "flatten": lambda x: x.flatten(), "transpose": np.transpose, "transpose axes": lambda x: x.transpose(1, 0, 2),
    "transpose tuple": lambda x: x.transpose((2, 0, 1)), "T": lambda x: x.T, "mT": lambda x: x.mT,
    "permute_dims": lambda x: np.permute_dims(x, (1, 2, 0)), "matrix_transpose": np.matrix_transpose,
    "swapaxes": lambda x: np.swapaxes(x, 0, -1), "swapaxes method": lambda x: x.swapaxes(1, 2),
    "moveaxis": lambda x: np.moveaxis(x, (0, 1), (-1, 0)), "expand_dims": lambda x: np.expand_dims(x, (0, -1)),
    "squeeze": lambda x: np.squeeze(x[:1]), "squeeze method": lambda x: x[:, :1].squeeze(axis=1),
    "concatenate": lambda x: np.concatenate([x, x[:1] * 2]),
    "concatenate arrays": lambda x: np.concatenate([x, positive(1, 3, 4)]),
    "concatenate flat": lambda x: np.concatenate([x, x], axis=None), "stack": lambda x: np.stack([x, x * x], axis=-1),
    "split": lambda x: np.split(x, 3, axis=1)[1], "pad": lambda x: np.pad(x, ((1, 0), (0, 2), (0, 0))),
    "broadcast_to": lambda x: np.broadcast_to(x, (5, 2, 3, 4)), "einsum": lambda x: np.einsum("ijk,ijk->ki", x, x),
    "matmul": lambda x: np.matmul(x, positive(4, 2)), "dot": lambda x: np.dot(x, positive(4)),
    "var by hand": lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5),
    "iteration": lambda x: sum(part * part for part in x),
    "item of": lambda x: x[1, ..., -1], "None": lambda x: x[None, :, 1:, None, ::2],
    "array index": lambda x: x[[1, 0, 1]],
    "mask": lambda x: x[x > 1], "mixed index": lambda x: x[:, [0, 2], 1:3],
}  # fmt: skip
NEWER = pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.1.0", reason="np.clip has no such names before 2.1")


@pytest.mark.parametrize(
    "function", [pytest.param(f, id=n, marks=NEWER if n == "clip keywords" else ()) for n, f in FUNCTIONS.items()]
)
def test_functions_and_methods(function):
    same(function, leaf(2, 3, 4))


def test_astype_is_recorded_between_floats_only():
    x = leaf(3)
    y = x.astype(np.float32)
    assert y.requires_grad
    assert tn.grad(y, x, positive(3)).dtype == np.float64
    for dtype in (int, bool):
        assert not x.astype(dtype).requires_grad
        np.testing.assert_array_equal(x.astype(dtype).data, x.data.astype(dtype))


@pytest.mark.parametrize("reduce", [np.sum, np.mean, np.var, np.std, np.cumsum])
def test_reductions_compute_in_the_dtype_they_are_given(reduce):
    x = leaf(4, dtype=np.float32)
    y = reduce(x, dtype=np.float64)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y.data, reduce(x.data, dtype=np.float64), rtol=1e-14)
    g = np.random.default_rng(7).normal(size=y.shape)
    exact = tn.Tensor(x.data, requires_grad=True, dtype=np.float64)
    gradient = tn.grad(y, x, g)
    assert gradient.dtype == np.float32
    np.testing.assert_array_equal(gradient.data, tn.grad(reduce(exact), exact, g).data.astype(np.float32))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda x, out: np.add(x, 1, out=out), "add"),
        (lambda x, out: np.exp(x, out=out), "exp"),
        (lambda x, out: np.sum(x, axis=0, out=out[0]), "sum"),
        (lambda x, out: np.add.reduce(x, out=out[0]), r"add\.reduce"),
        (lambda x, out: np.concatenate([x, x], out=out), "concatenate"),
        (lambda x, out: operator.iadd(out, x), "add"),
    ],
)
def test_out_is_refused_by_name(call, name):
    out = positive(2, 3)
    before = out.copy()
    with pytest.raises(TypeError, match=rf"np\.{name}.*out="):
        call(leaf(2, 3), out)
    np.testing.assert_array_equal(out, before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (np.linalg.svd, r"np\.linalg\.svd of Tensors has no gradient here.*\.data"),
        (np.fft.fft, r"np\.fft\.fft of Tensors has no gradient here"),
        (np.linalg.pinv, r"np\.linalg\.pinv .*use np\.linalg\.solve"),
        (np.add.accumulate, r"np\.add\.accumulate .*np\.cumsum\(x, axis=0\)"),
        (np.subtract.accumulate, r"np\.subtract\.accumulate of Tensors has no gradient"),
        (lambda x: np.add.at(x, 0, 1), r"np\.add\.at .*scatter"),
        (lambda x: np.multiply.outer(x, x), r"np\.multiply\.outer .*use np\.multiply\(x\[:, None\], y\)"),
        (lambda x: np.exp(x, dtype=np.float32), r"np\.exp of Tensors does not support dtype=; convert with \.astype"),
        (lambda x: np.add(x, x, casting="no"), r"np\.add of Tensors does not support casting=; convert"),
        (lambda x: np.reshape(x, -1, order="F"), r"np\.reshape of Tensors does not support order=; omit it"),
        (
            lambda x: np.exp(x, where=x > 0),
            r"np\.exp of Tensors does not support where=; select elements with np\.where",
        ),
        (lambda x: np.pad(x, 1, mode="mean"), "mean"),
    ],
)
def test_what_does_not_work_is_named_with_what_does(call, message):
    with pytest.raises(TypeError, match=message):
        call(leaf(3, 3))


def test_a_tensor_is_never_turned_into_an_array_in_silence():
    x = leaf(3, name="x")
    array = positive(3)
    for convert in (
        lambda: np.asarray(x), lambda: np.array(x), lambda: np.array([x, x]),
        lambda: array.__setitem__(slice(None), x), lambda: np.asarray(x, dtype=object),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r"\.data"):
            convert()
    with pytest.raises(TypeError, match=r"Tensor 'x'.*np\.stack"):
        np.asarray(x)


PREDICATES = {
    "isnan": np.isnan, "isfinite": np.isfinite, "isinf": np.isinf, "floor": np.floor, "round": np.round,
    "argmax": np.argmax, "argmax of axis": lambda x: np.argmax(x, axis=1), "argmin method": lambda x: x.argmin(0),
    "argsort": np.argsort, "nonzero": np.nonzero, "unique": np.unique, "shape": np.shape, "ndim": np.ndim,
    "size": np.size, "any": lambda x: np.any(np.isnan(x)), "all": np.all, "array_equal": lambda x: np.array_equal(x, x),
    "allclose": lambda x: np.allclose(x, x), "isclose": lambda x: np.isclose([1.0, 2.0, 3.0], x),
    "result_type": np.result_type, "signbit": np.signbit, "logical_not": np.logical_not,
    "count_nonzero": np.count_nonzero, "array2string": np.array2string, "iscomplexobj": np.iscomplexobj,
    "==": lambda x: x == x[:, :1], "!=": lambda x: x != 1, "<": lambda x: x < 1.25,
    "array <": lambda x: positive(3) < x,
    "<=": lambda x: x <= Tensor([1, 1, 1.5]), "reflected >": lambda x: operator.gt(np.float64(1.25), x),
    ">=": lambda x: x >= np.float64(1),
    "greater": lambda x: np.greater(x, 1),
    "== array": lambda x: np.ones(3) == x,
}  # fmt: skip


@pytest.mark.parametrize("function", PREDICATES.values(), ids=list(PREDICATES))
def test_predicates_and_comparisons_are_plain(function):
    x = leaf(2, 3)
    found, want = function(x), function(x.data)
    assert type(found) is type(want)
    for got, expected in zip(np.atleast_1d(found), np.atleast_1d(want), strict=True):
        assert not isinstance(got, Tensor)
        np.testing.assert_array_equal(got, expected)


def test_like_functions_give_data():
    x = leaf(2, 3, dtype=np.float32)
    for y, value in ((np.zeros_like(x), 0), (np.ones_like(x), 1)):
        assert (type(y), y.shape, y.dtype, y.requires_grad) == (Tensor, (2, 3), np.float32, False)
        np.testing.assert_array_equal(y.data, np.full((2, 3), value))
    assert np.zeros_like(x, dtype=np.float64).dtype == np.float64


def test_hash_is_by_identity():
    x, twin = leaf(2), leaf(2)
    assert len({x, twin, x}) == 2
    assert hash(x) != hash(twin)
    assert {x: "x"}.get(twin) is None


def test_one_element_is_a_number():
    x = tn.tensor([[2.5]])
    assert (bool(x), float(x), int(x), x.item(), f"{x:.2f}") == (True, 2.5, 2, 2.5, "2.50")
    assert not tn.tensor(0.0)
    assert f"{x}" == repr(x)
    assert math.sqrt(tn.tensor(6.25)) == 2.5


def test_many_elements_are_not():
    x = leaf(3, name="x")
    for convert, message in (
        (bool, r"ambiguous.*\.any\(\)"),
        (float, "3 elements"),
        (lambda x: f"{x:.2f}", "3 elements"),
    ):
        with pytest.raises(ValueError, match=f"Tensor 'x'.*{message}"):
            convert(x)
    with pytest.raises(ValueError, match="0 elements"):
        bool(tn.tensor([]))


def test_length_iteration_and_builtin_sum():
    x = leaf(3, 2)
    assert len(x) == 3
    rows = list(x)
    assert [row.shape for row in rows] == [(2,)] * 3
    same(sum, leaf(3, 2))
    same(lambda x: sum(x, start=0.0), leaf(4))
    _, second, _ = x
    np.testing.assert_array_equal(second.data, x.data[1])
    for impossible in (len, iter):
        with pytest.raises(TypeError):
            impossible(leaf())


def test_numpy_is_a_writable_copy_and_detach_shares():
    x = leaf(3, name="x")
    copy = x.numpy()
    copy[:] = 0
    assert x.data.all()
    detached = (x * 2).detach()
    assert (detached.requires_grad, detached.node) == (False, None)
    assert x.detach().name == "x"
    assert x.detach().data is x.data
    assert x.tolist() == x.data.tolist()


def test_repr_shows_what_differs_from_the_defaults():
    assert repr(tn.tensor([1.0, 2.0])) == "Tensor([1., 2.])"
    assert repr(tn.tensor(1.5, dtype="float32", name="x", requires_grad=True)) == (
        "Tensor(1.5, dtype=float32, requires_grad=True, name='x')"
    )


@pytest.mark.parametrize("data", ["text", [None], [[1, 2], [3]], object()])
def test_a_tensor_holds_numbers(data):
    with pytest.raises((TypeError, ValueError)):
        Tensor(data)


def test_ops_keep_plain_arrays_plain():
    for name in (
        "exp",
        "sum",
        "mean",
        "softmax",
        "relu",
        "var",
        "logsumexp",
        "transpose",
        "softplus",
        "gelu",
        "cumsum",
    ):
        options = {"approximate": "tanh"} if name == "gelu" else {}
        assert isinstance(getattr(tn.ops, name)(positive(2, 3), **options), np.ndarray | np.generic)
