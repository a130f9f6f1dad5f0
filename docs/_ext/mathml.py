"""Formulas as MathML, which browsers draw by themselves: the site loads nothing from elsewhere."""

from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)

ACCENTS = {*"ˆ^ˉ¯_~˜˙¨→"}


def converted(formula, as_block):
    """Return a formula in MathML."""
    source = latex2mathml.tex2mathml(formula, as_block=as_block).replace("&ApplyFunction;", "\u2061")
    ElementTree.register_namespace("", "http://www.w3.org/1998/Math/MathML")
    tree = ElementTree.fromstring(source)
    space = tree.tag.removesuffix("math")
    for both in list(tree.iter(f"{space}munderover")):
        base, index, mark = both
        # Docutils sets the index of an x̂ under the x.
        if (mark.text or "").strip() in ACCENTS:
            both.tag = f"{space}msub"
            accented = ElementTree.Element(f"{space}mover", accent="true")
            accented[:] = base, mark
            both[:] = accented, index
    for table in tree.iter(f"{space}mtable"):
        table.set("displaystyle", "true")
    return ElementTree.tostring(tree, encoding="unicode")


def _visit(translator, node, as_block):
    try:
        formula = converted(node.astext(), as_block)
    except MathError as error:
        logger.warning("formula %r: %s", node.astext(), error, location=node)
        formula = f"<code>{translator.encode(node.astext())}</code>"
    translator.body.append(f'<div class="math">{formula}</div>\n' if as_block else formula)
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer(
        "mathml",
        (lambda translator, node: _visit(translator, node, False), None),
        (lambda translator, node: _visit(translator, node, True), None),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
