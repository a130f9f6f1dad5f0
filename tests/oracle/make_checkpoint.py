"""Train the network of ``examples/pytorch_checkpoint.py`` and write its state file, with the logits that PyTorch gives.

Start it with ``python -m tests.oracle.make_checkpoint``; PyTorch comes with the extra ``oracle``.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

import tinygrad_norm
from tinygrad_norm.datasets import split_digits

PATH = Path(tinygrad_norm.__file__).parent / "data" / "digits_cnn.safetensors"


def architecture(nn):
    """Return a small convolutional network of 8 x 8 images, from the layers of one library or the other."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def trained(images, labels, epochs=8):
    """Return the network after a few epochs of Adam, in eval mode."""
    torch.manual_seed(0)
    model = architecture(torch.nn)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def logits_of(model, rows):
    """Return the scores of ten classes for rows of 64 pixels, as an array."""
    return model(torch.tensor(rows).reshape(-1, 1, 8, 8)).numpy()


if __name__ == "__main__":
    torch.set_num_threads(1)
    digits = split_digits()
    model = trained(torch.tensor(digits.train_images).reshape(-1, 1, 8, 8), torch.tensor(digits.train_labels))
    logits = logits_of(model, digits.test_images)
    save_file({**model.state_dict(), "logits": torch.tensor(logits)}, PATH, {"made by": f"PyTorch {torch.__version__}"})
    right = (logits.argmax(axis=1) == digits.test_labels).sum()
    print(f"{PATH.name}: {PATH.stat().st_size} bytes, {right} of {len(logits)} test digits recognized")
