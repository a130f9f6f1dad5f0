"""A small dataset of handwritten digits."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

import numpy as np

from .engine.operators import Array


class Digits(NamedTuple):
    """Digits as rows of 64 float32 pixels from 0 to 1, with labels from 0 to 9, split into training and test sets."""

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array


def load_digits() -> tuple[Array, Array]:
    """Return 1797 images of digits, uint8 ``(1797, 8, 8)`` from 0 to 16, and their labels, uint8 ``(1797,)``.

    Source: E. Alpaydin and C. Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, test set, CC BY 4.0.

    Examples
    --------
    >>> images, labels = load_digits()
    >>> images.shape, images.dtype, sorted(set(labels.tolist()))
    ((1797, 8, 8), dtype('uint8'), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    with (files("tinygrad_norm") / "data" / "digits.npz").open("rb") as file, np.load(file) as data:
        return data["images"], data["labels"]


def split_digits(seed: int = 0, test: int = 360) -> Digits:
    """Return the digits in random order, flattened and scaled to [0, 1]; the last ``test`` form the test set.

    Examples
    --------
    >>> digits = split_digits()
    >>> digits.train_images.shape, digits.train_images.dtype, len(digits.test_labels)
    ((1437, 64), dtype('float32'), 360)
    """
    images, labels = load_digits()
    order = np.random.default_rng([seed, 1998]).permutation(len(images))
    pixels = (images[order].reshape(len(images), -1) / 16).astype(np.float32)
    classes = labels[order].astype(np.int64)
    return Digits(pixels[:-test], classes[:-test], pixels[-test:], classes[-test:])
