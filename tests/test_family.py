"""The wider family: every row of the table in both forms, next to a plain reading of its formula."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.nn.family import FAMILY, SHAPE, WEIGHT_SHAPE, family_tables
from tinygrad_norm.nn.more import (
    AdaIN,
    BatchRenorm,
    ConditionalBatchNorm,
    FiLM,
    GhostBatchNorm,
    L2Norm,
    ScaleNorm,
    WeightNorm,
    WeightStandardization,
)
from tinygrad_norm.norm import more

EPS = 1e-5
every_member = pytest.mark.parametrize("member", FAMILY, ids=lambda member: member.name)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def standard(a, axes, eps=EPS):
    """(a - mean) / sqrt(var + eps), by NumPy."""
    return (a - a.mean(axis=axes, keepdims=True)) / np.sqrt(a.var(axis=axes, keepdims=True) + eps)


def channels(v, ndim=4):
    return v.reshape(*v.shape[:-1] if v.ndim > 1 else (), v.shape[-1], *(1,) * (ndim - 2))


def convolved(x, weight, bias):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], dtype=np.float64)
    layer.weight.data, layer.bias.data = weight, bias
    return layer(x)


class Case(NamedTuple):
    """How a row is called as a function, given the layer with its parameters, and what NumPy makes of its formula."""

    function: Callable[..., Any]
    formula: Callable[..., Any]
    inputs: Callable[[], tuple[np.ndarray, ...]] = lambda: (random(*SHAPE) * 2 + 1,)


def affine(layer, x_hat, shape=channels):
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    y = x_hat if weight is None else x_hat * shape(weight.data)
    return y if bias is None else y + shape(bias.data)


def same(v):
    return v


def lrn(x, size, alpha=1e-4, beta=0.75, k=1.0):
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        window = x[:, max(c - size // 2, 0) : c + (size - 1) // 2 + 1]
        y[:, c] = x[:, c] / (k + alpha * (window**2).sum(axis=1) / size) ** beta
    return y


def renormed(m, x):
    mean, std = x.mean((0, 2, 3)), np.sqrt(x.var((0, 2, 3)) + EPS)
    r = np.clip(std / m.running_std, 1 / m.r_max, m.r_max)
    d = np.clip((mean - m.running_mean) / m.running_std, -m.d_max, m.d_max)
    return affine(m, standard(x, (0, 2, 3)) * channels(r) + channels(d))


def length(a, axis):
    return np.sqrt((a**2).sum(axis=axis, keepdims=True))


CONDITION = random(4, 10, seed=7)
CASES = {
    "batch norm": Case(
        lambda m, x: tn.batch_norm(x, weight=m.weight, bias=m.bias), lambda m, x: affine(m, standard(x, (0, 2, 3)))
    ),
    "layer norm: a whole sample": Case(
        lambda m, x: tn.layer_norm(x, SHAPE[1:], m.weight, m.bias),
        lambda m, x: affine(m, standard(x, (1, 2, 3)), same),
    ),
    "layer norm: the channels": Case(
        lambda m, x: tn.normalize(x, "n c h w -> n h w") * channels(m.weight.data) + channels(m.bias.data),
        lambda m, x: affine(m, standard(x, 1)),
    ),
    "layer norm: the last axes": Case(
        lambda m, x: tn.layer_norm(x, SHAPE[-1], m.weight, m.bias), lambda m, x: affine(m, standard(x, 3), same)
    ),
    "instance norm": Case(
        lambda m, x: tn.instance_norm(x, weight=m.weight, bias=m.bias), lambda m, x: affine(m, standard(x, (2, 3)))
    ),
    "group norm": Case(
        lambda m, x: tn.group_norm(x, 3, m.weight, m.bias),
        lambda m, x: affine(m, standard(x.reshape(4, 3, -1), 2).reshape(x.shape)),
    ),
    "RMS norm": Case(
        lambda m, x: tn.rms_norm(x, SHAPE[1:], m.weight),
        lambda m, x: x / np.sqrt((x**2).mean((1, 2, 3), keepdims=True) + np.finfo(float).eps) * m.weight.data,
    ),
    "local response norm": Case(lambda m, x: tn.local_response_norm(x, 5), lambda m, x: lrn(x, 5)),
    "weight norm": Case(
        lambda m, x: convolved(x, more.weight_norm(m.weight_v.data, m.weight_g.data), m.layer.bias.data),
        lambda m, x: convolved(
            x, m.weight_v.data * m.weight_g.data / length(m.weight_v.data, (1, 2, 3)), m.layer.bias.data
        ),
    ),
    "weight standardization": Case(
        lambda m, x: convolved(x, more.weight_standardization(m.layer.weight.data), m.layer.bias.data),
        lambda m, x: convolved(x, standard(m.layer.weight.data, (1, 2, 3)), m.layer.bias.data),
    ),
    "ghost batch norm": Case(
        lambda m, x: more.ghost_batch_norm(x, 2, weight=m.weight, bias=m.bias),
        lambda m, x: np.concatenate([affine(m, standard(part, (0, 2, 3))) for part in np.split(x, 2)]),
    ),
    "batch renorm": Case(
        lambda m, x: more.batch_renorm(x, m.running_mean, m.running_std, weight=m.weight, bias=m.bias), renormed
    ),
    "conditional batch norm": Case(
        lambda m, x, z: more.conditional_batch_norm(x, m.film.gamma(z), m.film.beta(z)),
        lambda m, x, z: standard(x, (0, 2, 3)) * channels(m.film.gamma(z).data) + channels(m.film.beta(z).data),
        lambda: (random(*SHAPE) * 2 + 1, CONDITION),
    ),
    "AdaIN": Case(
        lambda m, x, s: more.adaptive_instance_norm(x, s),
        lambda m, x, s: (
            standard(x, (2, 3)) * np.sqrt(s.var((2, 3), keepdims=True) + EPS) + s.mean((2, 3), keepdims=True)
        ),
        lambda: (random(*SHAPE), random(4, 6, 3, 2, seed=1) * 2 + 1),
    ),
    "FiLM": Case(
        lambda m, x, z: more.film(x, m.gamma(z), m.beta(z)),
        lambda m, x, z: x * channels(m.gamma(z).data) + channels(m.beta(z).data),
        lambda: (random(*SHAPE), CONDITION),
    ),
    "scale norm": Case(lambda m, x: more.scale_norm(x, m.scale), lambda m, x: m.scale.data * x / length(x, 3)),
    "L2 normalization": Case(lambda m, x: more.l2_normalize(x), lambda m, x: x / length(x, 3)),
}


def layer_of(member):
    """The row's layer in float64, with parameters and statistics away from where they start."""
    layer = member.make()
    rng = np.random.default_rng(3)
    layer.load_state_dict(
        {k: rng.normal(size=v.shape) if v.dtype.kind == "f" else v for k, v in layer.state_dict().items()}
        | {k: rng.uniform(0.5, 2, v.shape) for k, v in layer.state_dict().items() if k.endswith(("_var", "_std"))}
    )
    return layer


