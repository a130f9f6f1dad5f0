"""While a function is examined, data keep their origin: the whole graph can be evaluated again from other leaves."""

import contextlib
import operator

import numpy as np
import pytest
from draws import each_case
from numpy.testing import assert_array_equal
from primitive_table import COMPOSITES, ROWS

import tinygrad_norm as tn
from tinygrad_norm import Tensor
from tinygrad_norm.engine.context import surrounding
from tinygrad_norm.engine.origins import Data, examine
from tinygrad_norm.engine.tensor import walk


def evaluated(outputs, leaves, arrays):
    """The values of recorded outputs with other leaves, by the forward functions of their nodes alone."""
    values = dict(zip(leaves, arrays, strict=True))
    for y in reversed(walk(outputs)):
        inputs = [values.get(x, x.data) if isinstance(x, Tensor) else x for x in y.node.inputs]
        with np.errstate(all="ignore"):
            values[y] = np.asarray(y.node.primitive.forward(*inputs, **y.node.static))
    return [values.get(y, y.data) for y in outputs]


def step(function, xs, g):
    """The output and the gradients, recorded."""
    y = function(*xs)
    return [y, *tn.grad(y, [x for x in xs if x.requires_grad], g, create_graph=True)]


def agree_again(function, inputs, others, rng):
    """What the examined step gives when it is evaluated at other inputs is what the engine gives there."""
    with np.errstate(all="ignore"):
        shape = function(*map(Tensor, inputs)).shape
        leaves = [Tensor(x, requires_grad=True) for x in inputs]
        g = Tensor(rng.normal(size=shape), requires_grad=True)
        with surrounding(recording=True, examined=True, origins=True):
            recorded = step(function, leaves, g)
        again = evaluated(recorded, [*leaves, g], [*others, g.data])
        want = step(function, [Tensor(x, requires_grad=True) for x in others], g)
        for got, tensor in zip(again, want, strict=True):
            assert_array_equal(got, tensor.data)


@pytest.mark.usefixtures("erf_without_scipy")
@pytest.mark.parametrize("row", ROWS + COMPOSITES, ids=lambda row: row.label)
@each_case
def test_an_examined_graph_evaluates_again(row, inputs, static, rng):
    """Every primitive, forward and backward: other signs, other ties, another order. Equal to the last bit."""
    others = [rng.permutation(x.ravel()).reshape(x.shape) * rng.choice([1, 1, 0.5]) for x in inputs]
    agree_again(lambda *xs: row.call(*xs, **static), inputs, others, rng)


def softmax_by_hand(x):
    shifted = np.exp(x - x.detach().max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def hinge(x, w):
    scores = x @ w
    margin = scores - scores[np.arange(4), np.argmax(x, axis=1)].reshape(-1, 1)
    return np.where((margin > -1) & ~(margin == 0), margin + 1, 0).sum() / (margin > 0).sum()


USERS = {
    "softmax by hand": softmax_by_hand,
    "softmax": lambda x: tn.ops.softmax(x, axis=1),
    "sorted": lambda x: x[np.arange(4).reshape(-1, 1), np.argsort(x, axis=1)] * np.arange(3.0),
    "a mask that is multiplied": lambda x: x * (x > 0) + x * (x <= 0).astype(np.float64) * 0.1,
    "clip to its own quartiles": lambda x: np.clip(x, x.detach().min(axis=0), 0.5),
    "count": lambda x: (x * x).sum() / np.count_nonzero(np.asarray([1, 2])) / (x > 0).sum(),
    "standard scores of the positive": lambda x: np.where(x > 0, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), x),
    "all rows but the least": lambda x: np.delete(x, np.argmin(x[:, 0]), axis=0),
    "partition": lambda x: np.partition(np.kron(np.outer(x, x), x), 600, axis=None) * np.arange(1728.0),
    "extremes": lambda x: x.max(0) - x.min(0) + np.maximum(x, x[::-1]),
    "batch norm": tn.batch_norm,
    "straight through": lambda x: x + (np.sign(x) - x).detach(),
}


