"""Modules: what they contain, their state, their copies, and the layers without statistics."""

import copy
import math
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import nn


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


class Block(nn.Module):
    """A module with a parameter, a buffer, an absent one of each, and modules inside."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(random(2))
        self.absent = None
        self.inner = nn.Sequential(nn.Linear(2, 3, rng=0), nn.BatchNorm1d(3))
        self.register_buffer("count", np.array([1, 2]))
        self.register_buffer("nothing", None)

    def forward(self, x):
        return self.inner(x * self.scale)


KEYS = [
    "scale", "count", "inner.0.weight", "inner.0.bias", "inner.1.weight", "inner.1.bias", "inner.1.running_mean",
    "inner.1.running_var", "inner.1.num_batches_tracked",
]  # fmt: skip
PARAMETERS = ["scale", "inner.0.weight", "inner.0.bias", "inner.1.weight", "inner.1.bias"]


def snapshot(module):
    return {key: value.copy() for key, value in module.state_dict().items()}


def assert_same_state(module, state):
    mine = module.state_dict()
    assert list(mine) == list(state)
    for key, value in state.items():
        assert mine[key].dtype == value.dtype
        assert_array_equal(mine[key], value)


def test_paths_name_every_module_parameter_and_buffer_once():
    block = Block()
    assert [path for path, _ in block.named_modules()] == ["", "inner", "inner.0", "inner.1"]
    assert [path for path, _ in block.named_parameters()] == PARAMETERS
    assert [path for path, _ in block.named_buffers()] == ["count", *KEYS[-3:]]
    assert [name for name, _ in block.children()] == ["inner"]
    assert list(block.state_dict()) == KEYS
    assert block.scale.name == "scale"


def test_a_shared_parameter_is_one_parameter_with_two_keys():
    tied = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Tanh(), nn.Linear(2, 2, rng=1))
    tied[2].weight = tied[0].weight
    assert [path for path, _ in tied.named_parameters()] == ["0.weight", "0.bias", "2.bias"]
    assert len(list(tied.parameters())) == 3
    assert list(tied.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    tied.load_state_dict(tied.state_dict())
    x, g = random(5, 2), random(5, 2, seed=1)
    tied(x).backward(g)
    weights = [tied[0].weight.data, tied[0].bias.data, tied[2].bias.data]

    def untied(first, second):
        return tn.ops.tanh(x @ first.T + weights[1]) @ second.T + weights[2]

    _, pullback = tn.vjp(untied, *(weights[0].astype(np.float64),) * 2)
    assert_allclose(tied[0].weight.grad.data, sum(pullback(g)), rtol=1e-5)


def test_a_parameter_is_a_trained_leaf_and_a_tensor_is_not():
    module = nn.Module()
    module.weight = nn.Parameter([1.0], name="own")
    module.constant = tn.tensor([1.0], requires_grad=True)
    assert module.weight.name == "own"
    assert [name for name, _ in module.named_parameters()] == ["weight"]
    assert not nn.Parameter([1.0], requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="int64"):
        nn.Parameter([1])


def test_train_and_eval_reach_every_module_and_return_the_model():
    block = Block()
    for call, mode in ((block.eval, False), (block.train, True), (lambda: block.train(False), False)):
        assert call() is block
        assert [module.training for module in block.modules()] == [mode] * 4


def test_zero_grad_forgets_all_gradients():
    block = Block()
    block(random(4, 2)).backward(random(4, 3, seed=1))
    assert all(p.grad is not None for p in block.parameters())
    block.zero_grad()
    assert all(p.grad is None for p in block.parameters())


def test_buffers_are_copied_and_read_only():
    source = np.array([1.0, 2.0])
    module = nn.Module()
    module.register_buffer("kept", source)
    source[:] = 7
    assert_array_equal(module.kept, [1, 2])
    with pytest.raises(ValueError, match="read-only"):
        module.kept[0] = 3
    module.kept = source
    source[:] = 8
    assert_array_equal(module.state_dict()["kept"], [7, 7])
    module.kept = None
    assert module.kept is None
    assert not list(module.named_buffers())


def test_state_dict_holds_copies():
    block = Block()
    before = snapshot(block)
    for value in block.state_dict().values():
        value[...] = 9
    assert_same_state(block, before)


def test_load_state_dict_copies_and_adopts_the_floating_dtype_of_parameters():
    block = Block()
    source = {k: (v + 1).astype(np.float64 if v.dtype.kind == "f" else v.dtype) for k, v in block.state_dict().items()}
    source["inner.0.bias"] = tn.tensor(source["inner.0.bias"].astype(np.float16))
    block.load_state_dict(source)
    assert block.inner[0].bias.dtype == np.float16
    assert block.inner[0].weight.dtype == np.float64
    assert block.inner[0].weight.requires_grad
    for key, value in block.state_dict().items():
        assert_array_equal(value, source[key].data if isinstance(source[key], tn.Tensor) else source[key])
    before = snapshot(block)
    for value in source.values():
        if isinstance(value, np.ndarray):
            value[...] = -1
    assert_same_state(block, before)


def test_v17_one_error_lists_everything_and_nothing_is_loaded():
    block = Block()
    before = snapshot(block)
    state = {key: value + 1 for key, value in block.state_dict().items()}
    del state["inner.0.weight"]
    state["surprise"] = np.zeros(1)
    state["inner.1.bias"] = np.zeros((3, 1), np.float32)
    state["scale"] = np.array([1, 2])
    state["inner.1.weight"] = np.ones(3, complex)
    state["count"] = np.array([1.0, 2.0])
    with pytest.raises(ValueError, match="cannot load this state into Block") as error:
        block.load_state_dict(state)
    for words in (
        "unknown key 'surprise'", "missing key 'inner.0.weight'", "'inner.1.bias' has shape (3, 1), expected (3,)",
        "'scale' has dtype int64, expected float64", "'inner.1.weight' has dtype complex128, expected float32",
        "'count' has dtype float64, expected int64",
    ):  # fmt: skip
        assert words in str(error.value)
    assert_same_state(block, before)


def test_a_checkpoint_without_num_batches_tracked_is_accepted():
    block = Block()
    block(random(4, 2))
    state = block.state_dict()
    del state["inner.1.num_batches_tracked"]
    block.load_state_dict(state)
    assert block.inner[1].num_batches_tracked == 0
    assert_array_equal(block.inner[1].running_mean, state["inner.1.running_mean"])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_v19_modules_are_copied_and_pickled_and_then_live_apart(duplicate):
    original = nn.Sequential(nn.Linear(2, 3, rng=0), nn.BatchNorm1d(3), nn.Flatten(), nn.ReLU())
    original(random(4, 2)).backward(random(4, 3, seed=1))
    original.eval()
    twin = duplicate(original)
    assert_same_state(twin, original.state_dict())
    assert not twin[1].training
    for mine, theirs in zip(original.parameters(), twin.parameters(), strict=True):
        assert mine is not theirs
        assert not np.shares_memory(mine.data, theirs.data)
        assert_array_equal(mine.grad.data, theirs.grad.data)
    before = snapshot(original)
    x = random(4, 2, seed=5)
    assert_array_equal(twin(x).data, original(x).data)
    twin.train()(x)
    twin[0].weight.data = twin[0].weight.data + 1
    assert_same_state(original, before)


def test_a_copy_keeps_what_is_shared_shared():
    tied = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
    tied[1].weight = tied[0].weight
    for twin in (copy.deepcopy(tied), pickle.loads(pickle.dumps(tied))):
        assert twin[1].weight is twin[0].weight
        assert twin[0].weight is not tied[0].weight


def test_errors_of_modules_say_what_to_do():
    class Forgetful(nn.Module):
        def __init__(self):
            pass

    with pytest.raises(AttributeError, match=r"super\(\).__init__"):
        Forgetful().weight
    with pytest.raises(AttributeError, match="Block has no attribute 'wieght'"):
        Block().wieght
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(np.ones(2))


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3), (0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_an_affine_map_of_the_last_axis(shape, bias):
    layer = nn.Linear(3, 2, bias=bias, dtype=np.float64, rng=0)
    x, g = tn.tensor(random(*shape), requires_grad=True), random(*shape[:-1], 2, seed=1)
    y = layer(x)
    assert_allclose(y.data, np.einsum("...i,oi->...o", x.data, layer.weight.data) + (layer.bias.data if bias else 0))
    y.backward(g)
    rows, cotangents = x.data.reshape(-1, 3), g.reshape(-1, 2)
    assert_allclose(layer.weight.grad.data, cotangents.T @ rows, atol=1e-15)
    assert_allclose(x.grad.data, g @ layer.weight.data, rtol=1e-13)
    if bias:
        assert_allclose(layer.bias.grad.data, cotangents.sum(axis=0), rtol=1e-13)


def test_linear_starts_within_one_over_the_root_of_its_inputs():
    layer = nn.Linear(400, 300, rng=7)
    values = np.concatenate([layer.weight.data.ravel(), layer.bias.data])
    assert values.dtype == np.float32
    assert abs(values).max() <= 1 / 20
    # The mean of 120,300 uniform numbers; five standard errors.
    assert abs(values.mean()) < 5 / 20 / np.sqrt(3 * values.size)
    assert_allclose(values.var(), 1 / 400 / 3, rtol=0.02)
    assert_same_state(nn.Linear(400, 300, rng=np.random.default_rng(7)), layer.state_dict())


def test_linear_refuses_what_does_not_fit():
    for wrong in (0, -1, 2.0, True, "3", None):
        with pytest.raises(ValueError, match="in_features must be a positive integer"):
            nn.Linear(wrong, 2)
        with pytest.raises(ValueError, match="out_features must be a positive integer"):
            nn.Linear(2, wrong)
    assert nn.Linear(np.int64(3), np.int32(2)).weight.shape == (2, 3)
    for x in (np.zeros((3, 4)), np.zeros(())):
        with pytest.raises(ValueError, match="expects 3 features"):
            nn.Linear(3, 2)(x)


def test_activations():
    x = np.array([-2.0, -0.0, 0.0, 0.5, np.nan])
    assert_array_equal(nn.ReLU()(x).data, [0, 0, 0, 0.5, np.nan])
    leaf = tn.tensor(x, requires_grad=True)
    nn.ReLU()(leaf).backward(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert_array_equal(leaf.grad.data[:4], [0, 0, 0, 4])
    assert_array_equal(nn.Tanh()(x).data, np.tanh(x))
    tn.check_gradients(nn.Tanh(), random(4, 3), seed=1)


def exact_gelu(x):
    return x * np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.ravel()]).reshape(x.shape)


def tanh_gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = {
    "Sigmoid": (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
    "LeakyReLU": (nn.LeakyReLU(), lambda x: np.where(x > 0, x, 0.01 * x)),
    "LeakyReLU(0.3)": (nn.LeakyReLU(0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
    "SiLU": (nn.SiLU(), lambda x: x / (1 + np.exp(-x))),
    "GELU": (nn.GELU(), exact_gelu),
    "GELU(tanh)": (nn.GELU(approximate="tanh"), tanh_gelu),
    "Softmax": (nn.Softmax(), lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)),
    "Softmax(0)": (nn.Softmax(dim=0), lambda x: np.exp(x) / np.exp(x).sum(axis=0)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_their_formulas_and_have_their_gradients(name):
    layer, formula = ACTIVATIONS[name]
    if name == "GELU":
        pytest.importorskip("scipy", reason="the exact GELU takes erf from SciPy")
    x = 2 * random(4, 3)
    assert_allclose(layer(x).data, formula(x), rtol=1e-12)
    tn.check_gradients(layer, x, seed=1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_activations_keep_the_dtype(dtype):
    for layer in (nn.ReLU(), nn.Tanh(), *(layer for name, (layer, _) in ACTIVATIONS.items() if name != "GELU")):
        x = tn.tensor(random(4, 3), dtype=dtype, requires_grad=True)
        y = layer(x)
        y.backward(random(4, 3, seed=1))
        assert (y.dtype, x.grad.dtype) == (dtype, dtype)


def test_an_activation_is_one_box_of_the_drawing():
    layers = nn.LeakyReLU(), nn.SiLU(), nn.GELU("tanh"), nn.Softmax(), nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    for layer in (*layers, nn.Dropout(rng=0)):
        y = layer(tn.tensor(random(3, 2), requires_grad=True))
        (box,) = (v for v in tn.draw(y).graph.vertices if v.operation)
        assert (box.operation, box.symbol.replace(" ", "").lower()) == ("step", type(layer).__name__.lower())


@pytest.mark.parametrize("dim", [0, -1])
def test_softmax_of_one_value_without_axes(dim):
    x = tn.tensor(3.0, requires_grad=True)
    y = nn.Softmax(dim)(x)
    assert (y.shape, y.item()) == ((), 1.0)
    y.backward()
    assert x.grad.item() == 0


def test_gelu_knows_two_forms():
    with pytest.raises(ValueError, match="'none' or 'tanh', not 'erf'"):
        nn.GELU("erf")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dropout_zeroes_or_scales_and_so_does_its_gradient(dtype):
    layer = nn.Dropout(0.2, rng=0)
    x, g = tn.tensor(random(40, 50) + 5, dtype=dtype, requires_grad=True), random(40, 50, seed=1).astype(dtype)
    y = layer(x)
    stays = y.data != 0
    assert y.dtype == dtype
    assert_array_equal(y.data, np.where(stays, x.data * dtype(1.25), 0))
    # The standard deviation of a share of 2,000 draws is 0.009; five of them.
    assert abs(stays.mean() - 0.8) < 0.045
    y.backward(g)
    assert x.grad.dtype == dtype
    assert_array_equal(x.grad.data, np.where(stays, g * dtype(1.25), 0))


def test_dropout_draws_anew_in_every_call_and_the_same_from_the_same_seed():
    x = np.ones((20, 30))
    first, second = ((layer(x).data, layer(x).data) for layer in (nn.Dropout(rng=3), nn.Dropout(rng=3)))
    assert not np.array_equal(*first)
    assert_array_equal(first, second)
    assert not np.array_equal(nn.Dropout()(x).data, nn.Dropout()(x).data)
    shared = np.random.default_rng(3)
    assert not np.array_equal(nn.Dropout(rng=shared)(x).data, nn.Dropout(rng=shared)(x).data)


def test_dropout_is_the_identity_in_eval_mode_and_for_p_0():
    x = tn.tensor(random(4, 3), requires_grad=True)
    for layer in (nn.Dropout(0.9).eval(), nn.Dropout(1.0).eval(), nn.Dropout(0.0)):
        assert layer(x) is x


def test_dropout_of_everything_is_zero_also_of_what_is_not_finite():
    x, g = tn.tensor([1.0, np.inf, np.nan], requires_grad=True), random(3)
    y = nn.Dropout(1.0)(x)
    assert_array_equal(y.data, [0, 0, 0])
    y.backward(g)
    assert_array_equal(x.grad.data, [0, 0, 0])


@pytest.mark.parametrize("p", [-0.1, 1.1, np.nan, np.inf])
def test_dropout_takes_a_probability(p):
    with pytest.raises(ValueError, match="from 0 to 1"):
        nn.Dropout(p)


@pytest.mark.parametrize(
    ("start", "end", "shape"),
    [(1, -1, (2, 60)), (0, -1, (120,)), (1, 2, (2, 12, 5)), (-2, -1, (2, 3, 20)), (2, 2, None)],
)
def test_flatten_joins_axes(start, end, shape):
    x = random(2, 3, 4, 5)
    y = nn.Flatten(start, end)(x)
    assert y.shape == (shape or x.shape)
    assert_array_equal(y.data.ravel(), x.ravel())


def test_flatten_of_an_empty_batch_keeps_its_features():
    assert nn.Flatten()(np.zeros((0, 3, 4))).shape == (0, 12)


def test_sequential_is_composition():
    first, second = nn.Linear(2, 3, rng=0), nn.Tanh()
    both = nn.Sequential(first, second)
    x = random(4, 2)
    assert_array_equal(both(x).data, second(first(x)).data)
    assert (len(both), both[0], both[-1]) == (2, first, second)
    assert_array_equal(nn.Sequential()(x).data, x)
    with pytest.raises(TypeError, match=r"Modules, not function \(layer 1\)"):
        nn.Sequential(first, lambda x: x)
    with pytest.raises(IndexError):
        both[2]


def test_more_than_ten_layers_run_in_order():
    layers = [nn.Linear(1, 1, rng=i) for i in range(12)]
    model = nn.Sequential(*layers)
    x = y = random(3, 1)
    for layer in layers:
        y = layer(y)
    assert_array_equal(model(x).data, y.data)
    assert [path for path, _ in model.children()] == [str(i) for i in range(12)]


def test_repr_nests():
    assert repr(nn.Linear(2, 3, bias=False)) == "Linear(2, 3, bias=False)"
    assert repr(nn.Sequential(nn.Sequential(nn.Tanh()), nn.Flatten())) == (
        "Sequential(\n  (0): Sequential(\n    (0): Tanh()\n  )\n  (1): Flatten(start_dim=1, end_dim=-1)\n)"
    )
    assert "3, eps=1e-05, momentum=0.1, affine=True" in repr(nn.BatchNorm1d(3))
    assert repr(nn.GroupNorm(2, 4)) == "GroupNorm(2, 4, eps=1e-05, affine=True)"
    assert repr(nn.LayerNorm(4)) == "LayerNorm((4,), eps=1e-05, elementwise_affine=True)"
    assert repr(nn.LeakyReLU(0.2)) == "LeakyReLU(negative_slope=0.2)"
    assert repr(nn.GELU()) == "GELU(approximate='none')"
    assert repr(nn.Softmax(1)) == "Softmax(dim=1)"
    assert repr(nn.Dropout(0.25)) == "Dropout(p=0.25)"
    assert repr(nn.RMSNorm(4)) == "RMSNorm((4,), eps=None, elementwise_affine=True)"


# What a module refuses.


@pytest.mark.parametrize("wrong", [np.ones(2), 3.0, tn.tensor([1.0, 2.0]), [1.0, 2.0]])
def test_a_parameter_is_not_replaced_by_what_is_none(wrong):
    layer = nn.Linear(2, 1)
    before = layer.weight
    with pytest.raises(TypeError, match=r"cannot assign .* to the parameter Linear\.weight"):
        layer.weight = wrong
    assert layer.weight is before
    layer.weight = nn.Parameter(np.ones((1, 2)))
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]


@pytest.mark.parametrize("dtype", [np.longdouble, np.int64, complex])
def test_a_state_of_an_unsupported_dtype_is_part_of_the_one_error_and_nothing_is_loaded(dtype):
    layer = nn.BatchNorm1d(2)
    before = snapshot(layer)
    state = {key: value + 1 for key, value in before.items()}
    state["bias"] = state["bias"].astype(dtype)
    state["running_var"] = state["running_var"].astype(dtype)
    with pytest.raises(ValueError, match=rf"'bias' has dtype {np.dtype(dtype)}.*'running_var' has dtype"):
        layer.load_state_dict(state)
    assert_same_state(layer, before)


class Unreadable:
    """As PyTorch's bfloat16 tensors are to NumPy."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no such type")


