"""One real Consul for all tests of this folder that do not break it; each test has a service name of its own."""

from collections.abc import Iterator

import pytest

from tests.fakes.real_consul import RealConsul, real_consul


@pytest.fixture(scope="session")
def consul() -> Iterator[RealConsul]:
    with real_consul() as agent:
        yield agent