@pytest.mark.parametrize("function", USERS.values(), ids=list(USERS))
def test_functions_of_users_evaluate_again(function):
    rng = np.random.default_rng(3)
    agree_again(function, [rng.normal(size=(4, 3))], [rng.normal(size=(4, 3))], rng)


def test_several_leaves_evaluate_again():
    rng = np.random.default_rng(4)
    inputs, others = ([rng.normal(size=(4, 3)), rng.normal(size=(3, 3))] for _ in range(2))
    agree_again(hinge, inputs, others, rng)


def origin(x):
    """The names of the primitives that lead from leaves to a Tensor."""
    return [y.node.primitive.name for y in reversed(walk([x]))]


def test_what_is_not_differentiated_has_an_origin_here_and_none_elsewhere():
    x, w = Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([[0.5, 1.0], [2.0, 0.1]], requires_grad=True)

    def transposed(x, w):
        return tn.grad(x @ w, w, np.array([[1.0, -0.3], [0.2, 2.0]]), create_graph=True)

    assert origin(examine(transposed, x, w)) == ["transpose", "matmul"]
    assert transposed(x, w).node is None
    assert (x * 2).node is None
    assert type(x > 1) is np.ndarray
    found = examine(lambda x: (x > 1, np.argmax(x), (x * 2).detach(), x.sum().astype(int)), x)
    assert [y.node.primitive.name for y in found] == ["greater", "argmax", "detach", "astype"]
    assert not any(y.requires_grad for y in found)


def test_plain_arrays_stay_plain_where_data_have_origins():
    array = np.arange(4.0)
    assert type(examine(tn.ops.partition, array, 2)) is np.ndarray


def test_relu_and_its_gradient_are_a_whole_graph():
    x = Tensor([[1.0, -2.0]], requires_grad=True)
    y, slope = examine(step, tn.ops.relu, [x], Tensor([[0.7, -0.2]], requires_grad=True))
    condition = y.node.inputs[0]
    assert (condition.node.primitive.symbol, condition.node.inputs[0]) == ("≤", x)
    assert slope.node.inputs[0] is condition  # the gradient asks the same question, and it is asked once


def test_data_behave_like_the_arrays_they_stand_for():
    """So code that indexes, counts, converts or prints comparisons runs, and its results are those it has elsewhere."""
    array = np.arange(6.0).reshape(2, 3)

    def uses(x):
        mask = x > 0
        count = mask.sum()
        rows = np.argsort(x, axis=1)
        return {
            "an array indexed": array[mask],
            "converted": np.asarray(mask, dtype=float),
            "negated": ~mask & (array < 4) | (array == 5),
            "exclusive": True ^ mask,
            "a method of arrays": mask.tobytes(),
            "a list indexed": [10, 20, 30, 40, 50, 60, 70][count],
            "a range": list(range(count)),
            "a dtype": (x.astype(np.float32) * count).dtype,
            "a dtype of several": (x.astype(np.float32) * mask).dtype,
            "branches": "some" if mask.any() else "none",
            "text": f"{count} of {mask.size}",
            "NumPy's own": np.percentile(rows, 50),
            "arrays with it": array * mask,
            "a mean": (array * (1 - mask.mean())).sum(),
            "looped over": [bool(row.all()) for row in mask],
            "unknown to Tensors": np.packbits(mask),
        }

    x = Tensor([[1.0, -2.0, 3.0], [0.5, -1.0, -0.1]], requires_grad=True)
    want = uses(x)
    with surrounding(origins=True, examined=True):
        found = uses(x)
    for name, value in want.items():
        got = found[name].data if isinstance(found[name], Tensor) else found[name]
        assert_array_equal(got, value.data if isinstance(value, Tensor) else value, err_msg=name)
    assert isinstance(found["negated"], Data)


