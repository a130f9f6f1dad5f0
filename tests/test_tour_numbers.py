"""What the sections of the tour find, shortened, and the same computed again in NumPy."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.short_tour import shortened
from tinygrad_norm.datasets import split_digits
from tinygrad_norm.tour import statistics, training

EPS = 1e-5


@pytest.fixture(scope="module")
def tour():
    digits, progress = split_digits(0), lambda seconds: None
    with pytest.MonkeyPatch.context() as monkeypatch:
        shortened(monkeypatch)
        return SimpleNamespace(
            a=training.shift(digits, 0, progress),
            b=statistics.one_step(digits, 0),
            c=statistics.through_the_statistics(digits, 0),
            d=statistics.identity(digits, 0),
            e=statistics.samples_interact(digits, 0),
            f=training.test_time(digits, 0, progress),
            g=training.does_it_help(digits, 0, progress),
            h=statistics.what_is_normalized_over(digits, 0),
        )


def hidden(step, width=64):
    """The first layer's output on the training set, and the random numbers that follow, re-made in NumPy."""
    rng = np.random.default_rng([0, 100 + step])
    return first_layer(rng, width), rng


def first_layer(rng, width=64):
    weight = rng.uniform(-1 / 8, 1 / 8, (width, 64)).astype(np.float32)
    bias = rng.uniform(-1 / 8, 1 / 8, width).astype(np.float32)
    return (split_digits(0).train_images @ weight.T + bias).astype(np.float64)


def normalized(x):
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + EPS)


def batch_norm_jacobian(x):
    """d y_ia / d x_jb = δ_ab (δ_ij - 1/n - x̂_i x̂_j / n) / sqrt(var + eps)."""
    n, features = x.shape
    result = np.zeros((n, features, n, features))
    for a in range(features):
        y = normalized(x)[:, a]
        result[:, a, :, a] = (np.eye(n) - 1 / n - np.outer(y, y) / n) / np.sqrt(x[:, a].var() + EPS)
    return result


def close(found, want, rtol=1e-6, atol=1e-9):
    # float32 layers differ in the last bits between linear algebra libraries.
    assert_allclose(found, want, rtol=rtol, atol=atol)


def test_the_numbers_of_b_are_those_of_numpy(tour):
    h, _ = hidden(1)
    pixels = split_digits(0).train_images.astype(np.float64)
    (table,) = tour.b.tables
    for row, x in zip(table.rows, (h[:64], h, pixels), strict=True):
        variance = normalized(x).var(axis=0)
        close(row[2:4], (variance.min(), variance.max()))
        assert max(row[1], row[4]) < 1e-10
        assert row[5] == (x.max(axis=0) == x.min(axis=0)).sum()
    assert f"{table.rows[2][5]} of 64 pixels are constant" in tour.b.number
    assert tour.b.holds


def test_the_numbers_of_c_are_the_closed_form(tour):
    h, rng = hidden(2)
    x = h[:64]
    g, inverse, y = rng.normal(size=x.shape), 1 / np.sqrt(x.var(axis=0) + EPS), normalized(x)
    through_x = g * inverse
    whole = (g - g.mean(axis=0) - y * (g * y).mean(axis=0)) * inverse
    parts, bias = tour.c.tables
    size = np.linalg.norm(whole)
    close([row[1] for row in parts.rows], [np.linalg.norm(v) for v in (through_x, whole - through_x)] + [size, size])
    close([row[2] for row in parts.rows], [abs(v.sum(axis=0)).max() for v in (through_x, whole - through_x)] + [0, 0])
    assert f"the relative error is {100 * np.linalg.norm(through_x - whole) / size:.0f} %" in tour.c.number
    # Each wrong step finds the same gradient again: the bias grows in proportion to the steps, the loss stands still.
    steps, losses, norms, right_losses, right_norms = np.array(bias.rows).T
    assert_array_equal(steps, [0, 250, 500, 750, 1000])
    h, labels = first_layer(rng)[:256], split_digits(0).train_labels[:256]
    head = rng.normal(size=(64, 10)) / 8
    scores = np.exp(normalized(h) @ head)
    residual = scores / scores.sum(axis=1, keepdims=True) - np.eye(10)[labels]
    step = np.linalg.norm((residual @ head.T).mean(axis=0) / np.sqrt(h.var(axis=0) + EPS))
    close(norms, step * steps)
    assert norms[-1] > 1
    for values in (losses, right_losses):
        close(values, np.full(5, losses[0]), rtol=1e-9)
    assert max(right_norms) < 1e-9
    assert tour.c.holds