def test_every_row_has_a_case():
    assert {member.name for member in FAMILY} == set(CASES)


@every_member
def test_the_layer_and_the_function_agree_with_the_formula(member):
    case, layer = CASES[member.name], layer_of(member)
    inputs = case.inputs()
    want = case.formula(layer, *inputs)
    by_function = case.function(layer, *inputs)
    by_layer = layer(*inputs)
    for found in (by_function, by_layer):
        assert_allclose(np.asarray(found.data), np.asarray(getattr(want, "data", want)), rtol=1e-12, atol=1e-12)
    assert isinstance(by_layer, tn.Tensor)


@every_member
def test_arrays_give_arrays(member):
    if "weight" in member.name:
        lengths = [random(12, 1, 1, 1)] if member.name == "weight norm" else []
        return_value = member.function(random(*WEIGHT_SHAPE), *lengths)
    else:
        extra = {
            "layer norm: a whole sample": (SHAPE[1:],), "layer norm: the channels": (member.pattern,),
            "layer norm: the last axes": (SHAPE[-1],), "group norm": (3,), "RMS norm": (SHAPE[1:],),
            "local response norm": (5,), "ghost batch norm": (2,), "batch renorm": (np.zeros(6), np.ones(6)),
            "conditional batch norm": (random(4, 6), random(4, 6)), "AdaIN": (random(*SHAPE, seed=1),),
            "FiLM": (random(4, 6), random(4, 6)), "scale norm": (2.0,),
        }  # fmt: skip
        return_value = member.function(random(*SHAPE), *extra.get(member.name, ()))
    assert type(return_value) is np.ndarray


