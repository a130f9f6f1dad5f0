"""DOT text as an independent reader understands it."""

import html
import re
from typing import NamedTuple


class Dot(NamedTuple):
    """DOT text as an independent reader understands it."""

    nodes: dict[str, dict[str, str]]
    edges: list[tuple[str, str]]
    clusters: list[tuple[str, int]]  # label, depth
    inside: dict[str, tuple[str, ...]]  # labels of the clusters around a node
    same_rank: list[set[str]]
    looks: list[dict[str, str]]  # the attributes of each edge


def shown(escaped):
    """What Graphviz draws for an escString: doubled backslashes, \\n as line end, entities decoded."""
    out = re.sub(r"\\(.)", lambda m: {"n": "\n", "\\": "\\"}.get(m[1], f"<ESCAPE {m[1]}>"), escaped, flags=re.S)
    return html.unescape(out)


ID = r'(?:"(?:\\.|[^"\\])*"|[^\s\[\]{};=,"]+)'
LIST = rf"(?:\s*{ID}={ID})*"
STATEMENT = re.compile(
    rf"""\s*(?:
    (?P<open>digraph|subgraph\s+{ID})\s*\{{ | (?P<close>\}}) | \{{rank=same;(?P<rank>[^{{}}]*)\}} |
    (?P<tail>{ID})\s*->\s*(?P<head>{ID})\s*\[(?P<look>{LIST})\] | (?P<node>{ID})\s*\[(?P<attributes>{LIST})\] |
    (?P<own>{ID}={ID}{LIST})
    )\s*""",
    re.X | re.S,
)


def read(source):
    dot, stack, position = Dot({}, [], [], {}, [], []), [], 0
    while position < len(source):
        statement = STATEMENT.match(source, position)
        assert statement, source[position:]
        position = statement.end()
        pairs = re.findall(
            f"({ID})=({ID})", statement["attributes"] or statement["look"] or statement["own"] or "", flags=re.S
        )
        attributes = {key: re.sub(r'\\"', '"', value.removeprefix('"').removesuffix('"')) for key, value in pairs}
        if statement["open"]:
            stack.append(None)
        elif statement["close"]:
            stack.pop()
        elif statement["rank"]:
            dot.same_rank.append(set(re.findall(r"\w+", statement["rank"])))
        elif statement["tail"]:
            dot.edges.append((statement["tail"], statement["head"]))
            dot.looks.append(attributes)
        elif statement["own"]:
            stack[-1] = shown(attributes["label"])
            dot.clusters.append((stack[-1], len(stack) - 1))
        elif statement["node"] not in ("graph", "node", "edge"):
            assert statement["node"] not in dot.nodes
            dot.nodes[statement["node"]] = attributes
            dot.inside[statement["node"]] = tuple(stack[1:])
    assert stack == []
    return dot
