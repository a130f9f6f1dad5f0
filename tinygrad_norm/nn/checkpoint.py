"""State files: safetensors, which PyTorch, JAX and Hugging Face read too, and which cannot run code."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.operators import Array, plain
from .module import Module


def save(path: str | os.PathLike[str], state: Module | Mapping[str, Any]) -> None:
    """Write a module's state, or a dict of arrays or Tensors, to a safetensors file; the extra ``files`` is needed.

    The file is complete or unchanged: it is written beside its place and then moved there.

    Parameters
    ----------
    path : path
    state : Module or mapping from str to array or Tensor

    Raises
    ------
    ImportError
        Without safetensors: ``pip install 'tinygrad_norm[files]'``.

    Examples
    --------
    >>> import tempfile, numpy as np, tinygrad_norm as tn
    >>> model = tn.nn.BatchNorm1d(2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tn.save(f"{folder}/model.safetensors", model)
    ...     sorted(tn.load(f"{folder}/model.safetensors"))
    ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight']
    """
    from safetensors.numpy import save as to_bytes

    entries = state.state_dict() if isinstance(state, Module) else dict(state)
    arrays = {key: np.require(plain(value), requirements="C") for key, value in entries.items()}
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(to_bytes(arrays))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def load(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read a safetensors file into a dict of arrays, for ``module.load_state_dict``.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict from str to array

    Raises
    ------
    FileNotFoundError
    ValueError
        If the file is not a complete safetensors file: truncated, damaged, or of another kind, such as a pickle.
    ImportError
        Without safetensors: ``pip install 'tinygrad_norm[files]'``.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    content = Path(path).read_bytes()
    try:
        return dict(from_bytes(content))
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)} is not a complete safetensors file ({error})") from None