@every_member
def test_gradients_of_every_input_and_parameter_pass_the_check(member):
    """The oracle sees the layer as a function of its inputs and of all its parameters."""
    case, layer = CASES[member.name], layer_of(member)
    names = [name for name, _ in layer.named_parameters()]

    def call(*values):
        model = copy.deepcopy(layer)
        for name, value in zip(names, values, strict=False):
            owner, _, attribute = name.rpartition(".")
            place = model
            for step in filter(None, owner.split(".")):
                place = getattr(place, step)
            place.__dict__[attribute] = value
        return model(*values[len(names) :])

    values = [p.data for _, p in layer.named_parameters()]
    # The statistics are the layer's own, so a smaller image will do where the layer allows it.
    whole = "layer" in member.name or "RMS" in member.name
    inputs = [x if whole or x.ndim < 4 else x[:, :, :3, :] for x in case.inputs()]
    # Batch renorm's r and d are constants by decision: differences see them move, a complex step does not.
    oracle = "complex" if member.name == "batch renorm" else "auto"
    report = tn.check_gradients(call, *values, *inputs, oracle=oracle, seed=1)
    assert report.oracle == "complex step"
    assert report.largest_relative_error < 1e-10


@every_member
def test_second_derivatives_are_symmetric(member):
    """<u, H v> = <v, H u> for random directions: a detached or wrong path breaks it."""
    case, layer = CASES[member.name], layer_of(member)
    x, *rest = case.inputs()
    g, u, v = (random(*x.shape, seed=s) for s in (5, 6, 7))
    if "weight" in member.name:  # the output is linear in x: the Hessian is that of the weights
        name = "weight_v" if member.name == "weight norm" else "layer.weight"
        parameter = dict(layer.named_parameters())[name]
        y = layer(x)
        g, u, v = random(*y.shape, seed=5), random(*parameter.shape, seed=6), random(*parameter.shape, seed=7)
        leaf = parameter
    else:
        leaf = tn.tensor(x, requires_grad=True)
        y = layer(leaf, *rest)
    slope = tn.grad(y, leaf, g, create_graph=True)
    if member.name == "FiLM":
        assert not tn.grad(slope, leaf, u).data.any()
        return
    along_u, along_v = tn.grad(slope, leaf, u).data, tn.grad(slope, leaf, v).data
    scale = np.abs(along_u * v).sum()
    assert scale > 1e-3
    if member.name == "batch renorm":
        # r and d are constants of the gradient but functions of x, so this slope is not the gradient of anything.
        return
    assert abs(np.sum(along_u * v) - np.sum(along_v * u)) <= 1e-11 * scale


@every_member
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_promote_with_the_parameters_and_gradients_keep_their_own(member, dtype):
    case, layer = CASES[member.name], member.make()
    inputs = [tn.tensor(x.astype(dtype), requires_grad=True) for x in case.inputs()]
    y = layer(*inputs)
    has_weights = any(True for _ in layer.parameters())
    assert y.dtype == (np.promote_types(dtype, np.float32) if has_weights else dtype)
    y.backward(random(*y.shape, seed=2))
    assert all(x.grad.dtype == dtype and np.isfinite(x.grad.data).all() for x in inputs)
    assert {p.grad.dtype for p in layer.parameters()} <= {np.dtype(np.float32)}


