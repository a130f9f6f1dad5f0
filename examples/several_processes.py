"""
Several processes
=================

A network with batch norm learns digits on several processes, each with its part of every batch. Start it with
``mpiexec -n 4 python -m mpi4py examples/several_processes.py``. Run without mpiexec, it is one process and learns the
same model: the statistics are those of the whole batch, however many processes share it.
"""

# sphinx_gallery_thumbnail_path = '_static/icon.svg'

import numpy as np

import tinygrad_norm as tn
from tinygrad_norm.datasets import split_digits
from tinygrad_norm.distributed import (
    MPIComm,
    allreduce_gradients,
    check_equal,
    convert_sync_batch_norm,
    recalibrate,
    shard,
)

BATCH, EPOCHS = 32, 5
comm = MPIComm()
digits = split_digits()
model = tn.nn.Sequential(
    tn.nn.Linear(64, 32, rng=0), tn.nn.BatchNorm1d(32), tn.nn.Tanh(),
    tn.nn.Linear(32, 32, rng=1), tn.nn.BatchNorm1d(32), tn.nn.Tanh(),
    tn.nn.Linear(32, 10, rng=2),
)  # fmt: skip
model = convert_sync_batch_norm(model, comm)
loss_of = tn.nn.CrossEntropyLoss(reduction="sum")
optimizer = tn.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
rng = np.random.default_rng(0)  # the same on every rank: all agree about the batches

for epoch in range(EPOCHS):
    total = 0.0
    order = rng.permutation(len(digits.train_images))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        mine = shard(batch, comm)
        loss = loss_of(model(digits.train_images[mine]), digits.train_labels[mine]) / len(batch)
        model.zero_grad()
        comm.backward(loss)  # the objective is the sum of the losses of all ranks
        allreduce_gradients(model.parameters(), comm)
        optimizer.step()
        total += loss.item() * len(batch)
    mean = comm.allreduce(np.array([total])).item() / len(order)
    if comm.rank == 0:
        print(f"{comm}, epoch {epoch + 1}: loss {mean:.6f}")

check_equal(model, comm)
recalibrate(model, [digits.train_images[shard(order, comm)]], comm)
model.eval()
mine = shard(np.arange(len(digits.test_labels)), comm)
right = (model(digits.test_images[mine]).data.argmax(axis=1) == digits.test_labels[mine]).sum()
right = comm.allreduce(np.array([float(right)])).item()
if comm.rank == 0:
    print(f"{right:.0f} of {len(digits.test_labels)} test digits are recognized correctly")
