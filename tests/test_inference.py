"""Exact population statistics, and batch norms that disappear into the layers before them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import nn


def network(rng, dtype=np.float64, **norm):
    """Return two linear layers with a batch norm after each, with parameters and statistics away from the defaults."""
    layers = (nn.Linear(5, 4, rng=rng, dtype=dtype), nn.BatchNorm1d(4, dtype=dtype, **norm), nn.Tanh())
    model = nn.Sequential(*layers, nn.Linear(4, 3, rng=rng, dtype=dtype), nn.BatchNorm1d(3, dtype=dtype, **norm))
    for name, p in model.named_parameters():
        p.data = (p.data + rng.normal(size=p.shape) * (0.3 if name.endswith("weight") else 1.0)).astype(dtype)
    for _ in range(3):
        model(rng.normal(size=(6, 5)).astype(dtype))
    return model


@given(st.lists(st.integers(0, 7), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) >= 2), st.integers(0, 9))
def test_recalibrated_statistics_are_those_of_all_data_at_once(sizes, seed):
    """Unequal and empty batches; the second layer's are taken behind the first layer's new ones."""
    rng = np.random.default_rng(seed)
    model = network(rng)
    batches = [rng.normal(3, 2, (size, 5)) for size in sizes]
    x = np.concatenate(batches)
    tn.recalibrate(model, iter(batches))
    linear, first, tanh, second_linear, second = (model[i] for i in range(5))
    hidden = linear(x).data
    assert_allclose(first.running_mean, hidden.mean(axis=0), rtol=1e-10, atol=1e-12)
    assert_allclose(first.running_var, hidden.var(axis=0, ddof=1), rtol=1e-10, atol=1e-12)
    model.eval()
    deeper = second_linear(tanh(first(hidden))).data
    assert_allclose(second.running_mean, deeper.mean(axis=0), rtol=1e-10, atol=1e-12)
    assert_allclose(second.running_var, deeper.var(axis=0, ddof=1), rtol=1e-9, atol=1e-12)


def test_recalibrate_leaves_everything_else_alone():
    rng = np.random.default_rng(0)
    model = network(rng)
    model[0].eval()
    before = model.state_dict()
    tn.recalibrate(model, [rng.normal(size=(8, 5))])
    after = model.state_dict()
    changed = {key for key in before if not np.array_equal(before[key], after[key])}
    assert changed == {f"{i}.running_{what}" for i in (1, 4) for what in ("mean", "var")}
    assert [m.training for m in (model, model[0], model[1])] == [True, False, True]
    assert not any(m._observers for m in model.modules())


def test_recalibrated_statistics_differ_from_averages_of_batch_variances():
    """Batches with different means: an average of their variances leaves out how the means differ."""
    layer = nn.BatchNorm1d(1, momentum=None, dtype=np.float64)
    batches = [np.array([[0.0], [2.0]]), np.array([[10.0], [12.0]])]
    for batch in batches:
        layer(batch)
    assert_allclose(layer.running_var, [2.0])
    tn.recalibrate(layer, batches)
    assert_allclose((layer.running_mean, layer.running_var), ([6.0], [np.var([0, 2, 10, 12], ddof=1)]))


def test_large_offsets_do_no_harm():
    rng = np.random.default_rng(0)
    layer = nn.BatchNorm1d(2, dtype=np.float64)
    x = rng.normal(size=(300, 2))
    tn.recalibrate(layer, np.split(x + 1e8, [1, 7, 100]))
    assert_allclose(layer.running_var, x.var(axis=0, ddof=1), rtol=1e-6)  # 1e8 leaves half the digits of x


def test_recalibrate_needs_two_values():
    with pytest.raises(ValueError, match="at least two values"):
        tn.recalibrate(nn.BatchNorm1d(2), [np.zeros((1, 2), np.float32)])


def kinds(model):
    return [type(layer).__name__ for _, layer in model.children()]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("norm", [{}, {"affine": False}, {"bias": False}])
def test_folding_preserves_outputs_in_eval_mode(dtype, norm):
    rng = np.random.default_rng(0)
    model = network(rng, dtype, **norm)
    before = model.state_dict()
    folded = tn.fold_batch_norm(model)
    assert kinds(folded) == [
        "Linear", "Identity", "Tanh", "Linear", "Identity",
    ]  # fmt: skip
    x = rng.normal(size=(7, 5)).astype(dtype)
    assert_allclose(folded(x).data, model.eval()(x).data, rtol=0, atol=40 * np.finfo(dtype).eps)
    for key, value in model.state_dict().items():
        assert_array_equal(value, before[key])


def test_folding_without_a_bias_makes_one():
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(3, 2, bias=False, rng=rng), nn.BatchNorm1d(2)).train()
    model(rng.normal(5, 2, (9, 3)).astype(np.float32))
    folded = tn.fold_batch_norm(nn.Sequential(model, nn.Tanh()))
    x = rng.normal(size=(4, 3)).astype(np.float32)
    assert_allclose(folded(x).data, np.tanh(model.eval()(x).data), rtol=1e-5, atol=1e-6)
    assert folded[0][0].bias.shape == (2,)


def test_what_does_not_stand_behind_a_linear_layer_stays():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Tanh(), nn.BatchNorm1d(3, track_running_stats=False))
    assert kinds(tn.fold_batch_norm(model)) == kinds(model)
    untracked = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False))
    assert kinds(tn.fold_batch_norm(untracked)) == kinds(untracked)


def convolutional(rng, dtype, options, **norm):
    """Return three convolutions with a batch norm after each, with parameters and statistics away from the defaults."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, rng=rng, dtype=dtype, **options),
        nn.BatchNorm2d(4, dtype=dtype, **norm),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 6, (2, 3), stride=2, rng=rng, dtype=dtype)),
        nn.BatchNorm2d(6, dtype=dtype, **norm),
        nn.Conv2d(6, 4, 1, rng=rng, dtype=dtype, **options),
        nn.BatchNorm2d(4, dtype=dtype, **norm),
    )
    for name, p in model.named_parameters():
        p.data = (p.data + rng.normal(size=p.shape) * (0.3 if name.endswith("weight") else 1.0)).astype(dtype)
    for _ in range(3):
        model(rng.normal(1, 2, size=(4, 2, 6, 7)).astype(dtype))
    return model


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("norm", [{}, {"affine": False}, {"bias": False}, {"eps": 0.5}])
@pytest.mark.parametrize("options", [{}, {"groups": 2}, {"groups": 2, "bias": False}])
def test_convolutions_take_their_batch_norms_in(dtype, norm, options):
    """All but the one whose convolution ends a `Sequential` of its own."""
    rng = np.random.default_rng(0)
    model = convolutional(rng, dtype, options, **norm)
    before = model.state_dict()
    folded = tn.fold_batch_norm(model)
    assert kinds(folded) == [
        "Conv2d", "Identity", "ReLU", "Sequential", "BatchNorm2d", "Conv2d", "Identity",
    ]  # fmt: skip
    assert {p.dtype for p in folded.parameters()} == {np.dtype(dtype)}
    x = rng.normal(1, 2, size=(5, 2, 6, 7)).astype(dtype)
    y = model.eval()(x).data
    assert_allclose(folded(x).data, y, rtol=0, atol=40 * np.finfo(dtype).eps * np.abs(y).max())
    for key, value in model.state_dict().items():
        assert_array_equal(value, before[key])


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Linear(3, 3), nn.BatchNorm2d(3)), (nn.Conv2d(3, 3, 1), nn.BatchNorm1d(3)),
        (nn.Conv2d(3, 3, 1), nn.BatchNorm3d(3)), (nn.Conv2d(3, 3, 1), nn.GroupNorm(3, 3)),
        (nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
        (nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)),
    ],
)  # fmt: skip
def test_only_the_batch_norm_of_its_own_rank_right_behind_is_folded(layers):
    assert kinds(tn.fold_batch_norm(nn.Sequential(*layers))) == [type(layer).__name__ for layer in layers]


