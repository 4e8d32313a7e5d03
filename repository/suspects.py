"""Operations that a frozen graph must not hold: Python code, files, state, and what TensorFlow does not know.

Needs TensorFlow, for the list of operations that it knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tensorflow.python.framework import op_def_registry

from repository.manifest import ArtefactError

GraphDef = Any
PYTHON = {"EagerPyFunc", "PyFunc", "PyFuncStateless"}
FILES = {
    *("LoadAndRemapMatrix", "MatchingFiles", "MergeV2Checkpoints", "ReadFile", "Restore", "RestoreSlice", "RestoreV2"),
    *("Save", "SaveSlices", "SaveV2", "WriteFile"),
}
VARIABLES = {"ReadVariableOp", "VarHandleOp", "Variable", "VariableV2"}
TABLES = {"HashTable", "HashTableV2", "LookupTableFind", "LookupTableFindV2", "MutableHashTableV2"}


def refuse_source(graph: GraphDef, *, trust: bool) -> None:
    """Before anything of a foreign graph is loaded or run; raises `ArtefactError`."""
    _refuse_unknown(graph)
    if not trust:
        _refuse(graph, PYTHON, "calls Python functions, which cannot be frozen (--trust if they only feed training)")
        _refuse(graph, {"ReadFile", "WriteFile"}, "reads or writes files (--trust if you know why)")


def refuse_frozen(graph: GraphDef, *, trust: bool) -> None:
    """What is left between inputs and outputs must be able to run anywhere; raises `ArtefactError`."""
    _refuse_unknown(graph)
    _refuse(graph, PYTHON, "needs Python functions between its inputs and outputs")
    _refuse(graph, VARIABLES, "still has variables: they were not saved with it")
    _refuse(graph, TABLES, "needs lookup tables, whose contents are not in the graph")
    if not trust:
        _refuse(graph, FILES, "reads or writes files between its inputs and outputs")


def every_node(graph: GraphDef) -> Iterator[Any]:
    """The nodes of a graph and of all its functions."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _refuse(graph: GraphDef, forbidden: Iterable[str], reason: str) -> None:
    for node in every_node(graph):
        if node.op in forbidden:
            raise ArtefactError(f"the graph {reason}: {node.op} ({node.name})")


def _refuse_unknown(graph: GraphDef) -> None:
    functions = {function.signature.name for function in graph.library.function}
    for node in every_node(graph):
        if node.op not in functions and op_def_registry.get(node.op) is None:
            raise ArtefactError(f"the graph needs an operation that TensorFlow does not have: {node.op} ({node.name})")
