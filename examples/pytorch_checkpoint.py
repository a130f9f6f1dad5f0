"""
A PyTorch checkpoint
====================

Layers, arguments and state keys have PyTorch's names here, so a model trained in PyTorch can be loaded. The file
``tinygrad_norm/data/digits_cnn.safetensors`` holds a small convolutional network with batch norm (Ioffe and Szegedy
2015, arXiv:1502.03167), trained in PyTorch on handwritten digits, and the logits that PyTorch computes for the test
images.
"""

from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn
from tinygrad_norm.datasets import split_digits

# %%
# The architecture is written as in PyTorch. In PyTorch, ``safetensors.torch.save_file(model.state_dict(), path)`` makes
# such a file; unlike a pickle, it cannot run code when it is loaded.

model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(64, 10),
)  # fmt: skip
state = tn.load(files(tn) / "data" / "digits_cnn.safetensors")
expected = state.pop("logits")
model.load_state_dict(state)
model.eval()

# %%
# The logits are those of PyTorch but for rounding, and the decisions are the same:

digits = split_digits()
images, labels = digits.test_images.reshape(-1, 1, 8, 8), digits.test_labels
logits = model(images).data
print(f"PyTorch's logits are from {expected.min():.1f} to {expected.max():.1f}")
print(f"largest difference from them: {np.abs(logits - expected).max():.1e}")
for name, scores in (("PyTorch", expected), ("tinygrad_norm", logits)):
    print(f"{name}: {(scores.argmax(axis=1) == labels).sum()} of {len(labels)} test digits recognized")

# %%
# The others, with the label and what the network takes them for:

guesses = logits.argmax(axis=1)
wrong = np.flatnonzero(guesses != labels)
figure, axes = plt.subplots(1, len(wrong), figsize=(6.4, 1.6), layout="constrained")
for ax, i in zip(axes, wrong, strict=True):
    ax.imshow(images[i, 0], cmap="gray_r")
    ax.set(title=f"{labels[i]}, taken for {guesses[i]}", xticks=[], yticks=[])
    ax.title.set_size("small")
plt.show()

# %%
# What does a batch norm do in this network? Before the second one the channels differ in mean and spread, and after it
# they are similar. Boxes hold the middle half of the values, whiskers all but 1 % at either end.

# sphinx_gallery_thumbnail_number = 2
before = model[:5](images).data
figure, axes = plt.subplots(2, 1, figsize=(6.4, 5), layout="constrained")
for ax, values, place in zip(axes, (before, model[5](before).data), ("before", "after"), strict=True):
    ax.boxplot(np.moveaxis(values, 1, -1).reshape(-1, 16), whis=(1, 99), showfliers=False)
    ax.set(title=f"{place} the second batch norm", xlabel="channel")
plt.show()

# %%
# In eval mode it takes the mean and variance from the file, so it scales and shifts each channel, and can be merged
# into the convolution:

folded = tn.fold_batch_norm(model)
print("layers:", ", ".join(type(layer).__name__ for layer in folded))
print(f"largest difference of the logits after folding: {np.abs(folded(images).data - logits).max():.1e}")