@pytest.mark.parametrize(
    ("conv", "norm", "space"), [("Conv1d", "BatchNorm1d", (6,)), ("Conv3d", "BatchNorm3d", (3, 4, 5))]
)
def test_sequences_and_volumes_are_folded_too(conv, norm, space):
    rng, x = np.random.default_rng(0), np.random.default_rng(1).normal(1, 2, size=(3, 2, *space))
    options = {"padding": "same", "padding_mode": "circular", "dtype": np.float64, "rng": rng}
    model = nn.Sequential(getattr(nn, conv)(2, 3, 3, **options), getattr(nn, norm)(3, dtype=np.float64))
    model(x)
    folded = tn.fold_batch_norm(model)
    assert kinds(folded) == [conv, "Identity"]
    assert_allclose(folded(x).data, model.eval()(x).data, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("share", ["layer", "weight"])
def test_what_is_shared_is_folded_where_the_norm_is_and_nowhere_else(share):
    """A convolution runs twice, or its weight does, and only the first time is a batch norm right behind it."""
    rng = np.random.default_rng(0)
    first, second = (nn.Conv2d(3, 3, 1, rng=rng, dtype=np.float64) for _ in range(2))
    second.weight = first.weight
    again = first if share == "layer" else second
    model = nn.Sequential(first, nn.BatchNorm2d(3, dtype=np.float64), nn.Tanh(), again)
    for _ in range(3):
        model(rng.normal(1, 2, size=(4, 3, 5, 5)))
    x = rng.normal(size=(2, 3, 5, 5))
    folded = tn.fold_batch_norm(model)
    assert kinds(folded) == ["Conv2d", "Identity", "Tanh", "Conv2d"]
    assert_allclose(folded(x).data, model.eval()(x).data, rtol=1e-12)


def test_recalibrated_statistics_behind_a_convolution():
    rng = np.random.default_rng(0)
    model = convolutional(rng, np.float64, {})
    batches = [rng.normal(3, 2, (size, 2, 6, 7)) for size in (1, 4, 0, 2)]
    tn.recalibrate(model, batches)
    hidden = model[0](np.concatenate(batches)).data
    assert_allclose(model[1].running_mean, hidden.mean(axis=(0, 2, 3)), rtol=1e-10)
    assert_allclose(model[1].running_var, hidden.var(axis=(0, 2, 3), ddof=1), rtol=1e-10)


# Folding knows what it folds.


class Scaled(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Shifted(nn.BatchNorm1d):
    def forward(self, x):
        return super().forward(x) + 1


def trained(model, x):
    """Return a model whose running statistics are away from where they start, in eval mode."""
    for _ in range(3):
        model(x * 2 + 1)
    return model.eval()


def pair(layer=nn.Linear, norm=nn.BatchNorm1d):
    return layer(3, 3, rng=0, dtype=np.float64), norm(3, dtype=np.float64)


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (nn.Sequential(*pair(Scaled)), ["Scaled", "BatchNorm1d"]),
        (nn.Sequential(*pair(norm=Shifted)), ["Linear", "Shifted"]),
        (Residual(*pair()), ["Linear", "BatchNorm1d"]),
        (Residual(nn.Sequential(*pair()), nn.Tanh()), ["Sequential", "Tanh"]),
    ],
)
def test_subclasses_compute_what_they_like_and_stay_as_they_are(model, found):
    x = np.random.default_rng(0).normal(size=(6, 3))
    folded = tn.fold_batch_norm(trained(model, x))
    assert type(folded) is type(model)
    assert kinds(folded) == found
    assert_allclose(folded(x).data, model(x).data, rtol=1e-12, atol=1e-14)