@every_member
def test_an_empty_batch_gives_an_empty_output(member):
    layer = member.make()
    inputs = [x[:0] for x in CASES[member.name].inputs()]
    before = layer.state_dict()
    y = layer(*inputs)
    assert y.size == 0
    assert len(y) == 0
    for key, value in layer.state_dict().items():
        assert_array_equal(value, before[key])


@every_member
def test_integers_are_refused(member):
    if member.of_weights:
        with pytest.raises(TypeError, match="floating input, not int64"):
            member.function(np.ones((2, 3), int), *([np.ones((2, 1))] if member.name == "weight norm" else []))
        return
    inputs = [np.ones(x.shape, int) for x in CASES[member.name].inputs()]
    with pytest.raises(TypeError, match="floating input, not int64"):
        member.make()(*inputs)


@every_member
def test_layers_are_copied_and_saved_also_after_a_call(member):
    layer = layer_of(member)
    inputs = CASES[member.name].inputs()
    layer.eval()
    y = layer(*inputs)
    twin = copy.deepcopy(layer)
    assert_array_equal(twin(*inputs).data, y.data)
    fresh = member.make().eval()
    fresh.load_state_dict(layer.state_dict())
    assert_array_equal(fresh(*inputs).data, y.data)


@every_member
def test_nan_stays_where_its_statistics_reach(member):
    """Cells of the output that do not depend on a poisoned input cell, by the Jacobian, are bit for bit the same."""
    if "weight" in member.name or member.name == "FiLM":
        return
    case, layer = CASES[member.name], layer_of(member)
    x, *rest = case.inputs()
    poisoned = x.copy()
    poisoned[1, 2, 0, 1] = np.nan
    leaf = tn.tensor(x, requires_grad=True)
    clean, dirty = copy.deepcopy(layer)(leaf, *rest), copy.deepcopy(layer)(poisoned, *rest)
    reached = np.isnan(dirty.data)
    assert reached[1, 2, 0, 1]
    assert_array_equal(dirty.data[~reached], clean.data[~reached])
    # A cotangent on the cells that stayed clean does not reach the poisoned cell.
    g = np.where(reached, 0, random(*x.shape, seed=4))
    assert tn.grad(clean, leaf, g).data[1, 2, 0, 1] == 0


# The table.


def test_the_table_counts_what_numpy_counts():
    for member in FAMILY:
        if member.fitted is None or member.statistic != "mean":
            continue
        if member.of_weights:
            y = more.weight_standardization(random(*WEIGHT_SHAPE))
            assert_allclose(y.mean(axis=(1, 2, 3)), np.zeros(member.fitted.number_of_means), atol=1e-12)
        else:
            mean, _ = tn.moments(random(*SHAPE), member.pattern, **member.lengths)
            assert mean.size == member.fitted.number_of_means == int(member.means)
            assert mean.size * member.fitted.values_per_mean == random(*SHAPE).size


def test_the_table_holds_all_three_readings_of_layer_norm():
    readings = {m.pattern for m in FAMILY if "layer norm" in m.name}
    assert readings == {"n c h w -> n", "n c h w -> n h w", "n c h w -> n c h"}
    assert len({m.means for m in FAMILY if "layer norm" in m.name}) == 3


def test_the_table_says_what_the_layers_hold():
    _, made_of = family_tables()
    rows = {row[0]: row for row in made_of.rows}
    assert rows["batch norm"][1:3] == ("tn.batch_norm", "tn.nn.BatchNorm2d")
    assert rows["batch norm"][4] == "running_mean 6, running_var 6, num_batches_tracked scalar"
    assert rows["ghost batch norm"][1:3] == ("tn.norm.more.ghost_batch_norm", "tn.nn.more.GhostBatchNorm")
    for row in made_of.rows:
        for path in row[1:3]:
            thing = tn
            for name in path.split(".")[1:]:
                thing = getattr(thing, name)
            assert thing.__doc__


# What is special about each.


