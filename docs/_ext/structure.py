"""What imports what in the package, read from its source, and pictures of that."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import tinygrad_norm
from tinygrad_norm.graph.render import render
from tinygrad_norm.graph.svg import SANS, points, prefixed

ROOT = Path(tinygrad_norm.__file__).parent
LOOK = f"""
bgcolor=transparent nodesep=0.12 ranksep=0.3 fontname="{SANS}" fontsize=15 labeljust=l
node [shape=box fontname="{SANS}" fontsize=15 height=0.36 width=0 margin="0.09,0.04"]
edge [arrowsize=0.7]
"""
SMALLEST = 0.6
"""How far a narrow screen may scale a picture down."""

Imports = Mapping[str, set[str]]
"""For each name, the names that it imports."""


def module_name(path: Path) -> str:
    parts = (ROOT.name, *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py*")) if path.suffix in (".py", ".pyi")}
"""Where the package's own names are imported when they are used, their imports stand in the stub, which comes last."""


def imports(path: Path) -> Iterator[tuple[str, bool, bool]]:
    """Each import as an absolute module name, whether it is inside a function, and whether it is for types only."""
    package = (ROOT.name, *path.relative_to(ROOT).parent.parts)

    def visit(node: ast.AST, inside: bool, typing: bool) -> Iterator[tuple[str, bool, bool]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside, typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                deeper = f"{module}.{alias.name}"
                yield (deeper if deeper in MODULES else module), inside, typing
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        only_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside, typing or only_types)

    return visit(ast.parse(path.read_text(encoding="utf-8")), False, False)


def part_of(module: str) -> str:
    """Return the folder of the package, or the module directly in it, that a module belongs to."""
    return module.partition(".")[2].partition(".")[0]


def run_by(path: Path) -> set[str]:
    """Return the modules that a file imports when it runs, and not for its types alone."""
    return {module for module, _, typing in imports(path) if not typing}


def rooms() -> Imports:
    """Return the imports between the parts of the package. Its own ``__init__`` and ``__main__`` are no parts."""
    found: dict[str, set[str]] = {part_of(module): set() for module in MODULES}
    for module, path in MODULES.items():
        found[part_of(module)] |= {part_of(target) for target in run_by(path) if target.startswith(f"{ROOT.name}.")}
    return {room: targets - {room, ""} for room, targets in found.items() if room not in ("", "__main__")}


def files(room: str) -> Imports:
    """Return the imports between the files of a part, without each ``__init__.py``, which only gathers names."""
    paths = {module: path for module, path in MODULES.items() if part_of(module) == room and path.stem != "__init__"}
    names = {module: path.relative_to(ROOT / room).as_posix() for module, path in paths.items()}
    return {names[module]: {names[target] for target in run_by(path) & set(names)} for module, path in paths.items()}


def reached(found: Imports, name: str) -> set[str]:
    """Return all that a name imports, directly or not."""
    return found[name].union(*map(partial(reached, found), found[name]))


def thinned(found: Imports) -> Imports:
    """Leave out each import that follows from others: ``a -> c``, where ``a -> b`` and ``b -> c``."""
    return {
        name: targets.difference(*(reached(found, target) for target in targets)) for name, targets in found.items()
    }


def dot(found: Imports) -> str:
    """Return a drawing in DOT: what is imported stands below what imports it, and folders are frames."""
    folders: dict[str, list[str]] = {}
    for name in found:
        folder, _, file = name.rpartition("/")
        folders.setdefault(folder, []).append(f'"{name}" [label="{file.removesuffix(".py")}"]')
    lines = folders.pop("", [])
    for folder, inside in folders.items():
        lines += [f'subgraph "cluster_{folder}" {{ label="{folder}/"', *inside, "}"]
    lines += [f'"{name}" -> "{target}"' for name, targets in found.items() for target in sorted(targets)]
    return "\n".join(["digraph {", LOOK, *lines, "}"])


def picture(found: Imports, name: str) -> str:
    """Return the drawing as an SVG element. Its colours are the page's; its letters are never too small to read."""
    svg = render(dot(found)).decode()
    style = f"min-width: {SMALLEST * points(svg)[0]:.0f}pt"
    head = f'<svg role="img" aria-label="imports: {name}" style="{style}" '
    return prefixed(svg[svg.index("<svg") :], f"{name}-").replace("<svg ", head, 1)
