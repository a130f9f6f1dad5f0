"""The sections of the tour that train networks: a, f and g."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise

import numpy as np

import tinygrad_norm as tn

from ..datasets import Digits
from ..engine.operators import Array
from ..nn.module import Module
from ..table import Table
from .models import NORMS, accuracy, tanh_network, train
from .report import Finding
from .snippets import snippet

DEPTH = 10
SHIFT_STEPS = 100
SHIFT_EVERY = 10
# The shallow network's steps are short, so it can be trained until it has converged.
RACE_STEPS = {DEPTH: 200, 1: 600}
SEEDS = 3
# The training loss is averaged over this many final steps.
LAST = 20

Progress = Callable[[float], None]
"""Called with finished work, in seconds of a reference machine."""


def layer_statistics(model: Module, images: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation over samples of the inputs of each tanh, shape (layers, features)."""
    with tn.no_grad(), tn.observe(model) as seen:
        model(images)
    paths = [path for path, module in model.named_modules() if isinstance(module, tn.nn.Tanh)]
    inputs = [seen[str(int(path) - 1)][0] for path in paths]
    return np.array([o.mean for o in inputs]), np.array([o.std for o in inputs])


def shift(digits: Digits, seed: int, progress: Progress) -> Finding:
    """Section a: statistics change from layer to layer and from step to step."""
    depth_rows: dict[str, list[tuple[float, float]]] = {}
    moved: dict[str, Array] = {}
    for norm in ("none", "batch"):
        snapshots = _snapshots(norm, digits, seed, progress)
        depth_rows[norm] = [
            (float(np.median(np.abs(mean))), float(np.median(std))) for mean, std in zip(*snapshots[0], strict=True)
        ]
        moved[norm] = np.array(
            [np.median(np.abs(after[0] - before[0]) / before[1], axis=1) for before, after in pairwise(snapshots)]
        ).mean(axis=0)
    first, last = depth_rows["none"][0][1], depth_rows["none"][-1][1]
    bn_first, bn_last = depth_rows["batch"][0][1], depth_rows["batch"][-1][1]
    shift_plain, shift_bn = float(np.median(moved["none"])), float(np.median(moved["batch"]))
    return Finding(
        "a",
        "Activations shift",
        "Without normalization the mean and spread of activations change from layer to layer and from training step to "
        "training step; batch normalization keeps them nearly constant.",
        (
            f"{first / last:.0f} times",
            f"smaller spread of a feature over the digits in layer {DEPTH} than in layer 1, without normalization. "
            f"With batch norm the spread is {bn_first:.3f} in layer 1 and {bn_last:.3f} in layer {DEPTH}.",
        ),
        f"The median standard deviation over samples changes from {first:.3f} in layer 1 to {last:.4f} in layer "
        f"{DEPTH} without normalization, and from {bn_first:.3f} to {bn_last:.3f} with batch norm. In {SHIFT_EVERY} "
        f"steps the means move by {shift_plain:.2f} standard deviations without it and by {shift_bn:.3f} with it.",
        last < first / 10 and abs(bn_last - bn_first) < 0.1 and shift_bn < shift_plain,
        snippet("a", seed),
        "The statistics are those of the inputs of each tanh: the mean and standard deviation of every feature over "
        "the samples, and then the median over the features. Statistics pooled over features would not show that all "
        "digits have nearly the same activations.\n\n"
        "The term internal covariate shift has two meanings. Lecture notes often mean the change from layer to layer; "
        "Ioffe and Szegedy (2015) mean the change of a layer's input over training steps, while the layers before it "
        "learn. The table shows both. After batch norm the mean is β and the standard deviation is γ, so they change "
        "only as fast as β and γ are trained.\n\n"
        "These numbers show the effect. Whether it explains why batch normalization helps is disputed: Santurkar et "
        "al. (2018) added noise after the normalization, and training was nearly as fast. They attribute the benefit "
        "to a smoother loss surface.",
        [
            Table(
                f"Inputs of each tanh in a {DEPTH}-layer network before training, and movement of their means in "
                f"{SHIFT_EVERY} steps (in standard deviations, averaged over {SHIFT_STEPS} steps)",
                ("layer", "|mean|", "std", "moves", "|mean|, batch norm", "std, batch norm", "moves, batch norm"),
                [
                    (layer + 1, *plain, float(moved["none"][layer]), *normed, float(moved["batch"][layer]))
                    for layer, (plain, normed) in enumerate(zip(depth_rows["none"], depth_rows["batch"], strict=True))
                ],
            )
        ],
        data={"depth": depth_rows, "moved": moved},
    )


