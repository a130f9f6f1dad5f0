"""
Bugs with evaluation mode
=========================

In training mode batch norm uses the statistics of the batch, in evaluation mode its running statistics (S. Ioffe and C.
Szegedy 2015, `Batch Normalization <https://arxiv.org/abs/1502.03167>`_, section 3.1). Five bugs come from this. None of
them raises an error here. Each is tried on a copy of the same network, after 10 or after 200 steps.
"""

from copy import deepcopy

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_norm as tn
from tinygrad_norm.datasets import split_digits

digits = split_digits()


def network(rng):
    hidden = [(tn.nn.Linear(64, 64, rng=rng), tn.nn.BatchNorm1d(64), tn.nn.ReLU()) for _ in range(3)]
    return tn.nn.Sequential(*(layer for block in hidden for layer in block), tn.nn.Linear(64, 10, rng=rng))


def train(model, batches):
    optimizer = tn.optim.SGD(model.parameters(), lr=0.1)
    for batch in batches:
        optimizer.zero_grad()
        tn.nn.cross_entropy(model(digits.train_images[batch]), digits.train_labels[batch]).backward()
        optimizer.step()


@tn.no_grad()
def accuracy(model, order=range(360), size=360):
    batches = np.reshape(order, (-1, size))
    return 100 * np.mean([model(digits.test_images[i]).argmax(axis=1) == digits.test_labels[i] for i in batches])


def accuracies(seed):
    rng, found = np.random.default_rng(seed), {}
    batches = [rng.choice(len(digits.train_labels), 64, replace=False) for _ in range(200)]
    shuffled, by_class = rng.permutation(360), np.argsort(digits.test_labels, kind="stable")
    model, loaded = network(rng), network(rng)
    train(model, batches[:10])
    early, exact, stuck = deepcopy(model), deepcopy(model), deepcopy(model).eval()
    tn.recalibrate(exact, [digits.train_images])
    for trained in (stuck, model):
        train(trained, batches[10:])
    loaded.load_state_dict(loaded.state_dict() | {path: p.data for path, p in model.named_parameters()})
    found["no bug"] = accuracy(deepcopy(model).eval())
    found["no eval(): random batches of 36"] = accuracy(deepcopy(model), shuffled, 36)
    found["no eval(): random pairs"] = accuracy(deepcopy(model), shuffled, 2)
    found["no eval(): 36 sorted by class"] = accuracy(deepcopy(model), by_class, 36)
    for _ in range(10):
        model(1 - digits.test_images)  # still in training mode
    found["inverted digits seen before eval()"] = accuracy(model.eval())
    found["eval() after only 10 steps"] = accuracy(early.eval())
    found["the same with exact statistics"] = accuracy(exact.eval())
    found["no train() after step 10"] = accuracy(stuck)
    found["parameters saved, buffers not"] = accuracy(loaded.eval())
    return found


runs = [accuracies(seed) for seed in range(5)]
figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
for name, *values in zip(runs[0], *(run.values() for run in runs), strict=True):
    colour = "#0072B2" if name in ("no bug", "the same with exact statistics") else "#D55E00"
    axes.barh(name, np.mean(values), color=colour, alpha=0.4)
    axes.plot(values, [name] * 5, "o", color=colour, markersize=3)
    print(f"{name:36} {np.mean(values):.1f} %")
axes.set(xlabel="test accuracy in %, five seeds and their mean", xlim=(0, 100))
axes.invert_yaxis()
plt.show()

# %%
# Without ``eval()`` answers depend on the batch, which hardly shows in random batches of 36. Every such call also moves
# the running statistics: ten looks at inverted digits replace 65 % of them. After 10 steps they still lag behind: with
# exact ones (``tn.recalibrate``) the same network is far better. Training on in evaluation mode costs little here.
# Parameters put into a new network meet statistics of 0 and 1; ``load_state_dict`` refuses a state without the buffers.
