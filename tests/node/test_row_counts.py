"""Tensors of any number of rows, over HTTP, on a real graph: only warmed batch sizes run, and padding is never seen."""

import asyncio
from pathlib import Path

import msgspec
import tensorflow as tf

from node.config import Models, Session
from tests.fakes.artefacts import WarmSessions, toy
from tests.fakes.serving import Serving, serving
from wire.headers import INFERENCE_HEADER_LENGTH

BUCKETS = (1, 2, 4)
COUNTS = (3, 5, 7, 1, 6, 11, 2, 9)


def doubled(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Twice its rows; and of each row, how many ran together."""
    rows = tf.shape(x)[0]
    return 2.0 * x, tf.fill([rows], rows)


async def columns(node: Serving, rows: list[list[float]]) -> tuple[list[list[float]], list[int]]:
    """By TensorFlow Serving's protocol."""
    answer = await node.post("/v1/models/toy:predict", msgspec.json.encode({"inputs": rows}))
    assert answer.status == 200, answer.body
    return answer.json["outputs"]["out_0"], answer.json["outputs"]["out_1"]


async def tensors(node: Serving, rows: list[list[float]]) -> tuple[list[list[float]], list[int]]:
    """By the Open Inference Protocol."""
    flat = [value for row in rows for value in row]
    told = {"inputs": [{"name": "x", "shape": [len(rows), 3], "datatype": "FP32", "data": flat}]}
    answer = await node.post("/v2/models/toy/infer", msgspec.json.encode(told))
    assert answer.status == 200, answer.body
    assert INFERENCE_HEADER_LENGTH not in answer.headers
    found = {output["name"]: output for output in answer.json["outputs"]}
    assert found["out_0"]["shape"] == [len(rows), 3]
    data = found["out_0"]["data"]
    return [data[start : start + 3] for start in range(0, len(data), 3)], found["out_1"]["data"]


async def test_odd_numbers_of_rows_run_in_warmed_sizes_and_come_back_as_they_were_asked(tmp_path: Path) -> None:
    place = toy(tmp_path / "toy" / "1", doubled, tf.TensorSpec((None, 3), tf.float32, name="x"), buckets=BUCKETS)
    options = {"models": Models(artefacts=(str(place),)), "session": Session(threads=2, runners=2)}
    async with serving(tmp_path, sessions=WarmSessions(), **options) as node:
        asked, answers = [], []
        for number, count in enumerate(COUNTS * 2):
            rows = [[float(number), float(row), 0.5] for row in range(count)]
            asked.append(rows)
            answers.append((tensors if number % 2 else columns)(node, rows))
        together = await asyncio.gather(*answers)

    for rows, (values, sizes) in zip(asked, together, strict=True):
        assert values == [[2 * value for value in row] for row in rows]
        assert set(sizes) <= set(BUCKETS)
