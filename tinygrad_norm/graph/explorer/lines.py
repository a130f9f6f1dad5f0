"""Which line of code computed what: noted while a function is examined, by one look at the frames per operation."""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from ...engine.origins import Trail, examine
from ...engine.recording import COMPOSED

Call = tuple[CodeType, int]
"""A piece of code, and the instruction at which it stood."""

_PACKAGE = Path(__file__).parents[2]
_LIBRARIES = tuple(path + os.sep for key, path in sysconfig.get_paths().items() if key.endswith("lib"))
# Whose code is shown: the user's own, or else that of libraries, the textbook's, a layer's, a function's of the engine.
_OWN, _LIBRARY, _NORM, _LAYER, _ENGINE, _NOBODY = range(6)
_ROOMS = {"norm": _NORM, "nn": _LAYER, "engine/ops": _ENGINE}
_NO_MATHEMATICS = ("checks.py", "pattern.py", "module.py")


class Lines(Trail):
    """A trail that keeps no Tensor, only the calls in which each was made.

    Attributes
    ----------
    calls : dict from int to tuple of Calls
        By the serial number of a node; the outermost call comes first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[int, tuple[Call, ...]] = {}

    def append(self, made: Any) -> None:
        frames = _frames()
        for frame in frames:
            linecache.lazycache(frame.f_code.co_filename, frame.f_globals)
        self.calls[made.node.serial] = tuple([(frame.f_code, frame.f_lasti) for frame in frames])


def _frames() -> list[FrameType]:
    """Return the frames of the examined function that are shown, outermost first."""
    found = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not examine.__code__:
        if frame.f_code is not COMPOSED:
            found.append(frame)
        frame = frame.f_back
    found.reverse()
    rooms = [_room(frame.f_code.co_filename) for frame in found]
    room = min(rooms, default=_NOBODY)
    if room == _ENGINE == rooms[0]:
        return [frame for frame in found if frame.f_code.co_filename == found[0].f_code.co_filename]
    shown = [frame for frame, its in zip(found, rooms, strict=True) if its == room]
    return shown if room <= _NORM else shown[-1:] if room == _LAYER else []


@cache
def _room(filename: str) -> int:
    path = Path(filename)
    if path.is_relative_to(_PACKAGE):
        room = path.parent.relative_to(_PACKAGE).as_posix()
        return _NOBODY if path.name in _NO_MATHEMATICS else _ROOMS.get(room, _NOBODY)
    return _LIBRARY if filename.startswith((*_LIBRARIES, "<frozen ")) else _OWN


def name_of(filename: str) -> str | None:
    """Return how a file of the package is called there; a user's own path is nobody's business."""
    path = Path(filename)
    return path.relative_to(_PACKAGE.parent).as_posix() if path.is_relative_to(_PACKAGE) else None
