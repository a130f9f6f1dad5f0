"""observe: statistics of every layer's output, seen from outside the graph."""

import copy
import gc
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.engine.primitive import Node
from tinygrad_norm.engine.tensor import walk
from tinygrad_norm.table import Table


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


# Saturated and dead.


@pytest.mark.parametrize(
    ("layer", "inverse", "outputs", "saturated"),
    [
        (nn.Tanh(), np.arctanh, [[-0.995, -0.985, 0.0], [0.5, 0.985, 0.995]], 2 / 6),
        (nn.Sigmoid(), lambda y: np.log(y / (1 - y)), [[0.005, 0.015, 0.5], [0.985, 0.995, 0.999]], 3 / 6),
    ],
)
def test_saturated_is_the_share_of_elements_within_a_hundredth_of_a_bound(layer, inverse, outputs, saturated):
    with tn.observe(layer) as seen:
        y = layer(inverse(np.array(outputs)))
    assert_allclose(y.data, outputs)
    assert seen[""][0].saturated == saturated
    assert seen[""][0].dead is None


def test_dead_is_the_share_of_features_that_no_sample_switches_on():
    x = np.array([[-1.0, 2.0, 0.0, -3.0], [-2.0, -1.0, -5.0, 1e-3], [0.0, 4.0, -1.0, -2.0]])
    with tn.observe(layer := nn.ReLU()) as seen:
        layer(x)
        layer(x[:1])
        layer(np.stack([x, -x], axis=2))
    assert [observation.dead for observation in seen[""]] == [2 / 4, 3 / 4, 2 / 8]
    assert all(observation.saturated is None for observation in seen[""])


def test_other_layers_are_neither_saturated_nor_dead():
    with tn.observe(model := nn.Sequential(nn.Linear(3, 3, rng=0), nn.LayerNorm(3), nn.SiLU())) as seen:
        model(random(4, 3))
    assert all((seen[path][0].saturated, seen[path][0].dead) == (None, None) for path in "012")


# Gradients.


def test_gradient_norms_are_those_of_a_backward_pass_by_hand():
    """Linear, tanh, linear, ReLU in NumPy, in the other direction."""
    model = nn.Sequential(
        nn.Linear(3, 5, dtype=np.float64, rng=0),
        nn.Sequential(nn.Tanh(), nn.Linear(5, 4, dtype=np.float64, rng=1)),
        nn.ReLU(),
    )
    g = random(6, 4, seed=1)
    with tn.observe(model) as seen:
        y = model(random(6, 3))
        seen.backward(y, g)
    hidden = np.tanh(random(6, 3) @ model[0].weight.data.T + model[0].bias.data)
    assert 0 < (y.data == 0).mean() < 1
    at = {"2": g}
    at["1.1"] = np.where(y.data > 0, g, 0)
    at["1.0"] = at["1.1"] @ model[1][1].weight.data
    at["0"] = at["1.0"] * (1 - hidden**2)
    assert list(seen) == ["0", "1.0", "1.1", "2"]
    for path, gradient in at.items():
        assert_allclose(seen[path][0].gradient_norm, np.sqrt((gradient**2).sum()), rtol=1e-12)


def test_the_gradient_norm_in_front_of_a_batch_norm_is_that_of_finite_differences():
    model, g = network(), random(6, 4, seed=1)
    with tn.observe(model) as seen:
        seen.backward(model(random(6, 3)), g)
    before = model[0](random(6, 3)).data
    differences = np.zeros(before.shape)
    for place in np.ndindex(before.shape):
        step = np.zeros(before.shape)
        step[place] = 1e-5
        after, ahead = (model[1](before + sign * step).data for sign in (1, -1))
        differences[place] = (g * (after - ahead)).sum() / 2e-5
    assert_allclose(seen["0"][0].gradient_norm, np.linalg.norm(differences), rtol=1e-7)
    assert seen["1.1"][0].gradient_norm == np.linalg.norm(g)


