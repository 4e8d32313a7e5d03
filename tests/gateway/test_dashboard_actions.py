"""What operators may change, and who may not."""

import logging
from typing import Any

import aiohttp
import pytest

from gateway.dashboard.guard import ACTION_HEADER
from tests.fakes.operators import TOKEN, desk, session

ALLOWED = {"Authorization": f"Bearer {TOKEN}", ACTION_HEADER: "1"}
WHY = {"reason": "new disk"}


async def act(
    client: aiohttp.ClientSession, path: str, body: Any = WHY, headers: dict[str, str] = ALLOWED
) -> tuple[int, dict[str, Any]]:
    async with client.post(path, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_drain_and_undrain() -> None:
    async with desk() as fleet, session(fleet) as client:
        status, event = await act(client, "/api/nodes/light-1/drain", {**WHY, "by": "Ada"})
        assert status == 200
        assert (event["subject"], event["reason"], event["by"]) == ("light-1", "new disk", "Ada from 127.0.0.1")
        assert fleet.fleet.backends["light-1"].standing.state == "draining"
        assert (await act(client, "/api/nodes/light-1/undrain"))[0] == 200
        assert fleet.fleet.backends["light-1"].standing.state == "healthy"
        assert fleet.changes == 2


async def test_eject_restore_and_weight() -> None:
    async with desk() as fleet, session(fleet) as client:
        await act(client, "/api/nodes/heavy-1/eject")
        assert fleet.fleet.backends["heavy-1"].standing.state == "ejected"
        await act(client, "/api/nodes/heavy-1/restore")
        assert fleet.fleet.backends["heavy-1"].standing.state == "healthy"
        status, event = await act(client, "/api/nodes/heavy-1/weight", {**WHY, "weight": 0.5})
        assert (status, event["text"]) == (200, "weight set to 0.5")
        assert fleet.fleet.backends["heavy-1"].weight == 0.5


async def test_threshold_and_policy_change_while_it_runs() -> None:
    async with desk() as fleet, session(fleet) as client:
        status, event = await act(
            client, "/api/routing", {**WHY, "oversize_pixels": 4_000_000, "policy": "least_connections"}
        )
        assert status == 200
        assert event["text"] == "oversize_pixels 8000000 → 4000000, policy earliest_finish → least_connections"
        assert fleet.scheduler.routing.oversize_pixels == 4_000_000
        assert fleet.scheduler.policy == "least_connections"
        async with client.get("/api/fleet") as answer:
            rules = (await answer.json())["rules"]
        assert (rules["oversize_pixels"], rules["policy"]) == (4_000_000, "least_connections")


async def test_an_action_is_seen_by_everyone_and_written_into_the_audit_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fleetgate.audit")
    async with desk() as fleet, session(fleet) as client:
        await act(client, "/api/nodes/light-1/drain")
        async with client.get("/api/journal") as answer:
            events = (await answer.json())["events"]
    assert [(event["kind"], event["subject"], event["text"]) for event in events[-2:]] == [
        ("action", "light-1", "drain by an operator"),
        ("draining", "light-1", "healthy → draining"),
    ]
    assert events[-1]["reason"] == "drained by an operator: new disk"
    (record,) = [record for record in caplog.records if record.name == "fleetgate.audit"]
    assert record.__dict__["fields"] == {"subject": "light-1", "reason": "new disk", "by": "an operator from 127.0.0.1"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({ACTION_HEADER: "1"}, 401),
        ({ACTION_HEADER: "1", "Authorization": "Bearer wrong"}, 401),
        ({ACTION_HEADER: "1", "Authorization": f"Basic {TOKEN}"}, 401),
        ({ACTION_HEADER: "1", "Authorization": "Bearer \u2603"}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 403),
        ({**ALLOWED, "Sec-Fetch-Site": "cross-site"}, 403),
        ({**ALLOWED, "Sec-Fetch-Site": "same-site"}, 403),
    ],
)
async def test_without_token_or_from_elsewhere_nothing_changes(headers: dict[str, str], status: int) -> None:
    async with desk() as fleet, session(fleet) as client:
        got, problem = await act(client, "/api/nodes/light-1/drain", headers=headers)
        assert got == status
        assert TOKEN not in str(problem)
        assert fleet.fleet.backends["light-1"].standing.state == "healthy"
        assert (await act(client, "/api/routing", {**WHY, "policy": "random"}, headers))[0] == status
        assert fleet.scheduler.policy == "earliest_finish"


async def test_without_a_configured_token_changes_are_off() -> None:
    async with desk(token="") as fleet, session(fleet) as client:
        status, problem = await act(client, "/api/nodes/light-1/drain", headers={**ALLOWED, "Authorization": "Bearer "})
        assert (status, problem["error"]) == (403, "Changes are turned off: no operator.token is set")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/nodes/nobody/drain", WHY, 404),
        ("/api/nodes/light-1/reboot", WHY, 404),
        ("/api/nodes/light-1/drain", {}, 400),
        ("/api/nodes/light-1/drain", {"reason": ""}, 400),
        ("/api/nodes/light-1/drain", {"reason": "x" * 301}, 400),
        ("/api/nodes/light-1/drain", {**WHY, "weight": 2}, 400),
        ("/api/nodes/light-1/drain", {**WHY, "force": True}, 400),
        ("/api/nodes/light-1/drain", [], 400),
        ("/api/nodes/light-1/weight", WHY, 400),
        ("/api/nodes/light-1/weight", {**WHY, "weight": -1}, 400),
        ("/api/nodes/light-1/weight", {**WHY, "weight": 1e9}, 400),
        ("/api/routing", WHY, 400),
        ("/api/routing", {**WHY, "policy": "magic"}, 400),
        ("/api/routing", {**WHY, "oversize_pixels": 0}, 400),
        ("/api/routing", {"reason": "x" * 9000}, 413),
    ],
)
async def test_a_strange_order_is_refused_with_its_status(path: str, body: Any, status: int) -> None:
    async with desk() as fleet, session(fleet) as client:
        got, problem = await act(client, path, body)
        assert got == status
        assert problem["error"]
        assert fleet.changes == 0


async def test_what_is_no_json_is_a_bad_request() -> None:
    async with desk() as fleet, session(fleet) as client:
        async with client.post("/api/routing", data=b"\xff{", headers=ALLOWED) as answer:
            assert answer.status == 400
        async with client.get("/api/nodes/light-1/drain") as answer:
            assert answer.status == 405
            assert answer.headers["Allow"] == "POST"
