"""Formulas as MathML, which browsers draw by themselves: the site loads nothing from elsewhere."""

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)


def _converted(translator, node, as_block):
    try:
        converted = latex2mathml.tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        logger.warning("formula %r: %s", node.astext(), error, location=node)
        converted = f"<code>{translator.encode(node.astext())}</code>"
    translator.body.append(f'<div class="math">{converted}</div>\n' if as_block else converted)
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer(
        "mathml",
        (lambda translator, node: _converted(translator, node, False), None),
        (lambda translator, node: _converted(translator, node, True), None),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
