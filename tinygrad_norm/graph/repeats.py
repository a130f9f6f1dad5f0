from .model import Graph
def with_runs_once(graph: Graph) -> Graph:
    return graph
