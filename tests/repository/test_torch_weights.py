"""A state file is read as numbers only: whatever else it asks for is refused."""

import os
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from repository import torch_weights


class FloatStorage:
    """Stands for torch.FloatStorage in a pickle."""


class Named:
    """Pickles as a call of `module.name` with `arguments`."""

    def __init__(self, function, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Writer(pickle.Pickler):
    """Writes storages as persistent ids, as PyTorch does."""

    def persistent_id(self, value: object) -> object:
        return value if isinstance(value, tuple) and value[:1] == ("storage",) else None


def rebuild(*_: object) -> None:
    """Stands for torch._utils._rebuild_tensor_v2."""


rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
FloatStorage.__module__ = "torch"


def state_file(path: Path, state: object, numbers: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    utils, torch = types.ModuleType("torch._utils"), types.ModuleType("torch")
    utils._rebuild_tensor_v2, torch.FloatStorage = rebuild, FloatStorage
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    with path.open("wb") as stream:
        for value in (torch_weights.MAGIC, 1001, {"little_endian": True}, state, ["0"]):
            Writer(stream, protocol=2).dump(value)
        stream.write(numbers.size.to_bytes(8, "little") + numbers.tobytes())
    return path


def tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], size: int) -> Named:
    storage = ("storage", FloatStorage, "0", "cpu", size, None)
    return Named(rebuild, storage, offset, shape, strides, False, OrderedDict())


def test_tensors_are_views_of_their_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.arange(6, dtype=np.float32)
    state = OrderedDict(w=tensor(0, (2, 3), (3, 1), 6), turned=tensor(0, (3, 2), (1, 3), 6))
    loaded = torch_weights.load(state_file(tmp_path / "w.pth", state, numbers, monkeypatch))

    assert loaded["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert loaded["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(("offset", "shape"), [(1, (2, 3)), (-1, (2, 2)), (0, (1000, 3))])
def test_tensor_beyond_its_storage_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int, shape: tuple[int, int]
) -> None:
    state = OrderedDict(w=tensor(offset, shape, (3, 1), 6))
    path = state_file(tmp_path / "w.pth", state, np.arange(6, dtype=np.float32), monkeypatch)

    with pytest.raises(pickle.UnpicklingError, match="beyond its storage"):
        torch_weights.load(path)


def test_code_in_a_state_file_is_refused_and_not_run(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Named(os.mkdir, str(victim)), protocol=2))

    with pytest.raises(pickle.UnpicklingError, match=r"refused: posix\.mkdir"):
        torch_weights.load(path)
    assert not victim.exists()


def test_other_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"w": [1, 2]}))

    with pytest.raises(pickle.UnpicklingError, match="no legacy PyTorch file"):
        torch_weights.load(tmp_path / "x.pth")
