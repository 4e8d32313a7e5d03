"""`fleetgate freeze SOURCE -o ARTEFACT`: make an artefact of a model, or look into one with `--inspect`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import msgspec
from rich.console import Console

from fleetgate.freeze_view import print_inspection, summary
from repository.manifest import ArtefactError, Preprocessing
from repository.recipe import Recipe, Wanted

FILE_WIDTH = 200  # columns when the list goes to a file or to grep: names stay whole
EXAMPLES = """\
examples:
  fleetgate freeze cats.keras -o models/cats/1 --size 224 --mean 127.5 --std 127.5 --labels cats.txt --images *.jpg
  fleetgate freeze exported/ -o models/cats/2 --signature serving_default --outputs probabilities
  fleetgate freeze cats.ckpt.meta -o models/cats/3 --inputs image=input:0 --outputs head/Softmax --set is_training=false
  fleetgate freeze graph.pb --inspect
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `freeze` and its options."""
    parser = subparsers.add_parser(
        "freeze",
        help="freeze a model into an artefact",
        description="Freeze a Keras 3 file, a SavedModel (TensorFlow 1 or 2), a TensorFlow 1 checkpoint (.meta) or a "
        "frozen .pb into an artefact: one graph without variables, and a manifest with the SHA-256 of every file.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="ARTEFACT", help="directory to make: <root>/<model>/<version>"
    )
    parser.add_argument("--inspect", action="store_true", help="only list nodes, sizes, likely inputs and outputs")
    parser.add_argument("--trust", action="store_true", help="load Python code and file operations: they run as you")
    _add_graph_options(parser.add_argument_group("the graph"))
    _add_picture_options(parser.add_argument_group("pictures: value = (pixel - mean) / std, from 0 to 255"))
    _add_artefact_options(parser.add_argument_group("the artefact"))


def run(args: argparse.Namespace) -> int:
    """0 well, 1 refused, 2 called wrongly."""
    try:
        recipe = None if args.inspect else recipe_from(args)
    except (ValueError, msgspec.ValidationError) as error:
        print(f"fleetgate freeze: {error}", file=sys.stderr)
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        if recipe is None:
            _inspect(args.source, args.trust)
        else:
            _freeze(recipe)
    except ArtefactError as error:
        print(f"fleetgate freeze: {error}", file=sys.stderr)
        return 1
    return 0


def recipe_from(args: argparse.Namespace) -> Recipe:
    """What the options ask for; raises `ValueError` or `msgspec.ValidationError` for what they cannot mean."""
    target: Path | None = args.output
    if target is None:
        raise ValueError("-o ARTEFACT is missing (or --inspect)")
    numbered = target.name.isdigit()
    constants = dict(text.partition("=")[::2] for text in args.set)
    recipe = Recipe(
        source=args.source,
        target=target,
        name=args.name or (target.absolute().parent.name if numbered else target.name),
        version=args.model_version or (target.name if numbered else "1"),
        wanted=Wanted(args.signature, tuple(args.inputs), tuple(args.outputs), constants, args.trust),
        preprocessing=_preprocessing(args),
        labels=args.labels,
        label_output=args.label_output,
        images=tuple(args.images),
        buckets=None if args.buckets is None else tuple(sorted({int(size) for size in _numbers(args.buckets)})),
        sides=tuple(sorted({int(side) for side in _numbers(args.sides)})),
        precision=args.precision,
        tolerance=args.tolerance,
        licence=args.licence,
    )
    if recipe.images and recipe.preprocessing is None:
        raise ValueError("--images need to know how pictures become input: --size and, if need be, --mean and --std")
    return recipe


def _add_graph_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--signature", default="", metavar="KEY", help="of a SavedModel; serving_default if there")
    group.add_argument("--inputs", nargs="+", default=[], metavar="[NAME=]TENSOR", help="a node, or a signature's name")
    group.add_argument(
        "--outputs", nargs="+", default=[], metavar="[NAME=]TENSOR", help="a node, or a signature's name"
    )
    group.add_argument(
        "--set", nargs="+", default=[], metavar="NODE=JSON", help="placeholders to hold, is_training=false"
    )
    group.add_argument(
        "--buckets", metavar="1,2,4,8", help="batch sizes to serve; empty: none; default: as the graph allows"
    )
    group.add_argument("--sides", default="", metavar="256,512", help="sizes of free sides to warm before serving")
    group.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="bfloat16: 1.3 to 2 times as fast where the processor has it, float32 elsewhere; "
        "float16 is not offered: on a CPU it takes twice as long as float32",
    )
    group.add_argument("--tolerance", type=float, help="allowed difference to the source; 1e-4, or 0.03 for bfloat16")


def _add_picture_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--size", metavar="N|HxW", help="what the model takes; without it there is no preprocessing")
    group.add_argument("--image-input", default="", metavar="NAME", help="which input, if several take pictures")
    group.add_argument("--resize", choices=["crop", "stretch"], default="crop", help="centre square, or all of it")
    group.add_argument("--crop-share", type=float, default=0.875, metavar="SHARE", help="of the shorter side: 0.875")
    group.add_argument("--filter", default="bicubic", help="nearest, box, bilinear, hamming, bicubic or lanczos")
    group.add_argument("--mean", default="0", metavar="M|R,G,B", help="0 to 255, in the order R, G, B")
    group.add_argument("--std", default="255", metavar="S|R,G,B", help="255 gives values from 0 to 1")
    group.add_argument("--channels", choices=["RGB", "BGR"], default="RGB")
    group.add_argument("--images", nargs="+", type=Path, default=[], help="photographs to compare frozen and source on")


def _add_artefact_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--name", help="of the model; the directory's if not given")
    group.add_argument("--model-version", help="the directory's number if not given")
    group.add_argument("--labels", type=Path, metavar="FILE", help="class names: a JSON list, or a line each")
    group.add_argument(
        "--label-output", default="", metavar="NAME", help="the output they name; the first if not given"
    )
    group.add_argument("--licence", default="not stated", help="of the weights")


def _preprocessing(args: argparse.Namespace) -> Preprocessing | None:
    if args.size is None:
        return None
    height, width = map(int, _numbers(args.size.replace("x", ","), 2))
    steps = {
        "input": args.image_input,
        "height": height,
        "width": width,
        "resize": args.resize,
        "crop_share": args.crop_share if args.resize == "crop" else 1.0,
        "filter": args.filter,
        "mean": _numbers(args.mean, 3),
        "std": _numbers(args.std, 3),
        "channels": args.channels,
    }
    return msgspec.convert(steps, Preprocessing)


def _numbers(text: str, count: int = 0) -> list[float]:
    """Numbers between commas; one number stands for `count` of them. Raises `ValueError`."""
    values = [float(part) for part in text.split(",") if part.strip()]
    if count and len(values) == 1:
        values *= count
    if count and len(values) != count:
        raise ValueError(f"{text!r} should be one number, or {count}")
    return values


def _freeze(recipe: Recipe) -> None:
    console = Console()
    with console.status("starting TensorFlow") as status:
        from repository.freeze import freeze  # noqa: PLC0415 - imports TensorFlow

        def progress(step: str) -> None:
            status.update(step)
            if not console.is_terminal:
                console.print(step)

        report = freeze(recipe, progress)
    console.print(summary(recipe, report))


def _inspect(source: Path, trust: bool) -> None:
    console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
    with console.status("starting TensorFlow"):
        from repository.inspection import inspect  # noqa: PLC0415 - imports TensorFlow

        inspection = inspect(source, trust=trust)
    print_inspection(console, inspection)
