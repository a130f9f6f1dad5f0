"""Where the build puts what it makes, and how pages take it in: nothing of it is in the repository or in docs/."""

import hashlib
import os
import re
import shutil
from importlib.metadata import version
from pathlib import Path

from docutils import nodes
from made import FILES, LIVE, make
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("tinygrad_norm/**/*.*", "docs/_ext/*.py", "docs/fusing-figures.md")


def folder(doctreedir):
    """Return where everything is that the build makes: beside what Sphinx keeps for the next build."""
    return Path(doctreedir) / "made"


def fingerprint():
    """Return what changes when something that was made may be out of date."""
    found = hashlib.sha256("".join(map(version, ("numpy", "matplotlib"))).encode())
    for path in sorted(path for pattern in SOURCES for path in ROOT.glob(pattern) if path.suffix != ".pyc"):
        found.update(path.read_bytes())
    return found.hexdigest()


def make_files(app, _config):
    there, now = folder(app.doctreedir), fingerprint()
    stamp = there / "stamp"
    if stamp.exists() and stamp.read_text() == now:
        return
    logging.getLogger(__name__).info("running the tour, which takes less than a minute")
    there.mkdir(parents=True, exist_ok=True)
    make(there)
    stamp.write_text(now)


def take_in(app, docname, source):
    """Put texts that the build made where pages hold a block for those who read them as Markdown."""

    def text(block):
        path = folder(app.doctreedir) / block[1]
        app.env.note_dependency(path, docname=docname)
        return path.read_text(encoding="utf-8")

    source[0] = re.sub(r"(?ms)^```\{made\} (\S+)$.*?^```$", text, source[0])


class MadePictures(SphinxTransform):
    """Point to the pictures that the build made, as if they stood in docs/."""

    default_priority = 500

    def apply(self):
        there = os.path.relpath(folder(self.env.doctreedir), self.env.srcdir)
        for image in self.document.findall(nodes.image):
            name = os.path.normpath(Path(self.env.docname).parent / image["uri"])
            if name in FILES:
                image["uri"] = Path("/", there, name).as_posix()


def copy_live_pages(app, failure):
    if failure is None and app.builder.format == "html":
        for name in LIVE:
            shutil.copy(folder(app.doctreedir) / name, app.outdir)


def setup(app):
    app.connect("config-inited", make_files)
    app.connect("build-finished", copy_live_pages)
    app.connect("source-read", take_in, priority=400)  # before links are read
    app.add_transform(MadePictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
