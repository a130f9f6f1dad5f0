"""A PyTorch model's state file loads into the same architecture here and gives the same outputs, and back."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinygrad_norm as tn

torch = pytest.importorskip("torch", reason="compares with PyTorch, which the oracle extra installs")
files = pytest.importorskip("safetensors.torch", reason="state files need the extra 'files'")
pytestmark = pytest.mark.oracle


def pair():
    """Return the same architecture here and in PyTorch, with parameters of their own."""
    torch.manual_seed(0)
    ours = tn.nn.Sequential(
        tn.nn.Linear(6, 8, rng=0), tn.nn.BatchNorm1d(8), tn.nn.Tanh(), tn.nn.Linear(8, 4, rng=1), tn.nn.LayerNorm(4)
    )
    theirs = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 4), torch.nn.LayerNorm(4)
    )
    x = np.random.default_rng(0).normal(2, 3, (16, 6)).astype(np.float32)
    ours(x)
    theirs(torch.tensor(x))
    return ours.eval(), theirs.eval(), x


def test_from_pytorch_and_back(tmp_path):
    ours, theirs, x = pair()
    apart = np.abs(ours(x).data - theirs(torch.tensor(x)).detach().numpy()).max()
    assert apart > 1e-2
    files.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    loaded, _, _ = pair()
    loaded.load_state_dict(tn.load(tmp_path / "theirs.safetensors"))
    assert_allclose(loaded(x).data, theirs(torch.tensor(x)).detach().numpy(), rtol=0, atol=1e-6)
    tn.save(tmp_path / "ours.safetensors", ours)
    theirs.load_state_dict(files.load_file(tmp_path / "ours.safetensors"))
    assert_allclose(theirs(torch.tensor(x)).detach().numpy(), ours(x).data, rtol=0, atol=1e-6)
