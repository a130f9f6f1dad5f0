"""
A transformer block, pre-norm and post-norm
===========================================

A transformer block adds attention, then a small network, to its input (Vaswani et al. 2017, arXiv:1706.03762). Layer
norm follows each addition (post-norm) or begins each branch (pre-norm; both in Xiong et al. 2020, arXiv:2002.04745).
"""

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_norm as tn
from tinygrad_norm import nn


class Attention(nn.Module):
    def __init__(self, width, heads, rng):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, rng=rng) for _ in range(4))

    def forward(self, x):
        q, k, v = (np.moveaxis(f(x).reshape(*x.shape[:2], self.heads, -1), 2, 1) for f in (self.q, self.k, self.v))
        weights = tn.ops.softmax(q @ k.mT / np.sqrt(q.shape[-1]))
        return self.out(np.moveaxis(weights @ v, 1, 2).reshape(x.shape))


class Block(nn.Module):
    def __init__(self, width, heads, pre_norm, rng):
        super().__init__()
        wide, back = nn.Linear(width, 4 * width, rng=rng), nn.Linear(4 * width, width, rng=rng)
        self.attention, self.mlp = Attention(width, heads, rng), nn.Sequential(wide, nn.GELU("tanh"), back)
        self.norm1, self.norm2, self.pre_norm = nn.LayerNorm(width), nn.LayerNorm(width), pre_norm

    def forward(self, x):
        if self.pre_norm:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))


rng = np.random.default_rng(0)
block, x = Block(8, heads=2, pre_norm=True, rng=rng), rng.normal(size=(2, 3, 8))  # 2 sequences of 3 tokens
tn.draw(block, x, fit=(480, 640), collapse=["Sequential", "layer_norm", "linear"])

# %%
# The arrows that go past the boxes are the residual connections. Check all gradients by numerical derivatives. That of
# the keys' bias is zero: this bias adds one number to all scores of a query, and softmax ignores it.

print(tn.check_module(block, x, seed=0)["train"].text())

# %%
# Now stack blocks, with random weights (drawn as by Xiong et al.), inputs and labels. How large is the gradient of each
# block's last matrix before training, on average over six draws?


def gradient_sizes(pre_norm, depth, seed, width=32):
    rng = np.random.default_rng([seed, depth])
    blocks = [Block(width, 4, pre_norm, rng) for _ in range(depth)]
    model = nn.Sequential(*blocks, nn.LayerNorm(width) if pre_norm else nn.Identity(), nn.Linear(width, 10, rng=rng))
    for p in filter(lambda p: p.ndim == 2, model.parameters()):
        p.data = (rng.normal(size=p.shape) * np.sqrt(2 / sum(p.shape))).astype(p.dtype)
    scores = model(rng.normal(size=(8, 8, width)).astype(np.float32))
    nn.cross_entropy(scores.reshape(64, 10), rng.integers(10, size=64)).backward()
    return [np.linalg.norm(block.mlp[2].weight.grad.data) for block in blocks]


for pre_norm, name, style in ((False, "post-norm", "C0o-"), (True, "pre-norm", "C1s-")):
    for depth in (2, 4, 8, 16):
        sizes = np.mean([gradient_sizes(pre_norm, depth, seed) for seed in range(6)], axis=0)
        plt.plot(range(1, depth + 1), sizes, style, markevery=[-1], label=name if depth == 2 else None)
        print(f"{name}, {depth} blocks: {sizes[-1]:.2f} in the last block")
plt.gca().set(xlabel="block, up to the last (marked) of 2, 4, 8 and 16", ylabel="length of the gradient", ylim=0)
plt.legend()
plt.show()

# %%
# With pre-norm the gradient of the last block falls with the number of blocks, with post-norm it does not. Xiong et al.
# derive such bounds (theorem 1) and see in them one reason why post-norm needs a warm-up: small steps at first.