def test_weight_norm_takes_a_layer_over_without_changing_it():
    for dim in (0, 1, -1, None):
        layer = nn.Linear(4, 3, rng=0, dtype=np.float64)
        x = random(5, 4)
        y = layer(x).data
        wrapped = WeightNorm(layer, dim=dim)
        assert_allclose(wrapped(x).data, y, rtol=1e-13)
        assert set(wrapped.state_dict()) == {"weight_g", "weight_v", "layer.bias"}
    with pytest.raises(ValueError, match="Tanh has no parameter 'weight'"):
        WeightNorm(nn.Tanh())
    with pytest.raises(ValueError, match="Linear has no parameter 'weight'"):
        WeightNorm(layer)


def test_a_gradient_through_weight_norm_is_orthogonal_to_the_direction():
    v, g = random(3, 4), random(3, 1, seed=1)
    _, pullback = tn.vjp(more.weight_norm, v, g)
    dv, _ = pullback(random(3, 4, seed=2))
    assert_allclose((dv * v).sum(axis=1), 0, atol=1e-14)


def test_weight_norm_of_zero_is_not_a_number_and_a_wrong_length_is_refused():
    with np.errstate(invalid="ignore", divide="ignore"):
        assert np.isnan(more.weight_norm(np.zeros((1, 2)), np.ones((1, 1)))).all()
    with pytest.raises(ValueError, match=r"g must have shape \(3, 1\), not \(3,\)"):
        more.weight_norm(random(3, 2), np.ones(3))
    with pytest.raises(ValueError, match="axis 2 is out of bounds"):
        more.weight_norm(random(3, 2), np.ones(3), dim=2)


def test_standardized_weights_have_mean_zero_and_the_parameter_stays_as_it_is():
    layer = WeightStandardization(nn.Linear(5, 3, bias=False, rng=0, dtype=np.float64))
    before = layer.layer.weight
    assert_allclose(layer(np.ones((1, 5))).data, 0, atol=1e-14)
    assert layer.layer.weight is before
    with pytest.raises(ZeroDivisionError):
        WeightStandardization(Raising())(np.ones(2))
    with pytest.raises(ValueError, match=r"more than one weight for each output"):
        more.weight_standardization(random(3, 1))