def _snapshots(norm: str, digits: Digits, seed: int, progress: Progress) -> list[tuple[Array, Array]]:
    """Return the statistics of a network before training and every few training steps."""
    rng = np.random.default_rng([seed, 1])
    model = tanh_network(DEPTH, norm, rng)
    images = digits.train_images[:512]
    snapshots = [layer_statistics(model, images)]

    def snapshot(step: int, loss: float) -> None:
        progress(seconds(DEPTH, norm))
        if (step + 1) % SHIFT_EVERY == 0:
            snapshots.append(layer_statistics(model, images))

    train(model, digits, SHIFT_STEPS, rng, snapshot)
    return snapshots


def test_time(digits: Digits, seed: int, progress: Progress) -> Finding:
    """Section f: at test time the statistics of training replace those of the batch."""
    rng = np.random.default_rng([seed, 2])
    model = tanh_network(2, "batch", rng)
    train(model, digits, RACE_STEPS[DEPTH], rng, lambda step, loss: progress(seconds(2, "batch")))
    images, labels = digits.test_images, digits.test_labels
    by_class = np.argsort(labels, kind="stable")
    shuffled = rng.permutation(len(labels))
    results = {
        "eval, running statistics": accuracy(model.eval(), images, labels),
        "train mode, random batches of 60": _batched_accuracy(model, images, labels, shuffled, 60),
        "train mode, batches of 36 sorted by class": _batched_accuracy(model, images, labels, by_class, 36),
        "train mode, random batches of 2": _batched_accuracy(model, images, labels, shuffled, 2),
    }
    drift = _running_against_population(model, digits.train_images)
    evaluated, *others = results.values()
    return Finding(
        "f",
        "Test time",
        "At test time the running statistics of training replace those of the batch. Otherwise the prediction for a "
        "digit depends on the other digits in its batch.",
        (
            f"{100 * others[1]:.1f} %",
            "of the test digits are recognized if batches sorted by class are normalized with their own statistics. "
            f"With the running statistics of training, {100 * evaluated:.1f} % are recognized.",
        ),
        f"The accuracy is {100 * evaluated:.1f} % in eval mode. With the statistics of the batch it is "
        f"{100 * others[0]:.1f} % on random batches, {100 * others[1]:.1f} % on batches sorted by class, and "
        f"{100 * others[2]:.1f} % on batches of 2.",
        evaluated > 0.9 and evaluated > others[1] and evaluated > others[2],
        snippet("f", seed, RACE_STEPS[DEPTH]),
        "A batch sorted by class contains one or two kinds of digit, and normalization removes what they have in "
        "common. In a batch of two, normalization leaves one bit for each feature: which of the two values was "
        "larger.\n\n"
        "Running averages lag behind while the weights change. The second table compares them with the exact "
        "statistics of the training set at the final weights.",
        [
            Table(
                f"Accuracy on {len(labels)} test digits",
                ("mode", "accuracy"),
                [(k, float(v)) for k, v in results.items()],
            ),
            Table(
                "Running averages against the statistics of the whole training set",
                ("layer", "largest |difference of means| / std", "median var ratio", "smallest", "largest"),
                drift,
            ),
        ],
    )


def _batched_accuracy(model: Module, images: Array, labels: Array, order: Array, size: int) -> float:
    """Return the accuracy in train mode over batches in a given order, without changing the model."""
    model = deepcopy(model).train()
    parts = [order[i : i + size] for i in range(0, len(order), size)]
    return float(np.mean([accuracy(model, images[part], labels[part]) for part in parts]))


def _running_against_population(model: Module, images: Array) -> list[tuple[str, float, float, float, float]]:
    """Compare the buffers of each BatchNorm with the mean and unbiased variance of its inputs in eval mode."""
    rows = []
    x = tn.tensor(images)
    with tn.no_grad():
        for path, layer in model.children():
            if isinstance(layer, tn.nn.BatchNorm1d):
                mean, var = x.data.mean(axis=0), x.data.var(axis=0, ddof=1)
                ratio = layer.running_var / var
                away = np.abs(layer.running_mean - mean) / np.sqrt(var)
                found = (float(away.max()), float(np.median(ratio)), float(ratio.min()), float(ratio.max()))
                rows.append((path, *found))
            x = layer(x)
    return rows


