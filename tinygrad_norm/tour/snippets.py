"""The programs shown in the tour. Each is complete and prints the main number of its section last."""

from __future__ import annotations

SEED, STEPS = "seed = 0", "steps = 200"


def snippet(letter: str, seed: int, steps: int = 200) -> str:
    """Return the program of a section, for the seed and the number of training steps of a run."""
    return SNIPPETS[letter].replace(SEED, f"seed = {seed}").replace(STEPS, f"steps = {steps}").strip() + "\n"


SNIPPETS = {
    "a": """
import numpy as np
import tinygrad_norm as tn
from tinygrad_norm.datasets import split_digits
from tinygrad_norm.tour.models import tanh_network

seed = 0
images = split_digits(seed).train_images[:512]
for norm in ("batch", "none"):
    rng = np.random.default_rng([seed, 1])
    model = tanh_network(10, norm, rng)
    x, spreads = tn.tensor(images), []
    for layer in model:
        if isinstance(layer, tn.nn.Tanh):
            spreads.append(np.median(x.data.std(axis=0)))
        x = layer(x)
    print(norm, np.round(spreads, 4))
print(f"{spreads[0] / spreads[-1]:.0f} times")
""",
    "b": """
import numpy as np
import tinygrad_norm as tn
from tinygrad_norm.datasets import split_digits

seed = 0
x = split_digits(seed).train_images.astype(np.float64)
y = tn.batch_norm(x, eps=1e-5)

mean, var = y.mean(axis=0), y.var(axis=0)
expected = x.var(axis=0) / (x.var(axis=0) + 1e-5)
print(np.sum(var == 0), "of 64 pixels are constant")
off = np.abs([mean, var - expected]).max()
print(f"{off:.1e}")
""",
    "c": """
import numpy as np
import tinygrad_norm as tn
from tinygrad_norm.datasets import split_digits

seed = 0
rng = np.random.default_rng([seed, 102])
layer = tn.nn.Linear(64, 64, rng=rng)
images = split_digits(seed).train_images[:64]
x = layer(images).data.astype(np.float64)
g = rng.normal(size=x.shape)  # a random cotangent, dL/dy

_, pullback = tn.vjp(tn.batch_norm, x)
right = pullback(g)

# Mean and variance held constant:
held = {"mean": x.mean(axis=0), "var": x.var(axis=0)}
_, pullback = tn.vjp(lambda x: tn.batch_norm(x, **held), x)
wrong = pullback(g)

report = tn.check_gradients(tn.batch_norm, x, seed=0)
print("automatic gradient off by", report.largest_relative_error)
off = np.linalg.norm(wrong - right) / np.linalg.norm(right)
print(f"{100 * off:.0f} %")
""",
    "d": """
import numpy as np
import tinygrad_norm as tn
from tinygrad_norm.datasets import split_digits

seed = 0
rng = np.random.default_rng([seed, 103])
linear = tn.nn.Linear(64, 4, rng=rng)
images = split_digits(seed).train_images[:16]
hidden = linear(images).data.astype(np.float64)
x, other = hidden[:8], hidden[8:]

weight, bias = np.sqrt(x.var(axis=0) + 1e-5), x.mean(axis=0)

def layer(x):
    return tn.batch_norm(x, weight=weight, bias=bias)

print("this batch, |y - x| <=", np.abs(layer(x) - x).max())
print("another, |y - x| <=", np.abs(layer(other) - other).max())
jacobian = tn.jacobian(layer, x).reshape(32, 32)
print(f"{np.abs(jacobian - np.eye(32)).max():.2f}")
""",
    "e": """
import numpy as np
import tinygrad_norm as tn
from tinygrad_norm.datasets import split_digits

seed = 0
rng = np.random.default_rng([seed, 104])
layer = tn.nn.Linear(64, 64, rng=rng)
images = split_digits(seed).train_images[:8]
x = layer(images).data.astype(np.float64)[:, :6]

other = ~np.eye(8, dtype=bool)
for norm in (lambda x: tn.layer_norm(x, 6), tn.batch_norm):
    jacobian = tn.jacobian(norm, x)  # [i, a, j, b]: dy_ia / dx_jb
    blocks = np.sqrt(np.square(jacobian).sum(axis=(1, 3)))
    print(f"{blocks[other].mean():.2g}")
""",
    "f": """
import numpy as np
from tinygrad_norm.datasets import split_digits
from tinygrad_norm.tour.models import (
    accuracy, tanh_network, train
)

seed = 0
steps = 200
digits = split_digits(seed)
rng = np.random.default_rng([seed, 2])
model = tanh_network(2, "batch", rng)
train(model, digits, steps, rng)

images, labels = digits.test_images, digits.test_labels
score = accuracy(model.eval(), images, labels)
print(f"{100 * score:.1f} % in eval mode")

model.train()
by_class = np.argsort(labels, kind="stable").reshape(10, 36)
scores = [
    accuracy(model, images[batch], labels[batch])
    for batch in by_class
]
print(f"{100 * np.mean(scores):.1f} %")
""",
    "g": """
import numpy as np
from tinygrad_norm.datasets import split_digits
from tinygrad_norm.tour.models import (
    accuracy, tanh_network, train
)

seed = 0
steps = 200
digits = split_digits(seed)
test = digits.test_images, digits.test_labels
scores = {"none": [], "batch": []}
for norm in scores:
    for repetition in range(3):
        rng = np.random.default_rng([seed, 3, repetition])
        model = tanh_network(10, norm, rng)
        train(model, digits, steps, rng)
        scores[norm].append(accuracy(model.eval(), *test))
    print(norm, np.round(scores[norm], 3))
gain = np.mean(scores["batch"]) - np.mean(scores["none"])
print(f"{100 * gain:.1f} points")
""",
    "h": """
import numpy as np
import tinygrad_norm as tn
from tinygrad_norm.datasets import load_digits

images = load_digits()[0][:32].astype(np.float64)
# Each digit in four patches of 4 x 4 pixels, as four channels.
x = images.reshape(32, 2, 4, 2, 4).swapaxes(2, 3)
x = x.reshape(32, 4, 4, 4)

named_norms = {
    "n c h w -> c": tn.batch_norm(x),
    "n c h w -> n": tn.layer_norm(x, (4, 4, 4)),
    "n c h w -> n c": tn.instance_norm(x),
    "n (g c) h w -> n g": tn.group_norm(x, 2),
}
equal = 0
for pattern, y in named_norms.items():
    sizes = {"g": 2} if "g" in pattern else {}
    same = tn.normalize(x, pattern, **sizes)
    equal += np.allclose(y, same, rtol=0, atol=1e-12)
print(f"{equal} of {len(named_norms)}")
""",
}
