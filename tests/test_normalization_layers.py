"""The normalization layers: running statistics, modes, edges, dtypes, as SEMANTICS says."""

import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import nn

EPS = 1e-5
SPACE = {1: (3,), 2: (3, 2), 3: (2, 3, 2)}
BATCH = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
LAYERS = {
    "BatchNorm1d": lambda **k: nn.BatchNorm1d(4, **k),
    "BatchNorm2d": lambda **k: nn.BatchNorm2d(4, **k),
    "BatchNorm3d": lambda **k: nn.BatchNorm3d(4, **k),
    "InstanceNorm1d": lambda **k: nn.InstanceNorm1d(4, **k),
    "InstanceNorm2d": lambda **k: nn.InstanceNorm2d(4, **k),
    "InstanceNorm3d": lambda **k: nn.InstanceNorm3d(4, **k),
    "LayerNorm": lambda affine=True, **k: nn.LayerNorm(4, elementwise_affine=affine, **k),
    "GroupNorm": lambda **k: nn.GroupNorm(2, 4, **k),
    "RMSNorm": lambda affine=True, **k: nn.RMSNorm(4, elementwise_affine=affine, **k),
}
SHAPES = {"1d": (3, 4, 5), "2d": (3, 4, 2, 3), "3d": (3, 4, 2, 1, 3), "rm": (3, 4)}
dimensions = pytest.mark.parametrize("dim", [1, 2, 3])
every_layer = pytest.mark.parametrize("name", LAYERS)
affine_or_not = pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])