def test_folding_inside_a_subclass_reaches_the_sequentials_there():
    folded = tn.fold_batch_norm(Residual(nn.Sequential(*pair()), nn.Tanh()))
    assert kinds(folded[0]) == ["Linear", "Identity"]


def test_positions_and_names_stay_and_the_norm_s_place_is_an_identity():
    model = nn.Sequential(*pair(), nn.Tanh(), nn.Linear(3, 2, rng=1, dtype=np.float64))
    folded = tn.fold_batch_norm(model)
    assert isinstance(folded[1], nn.Identity)
    assert isinstance(folded[2], nn.Tanh)
    assert list(folded.state_dict()) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    assert_array_equal(folded[3].weight.data, model[3].weight.data)


def test_channels_that_are_not_the_layer_s_outputs_are_left_alone():
    """Behind a Linear on (N, C, L) the channels are the second axis, not the last."""
    x = np.random.default_rng(0).normal(size=(6, 4, 3))
    model = trained(nn.Sequential(nn.Linear(3, 5, rng=0, dtype=np.float64), nn.BatchNorm1d(4, dtype=np.float64)), x)
    folded = tn.fold_batch_norm(model)
    assert kinds(folded) == ["Linear", "BatchNorm1d"]
    assert_array_equal(folded(x).data, model(x).data)


def test_an_identity_ignores_its_arguments_as_pytorch_s_does():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    assert nn.Identity(54, unused=0.1)(x) is x


# Recalibration sees all batches, and changes all or nothing.


class Branches(nn.Module):
    """Positive batches go through one norm, others through another; a third follows, and is listed first."""

    def __init__(self):
        super().__init__()
        self.last, self.up, self.down = (nn.BatchNorm1d(2, dtype=np.float64) for _ in range(3))

    def forward(self, x):
        return self.last((self.up if x.data[0, 0] > 0 else self.down)(x))


