"""What a module may be called with, and what may come back: structures arrive whole, with their gradients."""

from collections import OrderedDict, defaultdict, namedtuple
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import nn

State = namedtuple("State", ["h", "c"])


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


class Echo(nn.Module):
    """Returns what arrives."""

    def forward(self, *inputs: Any, **options: Any) -> Any:
        return inputs, options


class Cell(nn.Module):
    """A long short-term memory cell (Hochreiter and Schmidhuber 1997) without biases."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.5 * random(4 * size, inputs + size))

    def forward(self, x: Any, state: Any) -> Any:
        h, c = state
        i, f, g, o = np.split(np.concatenate([x, h], axis=1) @ self.weight.T, 4, axis=1)
        c = tn.ops.sigmoid(f) * c + tn.ops.sigmoid(i) * np.tanh(g)
        return tn.ops.sigmoid(o) * np.tanh(c), c


def unrolled(weight: Any, x: Any, h: Any, c: Any) -> Any:
    """The same over three steps, as one function."""
    sigmoid = tn.ops.sigmoid
    for t in range(3):
        i, f, g, o = np.split(np.concatenate([x[t], h], axis=1) @ weight.T, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return h


@pytest.mark.parametrize("kind", [tuple, list, lambda pair: State(*pair)], ids=["tuple", "list", "namedtuple"])
def test_a_recurrent_cell_learns_through_its_state(kind):
    """Gradients through three steps; central differences are the judge."""
    cell, x, g = Cell(2, 3), random(3, 4, 2, seed=1), random(4, 3, seed=2)
    h0, c0 = (tn.tensor(random(4, 3, seed=k), requires_grad=True) for k in (3, 4))
    h, c = h0, c0
    for t in range(3):
        h, c = cell(x[t], kind((h, c)))
    found = tn.grad(h, [cell.weight, h0, c0], g)
    weight, *start = (tensor.data for tensor in (cell.weight, h0, c0))
    _, pullback = tn.vjp(lambda weight, h, c: unrolled(weight, x, h, c), weight, *start)
    for slope, want in zip(found, pullback(g), strict=True):
        assert_allclose(slope.data, want, rtol=1e-12)
    along = random(*weight.shape, seed=5)
    plus, minus = (unrolled(weight + step * along, x, *start) for step in (1e-6, -1e-6))
    assert_allclose((found[0].data * along).sum(), (g * (plus - minus)).sum() / 2e-6, rtol=1e-7)


def test_numbers_and_arrays_become_tensors_as_ever():
    for given in (
        np.ones(2),
        np.float32(2),
        3,
        2.5,
        1j,
        [1, 2.0],
        (1, 2),
        [[1], [2]],
        [True, False],
        [np.float64(1), 2],
    ):
        (found,), _ = Echo()(given)
        want = np.asarray(given)
        assert isinstance(found, tn.Tensor)
        assert found.dtype == want.dtype
        assert_array_equal(found.data, want)


def test_what_is_no_array_arrives_as_it_is():
    T = tn.tensor([1.0], requires_grad=True)
    marker, module = object(), nn.Tanh()
    given = [
        T,
        None,
        "name",
        True,
        marker,
        module,
        np.float32,
        slice(1),
        (),
        [],
        {},
        [T],
        (T, None),
        {"x": T},
        ["a", 1],
    ]
    found, options = Echo()(*given, flag=True, scale=2.0, names=["a"], sizes=[1, 2], step=np.float32(2))
    assert all(a is b for a, b in zip(found, given, strict=True))
    assert options == {"flag": True, "scale": 2.0, "names": ["a"], "sizes": [1, 2], "step": np.float32(2)}
    assert type(options["step"]) is np.float32


def test_arrays_inside_structures_become_tensors_and_structures_keep_their_kind():
    T, a = tn.tensor([1.0], requires_grad=True), np.arange(3.0)
    structures = [(T, a), [a, None], State(T, a), {"x": a, "mask": None, "name": "n"}, OrderedDict(y=a, x=T)]
    structures.append(defaultdict(list, {"x": (a, [a, 2.0, True])}))
    found, options = Echo()(*structures, pair=(a, T), array=a)
    for before, after in zip([*structures, (a, T)], [*found, options["pair"]], strict=True):
        assert type(after) is type(before)
        assert len(after) == len(before)
    assert found[0][0] is found[2].h is found[4]["x"] is options["pair"][1] is T
    arrays = [found[0][1], found[1][0], found[2].c, found[3]["x"], found[4]["y"], found[5]["x"][0], found[5]["x"][1][0]]
    for tensor in [*arrays, options["pair"][0], options["array"]]:
        assert isinstance(tensor, tn.Tensor)
        assert not np.shares_memory(tensor.data, a)
        assert_array_equal(tensor.data, a)
    assert found[1][1] is None
    assert (found[3]["mask"], found[3]["name"]) == (None, "n")
    assert list(found[4]) == ["y", "x"]
    assert found[5].default_factory is list
    assert found[5]["x"][1][1:] == [2.0, True]
    assert structures[3]["x"] is a


def test_a_structure_without_arrays_is_not_copied():
    """So that a cache of Tensors that a module fills is the caller's own."""

    class Caching(nn.Module):
        def forward(self, x: Any, cache: Any) -> Any:
            cache.append(x)
            return x

    cache: list[Any] = [tn.tensor([0.0])]
    y = Caching()(np.ones(1), cache)
    assert cache[1] is y