def test_the_numbers_of_d_are_the_closed_form(tour):
    h, _ = hidden(3, width=4)
    here, other = h[:8], h[8:16]
    scale, shift = np.sqrt(here.var(axis=0) + EPS), here.mean(axis=0)
    (table,) = tour.d.tables
    unit = np.eye(32).reshape(8, 4, 8, 4)
    slopes = [abs(scale[:, None, None] * batch_norm_jacobian(x) - unit).max() for x in (here, other)]
    elsewhere = abs(normalized(other) * scale + shift - other).max()
    close([row[1:] for row in table.rows], [(0, slopes[0]), (elsewhere, slopes[1]), (0, 0)])
    assert elsewhere > 1e-3
    assert min(slopes) > 0.1
    assert tour.d.holds


def test_the_numbers_of_e_are_the_closed_form(tour):
    h, rng = hidden(4)
    jacobian = batch_norm_jacobian(h[:8, :6])
    layer = np.zeros_like(jacobian)
    for i, block in enumerate(batch_norm_jacobian(row[:, None])[:, 0, :, 0] for row in h[:8, :6]):
        layer[i, :, i, :] = block  # layer norm of a row is batch norm of a column
    blocks, spreads = tour.e.tables
    own, diagonal = np.eye(8, dtype=bool), np.eye(6, dtype=bool)[:, None, :]
    for row, j in zip(blocks.rows, (jacobian, layer), strict=True):
        sizes = np.sqrt((j**2).sum(axis=(1, 3)))
        close(row[1:], (sizes[own].mean(), sizes[~own].mean(), abs(np.where(diagonal, 0, j)).max()))
    assert blocks.rows[1][2] == 0  # exactly: samples do not interact in layer norm
    assert blocks.rows[0][3] == 0  # exactly: features do not in batch norm
    for size, row in zip((4, 32, 512), spreads.rows, strict=True):
        values = []
        for _ in range(200):
            company = rng.choice(np.arange(1, len(h)), size - 1, replace=False)
            values.append(normalized(h[[0, *company]])[0])
        spread = np.median(np.std(values, axis=0))
        close(row, (size, spread, spread * np.sqrt(size)))
    assert tour.e.holds


def test_the_family_counts_every_value_once(tour):
    (table,) = tour.h.tables
    assert [row[0] for row in table.rows] == ["batch", "layer", "instance", "group", "a new norm"]
    assert [row[4] for row in table.rows] == [4, 32, 128, 64, 128]
    assert {row[4] * row[5] for row in table.rows} == {32 * 4 * 4 * 4}
    assert tour.h.holds


def test_accuracies_are_shares_and_training_shows_in_the_curves(tour):
    results = dict(tour.f.tables[0].rows)
    assert len(results) == 4
    assert all(0 <= value <= 1 for value in results.values())
    curves = tour.g.data["curves"]
    assert {depth for depth, _ in curves} == {training.DEPTH, 1}
    assert all(losses.shape == (training.SEEDS, 20) for losses in curves.values())
    assert curves[1, "batch"][:, -5:].mean() < curves[1, "batch"][:, :5].mean()
    assert [len(table.rows) for table in tour.g.tables] == [4, 4]
    assert [len(table.rows) for table in tour.a.tables] == [training.DEPTH]


def test_what_g_says_is_what_its_curves_show(tour):
    curves = tour.g.data["curves"]
    ends = {norm: curves[1, norm][:, -training.LAST :].mean() for norm in ("none", "batch")}
    assert f"final training loss is {ends['batch']:.3f} with batch norm and {ends['none']:.3f} without" in tour.g.text
    assert f"training loss {ends['none']:.3f} and {ends['batch']:.3f}." in tour.g.number
    # Fewer than twenty steps of training help nobody; where the loss does fall, the text says that it gains.
    assert ("also gains" in tour.g.text) == (ends["batch"] < ends["none"])
