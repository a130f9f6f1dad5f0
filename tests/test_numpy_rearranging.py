"""NumPy's functions that move elements: values, kinds and dtypes are NumPy's, and derivatives right to second order."""

import numpy as np
import pytest
from numpy_agreement import agrees, drawn, refuses_alike

import tinygrad_norm as tn
from tinygrad_norm import Tensor

CONDITION = np.array([True, False, True])


CASES = {
    "vstack vectors": (lambda a, b: np.vstack([a, b]), (3,), (3,)),
    "vstack matrix and vector": (lambda a, b: np.vstack((a, b)), (2, 3), (3,)),
    "vstack scalars": (lambda a, b: np.vstack([a, b]), (), ()),
    "vstack with a dtype": (lambda a: np.vstack([a, a], dtype=np.complex128 if a.dtype == complex else float), (2, 3)),
    "vstack of one array's rows": (np.vstack, (2, 3)),
    "hstack vectors": (lambda a, b: np.hstack([a, b]), (3,), (2,)),
    "hstack matrices": (lambda a, b: np.hstack([a, b]), (2, 3), (2, 1)),
    "hstack scalars": (lambda a, b: np.hstack([a, b]), (), ()),
    "dstack vectors": (lambda a, b: np.dstack([a, b]), (3,), (3,)),
    "dstack matrices": (lambda a, b: np.dstack([a, b]), (2, 3), (2, 3)),
    "column_stack": (lambda a, b: np.column_stack([a, b]), (3,), (3, 2)),
    "column_stack scalars": (lambda a, b: np.column_stack([a, b]), (), ()),
    "stacked with an array": (lambda a: np.vstack([a, np.ones((1, 3), a.dtype)]), (2, 3)),
    "atleast_1d": (np.atleast_1d, (), (2,)),
    "atleast_2d of a scalar": (np.atleast_2d, ()),
    "atleast_2d of a vector": (np.atleast_2d, (3,)),
    "atleast_2d of more": (np.atleast_2d, (2, 1, 3)),
    "atleast_3d of a scalar": (np.atleast_3d, ()),
    "atleast_3d of a vector": (np.atleast_3d, (3,)),
    "atleast_3d of a matrix": (np.atleast_3d, (2, 3)),
    "append flat": (np.append, (2, 3), (2,)),
    "append a number": (lambda a: np.append(a, np.array(4.0, a.dtype)), (2, 3)),
    "append along an axis": (lambda a, b: np.append(a, b, axis=-1), (2, 3), (2, 1)),
    "broadcast_arrays": (np.broadcast_arrays, (3, 1), (2,)),
    "split": (lambda x: np.split(x, 2, axis=1), (3, 4)),
    "split at places": (lambda x: np.split(x, [1, 1, 9], axis=-1), (2, 4)),
    "split in one": (lambda x: np.split(x, 1), (2, 4)),
    "split by an array": (lambda x: np.split(x, np.array([1, 3])), (5,)),
    "split by a 0-d array": (lambda x: np.split(x, np.array(2)), (4,)),
    "split an empty axis": (lambda x: np.split(x, 3), (0, 2)),
    "array_split": (lambda x: np.array_split(x, 3), (7, 2)),
    "array_split in more parts than elements": (lambda x: np.array_split(x, 4, axis=-1), (1, 2)),
    "hsplit a vector": (lambda x: np.hsplit(x, [1]), (4,)),
    "hsplit a matrix": (lambda x: np.hsplit(x, 2), (3, 4)),
    "vsplit": (lambda x: np.vsplit(x, [1, 2]), (4, 3)),
    "dsplit": (lambda x: np.dsplit(x, 2), (2, 1, 4)),
    "repeat flat": (lambda x: np.repeat(x, 2), (2, 3)),
    "repeat": (lambda x: np.repeat(x, 3, axis=1), (2, 3, 2)),
    "repeat each so often": (lambda x: np.repeat(x, [1, 0, 2], axis=-1), (2, 3)),
    "repeat never": (lambda x: np.repeat(x, 0, axis=0), (2, 3)),
    "repeat a scalar": (lambda x: np.repeat(x, 3, axis=0), ()),
    "repeat as a method": (lambda x: tn.ops.repeat(x, np.array([2]), -1), (2, 3)),
    "tile": (lambda x: np.tile(x, (2, 3)), (3, 2)),
    "tile by a number": (lambda x: np.tile(x, 2), (3, 2)),
    "tile with new axes": (lambda x: np.tile(x, (3, 2, 1)), (1, 2)),
    "tile fewer axes": (lambda x: np.tile(x, (2,)), (2, 1, 3)),
    "tile a scalar": (lambda x: np.tile(x, (2, 0, 3)), ()),
    "resize to more": (lambda x: np.resize(x, (3, 3)), (2, 2)),
    "resize to fewer": (lambda x: np.resize(x, 3), (2, 2)),
    "roll flat": (lambda x: np.roll(x, 2), (2, 3)),
    "roll": (lambda x: np.roll(x, -4, axis=1), (2, 3)),
    "roll several axes": (lambda x: np.roll(x, (1, 2), axis=(0, -1)), (2, 3)),
    "roll one axis twice": (lambda x: np.roll(x, 1, axis=(1, 1)), (2, 3)),
    "roll by a whole turn": (lambda x: np.roll(x, 3, axis=1), (2, 3)),
    "roll nothing": (lambda x: np.roll(x, 1, axis=0), (0, 3)),
    "flip": (np.flip, (2, 3)),
    "flip axes": (lambda x: np.flip(x, (0, -1)), (2, 3, 2)),
    "flip a scalar": (np.flip, ()),
    "fliplr": (np.fliplr, (2, 3)),
    "flipud": (np.flipud, (3,)),
    "rot90": (np.rot90, (2, 3)),
    "rot90 twice": (lambda x: np.rot90(x, 2), (2, 3)),
    "rot90 backwards": (lambda x: np.rot90(x, -1, (1, 2)), (2, 3, 2)),
    "rot90 not at all": (lambda x: np.rot90(x, 4), (2, 3)),
    "rollaxis": (lambda x: np.rollaxis(x, 2), (2, 3, 4)),
    "rollaxis forward": (lambda x: np.rollaxis(x, 0, 3), (2, 3, 4)),
    "rollaxis from the end": (lambda x: np.rollaxis(x, -1, -2), (2, 3, 4)),
    "take flat": (lambda x: np.take(x, [0, 5, 5]), (2, 3)),
    "take one": (lambda x: np.take(x, 1, axis=-1), (2, 3)),
    "take an array of places": (lambda x: np.take(x, np.array([[0, 2], [-1, 0]]), axis=1), (2, 3)),
    "take around the end": (lambda x: np.take(x, [4, -5], axis=1, mode="wrap"), (2, 3)),
    "take up to the end": (lambda x: np.take(x, [4, -5], axis=1, mode="clip"), (2, 3)),
    "take_along_axis": (lambda x: np.take_along_axis(x, np.array([[2, 0], [1, 1]]), axis=1), (2, 3)),
    "take_along_axis with one row of places": (lambda x: np.take_along_axis(x, np.array([[1, 0, 1]]), axis=0), (2, 3)),
    "take_along_axis flat": (lambda x: np.take_along_axis(x, np.array([3, 0]), axis=None), (2, 3)),
    "compress": (lambda x: np.compress(CONDITION, x, axis=1), (2, 3)),
    "compress flat": (lambda x: np.compress(CONDITION, x), (2, 3)),
    "extract": (lambda x: np.extract(CONDITION, x), (3,)),
    "delete": (lambda x: np.delete(x, [0, -1], axis=1), (2, 3)),
    "delete flat": (lambda x: np.delete(x, slice(1, 4)), (2, 3)),
    "tril": (np.tril, (3, 3)),
    "tril below": (lambda x: np.tril(x, -1), (2, 3, 4)),
    "tril of a vector": (np.tril, (3,)),
    "triu": (np.triu, (3, 2)),
    "triu above": (lambda x: np.triu(x, k=2), (2, 4, 4)),
    "diag of a matrix": (lambda x: np.diag(x, 1), (3, 4)),
    "diag of a vector": (lambda x: np.diag(x, -2), (3,)),
    "diagflat": (lambda x: np.diagflat(x, 1), (2, 2)),
    "diagonal": (np.diagonal, (3, 4)),
    "diagonal of two axes": (lambda x: np.diagonal(x, -1, 2, 0), (2, 3, 4)),
    "diagonal that is empty": (lambda x: np.diagonal(x, 9), (3, 4)),
    "trace": (np.trace, (3, 4)),
    "trace of two axes": (lambda x: np.trace(x, offset=1, axis1=-1, axis2=0), (2, 3, 4)),
    "linalg.diagonal": (lambda x: np.linalg.diagonal(x, offset=1), (2, 3, 4)),
    "linalg.trace": (np.linalg.trace, (2, 3, 4)),
    "copy": (np.copy, (2, 3)),
    "diff": (np.diff, (2, 4)),
    "diff twice": (lambda x: np.diff(x, 2, axis=0), (4, 2)),
    "diff more often than there are elements": (lambda x: np.diff(x, 5), (3,)),
    "diff never": (lambda x: np.diff(x, 0, prepend=x, append=2.0) * 1, (2, 3)),
    "diff with ends": (lambda a, b: np.diff(a, prepend=np.array(0.5, a.dtype), append=b), (2, 3), (2, 2)),
    "ediff1d": (lambda x: np.ediff1d(x, to_begin=x[0, 0], to_end=x[1, 1:]), (2, 3)),
    "gradient": (np.gradient, (4,)),
    "gradient of axes": (lambda x: np.gradient(x, axis=(0, -1)), (3, 2, 4)),
    "gradient with a step": (lambda x: np.gradient(x, 0.25, axis=1), (2, 4)),
    "gradient with steps": (lambda x: np.gradient(x, 2, 0.5, edge_order=2), (3, 4)),
    "gradient over coordinates": (lambda x: np.gradient(x, np.arange(5) ** 2, edge_order=2), (5,)),
    "gradient over coordinates on one axis": (lambda x: np.gradient(x, np.array([0, 1, 4]), axis=0), (3, 2)),
    "trapezoid": (np.trapezoid, (2, 4)),
    "trapezoid over coordinates": (lambda y: np.trapezoid(y, [0.0, 1, 4], axis=0), (3, 2)),
    "trapezoid over an array of them": (np.trapezoid, (2, 3), (2, 3)),
    "linspace": (lambda a, b: np.linspace(a, b, 5), (), ()),
    "linspace of arrays": (lambda a, b: np.linspace(a, b, 3, endpoint=False), (2, 1), (3,)),
    "linspace of none": (lambda a, b: np.linspace(a, b, 0), (), ()),
    "linspace of one": (lambda a, b: np.linspace(a, b, 1), (), ()),
    **{
        f"pad {mode} by {width}": (lambda x, mode=mode, width=width: np.pad(x, width, mode), (2, 3))
        for mode in ("constant", "edge", "reflect", "symmetric", "wrap")
        for width in (0, 5, (1, 2), ((3, 0), (0, 4)))
    },
    "pad with a constant for each side": (lambda x: np.pad(x, 1, constant_values=((1, 2), (3, 4))), (2, 3)),
}  # fmt: skip
if hasattr(np, "unstack"):
    CASES["unstack"] = (lambda x: np.unstack(x, axis=-1), (2, 3))
    CASES["astype"] = (lambda x: np.astype(x, np.float64) if x.dtype == np.float32 else x * 1, (2, 3))


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_what_moves_elements_is_numpys(case):
    function, *shapes = case
    agrees(function, *map(drawn, shapes))