def does_it_help(digits: Digits, seed: int, progress: Progress) -> Finding:
    """Section g: the same network with each norm, over several seeds, deep and shallow."""
    tables, curves = [], {}
    finals: dict[tuple[int, str], Array] = {}
    for depth, steps in RACE_STEPS.items():
        rows = []
        for norm in NORMS:
            races = [_race(digits, depth, norm, [seed, 3, repetition], progress) for repetition in range(SEEDS)]
            losses, scores = zip(*races, strict=True)
            curves[depth, norm] = np.array(losses)
            finals[depth, norm] = np.array(scores)
            last = curves[depth, norm][:, -LAST:].mean(axis=1)
            rows.append((norm, _with_spread(last), _with_spread(np.array(scores))))
        tables.append(
            Table(
                f"{depth} hidden layer{'s' if depth > 1 else ''}, {steps} steps, {SEEDS} seeds (mean ± standard "
                "deviation)",
                ("norm", f"training loss, last {LAST} steps", "test accuracy"),
                rows,
            )
        )
    accuracies = {key: 100 * float(values.mean()) for key, values in finals.items()}
    losses_at_end = {key: float(values[:, -LAST:].mean()) for key, values in curves.items()}
    deep, shallow = (accuracies[depth, "batch"] - accuracies[depth, "none"] for depth in (DEPTH, 1))
    before, after = losses_at_end[1, "none"], losses_at_end[1, "batch"]
    return Finding(
        "g",
        "Does it help?",
        "A deep tanh network learns much faster with normalization. A shallow network learns well without it and gains "
        "less.",
        (
            f"{deep:.1f} points",
            f"higher test accuracy with batch norm for {DEPTH} layers after {RACE_STEPS[DEPTH]} steps. For one layer "
            f"after {RACE_STEPS[1]} steps, the difference is {shallow:.1f} points.",
        ),
        f"Results without and with batch norm for {DEPTH} layers after {RACE_STEPS[DEPTH]} steps: test accuracy "
        f"{accuracies[DEPTH, 'none']:.1f} % and {accuracies[DEPTH, 'batch']:.1f} %, training loss "
        f"{losses_at_end[DEPTH, 'none']:.3f} and {losses_at_end[DEPTH, 'batch']:.3f}. For one layer after "
        f"{RACE_STEPS[1]} steps: test accuracy {accuracies[1, 'none']:.1f} % and {accuracies[1, 'batch']:.1f} %, "
        f"training loss {before:.3f} and {after:.3f}.",
        deep > 5 and shallow < deep / 2,
        snippet("g", seed, RACE_STEPS[DEPTH]),
        f"The shallow network {'also gains' if after < before else 'does not gain'}: its final training loss is "
        f"{after:.3f} with batch norm and {before:.3f} without, and its test accuracy changes by {shallow:+.1f} "
        "points. So the benefit of normalization depends on depth.\n\n"
        "Networks with the same seed start from the same weights and are trained on the same batches. All have 64 "
        "units per layer, the default initialization, batches of 64, and Adam with a learning rate of 0.001. A better "
        "initialization or learning rate may also help the deep network without normalization.",
        tables,
        data={
            "curves": curves,
            "depth": DEPTH,
            "steps": RACE_STEPS[DEPTH],
            "without": accuracies[DEPTH, "none"],
            "with": accuracies[DEPTH, "batch"],
        },
    )


def _race(digits: Digits, depth: int, norm: str, seed: Sequence[int], progress: Progress) -> tuple[list[float], float]:
    """Train a network and return its losses and its accuracy on the test set."""
    rng = np.random.default_rng(seed)
    model = tanh_network(depth, norm, rng)
    losses: list[float] = []

    def note(step: int, loss: float) -> None:
        losses.append(loss)
        progress(seconds(depth, norm))

    train(model, digits, RACE_STEPS[depth], rng, note)
    return losses, accuracy(model.eval(), digits.test_images, digits.test_labels)


def _with_spread(values: Sequence[float] | Array) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def seconds(depth: int, norm: str) -> float:
    """Return the approximate time of a training step, which the progress bar needs for deep and shallow networks."""
    return 0.0004 + depth * (0.00016 if norm == "none" else 0.0005)


def training_seconds() -> float:
    """Return the approximate time of all training in the tour."""
    race = sum(steps * SEEDS * seconds(depth, norm) for depth, steps in RACE_STEPS.items() for norm in NORMS)
    shifts = sum(SHIFT_STEPS * seconds(DEPTH, norm) for norm in ("none", "batch"))
    return race + shifts + RACE_STEPS[DEPTH] * seconds(2, "batch")
