"""The guided run: one prediction at a time, each with the state that is asked about, and the one that answers.

Formulas stand between backticks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .states import Facts, States, shown

Texts = list[dict[str, Any]]
Prediction = tuple[str, str, tuple[str, ...], int, str, str]
"""What is asked, in which state; what can be answered, which of it is right, and why; the state that shows it."""


def run_of_function(at: States) -> Texts:
    """Return what there is to see on the page of a function, without questions."""
    key, names = at.first, list(at.steps(at.first))
    seen = [
        (
            "A box is an array: its value above, its gradient below. Blue is positive, orange is negative.",
            at(key, "given"),
        ),
        ("Press any cell: it is yours from then on, and every line shows its arithmetic.", at(key, "given")),
        ("Next computes one array after the other: forward, along the arrows.", at(key, at.output(key))),
        (
            "Then the gradient goes back along each arrow: what comes in, times the slope of the operation. Where two "
            "arrows meet, both are added.",
            at(key, ""),
        ),
    ]  # fmt: skip
    if at.is_live(key):
        seen.append(("Type into a cell of an input, or drag it up or down: everything is computed again.", at(key, "")))
    return [{"ask": text, "at": state} for text, state in seen if len(names) > 1]


def run_of_norm(page: Facts) -> Texts:
    """Return the guided run of a page about one norm."""
    asked = [*_values(page), *_changes(page), *_gradients(page), *_parameters(page), *_company(page)]
    return _as_data(asked)


def run_of_family(page: Facts) -> Texts:
    """Return the guided run of the page that compares norms."""
    known = [(key, norm) for key, norm in page.known.items() if norm.subtracts]
    asked: list[Prediction] = []
    for i, (key, norm) in enumerate(known):
        count = int(page.shared_in(key).max()) + 1
        of = page.x.size // count
        asked.append((
            f"{norm.title}: which cells of x share a mean?",
            page.at(key, "given"), tuple(f"A {each.unit}" for _, each in known), i,
            f"There {'is one mean' if count == 1 else f'are {count} means'} over {page.over(key)}, "
            f"of {of} values each.",
            page.at(key, "μ"),
        ))  # fmt: skip
    if "layer_norm" in page.known and page.x.shape[0] > 1:
        asked.append((
            "1 is added to your cell of x alone. In which of these norms does y of other samples change?",
            page.at("batch_norm", "y"), ("Batch normalization", "Layer normalization", "Every norm"), 0,
            "A mean over n is shared by all samples. Those of the other norms belong to one sample.",
            page.at("batch_norm", "y", add=1, to="cell"),
        ))  # fmt: skip
    if "rms_norm" in page.known:
        asked.append((
            "RMS normalization: 3 is added to a whole sample of x. What happens to y there?",
            page.at("rms_norm", "y"), ("It grows by 3", "It stays", "It changes, not by 3"), 2,
            "No mean is subtracted, so what is added changes y.",
            page.at("rms_norm", "y", add=3, to="unit"),
        ))  # fmt: skip
    return _as_data(asked)


def _as_data(asked: list[Prediction]) -> Texts:
    keys = ("ask", "at", "answers", "right", "why", "then")
    return [dict(zip(keys, each, strict=True)) for each in asked]


def _values(page: Facts) -> list[Prediction]:
    """Values drift; subtract the mean, divide by the standard deviation."""
    at, key, unit = page.at, page.key, page.short
    mean, var = page.moments
    if not page.norm.subtracts:
        return [
            (
                f"Values drift in size from layer to layer. Is the mean square of every {unit} of x 1?",
                at(key, "given"), ("Yes", "No"), int(not np.allclose(var, 1, atol=0.01)),
                f"The mean squares go from {shown(var.min())} to {shown(var.max())}.",
                at(key, "mean x²"),
            ),
            (
                f"Each {unit} is divided by the root of its mean square. What is the mean square of a {unit} of x̂?",
                at(key, "r"), ("Nearly 1", "0", "That of x"), 0,
                "It is m / (m + ε), where m is the mean square of x: 1, but for ε. The mean itself is not removed.",
                at(key, "x̂"),
            ),
        ]  # fmt: skip
    plain = np.allclose(mean, 0, atol=0.01) and np.allclose(var, 1, atol=0.01)
    return [
        (
            f"Values drift in mean and spread from layer to layer. Does every {unit} of x have mean 0 and variance 1?",
            at(key, "given"), ("Yes", "No"), int(not plain),
            f"The means go from {shown(mean.min())} to {shown(mean.max())}, the variances from {shown(var.min())} to "
            f"{shown(var.max())}.",
            at(key, "σ²"),
        ),
        (
            f"First the mean is subtracted. What does a {unit} of `x−μ` sum to?",
            at(key, "μ"), ("0", "μ", "1"), 0,
            "What lies above the mean and what lies below it cancel.",
            at(key, "x−μ"),
        ),
        (
            f"Then `x−μ` is divided by the standard deviation: `x̂ = (x−μ) · r`. What is the variance of a {unit} of x̂?",
            at(key, "r"), ("σ²", "Nearly 1", "r"), 1,
            "It is `σ² / (σ² + ε)`: 1, but for ε.",
            at(key, "x̂"),
        ),
    ]  # fmt: skip


def _changes(page: Facts) -> list[Prediction]:
    """Adding and scaling, before the gradient that follows from it."""
    at, key, unit, y = page.at, page.key, page.short, page.y
    stays = page.norm.subtracts
    why = (
        f"The mean moves along by 3, so `x−μ` stays, and {y} with it."
        if stays
        else f"No mean is subtracted, so what is added changes {y}."
    )
    return [
        (
            f"3 is added to a whole {unit} of x. What happens to {y} there?",
            at(key, y), ("It grows by 3", "It stays", "It changes, not by 3"), 1 if stays else 2, why,
            at(key, y, add=3, to=page.to),
        ),
        (
            f"A whole {unit} of x is doubled. What happens to its ∂L/∂x?",
            at(key, "∂L/∂x"), ("It is doubled", "It stays", "It is halved"), 2,
            f"{y} stays, but for ε, because r is halved. So a change of x counts half as much.",
            at(key, "∂L/∂x", times=2, to=page.to),
        ),
    ]  # fmt: skip


def _gradients(page: Facts) -> list[Prediction]:
    """Gradients must flow through the statistics."""
    at, key, unit, y = page.at, page.key, page.short, page.y
    routes = (
        "through μ, through σ², and through σ² and then μ" if page.norm.subtracts else "and through the mean square"
    )
    found: list[Prediction] = [(
        f"Follow the arrows back from {y} to x. How many routes are there?",
        at(key, y), ("One", "Two", "Four"), 2 if page.norm.subtracts else 1,
        f"Through the numerator alone, {routes}. What they carry adds up.",
        at(key, "∂L/∂x"),
    )]  # fmt: skip
    if "constant" in page.scenes:
        found.append((
            f"Suppose {page.were_constant}: {y} would be the same. Would ∂L/∂x be the same, too?",
            at(key, "∂L/∂x"), ("Yes", "No"), 1,
            f"The routes through the statistics are cut: ∂L/∂x is wrong by {page.wrong_by} of its length.",
            at("constant", "∂L/∂x"),
        ))  # fmt: skip
    if page.norm.subtracts:
        found.append((
            f"What does a {unit} of ∂L/∂x sum to?",
            at(key, "∂L/∂x"), ("What ∂L/∂y sums to", "0", "1"), 1,
            f"Adding a number to a whole {unit} of x does not change {y}: the slopes in that direction add up to 0.",
            at(key, "∂L/∂x"),
        ))  # fmt: skip
    return found


def _parameters(page: Facts) -> list[Prediction]:
    """γ and β can restore the identity."""
    if "identity" not in page.scenes:
        return []
    return [(
        "Can γ and β undo the normalization of this batch, so that y is x?",
        page.at(page.key, "x̂"), ("Yes: γ = σ², β = μ", "Yes: γ = √(σ² + ε), β = μ", "No"), 1,
        "`x̂ · √(σ² + ε) + μ = x`. γ is the standard deviation, not the variance.",
        page.at("identity", "y"),
    )]  # fmt: skip


def _company(page: Facts) -> list[Prediction]:
    """Samples of a batch interact or do not; at test time; the other norms."""
    at, key, unit, y = page.at, page.key, page.short, page.y
    moved = page.statistics if page.norm.subtracts else "the mean square"
    is_batch = page.norm.name == "batch_norm"
    others = ": the samples of a batch depend on each other" if is_batch else ", and no other sample"
    found: list[Prediction] = []
    if page.count > 1 and page.each > 2:
        found.append((
            f"1 is added to your cell of x alone. Which cells of {y} change?",
            at(key, y), (f"The same cell of {y}", f"Its {unit}", f"All of {y}"), 1,
            f"The cell moves {moved}, which its whole {unit} shares{others}.",
            at(key, y, add=1, to="cell"),
        ))  # fmt: skip
    if "eval" in page.scenes:
        found.append((
            "At test time a sample may come alone. Which μ and σ² does it get?",
            at("eval", "given"), ("Its own", "Stored ones", "0 and 1"), 1,
            "Training has stored them, and they are constants now. Each cell of y depends on its own x alone.",
            at("eval", "∂L/∂x"),
        ))  # fmt: skip
    elif page.norm.name != "batch_norm":
        found.append((
            "At test time a sample may come alone. Does this norm need stored statistics?",
            at(key, "given"), ("Yes", "No"), 1,
            f"Every {page.unit} has its own: what is computed is the same in training and at test time.",
            at(key, y),
        ))  # fmt: skip
    other = "layer_norm" if page.norm.name == "batch_norm" else "batch_norm"
    if other in page.scenes:
        own, shared = page.norm.shared, page.known[other].shared
        found.append((
            f"{page.known[other].title} takes the same numbers. Which cells share a mean there?",
            at(other, "given"), (f"A {own}", f"A {shared}"), 1,
            f"Statistics are taken over {page.over(other)} there, and over {page.over(key)} before: n counts samples, "
            f"c {'features' if page.x.ndim == 2 else 'channels'}.",
            at(other, "μ"),
        ))  # fmt: skip
    return found
