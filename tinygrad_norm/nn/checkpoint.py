"""State files in the safetensors format, which PyTorch, JAX and Hugging Face can read and which cannot run code."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.operators import Array
from .module import Module, array_of

_DTYPES = {
    "BOOL": np.dtype("?"), "U8": np.dtype("u1"), "U16": np.dtype("<u2"), "U32": np.dtype("<u4"), "U64": np.dtype("<u8"),
    "I8": np.dtype("i1"), "I16": np.dtype("<i2"), "I32": np.dtype("<i4"), "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "C64": np.dtype("<c8"),
}  # fmt: skip
"""The dtypes of safetensors files that NumPy supports, by their names in the format."""


def save(path: str | os.PathLike[str], state: Module | Mapping[str, Any]) -> None:
    """Write a module's state, or a dict of arrays or Tensors, to a safetensors file. Requires the extra ``files``.

    An error leaves an existing file unchanged: the state is written to a temporary file, which then replaces it.

    Parameters
    ----------
    path : path
    state : Module or mapping from str to array or Tensor

    Raises
    ------
    ImportError
        If safetensors is not installed: ``pip install 'tinygrad_norm[files]'``.
    TypeError, ValueError
        If the format does not support a key or a value; the message names it, and nothing is written.

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
    content = to_bytes({key: _storable(key, value) for key, value in entries.items()})
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _storable(key: Any, value: Any) -> Array:
    """Return an entry as an array that the safetensors format supports."""
    if not isinstance(key, str):
        raise TypeError(f"the keys of a state must be strings, not {key!r}")
    if key == "__metadata__":
        raise ValueError("the key '__metadata__' is reserved by the file format; rename the entry")
    array = np.require(array_of(key, value), requirements="C")
    if array.dtype.newbyteorder("<") not in _DTYPES.values():
        raise TypeError(f"{key!r} has dtype {array.dtype}, which the safetensors format does not support")
    return array


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
        If the file is not a complete safetensors file, for example truncated, damaged or a pickle, or if it contains a
        dtype that NumPy does not support, such as bfloat16. The message names the entry.
    ImportError
        If safetensors is not installed: ``pip install 'tinygrad_norm[files]'``.
    """
    from safetensors import SafetensorError, deserialize

    content = Path(path).read_bytes()
    try:
        entries: list[tuple[str, dict[str, Any]]] = deserialize(content)  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)} is not a complete safetensors file ({error})") from None
    foreign = [f"{key!r} has dtype {entry['dtype']}" for key, entry in entries if entry["dtype"] not in _DTYPES]
    if foreign:
        raise ValueError(f"{os.fspath(path)} contains dtypes that NumPy does not support: {'; '.join(foreign)}")
    return {key: np.frombuffer(e["data"], _DTYPES[e["dtype"]]).reshape(e["shape"]) for key, e in entries}
