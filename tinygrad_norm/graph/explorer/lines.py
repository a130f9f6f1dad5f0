"""Record the line of code of every operation of an examined function, from the frames on the stack."""

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
"""A code object, and the index of an instruction in it."""

_PACKAGE = Path(__file__).parents[2]
_LIBRARIES = tuple(path + os.sep for key, path in sysconfig.get_paths().items() if key.endswith("lib"))
# The code that is shown, in order of preference: the user's, a library's, the norm's, a layer's, the engine's.
_OWN, _LIBRARY, _NORM, _LAYER, _ENGINE, _NOBODY = range(6)
_ROOMS = {"norm": _NORM, "nn": _LAYER, "engine/ops": _ENGINE}
_NO_MATHEMATICS = ("checks.py", "pattern.py", "module.py")


class Lines(Trail):
    """A trail that keeps no Tensors, only the calls in which they were computed.

    Attributes
    ----------
    calls : dict from int to tuple of Calls
        The calls for each node, by its serial number, outermost first.
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
    """Return the path of a file within the package, or None for other files, whose paths stay private."""
    path = Path(filename)
    return path.relative_to(_PACKAGE.parent).as_posix() if path.is_relative_to(_PACKAGE) else None
