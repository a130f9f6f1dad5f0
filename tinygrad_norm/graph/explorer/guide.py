"""The guided run: predictions, each with the state of the page that it is about and the state that shows the answer.

Formulas are between backticks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .states import Facts, States, shown

Texts = list[dict[str, Any]]
Prediction = tuple[str, str, tuple[str, ...], int, str, str]
"""The question and its state, the answers, the index of the right one, the reason, and the state that shows it."""


def run_of_function(at: States) -> Texts:
    """Return the guided run of a page about a function, which has no questions."""
    key, names = at.first, list(at.steps(at.first))
    seen = [
        (
            "A box is an array: its value above, its gradient below. Blue is positive, orange is negative.",
            at(key, "given"),
        ),
        ("Click any cell to choose it. Every step then shows the arithmetic of this cell.", at(key, "given")),
        ("Next computes one array at a time, forward along the arrows.", at(key, at.output(key))),
        (
            "Then the gradient goes back along each arrow: the incoming gradient times the local derivative. Where two "
            "arrows meet, the contributions are added.",
            at(key, ""),
        ),
    ]  # fmt: skip
    if at.is_live(key):
        seen.append(("Type into a cell of an input, or drag it up or down, and everything is recomputed.", at(key, "")))
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
            f"{'' if count == 1 else 'each '}of {of} values.",
            page.at(key, "μ"),
        ))  # fmt: skip
    if "layer_norm" in page.known and page.x.shape[0] > 1:
        asked.append((
            "Add 1 to your cell of x only. In which of these norms does y change for other samples?",
            page.at("batch_norm", "y"), ("Batch normalization", "Layer normalization", "Every norm"), 0,
            "A mean over n is shared by all samples. In the other norms every mean belongs to one sample.",
            page.at("batch_norm", "y", add=1, to="cell"),
        ))  # fmt: skip
    if "rms_norm" in page.known:
        asked.append((
            "RMS normalization: add 3 to a whole sample of x. What happens to y there?",
            page.at("rms_norm", "y"), ("It grows by 3", "It does not change", "It changes, but not by 3"), 2,
            "No mean is subtracted, so adding a constant changes y.",
            page.at("rms_norm", "y", add=3, to="unit"),
        ))  # fmt: skip
    return _as_data(asked)


def _as_data(asked: list[Prediction]) -> Texts:
    keys = ("ask", "at", "answers", "right", "why", "then")
    return [dict(zip(keys, each, strict=True)) for each in asked]


def _values(page: Facts) -> list[Prediction]:
    """Ask about drifting values, subtracting the mean, and dividing by the standard deviation."""
    at, key, unit = page.at, page.key, page.short
    mean, var = page.moments
    if not page.norm.subtracts:
        return [
            (
                f"The scale of values drifts from layer to layer. Does every {unit} of x have mean square 1?",
                at(key, "given"), ("Yes", "No"), int(not np.allclose(var, 1, atol=0.01)),
                f"The mean squares range from {shown(var.min())} to {shown(var.max())}.",
                at(key, "mean x²"),
            ),
            (
                f"Each {unit} is divided by the root of its mean square. What is the mean square of a {unit} of x̂?",
                at(key, "r"), ("Nearly 1", "0", "The same as for x"), 0,
                "It is `m / (m + ε)`, where m is the mean square of x: 1, except for ε. The mean is not removed.",
                at(key, "x̂"),
            ),
        ]  # fmt: skip
    plain = np.allclose(mean, 0, atol=0.01) and np.allclose(var, 1, atol=0.01)
    return [
        (
            "The mean and spread of values drift from layer to layer. "
            f"Does every {unit} of x have mean 0 and variance 1?",
            at(key, "given"), ("Yes", "No"), int(not plain),
            f"The means range from {shown(mean.min())} to {shown(mean.max())}, the variances from {shown(var.min())} "
            f"to {shown(var.max())}.",
            at(key, "σ²"),
        ),
        (
            f"First the mean is subtracted. What does a {unit} of `x−μ` sum to?",
            at(key, "μ"), ("0", "μ", "1"), 0,
            "Positive and negative deviations from the mean cancel.",
            at(key, "x−μ"),
        ),
        (
            f"Then `x−μ` is divided by the standard deviation: `x̂ = (x−μ) · r`. What is the variance of a {unit} of x̂?",
            at(key, "r"), ("σ²", "Nearly 1", "r"), 1,
            "It is `σ² / (σ² + ε)`: 1, except for ε.",
            at(key, "x̂"),
        ),
    ]  # fmt: skip


def _changes(page: Facts) -> list[Prediction]:
    """Ask about adding and scaling, which explains the gradient later."""
    at, key, unit, y = page.at, page.key, page.short, page.y
    stays = page.norm.subtracts
    why = (
        f"The mean also grows by 3, so `x−μ` and {y} do not change."
        if stays
        else f"No mean is subtracted, so adding a constant changes {y}."
    )
    return [
        (
            f"Add 3 to a whole {unit} of x. What happens to {y} there?",
            at(key, y), ("It grows by 3", "It does not change", "It changes, but not by 3"), 1 if stays else 2, why,
            at(key, y, add=3, to=page.to),
        ),
        (
            f"Double a whole {unit} of x. What happens to its ∂L/∂x?",
            at(key, "∂L/∂x"), ("It is doubled", "It does not change", "It is halved"), 2,
            f"r is halved, so {y} does not change, except for ε. A change of x then has half the effect.",
            at(key, "∂L/∂x", times=2, to=page.to),
        ),
    ]  # fmt: skip


def _gradients(page: Facts) -> list[Prediction]:
    """Ask about the gradient through the statistics."""
    at, key, unit, y = page.at, page.key, page.short, page.y
    routes = "through μ, through σ², and through σ² and μ" if page.norm.subtracts else "and through the mean square"
    found: list[Prediction] = [(
        f"Follow the arrows back from {y} to x. How many routes are there?",
        at(key, y), ("One", "Two", "Four"), 2 if page.norm.subtracts else 1,
        f"Through the numerator alone, {routes}. Their contributions are added.",
        at(key, "∂L/∂x"),
    )]  # fmt: skip
    if "constant" in page.scenes:
        found.append((
            f"Suppose {page.were_constant}. {y} would be the same. Would ∂L/∂x be the same, too?",
            at(key, "∂L/∂x"), ("Yes", "No"), 1,
            f"Without the routes through the statistics, ∂L/∂x is wrong by {page.wrong_by} of its length.",
            at("constant", "∂L/∂x"),
        ))  # fmt: skip
    if page.norm.subtracts:
        found.append((
            f"What does a {unit} of ∂L/∂x sum to?",
            at(key, "∂L/∂x"), ("The sum of ∂L/∂y", "0", "1"), 1,
            f"Adding a constant to a whole {unit} of x does not change {y}, so the derivatives sum to 0.",
            at(key, "∂L/∂x"),
        ))  # fmt: skip
    return found


def _parameters(page: Facts) -> list[Prediction]:
    """Ask whether γ and β can restore the identity."""
    if "identity" not in page.scenes:
        return []
    return [(
        "Can γ and β undo the normalization of this batch, so that y is x?",
        page.at(page.key, "x̂"), ("Yes: γ = σ², β = μ", "Yes: γ = √(σ² + ε), β = μ", "No"), 1,
        "`x̂ · √(σ² + ε) + μ = x`. γ must be the standard deviation, not the variance.",
        page.at("identity", "y"),
    )]  # fmt: skip


def _company(page: Facts) -> list[Prediction]:
    """Ask whether the samples of a batch interact, about test time, and about another norm."""
    at, key, unit, y = page.at, page.key, page.short, page.y
    moved = page.statistics if page.norm.subtracts else "the mean square"
    is_batch = page.norm.name == "batch_norm"
    others = "So the samples of a batch depend on each other" if is_batch else "Other samples do not change"
    found: list[Prediction] = []
    if page.count > 1 and page.each > 2:
        found.append((
            f"Add 1 to your cell of x only. Which cells of {y} change?",
            at(key, y), (f"The same cell of {y}", f"Its {unit}", f"All of {y}"), 1,
            f"The cell changes {moved}, which its whole {unit} shares. {others}.",
            at(key, y, add=1, to="cell"),
        ))  # fmt: skip
    if "eval" in page.scenes:
        found.append((
            "At test time the batch may be a single sample. Which μ and σ² are used?",
            at("eval", "given"), ("Its own", "Stored ones", "0 and 1"), 1,
            "They were stored during training and are constants. Each cell of y depends on the same cell of x only.",
            at("eval", "∂L/∂x"),
        ))  # fmt: skip
    elif page.norm.name != "batch_norm":
        found.append((
            "At test time the batch may be a single sample. Does this norm need stored statistics?",
            at(key, "given"), ("Yes", "No"), 1,
            f"Every {page.unit} has its own statistics, so the computation is the same in training and at test time.",
            at(key, y),
        ))  # fmt: skip
    other = "layer_norm" if page.norm.name == "batch_norm" else "batch_norm"
    if other in page.scenes:
        own, shared = page.norm.shared, page.known[other].shared
        found.append((
            f"{page.known[other].title}, on the same numbers: which cells share a mean?",
            at(other, "given"), (f"A {own}", f"A {shared}"), 1,
            f"Its statistics are over {page.over(other)}, those before were over {page.over(key)}: n counts samples, "
            f"c {'features' if page.x.ndim == 2 else 'channels'}.",
            at(other, "μ"),
        ))  # fmt: skip
    return found
