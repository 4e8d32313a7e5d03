"""What `fleetgate freeze` shows: the summary of an artefact, and the nodes of a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from repository.manifest import TensorSpec
from repository.recipe import Recipe

if TYPE_CHECKING:
    from repository.freeze import Report
    from repository.inspection import Inspection


def summary(recipe: Recipe, report: Report) -> Table:
    """What was made, how near it is to its source, and what it costs."""
    manifest, verdict = report.manifest, report.verdict
    table = Table(title=f"{manifest.name} {manifest.version}", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        "artefact": str(recipe.target),
        "source": f"{report.kind}, {report.nodes_before} nodes → {report.nodes_after}",
        "inputs": "\n".join(map(_spec, manifest.inputs)),
        "outputs": "\n".join(map(_spec, manifest.outputs)),
        "batch sizes": ", ".join(map(str, manifest.batch_buckets)) or "none",
        "precision": manifest.precision,
        "compared on": f"{verdict.what}: difference {verdict.largest:.2g}, allowed {verdict.tolerance:g}",
        "same best label": verdict.same_top,
        "files": "\n".join(
            f"{name} {file.size:,} bytes, SHA-256 {file.sha256[:16]}…" for name, file in manifest.files.items()
        ),
    }
    if manifest.cost is not None:
        rows["one run"] = ", ".join(f"{size}: {ms:.1f} ms" for size, ms in manifest.cost.infer_ms.items())
        rows["decoding"] = ", ".join(f"{name} {ms:.1f}" for name, ms in manifest.cost.decode_ms_per_megapixel.items())
        rows["decoding"] += " ms per megapixel" if rows["decoding"] else ""
        rows["measured on"] = f"one thread of {manifest.cost.machine}"
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return table


def _spec(spec: TensorSpec) -> str:
    sides = ", ".join("?" if side is None else str(side) for side in spec.shape)
    return f"{spec.name} {spec.dtype} \\[{sides}] ({spec.tensor})"


def print_inspection(console: Console, inspection: Inspection) -> None:
    """Every node, then the signatures, then what inputs and outputs probably are."""
    console.print(_nodes(inspection))
    for key, (inputs, outputs) in inspection.signatures.items():
        console.print(f"signature [bold]{key}[/]: {_mapping(inputs)} → {_mapping(outputs)}", highlight=False)
    console.print(f"likely inputs: {_listed(inspection.inputs)}", highlight=False)
    console.print(f"likely outputs: {_listed(inspection.outputs)}", highlight=False)
    if inspection.refusal:
        console.print(f"would be refused: {inspection.refusal}", style="red", highlight=False)


def _nodes(inspection: Inspection) -> Table:
    total = sum(node.size for node in inspection.nodes)
    title = (
        f"{inspection.kind}: {len(inspection.nodes)} nodes, {inspection.functions} functions, constants {total:,} bytes"
    )
    table = Table(title=title, title_justify="left")
    for heading in ("node", "operation", "dtype", "shape"):
        table.add_column(heading, overflow="fold")
    table.add_column("bytes", justify="right")
    for node in inspection.nodes:
        table.add_row(
            node.name, node.op, node.dtype, node.shape.replace("[", "\\["), f"{node.size:,}" if node.size else ""
        )
    return table


def _mapping(tensors: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({tensor})" for name, tensor in tensors.items())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none found"
