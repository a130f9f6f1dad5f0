"""The gallery: the order of its scripts, drawings as pictures, and pages without what a reader does not need."""

from html import escape
from pathlib import Path
from textwrap import indent

from docutils import nodes

from tinygrad_norm.graph import Drawing, Picture

ORDER = (
    # Training
    "digits_with_and_without_norms",
    "batch_size_against_error",
    "santurkar_noise",
    "eval_mode_bugs",
    # Gradients
    "check_a_handwritten_backward",
    "by_hand_against_automatic",
    "property_based_tests",
    "gradient_penalty",
    # Norms and models of your own
    "draw_your_own_norm",
    "which_values_interact",
    "transformer_block",
    "pytorch_checkpoint",
)
"""What is not named here comes after it, by name."""
LEFT_OUT = {"sphx-glr-download-link-note", "sphx-glr-download-zip"}
"""A note that leads to the downloads, and an archive of the other two downloads."""


def place(file):
    """Return the key by which the scripts are sorted."""
    name = Path(file).stem
    return ORDER.index(name) if name in ORDER else len(ORDER), name


def drawings(_block, script, settings):
    """Show the drawing that is the value of a cell's last line, and save it for the script's card."""
    values = script["example_globals"]
    drawing = values.get("___")
    if not isinstance(drawing, Drawing | Picture):
        return ""
    values["___"] = None  # a later cell may have no value
    drawing.save(Path(next(script["image_path_iterator"])).with_suffix(".svg"))
    svg = drawing._repr_mimebundle_()[0]["image/svg+xml"]
    title = drawing.title if isinstance(drawing, Picture) else f"A graph of {len(drawing.graph.vertices)} boxes"
    # Wide ones scroll, which takes focus for those who have no pointer.
    html = f'<div class="drawing" tabindex="0" role="img" aria-label="{escape(title)}">{svg[svg.index("<svg") :]}</div>'
    return f"\n.. raw:: html\n\n{indent(html, '   ')}\n\n"


def leave_out(_app, document):
    for node in list(document.findall(nodes.Element)):
        if LEFT_OUT & set(node.get("classes", ())):
            node.parent.remove(node)


def without_tags(_app, _page, _template, context, _doctree):
    """Load no script for tags, which the scripts do not have."""
    context["script_files"] = [each for each in context["script_files"] if "sg-tags" not in str(each.filename)]


def setup(app):
    app.connect("doctree-read", leave_out)
    app.connect("html-page-context", without_tags)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
