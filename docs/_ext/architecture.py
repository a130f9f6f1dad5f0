"""The directive ``architecture``: a picture of the imports between the rooms of the package, or the files of one.

Its content is the caption.
"""

import structure
from docutils import nodes
from sphinx.util.docutils import SphinxDirective


class Architecture(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self):
        name = self.arguments[0]
        for path in structure.MODULES.values():
            self.env.note_dependency(str(path))
        found = structure.rooms() if name == "rooms" else structure.files(name)
        svg = structure.picture(structure.thinned(found), name)
        picture = nodes.raw("", f'<div tabindex="0">{svg}</div>', format="html")  # on a phone it is scrolled
        words, _ = self.parse_inline(" ".join(self.content))
        return [nodes.figure("", picture, nodes.caption("", "", *words), classes=["architecture"])]


def setup(app):
    app.add_directive("architecture", Architecture)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