def random(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def input_of(name, **options):
    return random(*SHAPES[name[-2:]], **options)


def reduced(x):
    return (0, *range(2, x.ndim))


def buffers(layer):
    return layer.running_mean.copy(), layer.running_var.copy(), int(layer.num_batches_tracked)


def tracked(layer, *batches):
    for x in batches:
        layer(np.array(x, float).reshape(-1, 1))
    return buffers(layer)


@pytest.mark.parametrize(("momentum", "mean", "var"), [(0.1, 0.1, 1.1), (1.0, 1.0, 2.0), (0.0, 0.0, 1.0)])
def test_v12_momentum_is_the_weight_of_the_new_value(momentum, mean, var):
    found = tracked(nn.BatchNorm1d(1, momentum=momentum, dtype=np.float64), [0, 2])
    assert_allclose(np.hstack(found), (mean, var, 1), rtol=1e-15)


def test_v13_without_momentum_the_average_is_cumulative():
    found = tracked(nn.BatchNorm1d(1, momentum=None, dtype=np.float64), [0, 2], [4, 8], [1, 3, 5])
    # Means 1, 6, 3; unbiased variances 2, 8, 4.
    assert_allclose(np.hstack(found), (10 / 3, 14 / 3, 3), rtol=1e-14)


@dimensions
def test_the_biased_variance_normalizes_and_the_unbiased_one_is_tracked(dim):
    layer, x = BATCH[dim](2, momentum=1.0, dtype=np.float64), random(3, 2, *SPACE[dim]) * 3 + 1
    y = layer(x).data
    axes = reduced(x)
    assert_allclose(y.mean(axis=axes), 0, atol=1e-14)
    assert_allclose(y.var(axis=axes), x.var(axis=axes) / (x.var(axis=axes) + EPS), rtol=1e-13)
    assert_allclose(layer.running_mean, x.mean(axis=axes), rtol=1e-13)
    assert_allclose(layer.running_var, x.var(axis=axes, ddof=1), rtol=1e-13)


batch_values = st.lists(st.floats(-1e3, 1e3).map(lambda v: round(v, 3)), min_size=2, max_size=6)


@given(
    momentum=st.none() | st.floats(0, 1),
    batches=st.lists(batch_values, max_size=5),
    between=st.sampled_from([None, 0, 1]),
)
def test_running_statistics_are_what_a_plain_loop_makes(momentum, batches, between):
    """Also with evaluation in between, and with empty batches, neither of which count."""
    layer = nn.BatchNorm1d(1, momentum=momentum, dtype=np.float64)
    mean, var = 0.0, 1.0
    for k, values in enumerate(batches):
        layer.train()(np.array(values).reshape(-1, 1))
        if between is not None:
            layer.train(bool(between))(np.zeros((0 if between else 3, 1)))
        n = len(values)
        share = 1 / (k + 1) if momentum is None else momentum
        average = sum(values) / n
        unbiased = sum((v - average) ** 2 for v in values) / (n - 1)
        mean += share * (average - mean)
        var += share * (unbiased - var)
    found = buffers(layer)
    assert found[2] == len(batches)
    assert_allclose(found[:2], ([mean], [var]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (nn.BatchNorm1d(2), (1, 2), "(0,)"), (nn.BatchNorm1d(2), (1, 2, 1), "(0, 2)"),
        (nn.BatchNorm2d(2), (1, 2, 1, 1), "(0, 2, 3)"), (nn.BatchNorm3d(2), (1, 2, 1, 1, 1), "(0, 2, 3, 4)"),
        (nn.BatchNorm1d(2, affine=False), (1, 2), "(0,)"),
        (nn.BatchNorm1d(2, track_running_stats=False), (1, 2), "(0,)"),
    ],
)  # fmt: skip
def test_one_value_per_channel_has_no_statistics_in_training(layer, shape, axes):
    with pytest.raises(ValueError, match="more than one value per channel") as error:
        layer(random(*shape))
    assert str(shape) in str(error.value)
    assert f"axes {axes}" in str(error.value)
    if layer.track_running_stats:
        assert layer.num_batches_tracked == 0
        assert np.isfinite(layer.eval()(random(*shape)).data).all()
    else:
        with pytest.raises(ValueError, match="more than one value per channel"):
            layer.eval()(random(*shape))


@dimensions
def test_one_spatial_element_has_no_instance_statistics_unless_they_are_tracked(dim):
    x = random(3, 2, *(1,) * dim)
    for layer in (INSTANCE[dim](2), INSTANCE[dim](2, track_running_stats=True)):
        with pytest.raises(ValueError, match="more than one spatial element"):
            layer(x)
    with pytest.raises(ValueError, match="more than one spatial element"):
        INSTANCE[dim](2).eval()(x)
    layer = INSTANCE[dim](2, track_running_stats=True, dtype=np.float64).eval()
    assert_allclose(layer(x).data, x / np.sqrt(1 + EPS), rtol=1e-15)


@every_layer
@affine_or_not
def test_eps_must_be_finite_and_not_negative(name, affine):
    for eps in (-1e-9, np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="eps"):
            LAYERS[name](affine=affine, eps=eps)
    assert LAYERS[name](affine=affine, eps=0.0).eps == 0


@pytest.mark.parametrize("wrong", [0, -1, 2.0, True])
def test_sizes_must_be_positive_integers(wrong):
    for make in (*BATCH.values(), *INSTANCE.values()):
        for affine in (True, False):
            with pytest.raises(ValueError, match="num_features"):
                make(wrong, affine=affine)
    with pytest.raises(ValueError, match="num_groups"):
        nn.GroupNorm(wrong, 4)
    with pytest.raises(ValueError, match="num_channels"):
        nn.GroupNorm(1, wrong)
    for make in (nn.LayerNorm, nn.RMSNorm):
        for shape in (wrong, (3, wrong), ()):
            with pytest.raises((TypeError, ValueError), match="normalized_shape"):
                make(shape)
    with pytest.raises(ValueError, match=r"num_groups=3 .*num_channels=4"):
        nn.GroupNorm(3, 4)


@every_layer
@affine_or_not
def test_integers_are_refused(name, affine):
    x = np.ones(SHAPES[name[-2:]], np.int64)
    for layer in (LAYERS[name](affine=affine), LAYERS[name](affine=affine).eval()):
        for wrong in (x, x > 0):
            with pytest.raises(TypeError, match=rf"floating input, not {wrong.dtype}"):
                layer(wrong)


@every_layer
@affine_or_not
def test_wrong_channels_and_ranks_are_refused(name, affine):
    shape = SHAPES[name[-2:]]
    # Of the last axis, for those that normalize over it.
    channels = (*shape[:-1], 5) if name in ("LayerNorm", "RMSNorm") else (shape[0], 5, *shape[2:])
    ranks = [(4,)] if name == "GroupNorm" else [(), (4,), (2, 4, 2, 3, 2, 2)]
    if name in ("LayerNorm", "RMSNorm"):
        ranks = [()]
    for layer in (LAYERS[name](affine=affine), LAYERS[name](affine=affine).eval()):
        for wrong in (channels, *ranks):
            with pytest.raises(ValueError, match=r"shape"):
                layer(np.ones(wrong))


@dimensions
def test_a_rank_of_another_dimension_is_refused_by_name(dim):
    for other in {1, 2, 3} - {dim}:
        with pytest.raises(ValueError, match=f"BatchNorm{dim}d expected .*D input, got {other + 2}D"):
            BATCH[dim](2)(np.ones((3, 2, *SPACE[other])))


@every_layer
@affine_or_not
def test_an_empty_batch_gives_an_empty_output_and_is_not_counted(name, affine):
    layer = LAYERS[name](affine=affine)
    x = tn.tensor(np.zeros((0, *SHAPES[name[-2:]][1:]), np.float32), requires_grad=True)
    y = layer(x)
    assert y.shape == x.shape
    assert y.dtype == np.float32
    assert layer.eval()(x).shape == x.shape
    if getattr(layer, "track_running_stats", False):
        assert_array_equal(buffers(layer)[0], np.zeros(4))
        assert_array_equal(buffers(layer)[1], np.ones(4))
        assert buffers(layer)[2] == 0
    for gradient in tn.grad(y, list(layer.parameters()), np.zeros(y.shape)):
        assert_array_equal(gradient.data, np.zeros(gradient.shape))


def test_an_empty_space_is_an_empty_batch_too():
    layer = nn.BatchNorm2d(3)
    assert layer(np.zeros((2, 3, 0, 4))).shape == (2, 3, 0, 4)
    assert layer.num_batches_tracked == 0
    layer = nn.InstanceNorm2d(3, track_running_stats=True)
    assert layer(np.zeros((2, 3, 0, 4))).shape == (2, 3, 0, 4)
    assert layer.num_batches_tracked == 0


@dimensions
@pytest.mark.parametrize("kind", [BATCH, INSTANCE], ids=["batch", "instance"])
def test_untracked_layers_use_the_inputs_own_statistics_in_eval_too(dim, kind):
    layer, x = kind[dim](2, track_running_stats=False, dtype=np.float64), random(3, 2, *SPACE[dim])
    assert (layer.running_mean, layer.running_var, layer.num_batches_tracked) == (None, None, None)
    assert_array_equal(layer.eval()(x).data, layer.train()(x).data)
    assert not list(layer.named_buffers())
    layer.reset_running_stats()
    assert layer.running_mean is None


@dimensions
@pytest.mark.parametrize("kind", [BATCH, INSTANCE], ids=["batch", "instance"])
def test_eval_is_an_affine_map_in_value_and_jacobian(dim, kind):
    """A sample's output depends on that element alone; the slope is weight / sqrt(running_var + eps)."""
    layer = kind[dim](2, affine=True, track_running_stats=True, dtype=np.float64)
    layer.weight.data, layer.bias.data = random(2, seed=1), random(2, seed=2)
    layer.running_mean, layer.running_var = random(2, seed=3), np.array([0.5, 3.0])
    layer.eval()
    x = random(2, 2, *SPACE[dim])
    column = (2, *(1,) * dim)
    slope = layer.weight.data / np.sqrt(layer.running_var + EPS)
    expected = (x - layer.running_mean.reshape(column)) * slope.reshape(column) + layer.bias.data.reshape(column)
    before = buffers(layer)
    assert_allclose(layer(x).data, expected, rtol=1e-13, atol=1e-14)
    diagonal = np.broadcast_to(slope.reshape(column), x.shape).ravel()
    assert_allclose(tn.jacobian(layer, x).reshape(x.size, x.size), np.diag(diagonal), rtol=1e-14)
    assert_array_equal(np.concatenate(before[:2]), np.concatenate(buffers(layer)[:2]))
    assert buffers(layer)[2] == 0


@dimensions
def test_permuting_samples_permutes_the_output_and_leaves_running_statistics_alone(dim):
    x = random(5, 3, *SPACE[dim])
    order = np.random.default_rng(1).permutation(5)
    layers = [BATCH[dim](3, dtype=np.float64) for _ in range(2)]
    outputs = [layer(values).data for layer, values in zip(layers, (x, x[order]), strict=True)]
    assert_allclose(outputs[1], outputs[0][order], rtol=1e-12, atol=1e-13)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert_allclose(getattr(layers[1], name), getattr(layers[0], name), rtol=1e-13)


def test_running_statistics_own_their_memory_and_are_not_in_the_graph():
    layer, x = nn.BatchNorm1d(3, dtype=np.float64, momentum=1.0), tn.tensor(random(4, 3), requires_grad=True)
    y = layer(x)
    for value in (layer.running_mean, layer.running_var, layer.num_batches_tracked):
        assert type(value) is np.ndarray
        assert value.flags.owndata
        assert not value.flags.writeable
        assert not np.shares_memory(value, x.data)
    kept = buffers(layer)
    layer(random(4, 3, seed=9))
    assert not np.allclose(kept[0], layer.running_mean)
    old = weakref.ref(y)
    del y
    assert old() is None  # the statistics do not hold the graph


def test_a_layer_counts_forward_passes_in_training_and_nothing_else():
    layer, x, g = nn.BatchNorm1d(3, dtype=np.float64), tn.tensor(random(4, 3), requires_grad=True), random(4, 3, seed=1)
    y = layer(x)
    once = buffers(layer)
    for _ in range(2):
        y.backward(g)
        tn.grad(y, x, g, create_graph=True)
    layer.eval()(x)
    tn.draw(y)
    layer.train()
    report = tn.check_gradients(layer, x, seed=3)
    assert report.largest_relative_error < 1e-12
    assert_array_equal(once[0], layer.running_mean)
    assert_array_equal(once[1], layer.running_var)
    assert layer.num_batches_tracked == 1
    with tn.no_grad():
        layer(x)
    assert layer.num_batches_tracked == 2
    layer.reset_running_stats()
    assert_array_equal(layer.running_mean, np.zeros(3))
    assert_array_equal(layer.running_var, np.ones(3))
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize("n", [1, 2, 5])
@affine_or_not
def test_groups_of_one_element_give_exactly_the_bias_with_zero_gradient(n, affine):
    layer = nn.GroupNorm(4, 4, affine=affine)
    if affine:
        layer.weight.data, layer.bias.data = random(4, seed=1), random(4, seed=2)
    x = tn.tensor(random(n, 4) * 1e3, requires_grad=True)
    y = layer(x)
    assert_array_equal(y.data, np.broadcast_to(layer.bias.data if affine else 0.0, (n, 4)))
    assert_array_equal(tn.grad(y, x, random(n, 4, seed=3)).data, np.zeros((n, 4)))


@dimensions
@pytest.mark.parametrize("tracked_statistics", [False, True])
def test_instance_norm_takes_a_single_image(dim, tracked_statistics):
    layers = [INSTANCE[dim](2, affine=True, track_running_stats=tracked_statistics, dtype=np.float64) for _ in range(2)]
    x = random(2, *SPACE[dim])
    for _ in ("train", "eval"):
        assert_array_equal(layers[0](x).data, layers[1](x[None]).data[0])
        for layer in layers:
            layer.eval()
    if tracked_statistics:
        assert_array_equal(layers[0].running_var, layers[1].running_var)
    with pytest.raises(ValueError, match="num_features=2"):
        layers[0](np.ones((3, *SPACE[dim])))


@dimensions
def test_instance_norm_tracks_the_mean_of_the_instances_statistics(dim):
    layer, x = INSTANCE[dim](2, track_running_stats=True, momentum=1.0, dtype=np.float64), random(3, 2, *SPACE[dim])
    space = tuple(range(2, x.ndim))
    y = layer(x).data
    assert_allclose(y.mean(axis=space), 0, atol=1e-14)
    assert_allclose(layer.running_mean, x.mean(axis=space).mean(axis=0), rtol=1e-13)
    assert_allclose(layer.running_var, x.var(axis=space, ddof=1).mean(axis=0), rtol=1e-13)


@dimensions
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_nan_and_inf_stay_in_their_channel_running_statistics_included(dim, poison):
    """Everything else is bit for bit what it is without them."""
    clean = random(3, 3, *SPACE[dim])
    x = clean.copy()
    x[1, 1, 0] = poison
    results = []
    with np.errstate(invalid="ignore"):
        for values in (clean, x):
            layer, leaf = BATCH[dim](3, dtype=np.float64), tn.tensor(values, requires_grad=True)
            y = layer(leaf)
            g = random(*y.shape, seed=1)
            results.append((y.data, tn.grad(y, leaf, g).data, layer.running_mean, layer.running_var))
    for good, bad in zip(*results, strict=True):
        axis = int(good.ndim > 1)
        assert_array_equal(np.delete(good, 1, axis), np.delete(bad, 1, axis))
        assert not np.isfinite(bad.take(1, axis)).all()


@pytest.mark.parametrize("name", ["LayerNorm", "GroupNorm", "RMSNorm"])
def test_nan_stays_in_its_sample(name):
    layer, clean = LAYERS[name](dtype=np.float64), random(3, 4)
    x = clean.copy()
    x[1, 3] = np.nan
    good, bad = layer(clean).data, layer(x).data
    assert_array_equal(np.delete(good, 1, 0), np.delete(bad, 1, 0))
    assert np.isnan(bad[1, 3])


@every_layer
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_outputs_promote_with_the_weights_and_gradients_keep_their_own_dtype(name, dtype):
    """float16 input meets float32 weights as NumPy arrays do; the running statistics keep the buffers' dtype."""
    options = {"affine": True, "track_running_stats": True} if name[-1] == "d" else {}
    layer, x = LAYERS[name](**options), tn.tensor(input_of(name, dtype=dtype), requires_grad=True)
    for mode in (True, False):
        layer.train(mode)
        y = layer(x)
        assert y.dtype == np.promote_types(dtype, np.float32)
        y.backward(random(*y.shape, seed=1))
        assert x.grad.dtype == dtype
        assert {p.grad.dtype for p in layer.parameters()} == {np.dtype(np.float32)}
        assert {b.dtype.str[1:] for _, b in layer.named_buffers()} <= {"f4", "i8"}
    plain = LAYERS[name](affine=False)
    assert plain(x).dtype == dtype


def test_float16_statistics_are_computed_in_float32():
    x = np.full((4, 2, 300), 300, np.float16)
    x[0, 0, 0] = 308
    layer = nn.BatchNorm1d(2, momentum=1.0)
    layer(x)
    wide = x.astype(np.float64)
    assert_allclose(layer.running_mean, wide.mean(axis=(0, 2)), rtol=1e-6)
    assert_allclose(layer.running_var, wide.var(axis=(0, 2), ddof=1), rtol=1e-4, atol=1e-12)


@every_layer
def test_v01_stats_dtype_reaches_every_layer(name):
    """float32 rows such as 1e4 + i * 1e-3 keep their digits where statistics are float64; running ones are cast."""
    layer, x = LAYERS[name](affine=False, stats_dtype=np.float64), input_of(name) * 1e-3 + 1e4
    if name == "RMSNorm":  # no mean is subtracted, and nothing cancels: overflow is what float64 saves it from
        x = x * 1e20
    x = x.astype(np.float32)
    exact = LAYERS[name](affine=False, dtype=np.float64)(x.astype(np.float64)).data
    with np.errstate(over="ignore"):
        plain = np.abs(LAYERS[name](affine=False)(x).data - exact).max()
    y = layer(x)
    assert y.dtype == np.float32
    assert np.abs(y.data - exact).max() <= 1e-5 < plain
    if name.startswith("Batch"):
        assert layer.running_mean.dtype == np.float32
        assert_allclose(layer.running_mean, 0.1 * x.astype(float).mean(axis=reduced(x)), rtol=1e-6)


def test_without_affine_there_is_nothing_to_train():
    for name, make in LAYERS.items():
        assert not list(make(affine=False).parameters())
        wanted = [] if name.startswith("Instance") else ["weight"] if name == "RMSNorm" else ["weight", "bias"]
        assert [path for path, _ in make().named_parameters()] == wanted
        if name != "RMSNorm":
            options = {"affine": True, "bias": False}
            assert [path for path, _ in make(**options).named_parameters()] == ["weight"]


TRACKING = [
    nn.BatchNorm1d, nn.InstanceNorm1d, nn.more.BatchRenorm, lambda c, **k: nn.more.GhostBatchNorm(c, 2, **k),
    lambda c, **k: nn.more.ConditionalBatchNorm(c, 2, **k), lambda c, **k: nn.Norm("n c -> c", c=c, **k),
]  # fmt: skip


@pytest.mark.parametrize("make", TRACKING)
def test_momentum_is_a_finite_number_or_none(make):
    for wrong in ("0.1", [0.1], True, 1j):
        with pytest.raises(TypeError, match="momentum must be a real number"):
            make(3, momentum=wrong)
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match="momentum must be finite"):
            make(3, momentum=wrong)
    # As in PyTorch, no range is asked for.
    for right in (None, 1, np.float32(0.5), 1.5, -0.5):
        make(3, momentum=right)


@pytest.mark.parametrize("wrong", [int, "nonsense", complex])
@every_layer
def test_stats_dtype_is_checked_when_the_layer_is_made(name, wrong):
    with pytest.raises(TypeError, match="stats_dtype must be a floating dtype"):
        LAYERS[name](stats_dtype=wrong)


@every_layer
def test_an_empty_input_keeps_its_name_and_is_not_the_output(name):
    x = tn.tensor(np.zeros((0, *SHAPES[name[-2:]][1:])), requires_grad=True, name="mine")
    for layer in (LAYERS[name](affine=False), LAYERS[name](affine=False).eval()):
        y = layer(x)
        assert y is not x
        assert x.name == "mine"
        y.backward(np.zeros(y.shape))
    assert nn.LocalResponseNorm(2)(x[..., None]) is not x


@pytest.mark.parametrize("name", ["alpha", "beta", "k"])
def test_constants_of_local_response_norm_are_finite_numbers(name):
    with pytest.raises(TypeError, match=f"{name} must be a real number, not '1'"):
        nn.LocalResponseNorm(2, **{name: "1"})
    with pytest.raises(ValueError, match=f"{name} must be finite, not inf"):
        nn.LocalResponseNorm(2, **{name: np.inf})
