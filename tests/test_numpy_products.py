"""NumPy's sums of products: einsum whole, and its family. Values are NumPy's, and derivatives its, to second order."""

import itertools

import numpy as np
import pytest
from numpy_agreement import agrees, drawn, refuses_alike

import tinygrad_norm as tn
from tinygrad_norm import Tensor
from tinygrad_norm.engine.tensor import walk

EINSUMS = [
    # Implicit results: labels that occur once, in the order of the alphabet.
    ("ij", (2, 3)), ("ji", (2, 3)), ("ij,jk", (2, 3), (3, 2)), ("ij,k", (2, 3), (2,)), ("bA", (2, 3)), ("", ()),
    # Axes named twice in a term: diagonals.
    ("ii", (3, 3)), ("ii->i", (3, 3)), ("iij->ji", (2, 2, 3)), ("iji", (2, 3, 2)), ("iii->i", (2, 2, 2)),
    ("ijij->ij", (2, 3, 2, 3)), ("ijk,lji,lli->lki", (2, 3, 3), (3, 3, 2), (3, 3, 2)), ("ii,i->i", (1, 1), (3,)),
    # Axes without a name.
    ("...ij,...jk->...ik", (2, 3), (2, 3, 2)), ("...ij,...jk->...ik", (2, 2, 3), (3, 2)), ("...", (2, 3)),
    ("...ij,...jk->...ik", (0, 2, 3), (0, 3, 2)), ("...,...->...", (2, 2), (3, 2, 2)), ("i->...i", (3,)),
    ("jk...,lj...->lk...", (3, 2, 2), (2, 3)), ("j...k,lj...->lk...", (2, 3, 2), (2, 2)), ("b...a", (2, 3, 2)),
    ("...k,...nk->...", (2, 3), (2, 2, 3)), ("...i,...i->...", (2, 3, 2), (1, 2)), ("...,i->i", (), (3,)),
    # Axes of size 1 that are repeated, and axes that one operand has alone.
    ("ij,jk->ik", (2, 1), (3, 2)), ("i,i,i->i", (3,), (1,), (3,)), ("ab,ba,a", (2, 3), (3, 2), (1,)),
    ("abcd->bd", (2, 3, 2, 1)), ("k,nk->", (3,), (2, 3)), ("i->", (0,)), ("i , j -> j i", (2,), (3,)),
    ("ij,jk,kl->il", (2, 3), (3, 2), (2, 2)), ("ij,jk,kl,lm->", (2, 3), (3, 1), (1, 2), (2, 2)),
]  # fmt: skip


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize(("subscripts", "shapes"), [(first, rest) for first, *rest in EINSUMS])
def test_einsum(subscripts, shapes, optimize):
    xs = [drawn(shape, seed) for seed, shape in enumerate(shapes)]
    agrees(lambda *xs: np.einsum(subscripts, *xs, optimize=optimize), *xs)


LISTS = {
    "transposed": (lambda a: np.einsum(a, [0, 1], [1, 0]), (2, 3)),
    "implicit": (lambda a, b: np.einsum(a, (5, 30), b, (30, 2)), (2, 3), (3, 2)),
    "product": (lambda a, b: np.einsum(a, (0, 1), b, (1, 2), (0, 2)), (2, 3), (3, 2)),
    "ellipsis": (lambda a, b: np.einsum(a, (..., 0, 1), b, (..., 1, 2), (..., 0, 2)), (2, 2, 3), (3, 2)),
    "diagonal": (lambda a: np.einsum(a, [1, 1]), (3, 3)),
    "nothing left": (lambda a: np.einsum(a, [0, 1], []), (2, 3)),
}


@pytest.mark.parametrize("case", LISTS.values(), ids=list(LISTS))
def test_einsum_with_lists_of_axes(case):
    function, *shapes = case
    agrees(function, *map(drawn, shapes))


NOT_EINSUMS = [
    ("ii", (3, 1)), ("...i->i", (2, 3)), ("...i->", (2, 3)), ("i->ii", (3,)), ("i->j", (3,)), ("i,j", (3,)),
    ("ij", (3,)), ("i", (3, 2)), ("i,i", (3,), (2,)), ("..i", (3,)), ("i.j", (3, 2)), ("...i...", (3, 2)),
    ("i-j", (3, 2)), ("i1", (3, 2)), ("i->->i", (3,)), ("é", (3,)),
]  # fmt: skip


@pytest.mark.parametrize(("subscripts", "shapes"), [(first, rest) for first, *rest in NOT_EINSUMS])
def test_subscripts_that_do_not_fit_are_errors_that_name_them(subscripts, shapes):
    refuses_alike(lambda *xs: np.einsum(subscripts, *xs), *map(drawn, shapes), match="einsum")


def test_lists_of_axes_that_do_not_fit_are_errors():
    for axes in ([0, 60], [0, -1], [0]):
        refuses_alike(lambda x, axes=axes: np.einsum(x, axes), drawn((2, 3)), match="einsum")