def test_keywords_reach_forward_and_carry_gradients():
    layer, x = nn.Linear(3, 2, dtype=np.float64, rng=0), tn.tensor(random(4, 3), requires_grad=True)
    g = random(4, 2, seed=1)
    assert_array_equal(tn.grad(layer(x=x), x, g).data, g @ layer.weight.data)
    assert_array_equal(layer(x=x.data).data, layer(x).data)
    with pytest.raises(TypeError, match="unexpected keyword"):
        layer(x, scale=2)
    inside = nn.more.WeightStandardization(nn.Linear(3, 2, rng=0))
    assert_array_equal(inside(x=x.data).data, inside(x).data)


def test_masked_and_string_arrays_are_refused_as_ever():
    with pytest.raises(TypeError, match="numbers"):
        Echo()(np.array(["a"]))
    with pytest.raises(TypeError, match="numbers"):
        Echo()((np.array([None]),))


class Split(nn.Module):
    """Outputs of every structure."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Any) -> Any:
        return self.kind(x * 2.0, x * 3.0)


KINDS = {
    "tuple": lambda a, b: (a, b), "list": lambda a, b: [a, (b, None)], "namedtuple": State,
    "dict": lambda a, b: {"first": a, "second": [b]}, "late": lambda a, b: (None, {"name": "x", "value": a}, b),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_structure_that_is_observed_shows_its_first_array(name):
    model, x = nn.Sequential(nn.Tanh(), Split(KINDS[name])), tn.tensor(random(5, 3), requires_grad=True)
    with tn.observe(model) as seen:
        y = model(x)
    h = np.tanh(x.data)
    assert type(y) is type(KINDS[name](x, x))
    assert len(seen["1"]) == 1
    assert_allclose(seen["1"][0].mean, 2 * h.mean(axis=0), rtol=1e-12)
    first = next(v for v in _arrays(y))
    g = random(5, 3, seed=1)
    seen.backward(first, g)
    assert_allclose(seen["1"][0].gradient_norm, np.linalg.norm(g), rtol=1e-12)
    assert_allclose(x.grad.data, 2 * g * (1 - h**2), rtol=1e-12)


def _arrays(y: Any) -> Any:
    for v in y.values() if isinstance(y, dict) else y:
        if isinstance(v, tn.Tensor):
            yield v
        elif isinstance(v, dict | list | tuple):
            yield from _arrays(v)


def test_an_output_without_arrays_is_not_observed():
    class Silent(nn.Module):
        def forward(self, x: Any) -> Any:
            return None, "nothing", {}

    with tn.observe(Silent()) as seen:
        Silent()(np.ones(2))
    model = Silent()
    with tn.observe(model) as seen:
        assert model(np.ones(2)) == (None, "nothing", {})
    assert seen == {"": []}


class Gated(nn.Module):
    """Takes a pair or a dict, and gives a batch norm its input by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(3, 2, dtype=np.float64, rng=0), nn.BatchNorm1d(2, dtype=np.float64)
        self.pair = nn.Sequential(nn.Linear(2, 2, dtype=np.float64, rng=1), nn.BatchNorm1d(2, dtype=np.float64))

    def forward(self, state: Any, gate: Any = None) -> Any:
        x, scale = state.values() if isinstance(state, dict) else state
        return {"y": self.pair(self.norm(x=self.first(x)) * scale), "gate": gate}


def test_recalibrate_and_fold_take_models_of_structures():
    rng = np.random.default_rng(0)
    batches = [((rng.normal(size=(n, 3)), rng.normal(size=(n, 1))), None) for n in (4, 7)]
    model = Gated()
    tn.recalibrate(model, batches)
    hidden = np.concatenate([model.first(state[0]).data for state, _ in batches])
    assert_allclose(model.norm.running_mean, hidden.mean(axis=0), rtol=1e-12)
    assert_allclose(model.norm.running_var, hidden.var(axis=0, ddof=1), rtol=1e-12)
    again = Gated()
    tn.recalibrate(again, [dict(zip("xs", state, strict=True)) for state, _ in batches])
    assert_allclose(again.pair[1].running_var, model.pair[1].running_var, rtol=1e-12)
    folded = tn.fold_batch_norm(model)
    assert isinstance(folded.pair[1], nn.Identity)
    state = batches[0][0]
    assert_allclose(folded(state)["y"].data, model.eval()(state)["y"].data, rtol=1e-12)


ONE_ARRAY = [
    nn.Linear(3, 2), nn.BatchNorm1d(3), nn.BatchNorm2d(3), nn.InstanceNorm1d(3), nn.GroupNorm(1, 3), nn.Dropout(),
    nn.Flatten(),
]  # fmt: skip


@pytest.mark.parametrize(
    "given", [None, "x", {"x": 1}, (tn.Tensor([1.0]), None), nn.ReLU()], ids=lambda x: type(x).__name__
)
@pytest.mark.parametrize("layer", ONE_ARRAY, ids=lambda layer: type(layer).__name__)
def test_layers_of_one_array_say_what_they_got_instead(layer, given):
    """As the state of a recurrent cell, given whole."""
    with pytest.raises(
        TypeError, match=f"{type(layer).__name__} requires one array or Tensor, not {type(given).__name__}"
    ):
        layer(given)


def test_check_module_takes_a_module():
    with pytest.raises(TypeError, match="check_module takes a Module, not function"):
        tn.check_module(lambda x: x, np.ones(2))
