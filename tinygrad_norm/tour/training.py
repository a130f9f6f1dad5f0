"""The steps of the tour that train networks: a, f and g."""

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
from .report import Finding, shown_line

DEPTH = 10
SHIFT_STEPS = 100
SHIFT_EVERY = 10
# The shallow network's steps are short, so it can be trained until it has converged.
RACE_STEPS = {DEPTH: 200, 1: 600}
SEEDS = 3

Progress = Callable[[int], None]


def layer_statistics(model: Module, images: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation over samples of what each tanh receives, shape (layers, features)."""
    with tn.no_grad(), tn.observe(model) as seen:  # shown
        model(images)
    paths = [path for path, module in model.named_modules() if isinstance(module, tn.nn.Tanh)]
    inputs = [seen[str(int(path) - 1)][0] for path in paths]
    return np.array([o.mean for o in inputs]), np.array([o.std for o in inputs])


def shift(digits: Digits, seed: int, progress: Progress) -> Finding:
    """Step a: statistics change from layer to layer and from step to step."""
    depth_rows: dict[str, list[tuple[float, float]]] = {}
    moved: dict[str, Array] = {}
    images = digits.train_images[:512]
    for norm in ("none", "batch"):
        rng = np.random.default_rng([seed, 1])
        model = tanh_network(DEPTH, norm, rng)
        mean, std = layer_statistics(model, images)
        depth_rows[norm] = [(float(np.median(np.abs(m))), float(np.median(s))) for m, s in zip(mean, std, strict=True)]
        snapshots = [(mean, std)]

        def snapshot(step: int, _: float, model: Module = model, into: list[tuple[Array, Array]] = snapshots) -> None:
            progress(1)
            if (step + 1) % SHIFT_EVERY == 0:
                into.append(layer_statistics(model, images))

        train(model, digits, SHIFT_STEPS, rng, snapshot)
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
        "training step; batch normalization holds them.",
        f"Median standard deviation over samples from layer 1 to {DEPTH}: {first:.3f} to {last:.4f} without, "
        f"{bn_first:.3f} to {bn_last:.3f} with batch norm; the means move by {shift_plain:.2f} and {shift_bn:.3f} "
        f"standard deviations in {SHIFT_EVERY} steps.",
        last < first / 10 and abs(bn_last - bn_first) < 0.1 and shift_bn < shift_plain,
        shown_line(layer_statistics),
        "For each layer: the mean and standard deviation of every feature over samples, of what the tanh receives, "
        "and of those the median over features. Statistics pooled over features would hide that all digits come out "
        "alike.\n\n"
        "Two things are called internal covariate shift. Lecture notes often mean the change from layer to layer; "
        "Ioffe and Szegedy (2015) mean the change of a layer's input over training steps, while the layers below "
        "learn. The table has both. Behind a batch norm the mean is β and the standard deviation γ, so they move "
        "only as fast as those two are trained; that is the point of it.\n\n"
        "The effect is not in doubt: it is in these numbers. That it explains why batch normalization helps is "
        "contested: Santurkar et al. (2018) put noise back behind the normalization, and training stayed just as "
        "fast; they credit a smoother loss surface.",
        [
            Table(
                f"What each tanh of a {DEPTH}-layer network receives: before training, and how far it moves in "
                f"{SHIFT_EVERY} steps (in standard deviations; average over {SHIFT_STEPS} steps)",
                ("layer", "|mean|", "std", "moves", "|mean|, batch norm", "std, batch norm", "moves, batch norm"),
                [
                    (layer + 1, *plain, float(moved["none"][layer]), *normed, float(moved["batch"][layer]))
                    for layer, (plain, normed) in enumerate(zip(depth_rows["none"], depth_rows["batch"], strict=True))
                ],
            )
        ],
        data={"depth": depth_rows, "moved": moved},
    )


def test_time(digits: Digits, seed: int, progress: Progress) -> Finding:
    """Step f: at test time the statistics of training take the place of the batch's own."""
    rng = np.random.default_rng([seed, 2])
    model = tanh_network(2, "batch", rng)
    train(model, digits, RACE_STEPS[DEPTH], rng, lambda step, loss: progress(1))
    images, labels = digits.test_images, digits.test_labels
    by_class = np.argsort(labels, kind="stable")
    shuffled = rng.permutation(len(labels))
    results = {
        "eval, running statistics": accuracy(model.eval(), images, labels),  # shown
        "train mode, random batches of 60": _batched_accuracy(model, images, labels, shuffled, 60),
        "train mode, batches of 36 sorted by class": _batched_accuracy(model, images, labels, by_class, 36),
        "train mode, random batches of 2": _batched_accuracy(model, images, labels, shuffled, 2),
    }
    drift = _running_against_population(model, digits.train_images)
    evaluated, *others = results.values()
    return Finding(
        "f",
        "Test time",
        "At test time the aggregated statistics of training take the batch's place: otherwise the answer for a digit "
        "depends on the digits that happen to be asked about with it.",
        f"Accuracy {100 * evaluated:.1f} % in eval mode; with the batch's own statistics {100 * others[0]:.1f} % on "
        f"random batches, {100 * others[1]:.1f} % on batches sorted by class, {100 * others[2]:.1f} % on batches of "
        "2.",
        evaluated > 0.9 and evaluated > others[1] and evaluated > others[2],
        shown_line(test_time),
        "Sorted by class, a batch holds one or two kinds of digit, and what they have in common is subtracted away. "
        "Of two digits, normalization leaves one bit for each feature: which of the two was larger.\n\n"
        "Running averages lag behind weights that still move. The table compares them with the exact statistics of "
        "the training set at the final weights.",
        [
            Table("Accuracy on 360 test digits", ("mode", "accuracy"), [(k, float(v)) for k, v in results.items()]),
            Table(
                "Running averages against the statistics of the whole training set",
                ("layer", "largest |difference of means| / std", "median var ratio", "smallest", "largest"),
                drift,
            ),
        ],
    )


def _batched_accuracy(model: Module, images: Array, labels: Array, order: Array, size: int) -> float:
    """Return the accuracy in train mode over batches in a given order; the model itself stays as it is."""
    model = deepcopy(model).train()
    parts = [order[i : i + size] for i in range(0, len(order), size)]
    return float(np.mean([accuracy(model, images[part], labels[part]) for part in parts]))


def _running_against_population(model: Module, images: Array) -> list[tuple[str, float, float, float, float]]:
    """Compare each BatchNorm's buffers with the mean and unbiased variance of what it receives in eval mode."""
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
    """Step g: the same network with each norm, over several seeds, deep and shallow."""
    tables, curves = [], {}
    finals: dict[tuple[int, str], Array] = {}
    for depth, steps in RACE_STEPS.items():
        rows = []
        for norm in NORMS:
            losses, scores = [], []
            for repetition in range(SEEDS):
                rng = np.random.default_rng([seed, 3, repetition])
                model = tanh_network(depth, norm, rng)
                history: list[float] = []

                def note(step: int, loss: float, into: list[float] = history) -> None:
                    into.append(loss)
                    progress(1)

                train(model, digits, steps, rng, note)  # shown
                losses.append(history)
                scores.append(accuracy(model.eval(), digits.test_images, digits.test_labels))
            curves[depth, norm] = np.array(losses)
            finals[depth, norm] = np.array(scores)
            last = np.array(losses)[:, -20:].mean(axis=1)
            rows.append((norm, _with_spread(last), _with_spread(np.array(scores))))
        tables.append(
            Table(
                f"{depth} hidden layer{'s' if depth > 1 else ''}, {steps} steps, {SEEDS} seeds (mean ± standard "
                "deviation)",
                ("norm", "training loss, last 20 steps", "test accuracy"),
                rows,
            )
        )
    deep_plain, deep_batch = finals[DEPTH, "none"].mean(), finals[DEPTH, "batch"].mean()
    shallow_plain, shallow_batch = finals[1, "none"].mean(), finals[1, "batch"].mean()
    return Finding(
        "g",
        "Does it help?",
        "A deep tanh network trains faster with normalization; in a shallow one it hardly matters.",
        f"Test accuracy with Adam at 1e-3, {DEPTH} layers, {RACE_STEPS[DEPTH]} steps: {100 * deep_plain:.1f} % "
        f"without, {100 * deep_batch:.1f} % with batch norm; one layer, {RACE_STEPS[1]} steps: "
        f"{100 * shallow_plain:.1f} % and {100 * shallow_batch:.1f} %.",
        bool(deep_batch > deep_plain + 0.05 and abs(shallow_batch - shallow_plain) < 0.025),
        shown_line(does_it_help),
        "All networks of a row start from the same weights and see the same batches. Width 64, batches of 64, the "
        "default initialization, one learning rate for all: a better-tuned network without normalization would do "
        "better too.",
        tables,
        data={"curves": curves},
    )


def _with_spread(values: Sequence[float] | Array) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def training_steps() -> int:
    """Return how many training steps the three take together, for the progress bar."""
    return 2 * SHIFT_STEPS + RACE_STEPS[DEPTH] + len(NORMS) * SEEDS * sum(RACE_STEPS.values())