def test_a_long_product_is_contracted_pair_by_pair():
    """Without a path the four matrices would be one loop over five axes."""
    xs = [Tensor(drawn((2, 2), seed), requires_grad=True) for seed in range(4)]
    y = np.einsum("ab,bc,cd,de->ae", *xs, optimize=True)
    nodes = [tensor.node for tensor in walk([y])]
    assert [len(node.inputs) for node in nodes] == [2, 2, 2]
    g = drawn(y.shape, 9)
    nodes = [tensor.node for tensor in walk([np.linalg.multi_dot(xs)])]
    assert [len(node.inputs) for node in nodes] == [2, 2, 2]
    together = np.einsum("ab,bc,cd,de->ae", *xs)
    for one, other in zip(tn.grad(y, xs, g), tn.grad(together, xs, g), strict=True):
        np.testing.assert_allclose(one.data, other.data, rtol=1e-12)


def test_einsum_takes_arrays_lists_and_dtypes_that_differ():
    x = Tensor(drawn((2,)), requires_grad=True, dtype=np.float32)
    for other in (np.array([1.0, 2.0]), [1.0, 2.0], [1, 2], Tensor(np.array([1, 2]))):
        y = np.einsum("i,i->", x, other)
        assert y.dtype == np.float64
        np.testing.assert_array_equal(tn.grad(y, x).data, [1, 2])
        assert tn.grad(y, x).dtype == np.float32
    for other in (2, 2.0, np.float64(2)):
        assert np.einsum(",i->i", other, x).dtype == np.float32
    assert type(tn.ops.einsum("i,i", [1.0, 2.0], [1.0, 2.0])) is np.float64


FAMILY = {
    "dot": (np.dot, [((), ()), ((), (2, 3)), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 2, 3), (3, 2)),
                     ((2, 3), (2, 3, 2)), ((2, 1, 3), (2, 3, 2)), ((0, 3), (3, 2)), ((2, 0), (0, 3)),
                     ((3,), (2, 3, 2))]),
    "inner": (np.inner, [((), (2,)), ((3,), (3,)), ((2, 3), (4, 3)), ((3,), (2, 2, 3))]),
    "outer": (np.outer, [((), (2,)), ((2,), (3,)), ((2, 2), (3,))]),
    "vdot": (np.vdot, [((2, 3), (2, 3)), ((6,), (2, 3))]),
    "linalg.outer": (np.linalg.outer, [((2,), (3,))]),
    "vecdot": (np.vecdot, [((3,), (3,)), ((2, 3), (3,)), ((2, 1, 3), (2, 3))]),
    "linalg.vecdot": (np.linalg.vecdot, [((2, 3), (2, 3))]),
    "vecdot of axis": (lambda a, b: np.vecdot(a, b, axis=0), [((3, 2), (3, 2))]),
    "linalg.vecdot of axis": (lambda a, b: np.linalg.vecdot(a, b, axis=0), [((3, 2), (3, 1))]),
    "linalg.matmul": (np.linalg.matmul, [((2, 3), (3, 2)), ((2, 2, 3), (3, 2))]),
    "kron": (np.kron, [((2,), (3,)), ((2, 2), (1, 3)), ((), (2,)), ((2, 1, 2), (3,)), ((2,), (2, 2))]),
    "cross": (np.cross, [((3,), (3,)), ((2, 3), (3,)), ((2, 1, 3), (2, 3))]),
    "linalg.cross": (np.linalg.cross, [((3,), (2, 3))]),
    "linalg.cross of axis": (lambda a, b: np.linalg.cross(a, b, axis=0), [((3, 2), (3, 2))]),
    "cross of axes": (lambda a, b: np.cross(a, b, 0, 1, 0), [((3, 2), (2, 3))]),
    "cross of one axis": (lambda a, b: np.cross(a, b, axis=0), [((3, 2), (3, 2))]),
    "tensordot": (np.tensordot, [((2, 2, 3), (2, 3, 2))]),
    "tensordot over none": (lambda a, b: np.tensordot(a, b, axes=0), [((2,), ()), ((2,), (1, 3))]),
    "tensordot over one": (lambda a, b: np.tensordot(a, b, 1), [((2, 3), (3, 2)), ((0, 3), (3, 2)), ((2, 0), (0, 2))]),
    "tensordot over axes": (lambda a, b: np.tensordot(a, b, axes=([0, -1], [1, 0])), [((2, 3, 1), (1, 2, 2))]),
    "tensordot over an axis of each": (lambda a, b: np.tensordot(a, b, axes=(-1, 0)), [((2, 3), (3, 2))]),
    "linalg.tensordot": (lambda a, b: np.linalg.tensordot(a, b, axes=1), [((2, 3), (3, 2))]),
    "multi_dot": (lambda *xs: np.linalg.multi_dot(xs), [((2, 3), (3, 4), (4, 2)), ((3,), (3, 2), (2, 2), (2,)),
                                                        ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 1)),
                                                        ((2, 3), (3, 2))]),
    "linalg.matrix_transpose": (np.linalg.matrix_transpose, [((2, 3),), ((2, 1, 3),)]),
    "convolve": (np.convolve, [((3,), (2,)), ((2,), (4,)), ((), (2,))]),
    "convolve same": (lambda a, b: np.convolve(a, b, "same"), [((5,), (2,)), ((2,), (5,)), ((4,), (3,))]),
    "convolve valid": (lambda a, b: np.convolve(a, b, mode="valid"), [((5,), (2,)), ((2,), (5,))]),
    "correlate": (np.correlate, [((4,), (2,)), ((2,), (5,)), ((3,), (3,))]),
    "correlate same": (lambda a, b: np.correlate(a, b, "same"), [((5,), (2,)), ((2,), (5,)), ((4,), (3,))]),
    "correlate full": (lambda a, b: np.correlate(a, b, "full"), [((4,), (2,)), ((2,), (3,))]),
    "vander": (np.vander, [((3,),)]),
    "vander increasing": (lambda x: np.vander(x, 4, increasing=True), [((2,),)]),
}  # fmt: skip
if hasattr(np, "matvec"):
    FAMILY["matvec"] = (np.matvec, [((2, 3), (3,)), ((2, 2, 3), (3,)), ((2, 3), (2, 3))])
    FAMILY["vecmat"] = (np.vecmat, [((3,), (3, 2)), ((3,), (2, 3, 2)), ((2, 3), (3, 2))])


