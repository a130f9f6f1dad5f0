"""PyTorch gives the logits that are stored in the state file of ``examples/pytorch_checkpoint.py``, and so do we."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinygrad_norm as tn
from tinygrad_norm.datasets import split_digits

torch = pytest.importorskip("torch", reason="compares with PyTorch, which the oracle extra installs")
files = pytest.importorskip("safetensors.torch", reason="state files need the extra 'files'")
pytestmark = pytest.mark.oracle


def test_pytorch_and_the_layers_here_give_the_stored_logits():
    from tests.oracle.make_checkpoint import PATH, architecture, logits_of

    digits = split_digits()
    state = files.load_file(PATH)
    stored = state.pop("logits").numpy()
    theirs, ours = architecture(torch.nn).eval(), architecture(tn.nn).eval()
    assert np.abs(logits_of(theirs, digits.test_images) - stored).max() > 1  # before the file is loaded
    theirs.load_state_dict(state)
    ours.load_state_dict({key: value.numpy() for key, value in state.items()})
    assert_allclose(logits_of(theirs, digits.test_images), stored, rtol=0, atol=2e-5)
    assert_allclose(ours(digits.test_images.reshape(-1, 1, 8, 8)).data, stored, rtol=0, atol=2e-5)
    right = (stored.argmax(axis=1) == digits.test_labels).sum()
    assert right > 0.97 * len(stored)