def test_what_cannot_be_read_is_part_of_the_one_error_too():
    layer = nn.BatchNorm1d(2)
    state = layer.state_dict() | {"weight": Unreadable(), "running_mean": [[1.0], [1.0, 2.0]], "more": 1}
    with pytest.raises(ValueError, match="cannot load this state into BatchNorm1d") as error:
        layer.load_state_dict(state)
    for words in (
        "'weight' cannot be read as an array: no such type",
        "'running_mean' cannot be read",
        "unknown key 'more'",
    ):
        assert words in str(error.value)


@pytest.mark.parametrize("dtype", [int, bool, complex, "float128", "nonsense", np.longdouble, object])
def test_the_dtype_of_a_layer_is_one_that_has_gradients(dtype):
    for make in DTYPED:
        with pytest.raises(TypeError, match=r"^dtype must be"):
            make(dtype=dtype)


def test_no_dtype_is_float32():
    for make in DTYPED:
        layer = make(dtype=None)
        floats = {value.dtype for value in layer.state_dict().values() if value.dtype.kind != "i"}
        assert floats == {np.dtype(np.float32)}


DTYPED = [
    lambda **k: nn.Linear(3, 2, **k), lambda **k: nn.Conv2d(3, 2, 1, **k), lambda **k: nn.BatchNorm2d(3, **k),
    lambda **k: nn.BatchNorm1d(3, affine=False, **k), lambda **k: nn.InstanceNorm1d(3, track_running_stats=True, **k),
    lambda **k: nn.LayerNorm(3, **k), lambda **k: nn.GroupNorm(1, 3, **k), lambda **k: nn.RMSNorm(3, **k),
    lambda **k: nn.Norm("n c -> c", c=3, track_running_stats=True, **k), lambda **k: nn.more.GhostBatchNorm(4, 2, **k),
    lambda **k: nn.more.BatchRenorm(3, **k), lambda **k: nn.more.FiLM(3, 2, **k), lambda **k: nn.more.ScaleNorm(3, **k),
    lambda **k: nn.more.ConditionalBatchNorm(3, 2, **k),
]  # fmt: skip