@pytest.mark.parametrize("name", ["float16", "float32"])
def test_scalars_beside_an_array_keep_its_dtype(name):
    x = Tensor([1, 2], requires_grad=True, dtype=name)
    for y in (np.append(x, 4.0), np.append(x, np.float64(4)), np.diff(x, prepend=1), np.ediff1d(x, to_end=2.0)):
        assert y.dtype == x.dtype
        assert tn.grad(y, x, np.ones(y.shape)).dtype == x.dtype


def test_a_value_that_fills_an_array_receives_the_gradient():
    x, fill = Tensor([[1.0, 2.0]]), Tensor(3.0, requires_grad=True)
    y = np.full_like(x, fill)
    assert y.data.tolist() == [[3, 3]]
    assert tn.grad(y, fill, [[2.0, 5.0]]).item() == 7
    for y in (np.full_like(x, 2), np.empty_like(x)):
        assert (y.shape, y.dtype, y.requires_grad) == (x.shape, x.dtype, False)
    assert np.full_like(x, 2.5, dtype=np.float32).dtype == np.float32


def test_a_copy_is_another_tensor_of_the_same_gradient():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = np.copy(x)
    assert y is not x
    np.testing.assert_array_equal(tn.grad(y, x, [3.0, 4.0]).data, [3, 4])