def test_leaves_get_what_backward_gives_them_and_nothing_else_changes():
    plain, g = network(), random(5, 4, seed=1)
    watched = copy.deepcopy(plain)
    x, watched_x = (tn.tensor(random(5, 3), requires_grad=True) for _ in range(2))
    with tn.observe(watched) as seen:
        for _ in range(2):  # the second time it is added
            plain(x).backward(g)
            y = watched(watched_x)
            before = [t.node for t in walk([y])]
            seen.backward(y, g)
            assert [t.node for t in walk([y])] == before
    for leaf, watched_leaf in zip([x, *plain.parameters()], [watched_x, *watched.parameters()], strict=True):
        assert_array_equal(watched_leaf.grad.data, leaf.grad.data)
        assert watched_leaf.grad.dtype == leaf.grad.dtype
        assert not watched_leaf.grad.requires_grad
    assert np.abs(x.grad.data).max() > 1e-3
    assert_array_equal(watched.state_dict()["1.0.running_var"], plain.state_dict()["1.0.running_var"])


def test_a_gradient_that_is_itself_recorded_is_added_to_without_recording():
    x = tn.tensor(random(3), requires_grad=True)
    x.grad = tn.grad((x * x * x).sum(), x, create_graph=True)
    with tn.observe(layer := nn.Tanh()) as seen:
        seen.backward(layer(x), g := random(3, seed=1))
    assert_allclose(x.grad.data, 3 * x.data**2 + g * (1 - np.tanh(x.data) ** 2))
    assert not x.grad.requires_grad


def test_each_step_has_its_own_norm_though_all_losses_be_kept():
    model, cotangents = network(), random(3, 5, 4, seed=1)
    kept = []
    with tn.observe(model) as seen:
        for step, g in enumerate(cotangents):
            kept.append(model(random(5, 3, seed=step)))
            seen.backward(kept[-1], g)
    assert [len(observations) for observations in seen.values()] == [3, 3, 3]
    norms = [observation.gradient_norm for observation in seen["1.1"]]
    assert_allclose(norms, [np.linalg.norm(g) for g in cotangents])
    seen.backward(kept[0], 2 * cotangents[0])
    assert_allclose([o.gradient_norm for o in seen["1.1"]], [2 * norms[0], *norms[1:]])


def test_only_outputs_that_lead_to_the_loss_have_a_gradient_norm():
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Tanh(), nn.Sigmoid()

        def forward(self, x):
            self.unused(x)
            return self.used(x)

    with tn.observe(model := Forked()) as seen:
        seen.backward(model(tn.tensor(random(3, 2), requires_grad=True)), g := random(3, 2, seed=1))
    assert (seen["used"][0].gradient_norm, seen["unused"][0].gradient_norm) == (np.linalg.norm(g), None)


def test_a_layer_used_twice_has_a_norm_for_each_use_and_one_that_passes_its_input_on_has_its():
    tanh = nn.Tanh()
    model = nn.Sequential(tanh, tanh, nn.Dropout(0.5)).eval()
    x, g = tn.tensor(random(4, 3), requires_grad=True), random(4, 3, seed=1)
    with tn.observe(model) as seen:
        y = model(x)
        seen.backward(y, g)
    first = np.linalg.norm(g * (1 - y.data**2))
    for path in "01":
        assert_allclose([o.gradient_norm for o in seen[path]], [first, np.linalg.norm(g)])
    assert_allclose(seen["2"][0].gradient_norm, np.linalg.norm(g))


def test_a_half_precision_gradient_does_not_overflow_in_its_norm():
    with tn.observe(layer := nn.Tanh()) as seen:
        seen.backward(layer(tn.tensor(np.zeros((2, 2)), requires_grad=True, dtype=np.float16)), [[300, 0], [0, 400]])
    assert seen[""][0].gradient_norm == 500


def test_without_a_graph_there_is_no_gradient_norm_and_backward_says_why():
    model = network()
    with tn.no_grad(), tn.observe(model) as seen:
        y = model(random(4, 3))
    assert seen["0"][0].std.shape == (4,)
    for wrong, kind, words in (
        (lambda: seen.backward(y, random(4, 4)), RuntimeError, "was not recorded"),
        (lambda: seen.backward(model(random(4, 3))), ValueError, "requires a cotangent"),
        (lambda: seen.backward(model(random(4, 3)), random(4)), ValueError, "shape"),
    ):
        with pytest.raises(kind, match=words):
            wrong()
    assert all(observations[0].gradient_norm is None for observations in seen.values())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_observations_keep_no_graph_alive():
    model, x = network(), random(5, 3)

    def nodes():
        return sum(type(thing) is Node for thing in gc.get_objects())

    gc.collect()
    before = nodes()
    gc.disable()
    try:
        with tn.observe(model) as seen:
            for step in range(3):
                y = model(x)
                seen.backward(y, random(5, 4, seed=step))
        assert nodes() > before
        del y
        assert nodes() == before
    finally:
        gc.enable()
    assert len(seen["1.1"]) == 3


