"""The sections of the tour about a single normalization: b, c, d, e and h."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_norm as tn

from ..datasets import Digits, load_digits
from ..engine.operators import Array
from ..norm.pattern import parse
from ..table import Table
from .models import CLASSES, WIDTH
from .report import Finding, apart
from .snippets import snippet

EPS = 1e-5
# The tolerance between two computations of the same result.
SAME = 1e-12


def first_hidden(digits: Digits, rng: np.random.Generator, width: int = WIDTH) -> Array:
    """Return the output of a linear layer for the training set, before any activation, in float64."""
    layer = tn.nn.Linear(64, width, rng=rng)
    with tn.no_grad():
        hidden: tn.Tensor = layer(digits.train_images)
    return hidden.data.astype(np.float64)


def one_step(digits: Digits, seed: int) -> Finding:
    """Section b: mean 0 and variance σ² / (σ² + ε), or 0 for constant features."""
    rng = np.random.default_rng([seed, 101])
    hidden = first_hidden(digits, rng)
    rows, deviations = [], []
    for what, x in (
        ("first hidden layer, a mini-batch of 64", hidden[:64]),
        (f"first hidden layer, the training set of {len(hidden)}", hidden),
        ("raw pixels, the training set", digits.train_images.astype(np.float64)),
    ):
        y = tn.batch_norm(x, eps=EPS)
        var = x.var(axis=0)
        mean_off = float(np.abs(y.mean(axis=0)).max())
        var_off = float(np.abs(y.var(axis=0) - var / (var + EPS)).max())
        constant = var == 0
        rows.append(
            (what, mean_off, float(y.var(axis=0).min()), float(y.var(axis=0).max()), var_off, int(constant.sum()))
        )
        deviations.append(max(mean_off, var_off, float(np.abs(y[:, constant]).max(initial=0.0))))
    return Finding(
        "b",
        "One step of batch normalization",
        "Subtracting the mean and dividing by √(σ² + ε) gives every feature mean 0 and variance σ² / (σ² + ε): "
        "nearly 1 for ordinary features, 0 for constant ones.",
        (
            f"{deviations[2]:.1e}",
            "largest deviation of any pixel from mean 0 and variance σ² / (σ² + ε) after batch norm over the training "
            f"set. {rows[2][5]} of the 64 pixels are constant, and their output is exactly 0.",
        ),
        "The largest deviation from mean 0 and variance σ² / (σ² + ε), including a hidden layer and a mini-batch, is "
        f"{max(deviations):.1e}. {rows[2][5]} of 64 pixels are constant, and their output is exactly 0.",
        max(deviations) < 1e-9 and bool(rows[2][5]),
        snippet("b", seed),
        "The statistics are computed over the samples that are normalized: a mini-batch, or the entire training set. "
        "A pixel in the corner is 0 in every image. Its variance is 0, and ε keeps the division finite: "
        "0 / √(0 + ε) = 0.",
        [
            Table(
                "Mean and variance of the output",
                (
                    "input",
                    "largest |mean|",
                    "smallest variance",
                    "largest variance",
                    "largest deviation",
                    "constant features",
                ),
                rows,
            )
        ],
    )


def normalized_against(x: Any, reference: Any) -> Any:
    """Normalize ``x`` with the statistics of another array, so that the two parts of the gradient have two inputs."""
    mean = np.mean(reference, axis=0)
    var = np.mean(np.square(reference - mean), axis=0)
    return (x - mean) * tn.ops.rsqrt(var + EPS)


def through_the_statistics(digits: Digits, seed: int) -> Finding:
    """Section c: the gradient is the sum of two parts, and the first part alone is wrong."""
    rng = np.random.default_rng([seed, 102])
    x = first_hidden(digits, rng)[:64]
    cotangent = rng.normal(size=x.shape)
    _, pullback = tn.vjp(normalized_against, x, x)
    through_x, through_set = pullback(cotangent)
    _, whole_pullback = tn.vjp(lambda x: tn.batch_norm(x, eps=EPS), x)
    whole = whole_pullback(cotangent)
    report = tn.check_gradients(lambda x: tn.batch_norm(x, eps=EPS), x, seed=0)
    size = float(np.linalg.norm(whole))
    split_error = float(np.abs(through_x + through_set - whole).max() / np.abs(whole).max())
    held_constant = float(np.linalg.norm(through_x - whole) / size)
    bias = _growing_bias(digits, rng)
    return Finding(
        "c",
        "Gradients flow through the statistics",
        "Mean and variance are computed in the forward pass, so the gradient has one part through each sample and one "
        "part through the statistics. Without the second part the gradient is wrong, and a bias can grow without "
        "bound.",
        (
            f"{100 * held_constant:.0f} %",
            "relative error of the gradient of a mini-batch if mean and variance are held constant. The relative error "
            f"of the automatic gradient is {report.largest_relative_error:.0e}.",
        ),
        f"The largest relative error of the automatic gradient against the {report.oracle} is "
        f"{report.largest_relative_error:.1e}. With the statistics held constant, the relative error is "
        f"{100 * held_constant:.0f} %, and a bias grows to {bias['wrong'][-1][2]:.3g} in a thousand steps while the "
        f"losses of the first and last step are {apart(abs(bias['wrong'][-1][1] - bias['wrong'][0][1]))}.",
        report.largest_relative_error < 1e-9
        and split_error < 1e-9
        and held_constant > 0.01
        and bias["wrong"][-1][2] > 10 * (bias["right"][-1][2] + 1e-9),
        snippet("c", seed),
        "The first part, through x alone, is the gradient of an affine map with fixed mean and variance. The second "
        "part is the effect of one sample on the statistics of all samples. With it, the columns of the gradient sum "
        "to zero, because adding a constant to a feature does not change the output.\n\n"
        "Therefore a bias before the normalization has gradient zero. If the statistics are held constant, its "
        "gradient is not zero: each step changes the bias and the mean by the same amount, the output does not change, "
        "and the next step has the same gradient again (Ioffe and Szegedy 2015, section 2).",
        [
            Table(
                "Norms of the parts of dL/dx",
                ("part", "norm", "largest |column sum|"),
                [
                    ("through x, statistics constant", float(np.linalg.norm(through_x)), _column_sum(through_x)),
                    ("through the statistics", float(np.linalg.norm(through_set)), _column_sum(through_set)),
                    ("their sum", float(np.linalg.norm(through_x + through_set)), _column_sum(through_x + through_set)),
                    ("automatic gradient of batch_norm", size, _column_sum(whole)),
                ],
            ),
            Table(
                "Training only a bias before the normalization: loss, and norm of the bias",
                (
                    "step",
                    "loss, wrong gradient",
                    "bias, wrong gradient",
                    "loss, correct gradient",
                    "bias, correct gradient",
                ),
                [
                    (step, loss, norm, right_loss, right_norm)
                    for (step, loss, norm), (_, right_loss, right_norm) in zip(
                        bias["wrong"], bias["right"], strict=True
                    )
                ],
            ),
        ],
    )


def _column_sum(gradient: Array) -> float:
    return float(np.abs(gradient.sum(axis=0)).max())


def _growing_bias(
    digits: Digits, rng: np.random.Generator, steps: int = 1000
) -> dict[str, list[tuple[int, float, float]]]:
    """Train only a bias before a normalization, with the wrong and with the correct gradient."""
    hidden = first_hidden(digits, rng)[:256]
    labels = digits.train_labels[:256]
    head = rng.normal(size=(hidden.shape[1], CLASSES)) / np.sqrt(hidden.shape[1])
    history: dict[str, list[tuple[int, float, float]]] = {}
    for key in ("wrong", "right"):
        bias = tn.nn.Parameter(np.zeros(hidden.shape[1]), name="bias")
        optimizer = tn.optim.SGD([bias], lr=1.0)
        history[key] = []
        for step in range(steps + 1):
            optimizer.zero_grad()
            x = bias + hidden
            reference = x.detach() if key == "wrong" else x
            loss = tn.nn.cross_entropy(normalized_against(x, reference) @ head, labels)
            if step % (steps // 4) == 0:
                history[key].append((step, loss.item(), float(np.linalg.norm(bias.data))))
            loss.backward()
            optimizer.step()
    return history


def identity(digits: Digits, seed: int) -> Finding:
    """Section d: gamma and beta can undo the normalization of one batch."""
    rng = np.random.default_rng([seed, 103])
    hidden = first_hidden(digits, rng, width=4)
    here, other = hidden[:8], hidden[8:16]
    layer = tn.nn.BatchNorm1d(4, eps=EPS, momentum=1.0, dtype=np.float64)
    mean, var = here.mean(axis=0), here.var(axis=0)
    weight, bias = np.sqrt(var + EPS), mean
    layer.load_state_dict({"weight": weight, "bias": bias, "running_mean": mean, "running_var": var})
    layer.train()
    back = layer(here).data - here
    elsewhere = layer(other).data - other
    slope = tn.jacobian(layer, here).reshape(here.size, here.size)
    slope_elsewhere = tn.jacobian(layer, other).reshape(other.size, other.size)
    # Training has updated the running statistics; restore those that weight and bias were computed from.
    layer.running_mean, layer.running_var = mean, var
    layer.eval()
    eval_back = layer(other).data - other
    eval_slope = tn.jacobian(layer, other).reshape(other.size, other.size)
    unit = np.eye(here.size)
    rows = [
        ("training, this batch", _largest(back), _largest(slope - unit)),
        ("training, another batch", _largest(elsewhere), _largest(slope_elsewhere - unit)),
        ("eval, any batch", _largest(eval_back), _largest(eval_slope - unit)),
    ]
    return Finding(
        "d",
        "γ and β let a layer learn the identity",
        "With γ = √(σ² + ε) and β = μ the layer returns x for this batch, but not for another batch, and its Jacobian "
        "is not the identity. In eval mode the layer is the identity in value and gradient.",
        (
            f"{rows[0][2]:.2f}",
            "largest difference between the layer's Jacobian and the identity, for the batch for which x and y are "
            f"{apart(rows[0][1])}.",
        ),
        f"x and y are {apart(rows[0][1])} for this batch, and differ by up to {rows[1][1]:.2f} for another batch. The "
        f"Jacobian differs from the identity by up to {rows[0][2]:.2f}. In eval mode, value and Jacobian are "
        f"{apart(max(rows[2][1], rows[2][2]))}.",
        rows[0][1] < 1e-9 and rows[1][1] > 1e-3 and rows[0][2] > 1e-3 and max(rows[2][1], rows[2][2]) < 1e-9,
        snippet("d", seed),
        "Lecture notes often say that γ must equal the variance. The correct value is the standard deviation, "
        "√(σ² + ε).\n\n"
        "In training the statistics depend on the batch. So the layer returns its input for one batch only. Even for "
        "this batch its Jacobian is not the identity, because the layer removes every change of the batch's mean or "
        "spread.",
        [Table("Distance from the identity", ("mode", "largest |y - x|", "largest |dy/dx - I|"), rows)],
    )


def _largest(values: Array) -> float:
    return float(np.abs(values).max())


def samples_interact(digits: Digits, seed: int) -> Finding:
    """Section e: in batch norm every sample's output depends on every sample."""
    rng = np.random.default_rng([seed, 104])
    hidden = first_hidden(digits, rng)
    batch = hidden[:8, :6]
    jacobians = {
        "batch norm": tn.jacobian(lambda x: tn.batch_norm(x, eps=EPS), batch),
        "layer norm": tn.jacobian(lambda x: tn.layer_norm(x, x.shape[-1], eps=EPS), batch),
    }
    rows = []
    for name, jacobian in jacobians.items():
        blocks = np.sqrt(np.square(jacobian).sum(axis=(1, 3)))
        own = np.eye(len(batch), dtype=bool)
        between_features = jacobian * ~np.eye(batch.shape[1], dtype=bool)[:, None, :]
        rows.append((name, float(blocks[own].mean()), float(blocks[~own].mean()), _largest(between_features)))
    outputs = {size: _one_digit_in_batches(hidden, size, rng) for size in (4, 32, 512)}
    by_feature = np.array([values.std(axis=0) for values in outputs.values()])
    spreads = np.median(by_feature, axis=1)
    # The picture shows the feature that is nearest to the medians.
    typical = np.abs(np.log(by_feature / spreads[:, None])).sum(axis=0).argmin()
    return Finding(
        "e",
        "Samples interact",
        "Batch norm computes its statistics over the mini-batch, so the output for one sample depends on all other "
        "samples. In layer norm it does not.",
        (
            f"{rows[0][2]:.2g}",
            "mean norm of the derivative of one digit's output with respect to another digit, in batch norm. In layer "
            f"norm it is {rows[1][2]:.2g}.",
        ),
        f"The mean norm of the blocks ∂yᵢ/∂xⱼ of two samples, i ≠ j, is {rows[0][2]:.2g} for batch norm and "
        f"{rows[1][2]:.2g} for layer norm. The standard deviation of one digit's x̂ (median over "
        f"features) is {spreads[0]:.2f}, {spreads[1]:.2f} and {spreads[2]:.2f} over random batches of 4, 32 and 512.",
        rows[0][2] > 0 and rows[0][3] == 0 and rows[1][2] == 0 and bool(spreads[0] > spreads[1] > spreads[2]),
        snippet("e", seed),
        "Each block of batch norm's Jacobian is diagonal in the features: samples interact, but features do not. In "
        "layer norm, features interact, but samples do not.\n\n"
        "The other digits of a batch are chosen at random, so they add noise to the representation of this digit. The "
        "noise is roughly proportional to one over the square root of the batch size.",
        [
            Table(
                "Blocks of the Jacobian of 8 digits with 6 features",
                ("layer", "mean norm, own block", "mean norm, other blocks", "largest entry between features"),
                rows,
            ),
            Table(
                "One digit's x̂ over 200 random batches",
                ("batch size", "standard deviation (median over features)", "times √(batch size)"),
                [
                    (size, float(spread), float(spread * np.sqrt(size)))
                    for size, spread in zip(outputs, spreads, strict=True)
                ],
            ),
        ],
        data={"jacobians": jacobians, "spreads": {size: values[:, typical] for size, values in outputs.items()}},
    )


