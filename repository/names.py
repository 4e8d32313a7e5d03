"""Names in a graph: what a user calls an input or output, found or guessed, and near names for a slip.

Works on a GraphDef as data; needs no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from repository.manifest import ArtefactError

GraphDef = Any
SAVER = "saver_filename"  # where a SavedModel of TensorFlow 2 is told what file to write
SCORES = {"LogSoftmax", "Sigmoid", "Softmax"}
TRAINERS = ("Apply", "ResourceApply", "ResourceSparseApply", "SparseApply")
# Leaves that are nobody's answer.
NO_ANSWERS = {"Assert", "Const", "NoOp", "Placeholder", "PlaceholderWithDefault", "Print", "PrintV2"}
NO_ANSWER_SUFFIXES = ("Summary", "SummaryV2")
NO_ANSWER_PREFIXES = ("Assign", "Save")


def named(references: Iterable[str]) -> dict[str, str]:
    """`name=tensor` or `tensor` → public name → tensor; without a name it is the node's."""
    found = {}
    for reference in references:
        name, given, tensor = reference.rpartition("=")
        found[name if given else tensor.partition(":")[0]] = tensor
    return found


def resolved(graph: GraphDef, tensors: Mapping[str, str], kind: str) -> dict[str, str]:
    """The same with every tensor as `node:index`; raises `ArtefactError` for a node that is not there."""
    nodes = {node.name for node in graph.node}
    found = {}
    for name, tensor in tensors.items():
        node, _, index = tensor.partition(":")
        if node not in nodes:
            raise ArtefactError(f"no node {node!r} for the {kind} {name!r}{near(node, nodes)}")
        found[name] = f"{node}:{index or 0}"
    return found


def guess_inputs(graph: GraphDef) -> dict[str, str]:
    """Every place where values come in."""
    return {node.name: f"{node.name}:0" for node in graph.node if node.op == "Placeholder" and node.name != SAVER}


def guess_outputs(graph: GraphDef) -> dict[str, str]:
    """What inputs lead to and nobody uses; but what looks like scores in a graph that trains: its leaf is the loss."""
    trains = any(node.op.startswith(TRAINERS) for node in graph.node)
    used = {node_of(source) for node in graph.node for source in node.input}
    fed = _reached(graph, set(guess_inputs(graph)))
    return {
        node.name: f"{node.name}:0"
        for node in graph.node
        if node.name in fed and (node.op in SCORES if trains else node.name not in used and _may_answer(node))
    }


def only(guesses: Mapping[str, str], kind: str) -> dict[str, str]:
    """The guesses, when there is one; raises `ArtefactError` that lists them otherwise."""
    if len(guesses) != 1:
        listed = ", ".join(list(guesses)[:8]) or "none found"
        raise ArtefactError(f"which node is the {kind}? name it with --{kind}s; candidates: {listed}")
    return dict(guesses)


def _may_answer(node: Any) -> bool:
    side_effect = node.op.startswith(NO_ANSWER_PREFIXES) or node.op.endswith(NO_ANSWER_SUFFIXES)
    return node.op not in NO_ANSWERS and not side_effect


def _reached(graph: GraphDef, starts: set[str]) -> set[str]:
    users: dict[str, list[str]] = {}
    for node in graph.node:
        for source in node.input:
            users.setdefault(node_of(source), []).append(node.name)
    reached, waiting = set(starts), list(starts)
    while waiting:
        for user in users.get(waiting.pop(), []):
            if user not in reached:
                reached.add(user)
                waiting.append(user)
    return reached


def near(name: str, known: Iterable[str]) -> str:
    """A hint to end an error with: names like `name`, else some that are known."""
    everything = sorted(known)
    close = get_close_matches(name, everything, 4, 0.5)
    short = name.rpartition("/")[2].lower()
    close += [other for other in everything if short and short in other.lower() and other not in close]
    return f"; near: {', '.join(close[:4])}" if close else f"; known: {', '.join(everything[:8])}"


def node_of(source: str) -> str:
    """The node of a tensor (`node:0`), an input (`node:0`, `node`) or a control input (`^node`)."""
    return source.removeprefix("^").partition(":")[0]
