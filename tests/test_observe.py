"""observe: statistics of every layer's output, seen from outside the graph."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.engine.tensor import walk


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def network():
    norm = nn.Sequential(nn.BatchNorm1d(4, dtype=np.float64), nn.Tanh())
    return nn.Sequential(nn.Linear(3, 4, dtype=np.float64, rng=0), norm)


def observers(model):
    return [observer for module in model.modules() for observer in module._observers]


def test_statistics_are_numpys_over_samples_for_each_feature():
    model, x = network(), random(6, 3)
    with tn.observe(model) as seen:
        y = model(x)
    hidden = model[0](x)
    assert list(seen) == ["0", "1.0", "1.1"]
    for path, output in (("0", hidden.data), ("1.0", np.arctanh(y.data)), ("1.1", y.data)):
        ((mean, std),) = seen[path]
        assert_allclose(mean, output.mean(axis=0), atol=1e-14)
        assert_allclose(std, output.std(axis=0), rtol=1e-12)


def test_a_collapse_is_visible_per_feature_though_pooled_it_is_not():
    """All samples alike, features far apart: the pooled spread is large, the spread over samples zero."""
    with tn.observe(nn.Tanh()) as nothing_called:
        pass
    assert nothing_called == {"": []}
    layer, x = nn.ReLU(), np.tile([0.0, 5.0, 10.0], (4, 1))
    with tn.observe(layer) as seen:
        pooled = layer(x).data.std()
    assert pooled > 4
    assert_array_equal(seen[""][0].std, np.zeros(3))
    assert_array_equal(seen[""][0].mean, x[0])


def test_every_other_axis_is_a_feature():
    with tn.observe(layer := nn.BatchNorm2d(2)) as seen:
        y = layer(random(5, 2, 3, 4))
    assert seen[""][0].mean.shape == (2, 3, 4)
    assert_allclose(seen[""][0].std, y.data.std(axis=0))


def test_one_observation_for_each_call_also_of_a_shared_layer():
    tanh = nn.Tanh()
    model = nn.Sequential(tanh, nn.Linear(3, 3, rng=0), tanh)
    x = random(4, 3)
    with tn.observe(model) as seen:
        model(x)
        model(2 * x)
    assert len(seen["1"]) == 2
    assert_allclose(seen["0"][0].mean, np.tanh(x).mean(axis=0))
    assert [len(seen[path]) for path in ("0", "1", "2")] == [4, 2, 4]
    model(x)
    assert len(seen["1"]) == 2


def test_observers_go_when_the_with_ends_also_by_an_exception():
    model = network()

    def interrupted():
        with tn.observe(model):
            assert len(observers(model)) == 3
            model(random(4, 3))
            1 / 0

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert observers(model) == []
    with tn.observe(model) as outer:
        with tn.observe(model) as inner:
            model(random(4, 3))
        model(random(4, 3))
    assert [len(outer["0"]), len(inner["0"])] == [2, 1]
    assert observers(model) == []


def test_nothing_is_recorded_and_no_gradient_or_statistic_changes():
    plain, x, g = network(), tn.tensor(random(5, 3), requires_grad=True), random(5, 4, seed=1)
    watched = copy.deepcopy(plain)
    y = plain(x)
    with tn.observe(watched) as seen:
        z = watched(x)
    assert_array_equal(y.data, z.data)
    assert [t.node.primitive.name for t in walk([y])] == [t.node.primitive.name for t in walk([z])]
    assert_array_equal(tn.grad(y, x, g).data, tn.grad(z, x, g).data)
    for key, value in plain.state_dict().items():
        assert_array_equal(value, watched.state_dict()[key])
    assert all(type(value) is np.ndarray for values in seen.values() for value in values[0])


def test_observations_stay_as_they_were_seen():
    layer = nn.Linear(2, 2, rng=0)
    x = random(4, 2)
    with tn.observe(layer) as seen:
        layer(x)
        first = seen[""][0].mean.copy()
        layer.weight.data = layer.weight.data * 3
        layer(x)
    assert_array_equal(seen[""][0].mean, first)
    assert not np.allclose(seen[""][1].mean, first)