def test_coordinates_receive_a_gradient_too():
    y, x = drawn((4,)), np.array([0.0, 1.0, 1.5, 3.0])
    agrees(np.trapezoid, y, x)
    agrees(tn.ops.gradient, y, x)


REFUSED = {
    "a dtype of another kind": (lambda x: np.hstack([x, x], dtype=int), (4,), "int"),
    "uneven split": (lambda x: np.split(x, 3), (4,), "cannot split axis 0 of size 4 into 3"),
    "split into nothing": (lambda x: np.array_split(x, 0), (4,), "parts must be at least 1, not 0"),
    "split an axis that is not": (lambda x: np.split(x, 2, axis=1), (4,), "axis 1"),
    "vsplit a vector": (lambda x: np.vsplit(x, 2), (4,), r"\(4,\)"),
    "dsplit a matrix": (lambda x: np.dsplit(x, 2), (4, 2), "axis 2"),
    "vstack of unequal rows": (lambda x: np.vstack([x, np.ones(3)]), (4,), ""),
    "fliplr of a vector": (np.fliplr, (4,), "axis 1"),
    "rot90 in one axis": (lambda x: np.rot90(x, axes=(0, 0)), (2, 3), "axis|axes"),
    "diag of a cube": (np.diag, (2, 2, 2), r"\(2, 2, 2\)"),
    "diagonal of a vector": (np.diagonal, (4,), "axis"),
    "places of other axes": (lambda x: np.take_along_axis(x, np.array([0]), 0), (2, 3), r"\(2, 3\)"),
    "a place that is not": (lambda x: np.take(x, 9), (2, 3), "9"),
    "too many repeats": (lambda x: np.repeat(x, [1, 2], axis=1), (2, 3), ""),
    "repeats below zero": (lambda x: np.repeat(x, -1), (2, 3), ""),
    "shapes that do not broadcast": (lambda x: np.broadcast_arrays(x, np.ones(4)), (2, 3), ""),
    "differences less than never": (lambda x: np.diff(x, -1), (3,), "n=-1"),
    "slopes of one value": (np.gradient, (1,), "1 values"),
    "slopes with too many steps": (lambda x: np.gradient(x, 1.0, 2.0), (3,), "not 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=list(REFUSED))
def test_what_numpy_refuses_is_refused_with_its_kind_of_error(case):
    function, shape, message = case
    refuses_alike(function, drawn(shape), match=message or None)


@pytest.mark.parametrize("mode", ["mean", "linear_ramp", "maximum", "empty"])
def test_modes_of_pad_that_are_not_there_are_named(mode):
    with pytest.raises(TypeError, match=f"mode='{mode}'"):
        np.pad(Tensor([1.0, 2.0]), 1, mode)
    with pytest.raises(TypeError, match="reflect_type='odd'"):
        np.pad(Tensor([1.0, 2.0]), 1, "reflect", reflect_type="odd")


def test_plain_arrays_give_plain_arrays():
    x = drawn((3, 3))
    for name in ("roll", "repeat", "take", "diag", "tile"):
        y = getattr(tn.ops, name)(x, *([] if name == "diag" else [1]))
        assert type(y) is np.ndarray or np.ndim(y) == 0
    assert all(type(part) is np.ndarray for part in tn.ops.split(x, 3))


def test_places_that_are_tensors_are_left_out():
    x = Tensor(drawn((4, 3)), requires_grad=True)
    for places, plain in ((Tensor([0, 2]), [0, 2]), (Tensor(3), 3), ([Tensor(1), 2], [1, 2])):
        np.testing.assert_array_equal(np.delete(x, places, axis=0).data, np.delete(x.data, plain, axis=0))