# Edges.


def test_a_batch_without_samples_or_features_has_no_statistics_and_a_number_is_one_sample():
    model = nn.Sequential(nn.Tanh(), nn.ReLU())
    with tn.observe(model) as seen:
        model(np.zeros((0, 3)))
        model(np.zeros((3, 0)))
        model(np.array(7.0))
    empty, featureless, number = zip(seen["0"], seen["1"], strict=True)
    for observation in empty:
        assert_array_equal(observation.mean, [np.nan] * 3)
        assert_array_equal(observation.std, [np.nan] * 3)
    for tanh, relu in (empty, featureless):
        assert np.isnan([tanh.saturated, relu.dead]).all()
    assert [observation.mean.shape for observation in featureless] == [(0,), (0,)]
    assert [(type(o.mean), o.mean, o.std) for o in number] == [(np.ndarray, np.tanh(7), 0)] * 2
    assert (number[0].saturated, number[1].dead) == (1, 0)
    assert [row[3:7] for row in seen.table(steps=[2]).rows] == [(np.tanh(7), 0, 1, None), (np.tanh(7), 0, None, 0)]
    assert all(np.isnan(row[3:5]).all() for row in seen.table(steps=[0, 1]).rows)


def test_a_network_that_diverges_is_observed_without_warnings():
    x = np.array([[np.inf, 1e300, np.nan], [1.0, -1e300, 0.0]])
    with tn.observe(layer := nn.ReLU()) as seen:
        layer(x)
    assert_array_equal(seen[""][0].mean, [np.inf, 5e299, np.nan])
    assert seen[""][0].dead == 0
    plotted(seen)


def test_a_network_that_has_died_is_plotted_without_warnings():
    with tn.observe(layer := nn.ReLU()) as seen:
        seen.backward(layer(tn.tensor(-np.ones((3, 2)), requires_grad=True)), np.zeros((3, 2)))
    assert (seen[""][0].dead, seen[""][0].gradient_norm) == (1, 0)
    assert [axes.get_yscale() for axes in plotted(seen).axes] == ["linear"] * 4


# Table and plot.


def plotted(seen):
    """The plot, drawn as it is into a PNG."""
    agg = pytest.importorskip("matplotlib.backends.backend_agg")
    figure = seen.plot()
    agg.FigureCanvasAgg(figure).draw()
    return figure


def observed_training(steps=3):
    model = nn.Sequential(nn.Linear(3, 4, rng=0), nn.Sequential(nn.BatchNorm1d(4), nn.Tanh()), nn.ReLU())
    with tn.observe(model) as seen:
        for step in range(steps):
            seen.backward(model(random(6, 3, seed=step)), random(6, 4, seed=9 + step))
    return seen


def test_the_table_has_the_first_and_the_last_step_of_each_layer():
    seen = observed_training()
    table = seen.table()
    assert table.headings == ("layer", "kind", "step", "|mean|", "std", "saturated", "dead", "gradient norm")
    kinds = {"0": "Linear", "1.0": "BatchNorm1d", "1.1": "Tanh", "2": "ReLU"}
    assert [row[:3] for row in table.rows] == [(path, kind, step) for path, kind in kinds.items() for step in (0, 2)]
    for path, _, step, *numbers in table.rows:
        o = seen[path][step]
        assert numbers == [np.median(np.abs(o.mean)), np.median(o.std), o.saturated, o.dead, o.gradient_norm]
    assert table.rows[-1][5] is None
    assert table.rows[-1][6] is not None


def test_the_steps_of_the_table_can_be_chosen():
    seen = observed_training()
    assert [row[2] for row in seen.table(steps=[1, -1, 2, -3]).rows] == [1, 2, 0] * 4
    assert [row[2] for row in seen.table(steps=range(10)).rows] == [0, 1, 2] * 4
    assert [row[2] for row in observed_training(1).table().rows] == [0] * 4
    assert observed_training(0).table().rows == []