class Raising(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(random(2, 2))

    def forward(self, x):
        raise ZeroDivisionError


def test_a_layer_that_raises_has_its_own_weight_back():
    inner = Raising()
    own = inner.weight
    with pytest.raises(ZeroDivisionError):
        WeightStandardization(inner)(np.ones(2))
    assert inner.weight is own
    wrapped = WeightNorm(Raising())
    with pytest.raises(ZeroDivisionError):
        wrapped(np.ones(2))
    assert "weight" not in wrapped.layer.__dict__


def test_ghost_batch_norm_tracks_once_for_each_virtual_batch():
    """Hoffer et al., Algorithm 1: the running averages move once for each part, in order."""
    x = random(6, 2, 3) * 2 + 1
    ghost, plain = GhostBatchNorm(2, 2, dtype=float), nn.BatchNorm1d(2, dtype=float)
    y = ghost(x).data
    parts = [plain(part).data for part in np.split(x, 3)]
    assert_allclose(y, np.concatenate(parts), rtol=1e-12, atol=1e-13)
    for key, value in plain.state_dict().items():
        assert_allclose(ghost.state_dict()[key], value, rtol=1e-13)
    assert ghost.num_batches_tracked == 3
    assert_allclose(ghost.eval()(x[:1]).data, plain.eval()(x[:1]).data, rtol=1e-12)
    untracked = GhostBatchNorm(2, 2, track_running_stats=False, dtype=float).eval()
    assert_allclose(untracked(x).data, y, rtol=1e-13)
    with pytest.raises(ValueError, match="virtual_batch_size=2 does not divide the batch of 5"):
        GhostBatchNorm(2, 2)(random(5, 2))
    with pytest.raises(ValueError, match="more than one value per channel"):
        GhostBatchNorm(2, 1)(random(4, 2))


def test_batch_renorm_is_what_the_running_statistics_would_give_unless_clipped():
    x = random(8, 3) * 2 + 1
    mean, std = np.array([0.5, 1.0, 2.0]), np.array([1.0, 2.0, 4.0])
    free = more.batch_renorm(x, mean, std, r_max=1e9, d_max=1e9)
    assert_allclose(free, (x - mean) / std, rtol=1e-12, atol=1e-12)
    assert_allclose(more.batch_renorm(x, mean, std, r_max=1, d_max=0), tn.batch_norm(x), rtol=1e-13)
    # Far from the running statistics, on either side, the correction is the largest that is allowed.
    far = more.batch_renorm(x, np.add(mean, [1e3, -1e3, 0]), std * [1e3, 1, 1e-3], r_max=3, d_max=5)
    x_hat = tn.batch_norm(x)
    assert_allclose(far[:, 0], x_hat[:, 0] / 3 + (x[:, 0].mean() - mean[0] - 1e3) / (std[0] * 1e3), rtol=1e-12)
    assert_allclose(far[:, 1], x_hat[:, 1] * np.sqrt(x[:, 1].var() + EPS) / std[1] + 5, rtol=1e-12)
    assert_allclose(far[:, 2], x_hat[:, 2] * 3 - 5, rtol=1e-12)
    near = more.batch_renorm(x, np.add(mean, [1e3, 0, 0]), std, r_max=3, d_max=5)
    assert_allclose(near[:, 0], x_hat[:, 0] * np.sqrt(x[:, 0].var() + EPS) - 5, rtol=1e-12)
    with pytest.raises(ValueError, match="r_max must be at least 1"):
        more.batch_renorm(x, mean, std, r_max=0.5)


def test_batch_renorm_does_not_differentiate_r_and_d():
    """Its gradient is batch norm's times r, though the value is (x - mean) / std, whose own derivative is 1 / std."""
    x, g = random(8, 3), random(8, 3, seed=1)
    mean, std = np.zeros(3), np.array([1.0, 2.0, 4.0])
    _, pullback = tn.vjp(lambda x: more.batch_renorm(x, mean, std, r_max=1e9, d_max=1e9), x)
    _, plain = tn.vjp(tn.batch_norm, x)
    assert_allclose(pullback(g), plain(g) * np.sqrt(x.var(axis=0) + EPS) / std, rtol=1e-12)
    assert np.abs(pullback(g) - g / std).max() > 0.01


def test_batch_renorm_tracks_the_standard_deviation_and_agrees_with_itself_in_eval():
    layer = BatchRenorm(2, momentum=1.0, dtype=float)
    x = random(6, 2, 3) * 2 + 1
    layer(x)
    assert_allclose(layer.running_mean, x.mean(axis=(0, 2)), rtol=1e-13)
    assert_allclose(layer.running_std, np.sqrt(x.var(axis=(0, 2)) + EPS), rtol=1e-13)
    training = layer(x).data
    assert_allclose(layer.eval()(x).data, training, rtol=1e-12, atol=1e-13)
    layer.reset_running_stats()
    assert_array_equal(layer.running_std, np.ones(2))
    tn.check_gradients(layer.train(), x, oracle="complex", seed=2)
    assert layer.num_batches_tracked == 0


def test_conditions_start_without_effect_and_then_differ_by_sample():
    x, z = random(4, 3, 5), np.eye(4)
    for layer, plain in ((ConditionalBatchNorm(3, 4, dtype=float), tn.batch_norm(x)), (FiLM(3, 4, dtype=float), x)):
        assert_allclose(layer(x, z).data, plain, rtol=1e-12)
    film = FiLM(3, 4, dtype=float)
    film.gamma.weight.data = random(3, 4)
    assert_allclose(film(x, z).data, x * (1 + film.gamma.weight.data.T)[:, :, None], rtol=1e-13)
    condition = tn.tensor(z, requires_grad=True)
    film(x, condition).backward(random(4, 3, 5, seed=1))
    assert np.abs(condition.grad.data).min() > 0
    with pytest.raises(ValueError, match=r"gamma must have shape \(4, 3\), not \(5, 3\)"):
        film(x, np.eye(5)[:, :4])
    recalibrated = ConditionalBatchNorm(3, 4, dtype=float)
    recalibrated(x, z)
    assert recalibrated.norm.num_batches_tracked == 1


def test_recalibrate_reaches_batch_norms_of_the_wider_family():
    """Also inside other layers, and those of virtual batches: the statistics are those of all values at once."""
    ghost = GhostBatchNorm(3, 2, dtype=float)
    model = nn.Sequential(ghost, nn.Tanh())
    batches = [random(4, 3, seed=s) + s for s in range(3)]
    tn.recalibrate(model, batches)
    everything = np.concatenate(batches)
    assert_allclose(ghost.running_mean, everything.mean(axis=0), rtol=1e-12)
    assert_allclose(ghost.running_var, everything.var(axis=0, ddof=1), rtol=1e-12)


def test_adain_gives_the_styles_statistics_to_the_content():
    content, style = random(2, 3, 40), random(2, 3, 7, seed=1) * 3 + 2
    y = AdaIN(eps=0.0)(content, style).data
    assert_allclose(y.mean(axis=2), style.mean(axis=2), rtol=1e-12)
    assert_allclose(y.std(axis=2), style.std(axis=2), rtol=1e-12)
    leaf = tn.tensor(style, requires_grad=True)
    AdaIN()(content, leaf).backward(random(2, 3, 40, seed=2))
    assert np.abs(leaf.grad.data).min() > 0
    with pytest.raises(ValueError, match="same"):
        AdaIN()(content, style[:1])
    with pytest.raises(ValueError, match="more than one spatial element"):
        AdaIN()(content[:, :, :1], style)


def test_lengths_are_one_or_learned_and_zero_stays_zero():
    x = random(5, 4)
    assert_allclose(np.linalg.norm(L2Norm()(x).data, axis=1), 1, rtol=1e-14)
    assert_allclose(np.linalg.norm(L2Norm(dim=0)(x).data, axis=0), 1, rtol=1e-14)
    assert_allclose(np.linalg.norm(ScaleNorm(4)(x).data, axis=1), 2, rtol=1e-7)
    zero, g = tn.tensor(np.zeros((1, 4)), requires_grad=True), random(1, 4)
    y = L2Norm(eps=0.5)(zero)
    y.backward(g)
    assert_array_equal(y.data, 0)
    assert_allclose(zero.grad.data, g / 0.5)
    with pytest.raises(ValueError, match=r"num_features=4, got an input of shape \(2, 3\)"):
        ScaleNorm(4)(random(2, 3))
    with pytest.raises(ValueError, match="eps"):
        L2Norm(eps=-1.0)
    with pytest.raises(ValueError, match=r"scale must have shape \(\), not \(1,\)"):
        more.scale_norm(x, np.ones(1))


def test_v14_float16_lengths_are_computed_in_float32():
    x = np.full((1, 4), 300, np.float16)
    assert_array_equal(more.l2_normalize(x), np.full((1, 4), 0.5, np.float16))
    assert np.isfinite(more.weight_norm(x, np.ones((1, 1), np.float16))).all()
    assert np.isfinite(tn.local_response_norm(x[:, :, None], 3)).all()


# What is refused leaves everything as it was.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dim": 2}, ValueError, "dim: axis 2 is out of bounds"), ({"dim": 1.0}, TypeError, "dim must be an integer"),
        ({"name": "wieght"}, ValueError, "Linear has no parameter 'wieght'"),
        ({"name": ["weight"]}, ValueError, "Linear has no parameter"),
    ],
)  # fmt: skip
def test_weight_norm_takes_nothing_over_before_it_knows_all_is_well(arguments, error, message):
    layer = nn.Linear(3, 2)
    weight = layer.weight
    with pytest.raises(error, match=message):
        WeightNorm(layer, **arguments)
    assert layer.weight is weight
    for wrapper in (WeightNorm, WeightStandardization):
        with pytest.raises(TypeError, match=f"{wrapper.__name__} requires a Module, not int"):
            wrapper(3)


