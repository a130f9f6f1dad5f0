"""Links to files: a source file has a page on the site, and a live page is linked as it is, with the place in it that a
link names.

In a Markdown page `[tensor.py](../tinygrad_norm/engine/tensor.py)` leads to such a page, and so does [source] beside
each name of the API.
"""

import inspect
import os
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

import tinygrad_norm

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = {".py": "python", ".js": "javascript", ".css": "css", ".toml": "toml", ".sh": "bash", "": "bash"}
SCHEME, LIVE = "source:", "live:"


def mark_live(_app, _docname, source):
    """Mark links to live pages, which are no documents, and files only when the site is built."""
    source[0] = re.sub(r"\]\((?:\.\./)*([\w-]+\.html(?:#[^)\s]+)?)\)", rf"]({LIVE}\1)", source[0])


class FileLinks(SphinxTransform):
    """Turn what would be a download into a link to a page, but not what says itself that it is a download."""

    default_priority = 500

    def apply(self):
        for node in [x for x in self.document.findall(addnodes.download_reference) if x["reftype"] == "myst"]:
            page = Path(self.env.doc2path(self.env.docname))
            path = Path(os.path.normpath(page.parent / node["reftarget"]))
            if path.is_relative_to(ROOT) and path.suffix in LANGUAGES:
                uri = f"{SCHEME}{path.relative_to(ROOT).as_posix()}"
                node.replace_self(nodes.reference("", "", *node.children, refuri=uri, internal=True))


def linkcode_resolve(_domain, info):
    """Return where the source of a documented name is: a file, and a line of it."""
    thing = tinygrad_norm
    for name in f"{info['module']}.{info['fullname']}".split(".")[1:]:
        thing = getattr(thing, name, None)
    thing = inspect.unwrap(thing.fget if isinstance(thing, property) else thing)
    code = getattr(thing, "__code__", None)
    # Many operations are functions that another one made: their lines are its lines.
    if not inspect.isclass(thing) and (code is None or code.co_name != thing.__name__):
        return None
    path = Path(inspect.getsourcefile(thing)).resolve()
    if not path.is_relative_to(ROOT):
        return None
    return f"{SCHEME}{path.relative_to(ROOT).as_posix()}#L-{inspect.getsourcelines(thing)[1]}"


def point_to_pages(app, doctree, docname):
    """Write links to source files as links to their pages, and note the files that need one."""
    for node in doctree.findall(nodes.reference):
        if node.get("refuri", "").startswith(LIVE):
            node["refuri"] = "../" * docname.count("/") + node["refuri"].removeprefix(LIVE)
            node["internal"] = True
        if node.get("refuri", "").startswith(SCHEME):
            path, _, line = node["refuri"].removeprefix(SCHEME).partition("#")
            app.linked_sources.add(path)
            relative = app.builder.get_relative_uri(docname, f"sources/{path}")
            node["refuri"] = f"{relative}#{line}" if line else relative
            node["internal"] = True


def make_pages(app):
    """Yield a page for each source file that a written page links to."""
    for path in sorted(app.linked_sources):
        source = (ROOT / path).read_text(encoding="utf-8")
        code = app.builder.highlighter.highlight_block(
            source, LANGUAGES[Path(path).suffix], linenos="inline", lineanchors="L"
        )
        context = {"title": path, "body": f'<h1 class="source">{path}</h1>\n{code}', "display_toc": False}
        yield f"sources/{path}", context, "page.html"


def setup(app):
    app.linked_sources = set()
    app.add_transform(FileLinks)
    app.config.linkcode_resolve = linkcode_resolve
    app.connect("source-read", mark_live)
    app.connect("doctree-resolved", point_to_pages)
    app.connect("html-collect-pages", make_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
