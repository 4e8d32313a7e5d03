"""docs/configuration.md is complete because it is made from the structs."""

from __future__ import annotations

import pytest

from fleetgate.options import options
from gateway.config import GatewayConfig
from node.config import NodeConfig
from scripts.configuration_page import PAGE, page


def test_the_page_is_what_make_docs_makes() -> None:
    assert PAGE.read_text() == page()


@pytest.mark.parametrize("schema", [GatewayConfig, NodeConfig])
def test_every_option_carries_its_reason(schema: type) -> None:
    assert [option.name for option in options(schema) if not option.why] == []