@pytest.mark.parametrize("wrong", [np.ones((3, 2)), np.ones((4, 5)), np.ones(4)])
def test_a_wrong_condition_does_not_move_the_running_statistics(wrong):
    layer = ConditionalBatchNorm(3, 2)
    before = layer.state_dict()
    with pytest.raises(ValueError, match=r"gamma must have shape|expects 2 features"):
        layer(random(4, 3), wrong)
    for key, value in layer.state_dict().items():
        assert_array_equal(value, before[key])


def test_sizes_of_conditional_layers_are_positive_integers():
    for make in (FiLM, ConditionalBatchNorm):
        for wrong in (0, 2.0, True):
            with pytest.raises(ValueError, match="num_features must be a positive integer"):
                make(wrong, 2)
            with pytest.raises(ValueError, match="condition_features must be a positive integer"):
                make(2, wrong)


@pytest.mark.parametrize("name", ["r_max", "d_max"])
def test_corrections_are_real_numbers(name):
    x = random(4, 3)
    for wrong in ("3", None):
        with pytest.raises(TypeError, match=f"{name} must be a real number"):
            BatchRenorm(3, **{name: wrong})
        with pytest.raises(TypeError, match=f"{name} must be a real number"):
            more.batch_renorm(x, np.zeros(3), np.ones(3), **{name: wrong})
    with pytest.raises(ValueError, match="r_max must be at least 1 and d_max at least 0"):
        BatchRenorm(3, **{name: np.nan})
    assert_allclose(more.batch_renorm(x, np.zeros(3), np.ones(3), r_max=np.inf, d_max=np.inf), x, rtol=1e-12)


