"""How Sphinx builds the site: ``python -m sphinx -W -b html docs site``."""

import sys
from pathlib import Path

from docutils import nodes

import tinygrad_norm

sys.path.insert(0, str(Path(__file__).resolve().parent / "_ext"))

project = "tinygrad_norm"
author = "the tinygrad_norm authors"
version = release = tinygrad_norm.__version__
html_title = f"{project} {version}"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    # Not napoleon, which takes whatever it finds: numpydoc checks the sections of docstrings, and fails the build.
    "numpydoc",
    "sphinx.ext.linkcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    # The extensions of this site, in docs/_ext.
    "api",
    "architecture",
    "enlarge",
    "gallery",
    "generated",
    "sources",
]

exclude_patterns = ["_ext", "_templates"]
templates_path = ["_templates"]
default_role = "py:obj"
smartquotes = False  # docstrings and pages quote code
highlight_language = "default"

myst_enable_extensions = ["html_image"]
myst_heading_anchors = 4
myst_url_schemes = ["http", "https", "mailto", "live"]  # live: in docs/_ext/sources.py

autodoc_typehints = "none"  # the docstrings have the types, with shapes
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # what a layer has from Module is described there
numpydoc_show_class_members = False  # the template of a class lists its members
numpydoc_validation_checks = {"GL06", "GL07"}  # the names of the sections, and their order
numpydoc_validation_exclude = {r"\.ops\."}  # some operations have no `def`, which numpydoc looks for

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"(?<!several_processes)\.py$",  # that one needs MPI
    "within_subsection_order": "gallery.place",
    "image_scrapers": ("matplotlib", "gallery.drawings"),
    "image_srcset": ["2x"],
    "thumbnail_size": (800, 560),
    "css": (),  # docs/_static/gallery.css has what is needed, in the colours of the theme
    "capture_repr": ("_repr_html_",),  # and what is printed
    "inspect_global_variables": False,  # `x` is no link to Tensor
    "remove_config_comments": True,
    # How long a script took depends on the machine.
    "min_reported_time": float("inf"),
    "write_computation_times": False,
    "show_signature": False,
}

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css", "gallery.css"]
html_js_files = ["site.js"]
html_favicon = "_static/icon.svg"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False


def name_levels(_app, _page, _template, context, _doctree):
    """Give the headings of the contents the level that ARIA wants of them."""
    context["furo_navigation_tree"] = context["furo_navigation_tree"].replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )


def trim(_app, document):
    """Drop the blank line that ends an example in Markdown, where doctest needs it."""
    for block in document.findall(nodes.literal_block):
        text = block.astext().rstrip()
        block.rawsource = text
        block[:] = [nodes.Text(text)]


def setup(app):
    app.connect("doctree-read", trim)
    app.connect("html-page-context", name_levels, priority=900)  # after the theme
