"""What happens in a run: load, mix, a slow node, several gateways."""

from __future__ import annotations

import msgspec


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of run. `length` multiplies its seconds: bursts need time to come, close races need many requests."""

    name: str
    title: str
    utilisation: float = 0.8
    bursty: bool = False
    oversized: float = 0.05  # share of requests; at this share both pools have the work that they can do
    slow: float = 1.0  # how many times slower the first heavy node is than it says
    gateways: int = 1
    length: float = 1.0


SCENARIOS: dict[str, Scenario] = {
    each.name: each
    for each in (
        Scenario(name="60", title="60 % load", utilisation=0.6),
        Scenario(name="80", title="80 % load", length=2.0),
        Scenario(name="90", title="90 % load", utilisation=0.9, length=3.0),
        Scenario(name="95", title="95 % load", utilisation=0.95, length=3.0),
        Scenario(name="130", title="130 % load", utilisation=1.3),
        Scenario(name="bursty60", title="60 % load in bursts", utilisation=0.6, bursty=True, length=2.0),
        Scenario(name="bursty80", title="80 % load in bursts", bursty=True, length=2.0),
        Scenario(name="mix2", title="80 % load, 2 % oversized", oversized=0.02),
        Scenario(name="mix10", title="80 % load, 10 % oversized", oversized=0.10, length=2.0),
        Scenario(name="slow", title="80 % load, a heavy node 3 times slower than it says", slow=3.0),
        Scenario(name="gateways2", title="80 % load, 2 gateways", gateways=2, length=2.0),
        Scenario(name="gateways4", title="80 % load, 4 gateways", gateways=4, length=2.0),
    )
}
# Only when a trace is given.
RECORDED = Scenario(name="recorded", title="a recorded trace at 80 % load")
STANDARD = ("80", "90", "130", "mix10")
# Several gateways are asked of the programs that keep their own counts in each.
SEVERAL = ("fleetgate", "haproxy leastconn", "envoy full_scan")