def without_conjugates(name, function):
    """Return the function without NumPy's conjugate of one factor: complex numbers are steps off the real axis here."""
    conjugated = 1 if "correlate" in name else 0 if "vec" in name.replace("matvec", "") or name == "vdot" else None

    def reference(*xs):
        return function(*(np.conj(x) if i == conjugated and isinstance(x, np.ndarray) else x for i, x in enumerate(xs)))

    return reference


@pytest.mark.parametrize(
    ("name", "shapes"), [(name, shapes) for name, (_, several) in FAMILY.items() for shapes in several]
)
def test_products(name, shapes):
    function = without_conjugates(name, FAMILY[name][0])
    agrees(function, *(drawn(shape, seed) for seed, shape in enumerate(shapes)))


def test_products_with_arrays_and_numbers_on_either_side():
    a, b = drawn((2, 3)), drawn((3,))
    for function in (np.dot, np.inner, np.outer, np.kron, np.cross):
        agrees(lambda x, f=function: f(x, b), a)
        agrees(lambda x, f=function: f(a, x), b)
    for function in (np.dot, np.inner, np.outer, np.kron):
        x = Tensor([1.0, 2.0], requires_grad=True, dtype=np.float32)
        assert function(x, 2.0).dtype == np.float32
    np.testing.assert_array_equal(Tensor([[1.0, 2.0]]).dot([3.0, 4.0]).data, [11])


NOT_PRODUCTS = {
    "dot": (np.dot, (2, 3), (2, 3)),
    "dot of more axes": (np.dot, (2, 3), (2, 2, 3)),
    "inner": (np.inner, (2, 3), (2,)),
    "tensordot": (lambda a, b: np.tensordot(a, b, axes=1), (2, 3), (2,)),
    "tensordot over lists of unequal length": (lambda a, b: np.tensordot(a, b, axes=([0, 1], [0])), (2, 3), (2, 3)),
    "vecdot": (np.vecdot, (2, 3), (2, 2)),
    "cross": (np.linalg.cross, (2, 4), (2, 4)),
    "multi_dot": (lambda a, b: np.linalg.multi_dot([a, b, b]), (2, 3), (2, 3)),
    "convolve": (np.convolve, (2, 3), (2,)),
    "convolve with nothing": (np.convolve, (2,), (0,)),
    "convolve in a way that is not": (lambda a, b: np.convolve(a, b, "near"), (2,), (2,)),
}


@pytest.mark.parametrize("name", NOT_PRODUCTS)
def test_shapes_that_do_not_fit_are_named(name):
    function, *shapes = NOT_PRODUCTS[name]
    refuses_alike(function, *map(drawn, shapes), match=r"\(2, |size|components|near|\(2,\)")


def test_tensordot_is_one_matrix_product():
    """A loop over all axes would be a hundred times slower for matrices of a thousand rows."""
    y = np.tensordot(Tensor(drawn((2, 3, 4)), requires_grad=True), drawn((4, 3, 2)), axes=([1, 2], [1, 0]))
    names = [tensor.node.primitive.name for tensor in walk([y])]
    assert names.count("matmul") == 1
    assert set(names) <= {"matmul", "transpose", "reshape"}


def test_cross_products_of_axes_are_numpys():
    a, b = drawn((3, 3)), drawn((3, 3), 1)
    for axisa, axisb, axisc, axis in itertools.product([-1, 0, 1], [-1, 0, 1], [-1, 0, 1], [None, -1, 0, 1]):
        y = np.cross(Tensor(a), Tensor(b), axisa, axisb, axisc, axis)
        np.testing.assert_allclose(y.data, np.cross(a, b, axisa, axisb, axisc, axis), rtol=1e-13)