def test_lists_are_arrays():
    x, c = random(4, 3), random(4, 3, seed=1)
    for call in (
        lambda f: more.batch_renorm(f(x), f(c[0]), f(c[1] ** 2)), lambda f: more.ghost_batch_norm(f(x), 2),
        lambda f: more.conditional_batch_norm(f(x), f(c), f(c)), lambda f: more.film(f(x), f(c), f(c)),
        lambda f: more.l2_normalize(f(x)), lambda f: more.scale_norm(f(x), 2.0),
        lambda f: more.weight_norm(f(x), f(c[:, :1])), lambda f: more.weight_standardization(f(x)),
        lambda f: more.adaptive_instance_norm(f(x[None]), f(c[None])),
    ):  # fmt: skip
        assert_array_equal(call(np.ndarray.tolist), call(np.asarray))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size", [1e-7, 1e-25, 1e-38, 1.0, 1e4, 1e30])
@pytest.mark.parametrize("eps", [0.0, 1e-38, 1e-12, 1.0, 1e30, 1e200])
def test_lengths_neither_overflow_nor_underflow(dtype, size, eps):
    """Next to the same in the widest floats; below the normal numbers fewer digits are left."""
    with np.errstate(over="ignore"):
        x = (random(3, 4) * size).astype(dtype)
    if not (np.isfinite(x).all() and x.any(axis=1).all()):
        return
    computed_in = np.finfo(np.promote_types(dtype, np.float32))
    values = x.astype(np.longdouble)
    expected = values / np.maximum(length(values, 1), min(eps, float(computed_in.max)))
    y = more.l2_normalize(x, eps=eps)
    assert y.dtype == dtype
    info = np.finfo(dtype)
    assert_allclose(y.astype(float), expected.astype(float), rtol=8 * info.eps, atol=2 * float(info.smallest_subnormal))


def test_the_gradient_at_zero_is_the_cotangent_over_eps_however_small():
    for dtype, eps in ((np.float32, 1e-30), (np.float64, 1e-200), (np.float64, 1e200)):
        x, g = tn.tensor(np.zeros((1, 3)), dtype=dtype, requires_grad=True), random(1, 3).astype(dtype)
        y = more.l2_normalize(x, eps=eps)
        y.backward(g)
        assert_array_equal(y.data, 0)
        assert_allclose(x.grad.data, g / dtype(eps), rtol=1e-6)