def test_numbers_of_data_are_numpys():
    """They promote among themselves as NumPy's arrays and scalars do, and beside Tensors as Python's numbers."""
    x = Tensor(np.random.default_rng(6).normal(size=(4, 3)), requires_grad=True, dtype=np.float32)

    def uses(x):
        mask = x > 0
        return {
            "a share of a mask": mask / mask.sum(),
            "a scaled mask": mask.astype(np.float32) * mask.mean(),
            "a mean of masks": mask.mean(axis=1, keepdims=True),
            "outer": np.outer(x, mask.mean()),
            "einsum": np.einsum(",ij->i", mask.mean(), x),
            "stacked": np.stack([x[0, 0], mask.mean(), 1.0]),
            "between": np.linspace(0, mask.sum(), 4),
            "left out": np.delete(x, np.argmax(x[:, 0]), axis=0),
            "places": x[np.where(mask)],
            "a power": np.abs(x) ** mask.mean(),
        }

    with surrounding(origins=True, examined=True):
        found = uses(x)
    for name, want in uses(x).items():
        assert found[name].dtype == want.dtype, name
        assert_array_equal(getattr(found[name], "data", found[name]), getattr(want, "data", want), err_msg=name)


def test_data_are_instances_of_what_they_stand_for():
    """So code that asks goes the way it goes elsewhere."""

    def asks(x):
        mask = x > 0
        return isinstance(mask, np.ndarray), isinstance(mask.sum(), int | np.integer), isinstance(mask.mean(), float)

    assert examine(asks, Tensor([1.0, -2.0])) == asks(Tensor([1.0, -2.0])) == (True, True, True)


@pytest.mark.parametrize(
    "change",
    [
        lambda mask, x: operator.ior(mask, x < -1), lambda mask, x: operator.iand(mask, x < 1),
        lambda mask, x: operator.ixor(mask, x < 1),
        lambda mask, x: np.asarray(mask).fill(True), lambda mask, x: np.logical_not(mask, out=np.asarray(mask)),
    ],
)  # fmt: skip
def test_changes_in_place_reach_every_name(change):
    """An array changed under one name is changed under the others: what would lose this runs without origins."""

    def changes(x):
        mask = x > 0
        change(mask, x)
        return np.where(mask, x * 2, x * 3)

    x = Tensor([0.5, -2.0, 3.0, -0.1], requires_grad=True)
    assert_array_equal(examine(changes, x).data, changes(x).data)


def test_numbers_are_added_to_in_place():
    def counts(x):
        n = (x > 0).sum()
        n += 1
        return x / n

    y = examine(counts, Tensor([0.5, -2.0], requires_grad=True))
    assert_array_equal(y.data, [0.25, -1])
    assert {"greater", "add", "divide"} <= set(origin(y))


def test_what_fails_with_origins_runs_without():
    runs = []

    def writes(x):
        mask = x > 0
        runs.append(type(mask))
        mask[0] = False
        return np.where(mask, x, 0)

    y = examine(writes, Tensor([1.0, 2.0], requires_grad=True))
    assert_array_equal(y.data, [0, 2])
    assert runs == [Data, np.ndarray]


def test_an_error_of_the_function_itself_is_the_one_it_has_elsewhere():
    def fails(x):
        raise ZeroDivisionError(f"of the user, {len(x)}")

    with pytest.raises(ZeroDivisionError, match="of the user, 2") as raised:
        examine(fails, Tensor([1.0, 2.0]))
    assert raised.value.__context__ is None


def test_elsewhere_nothing_is_kept():
    x = Tensor([1.0, -2.0], requires_grad=True)
    with contextlib.suppress(ZeroDivisionError):
        examine(lambda x: 1 / 0, x)
    assert type(x > 0) is np.ndarray
    assert tn.ops.relu(x.detach()).node is None
