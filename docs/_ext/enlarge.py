"""Make each picture of a page a link to the picture itself, so that it can be seen at its full size."""

from docutils import nodes


def link_pictures(app, doctree, docname):
    linked = {image for link in doctree.findall(nodes.reference) for image in link.findall(nodes.image)}
    for image in list(doctree.findall(nodes.image)):
        _, file = app.env.images.get(image["uri"], (None, None))
        if file and image.get("alt") and image not in linked:  # the cards of the gallery are links by themselves
            address = f"{'../' * docname.count('/')}{app.builder.imagedir}/{file}"
            link = nodes.reference("", "", refuri=address, internal=True)
            image.replace_self(link)
            link += image


def setup(app):
    app.connect("doctree-resolved", link_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