@pytest.mark.parametrize("wrong", ["0.1", None, [0.1], True, 1j])
def test_numbers_of_layers_are_real(wrong):
    for name, make in (("negative_slope", nn.LeakyReLU), ("p", nn.Dropout)):
        with pytest.raises(TypeError, match=f"^{name} must be a real number, not"):
            make(wrong)
    assert nn.Dropout(np.float32(0.5)).p == 0.5


def test_a_slope_is_finite():
    with pytest.raises(ValueError, match="negative_slope must be finite, not nan"):
        nn.LeakyReLU(np.nan)


@pytest.mark.parametrize(("start", "end", "name"), [(3, -1, "start_dim"), (-4, -1, "start_dim"), (0, 3, "end_dim")])
def test_flatten_names_the_axis_that_is_not_there(start, end, name):
    for kind in (IndexError, ValueError):
        with pytest.raises(kind, match=rf"{name}: axis -?\d is out of bounds for array of dimension 3"):
            nn.Flatten(start, end)(random(2, 3, 4))


def test_flatten_as_pytorch_of_no_axes_and_the_wrong_way_round():
    assert nn.Flatten(0)(np.float64(3)).shape == (1,)
    with pytest.raises(IndexError, match="start_dim: axis 1 is out of bounds for array of dimension 1"):
        nn.Flatten()(np.float64(3))
    with pytest.raises(ValueError, match="start_dim=2 comes after end_dim=1"):
        nn.Flatten(2, 1)(random(2, 3, 4))
    with pytest.raises(TypeError, match=r"end_dim must be an integer, not 1\.0"):
        nn.Flatten(0, 1.0)


@pytest.mark.parametrize("layer", [nn.Linear(5000, 2, dtype=np.float16), nn.Linear(3, 2, dtype=np.float16)])
def test_bias_gradients_in_float16_are_added_up_in_float32(layer):
    """V14: ones in float16 add up to 2048 and no further."""
    rows = 4096
    layer(np.zeros((rows, layer.in_features), np.float16)).backward(np.ones((rows, 2), np.float16))
    assert_array_equal(layer.bias.grad.data, np.full(2, rows, np.float16))
