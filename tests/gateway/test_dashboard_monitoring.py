"""What we ship for Prometheus and Grafana asks only for numbers that exist, and is well formed."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.authority import CERTIFICATES
from tests.fakes.operators import desk, session
from tests.fakes.outcomes import failed, outcome, refused
from tests.fakes.serving import serving
from tests.get_promtool import obtain
from tls.config import ServerTls

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
TYPES = {"timeseries", "stat", "gauge", "bargauge", "heatmap", "table", "row"}
# What PromQL itself brings: functions, aggregations, keywords.
PROMQL = """sum max min avg count rate increase by on without and or unless vector scalar ceil round abs offset bool
    histogram_quantile quantile_over_time avg_over_time label_values time"""
WORDS = set(PROMQL.split())


async def promtool(*arguments: str | Path, told: bytes = b"") -> str:
    """What it says; fails the test unless it is content and silent about names."""
    program = await asyncio.to_thread(obtain)
    done = await asyncio.to_thread(
        subprocess.run, [program, *arguments], input=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


async def gateway_page() -> bytes:
    """/metrics of a gateway to which everything has happened."""
    async with desk() as fleet, session(fleet) as client:
        for ending in (
            outcome(),
            outcome(size_class="heavy", pool="light", attempts=2, retries=("node-busy",)),
            refused(),
            failed(),
            outcome(status=415, error="unsupported-media", attempts=0),
        ):
            fleet.metrics.finished(ending)
        fleet.scheduler.costs.judged("lite0", 10.0, 12.0)
        fleet.registry.failures["unreachable"] += 1
        async with client.get("/metrics") as answer:
            return await answer.read()


async def node_page(folder: Path) -> bytes:
    """/metrics of a node that speaks TLS."""
    async with serving(folder, tls=ServerTls(cert_file=str(CERTIFICATES / "node.pem"))) as node:
        return node.node.metrics.page()


def exposed(page: bytes) -> set[str]:
    """Every name that a query may use, from the samples and, for families without any yet, from their type."""
    names = set()
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    for family in text_string_to_metric_families(page.decode()):
        names.update(sample.name for sample in family.samples)
        names.update(family.name + suffix for suffix in suffixes.get(family.type, ("",)))
    return names


def asked(expression: str) -> set[str]:
    """The metric names of a PromQL expression."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\b(by|on|without)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"label_values\(([^,]*),[^)]*\)", r"\1", bare)
    return set(re.findall(r"(?<![\w.])[a-zA-Z_:][\w:]*", bare)) - WORDS


def rules() -> Iterator[tuple[str, str, str]]:
    """Kind, name and expression of every rule; the files are flat enough to be read by lines."""
    for file in ("recording.yml", "alerts.yml"):
        text = (PROMETHEUS / file).read_text()
        for kind, name, body in re.findall(r"- (record|alert): (\S+)\n(.*?)(?=\n +- (?:record|alert)|\Z)", text, re.S):
            expression = re.search(r"expr: (?:>-\n)?(.*?)(?=\n +(?:for|labels|#)|\Z)", body, re.S)
            assert expression, name
            yield kind, name, expression.group(1)


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """All but the rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


async def test_every_number_asked_for_exists(tmp_path: Path) -> None:
    known = exposed(await gateway_page()) | exposed(await node_page(tmp_path)) | {"up"}
    recorded = {name for kind, name, _ in rules() if kind == "record"}
    for kind, name, expression in rules():
        unknown = asked(expression) - known - (recorded if kind == "alert" else set())
        assert not unknown, f"{name} asks for {unknown}"
    for file in DASHBOARDS:
        dashboard = json.loads(file.read_text())
        queries = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
        queries += [each["definition"] for each in dashboard["templating"]["list"] if "definition" in each]
        for query in queries:
            assert asked(query) - recorded <= known, f"{file.name}: {query} asks for {asked(query) - recorded - known}"
            assert asked(query), f"{file.name}: {query} asks for nothing"


async def test_promtool_is_content_with_our_names() -> None:
    assert await promtool("check", "metrics", told=await gateway_page()) == ""


async def test_the_rules_do_what_their_tests_say() -> None:
    await promtool("check", "rules", PROMETHEUS / "recording.yml", PROMETHEUS / "alerts.yml")
    assert "SUCCESS" in await promtool("test", "rules", PROMETHEUS / "alerts_test.yml")


async def test_the_configuration_of_prometheus_is_good(tmp_path: Path) -> None:
    for file in ("recording.yml", "alerts.yml"):
        shutil.copy(PROMETHEUS / file, tmp_path)
    text = (PROMETHEUS / "prometheus.yml").read_text()
    # Debian builds its promtool without Consul; everything else of the file is checked as it is.
    without, found = re.subn(r"consul_sd_configs:\n.*?\n.*?\n", "static_configs: [{targets: ['node:9000']}]\n", text)
    assert found == 1
    (tmp_path / "prometheus.yml").write_text(without)
    assert "FAILED" not in await promtool("check", "config", tmp_path / "prometheus.yml")


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_can_be_provisioned_from_its_file(file: Path) -> None:
    dashboard = json.loads(file.read_text())
    assert dashboard["uid"] == f"fleetgate-{file.stem}"
    assert dashboard["id"] is None
    assert "__inputs" not in dashboard
    assert 37 <= dashboard["schemaVersion"] <= 41
    first = dashboard["templating"]["list"][0]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert {panel["type"] for panel in dashboard["panels"]} <= TYPES
    assert all(panel["datasource"] == source for panel in panels(dashboard))
    assert all(target["datasource"] == source for panel in panels(dashboard) for target in panel["targets"])
    identities = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(identities)) == len(identities)


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_no_two_panels_lie_on_each_other(file: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(file.read_text())["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_alert_has_its_section_in_the_runbook() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    alerts = [name for kind, name, _ in rules() if kind == "alert"]
    assert len(alerts) >= 10
    assert [name for name in alerts if f"\n### {name}\n" not in page] == []
    text = (PROMETHEUS / "alerts.yml").read_text()
    assert re.findall(r"runbook: docs/operations.md#(\S+)", text) == [name.lower() for name in alerts]


def test_every_metric_of_ours_is_described_in_the_documentation() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    names = {
        name
        for name in exposed(asyncio.run(gateway_page()))
        if name.startswith("fleetgate_") and not name.endswith(("_bucket", "_sum", "_count"))
    }
    assert sorted(name for name in names if f"`{name}`" not in page) == []