def _one_digit_in_batches(hidden: Array, size: int, rng: np.random.Generator) -> Array:
    """Return one digit's normalized features in 200 random batches, with a row for each batch."""
    others = np.arange(1, len(hidden))
    outputs = []
    for _ in range(200):
        company = rng.choice(others, size - 1, replace=False)
        outputs.append(tn.batch_norm(hidden[np.r_[0, company]], eps=EPS)[0])
    return np.array(outputs)


def what_is_normalized_over(digits: Digits, seed: int) -> Finding:
    """Section h: the norms as patterns."""
    rng = np.random.default_rng([seed, 107])
    images = load_digits()[0][:32].astype(np.float64)
    # Each digit in four patches of 4 x 4 pixels, as four channels.
    x = images.reshape(32, 2, 4, 2, 4).transpose(0, 1, 3, 2, 4).reshape(32, 4, 4, 4)
    x = x + 0.01 * rng.normal(size=x.shape)
    family: list[tuple[str, str, str, dict[str, int], Array | None]] = [
        ("batch", "each channel, over the batch and space", "n c h w -> c", {}, tn.batch_norm(x)),
        ("layer", "each sample, over all its features", "n c h w -> n", {}, tn.layer_norm(x, x.shape[1:])),
        ("instance", "each channel of each sample, over space", "n c h w -> n c", {}, tn.instance_norm(x)),
        ("group", "each group of channels of each sample", "n (g c) h w -> n g", {"g": 2}, tn.group_norm(x, 2)),
        ("a new norm", "each row of pixels of each sample", "n c h w -> n h", {}, None),
    ]
    rows, differences = [], []
    for name, wording, pattern, lengths, named_norm in family:
        fitted = parse(pattern).fit(x.shape, lengths)
        y = tn.normalize(x, pattern, **lengths)
        if named_norm is not None:
            differences.append(_largest(y - named_norm))
        reduced = " ".join(fitted.names[i] for i in fitted.axes)
        rows.append((name, wording, reduced, pattern, fitted.number_of_means, fitted.values_per_mean))
    counts_fit = all(row[4] * row[5] == x.size for row in rows)
    return Finding(
        "h",
        "The axes of a normalization",
        "Batch, layer, instance and group norm are the same computation over different axes. Every other choice of "
        "axes defines a new normalization.",
        (
            f"{sum(difference < SAME for difference in differences)} of {len(differences)}",
            f"named norms agree with their pattern in all {x.size} values of an array of shape {x.shape}.",
        ),
        f"The four named functions and their patterns are {apart(max(differences))} for {x.shape} patches of digits.",
        max(differences) < SAME and counts_fit,
        snippet("h", seed),
        "A pattern names the axes to keep: there is one mean and one variance for each index of these axes. Lecture "
        "notes usually name the axes to average over instead.\n\n"
        "“Layer norm normalizes across the channels” can mean three things: over all features of a sample (`-> n`, as "
        "here), over the channels at each position (`-> n h w`), or over the last axes, as with PyTorch's "
        "`normalized_shape`.",
        [
            Table(
                f"Norms of an array of {' × '.join(map(str, x.shape))} (n c h w)",
                ("norm", "one mean and variance for", "averaged over", "pattern", "means", "values per mean"),
                rows,
            )
        ],
    )