def test_a_branch_may_run_later_only():
    rng = np.random.default_rng(0)
    up, down = rng.normal(size=(5, 2)) + 9, 4 * rng.normal(size=(7, 2)) - 20
    model = Branches()
    tn.recalibrate(model, [up, down])
    for norm, x in ((model.up, up), (model.down, down)):
        assert_allclose(norm.running_mean, x.mean(axis=0), rtol=1e-12)
        assert_allclose(norm.running_var, x.var(axis=0, ddof=1), rtol=1e-12)
    model.eval()
    arriving = np.concatenate([model.up(up).data, model.down(down).data])
    assert_allclose(model.last.running_mean, arriving.mean(axis=0), atol=1e-14)
    assert_allclose(model.last.running_var, arriving.var(axis=0, ddof=1), rtol=1e-12)


class Order(Branches):
    def forward(self, x):
        layers = (self.up, self.down) if x.data[0, 0] > 0 else (self.down, self.up)
        return layers[1](layers[0](x))


def state_of(model):
    return model.state_dict(), [module.training for module in model.modules()]


@pytest.mark.parametrize(
    ("model", "batches", "message"),
    [
        (Branches(), [np.ones((3, 2)), -np.ones((1, 2))], "at least two values"),
        (Order(), [np.ones((3, 2)), -np.ones((3, 2))], "same order of layers"),
        (Branches(), [np.ones((3, 2)), -np.ones((3, 3))], "num_features=2"),
        (Branches(), [], "at least one batch"),
    ],
)
def test_after_an_error_everything_is_as_it_was(model, batches, message):
    model.up.eval()
    state, modes = state_of(model)
    with pytest.raises(ValueError, match=message):
        tn.recalibrate(model, batches)
    after, modes_after = state_of(model)
    assert modes_after == modes
    for key, value in state.items():
        assert_array_equal(after[key], value)
    assert not any(m._observers for m in model.modules())


@pytest.mark.parametrize("batches", [np.ones((4, 2)), tn.tensor(np.ones((4, 2)))])
def test_one_array_is_not_a_list_of_batches(batches):
    with pytest.raises(TypeError, match=r"batches must be an iterable of inputs.* shape \(4, 2\)"):
        tn.recalibrate(nn.BatchNorm1d(2), batches)


@pytest.mark.parametrize("function", [tn.fold_batch_norm, lambda model: tn.recalibrate(model, [])])
def test_what_is_not_a_module_is_refused_by_name(function):
    with pytest.raises(TypeError, match=r"(fold_batch_norm|recalibrate) requires a Module, not function"):
        function(lambda x: x)


def test_a_tuple_is_several_inputs():
    rng = np.random.default_rng(0)
    layer = nn.more.ConditionalBatchNorm(2, 3, dtype=np.float64)
    batches = [(rng.normal(1, 2, size=(n, 2, 4)), rng.normal(size=(n, 3))) for n in (2, 5)]
    tn.recalibrate(layer, batches)
    values = np.concatenate([x for x, _ in batches])
    assert_allclose(layer.norm.running_mean, values.mean(axis=(0, 2)), rtol=1e-12)
    assert_allclose(layer.norm.running_var, values.var(axis=(0, 2), ddof=1), rtol=1e-12)


@pytest.mark.parametrize("c", [{}, {"c": 3}])
def test_norms_that_keep_nothing_of_the_batch_are_recalibrated_too(c):
    """Also one that learns its sizes here; in the order of the pattern's axes, with an axis of its own for each."""
    rng = np.random.default_rng(0)
    layer = nn.Norm("n h (g c) ... -> c h", g=2, track_running_stats=True, dtype=np.float64, **c)
    batches = [rng.normal(1, 2, size=(n, 4, 6, 5)) for n in (2, 3)]
    tn.recalibrate(layer, batches)
    values = np.concatenate(batches).reshape(5, 4, 2, 3, 5)
    assert layer.running_mean.shape == (4, 3)
    assert_allclose(layer.running_mean, values.mean(axis=(0, 2, 4)), rtol=1e-12)
    assert_allclose(layer.running_var, values.var(axis=(0, 2, 4), ddof=1), rtol=1e-12)


def test_what_averages_over_instances_is_left_alone():
    model = nn.Sequential(
        nn.Norm("n c ... -> n c", c=2, track_running_stats=True), nn.InstanceNorm1d(2, track_running_stats=True),
        nn.more.BatchRenorm(2),
    )  # fmt: skip
    before = model.state_dict()
    tn.recalibrate(model, [np.random.default_rng(0).normal(size=(4, 2, 5))])
    for key, value in model.state_dict().items():
        assert_array_equal(value, before[key])
