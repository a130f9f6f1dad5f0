"""What is asked of the machine: its processor, and how it starts several processes."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def mpiexec() -> str | None:
    """Return the program that starts processes, where there is one: that of this environment first."""
    return shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