def test_text_is_aligned_for_a_terminal():
    table = Table("Title", ("layer", "step", "share"), [("0", 7, None), ("10.1", 12, 0.5), ("a|b", 0, 1234567.0)])
    assert table.text().splitlines() == [
        "Title",
        "layer  step     share",
        "0         7         -",
        "10.1     12       0.5",
        "a|b       0  1.23e+06",
    ]
    assert Table("Title", ("one", "two"), []).text() == "Title\none  two"
    assert Table("Title", ("one", "two"), [(1, "a")]).text() == "Title\none  two\n  1  a"
    lines = observed_training().table().text().splitlines()
    assert len({len(line) for line in lines[1:]}) == 1
    assert lines[1].split("  ")[0] == "layer"
    assert max(map(len, lines)) < 100


def test_the_plot_has_a_line_for_each_layer_in_each_panel():
    seen = observed_training()
    figure = plotted(seen)
    std, mean, share, gradient = figure.axes
    titles = ["Median std over samples", "Median |mean| over samples", "Share saturated or dead", "Gradient norm"]
    assert [axes.get_title() for axes in figure.axes] == titles
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear", "linear", "log"]

    def drawn(axes):
        lines = [np.array(line.get_ydata()) for line in axes.get_lines()]
        return [line for line in lines if len(line) == 3 and not np.isnan(line).all()]

    assert_allclose(drawn(std), [[np.median(o.std) for o in seen[path]] for path in seen])
    assert_allclose(drawn(mean), [[np.median(np.abs(o.mean)) for o in seen[path]] for path in seen])
    assert_allclose(drawn(gradient), [[o.gradient_norm for o in seen[path]] for path in seen])
    assert_allclose(drawn(share), [[o.saturated for o in seen["1.1"]], [o.dead for o in seen["2"]]])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["0 Linear", "1.0 BatchNorm1d", "1.1 Tanh", "2 ReLU"]
    for part in ("get_color", "get_linestyle"):
        in_panel, in_legend = ([getattr(line, part)() for line in lines] for lines in (std.lines, legend.get_lines()))
        assert len({str(look) for look in in_panel}) == 4
        assert list(map(str, in_panel)) == list(map(str, in_legend))


@pytest.mark.parametrize("layers", [1, 30])
def test_the_legend_stands_beside_the_panels_and_inside_the_figure(layers):
    with tn.observe(model := nn.Sequential(*(nn.Sigmoid() for _ in range(layers)))) as seen:
        model(random(4, 3))
    figure = plotted(seen)
    legend, page = figure.legends[0].get_window_extent(), figure.bbox
    assert len(figure.axes) == 3  # there was no backward pass
    assert len(figure.legends[0].get_texts()) == layers
    assert all(axes.get_window_extent().x1 < legend.x0 for axes in figure.axes)
    assert page.x0 <= legend.x0 < legend.x1 <= page.x1
    assert page.y0 <= legend.y0 < legend.y1 <= page.y1


def test_a_plot_of_nothing_and_one_without_matplotlib_are_errors(monkeypatch):
    for steps in (0, 1):
        with tn.observe(layer := nn.Tanh()) as seen:
            for _ in range(steps):
                layer(np.zeros((0, 2)))
        with pytest.raises(ValueError, match="nothing to plot"):
            seen.plot()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'tinygrad_norm\[plot\]'"):
        observed_training().plot()


def test_statistics_of_float16_do_not_overflow():
    y = np.array([[-60000.0, 1.0], [60000.0, 3.0]], np.float16)
    layer = nn.Identity()
    with tn.observe(layer) as seen:
        layer(y)
    (observation,) = seen[""]
    assert_allclose(observation.mean, [0, 2])
    assert_allclose(observation.std, [60000, 1], rtol=1e-6)
    many = np.ones((5000, 1), np.float16)
    with tn.observe(layer) as seen:
        layer(many)
    assert_allclose(seen[""][0].mean, 1)


def test_what_is_not_a_module_cannot_be_observed():
    with pytest.raises(TypeError, match="observe requires a Module, not function"), tn.observe(lambda x: x):
        pass
