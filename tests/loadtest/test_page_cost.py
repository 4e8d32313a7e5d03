"""The command that measures what the operators' page costs, at a small scale: that it measures, not what."""

import re

import pytest

from loadtest.page_cost import main


def test_it_tells_the_share_of_a_core_by_open_pages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nodes", "20", "--rate", "100", "--seconds", "0.3"]) in (0, 1)
    said = capsys.readouterr().out
    assert said.startswith("20 nodes, 100 requests/s")
    assert re.findall(r"(\d+) pages open, above that +-?\d+\.\d\d%", said) == ["0", "1", "10"]
