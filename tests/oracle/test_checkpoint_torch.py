"""A PyTorch model's state file loads into the same architecture here and gives the same outputs, and back."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import tinygrad_norm as tn

torch = pytest.importorskip("torch", reason="compares with PyTorch, which the oracle extra installs")
files = pytest.importorskip("safetensors.torch", reason="state files need the extra 'files'")
pytestmark = pytest.mark.oracle
# The arrays are small, and the test processes would contend for the cores.
torch.set_num_threads(1)


def dense(nn):
    """Return a network of rows, from one library's layers or the other's."""
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4), nn.LayerNorm(4))


def convolutional(nn):
    """Return a network of images, likewise."""
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(8, 12, (3, 2), stride=2, padding=(1, 0), groups=4), nn.GroupNorm(3, 12), nn.SiLU()),
        nn.Flatten(), nn.Linear(48, 4),
    )  # fmt: skip


SHAPES = {dense: (16, 6), convolutional: (16, 2, 8, 9)}


def trained(architecture):
    """Return the same architecture here and in PyTorch, with parameters and statistics of their own, and an input."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    ours, theirs = architecture(tn.nn), architecture(torch.nn)
    for parameter in ours.parameters():
        parameter.data = rng.uniform(-0.4, 0.4, parameter.shape).astype(np.float32)
    x = rng.normal(2, 3, SHAPES[architecture]).astype(np.float32)
    ours(x)
    theirs(torch.tensor(x))
    return ours.eval(), theirs.eval(), x


@pytest.mark.parametrize("architecture", SHAPES)
def test_from_pytorch_and_back(architecture, tmp_path):
    ours, theirs, x = trained(architecture)
    apart = np.abs(ours(x).data - theirs(torch.tensor(x)).detach().numpy()).max()
    assert apart > 1e-2
    files.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    ours.load_state_dict(tn.load(tmp_path / "theirs.safetensors"))
    assert_allclose(ours(x).data, theirs(torch.tensor(x)).detach().numpy(), rtol=0, atol=1e-6)
    ours, theirs, x = trained(architecture)
    tn.save(tmp_path / "ours.safetensors", ours)
    theirs.load_state_dict(files.load_file(tmp_path / "ours.safetensors"))
    assert_allclose(theirs(torch.tensor(x)).detach().numpy(), ours(x).data, rtol=0, atol=1e-6)
