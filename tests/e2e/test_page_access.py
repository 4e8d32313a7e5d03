"""The operator page by the rules for people who cannot see it, or not well: axe-core in a real browser, with data."""

import pytest
from axe_playwright_python.async_playwright import Axe

from tests.fakes.browser import Watched, browse
from tests.fakes.operators import Desk, desk
from tests.fakes.outcomes import failed, outcome, refused

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def fill(fleet: Desk) -> None:
    """Something in every list of the page, and trouble of every colour."""
    for number in range(30):
        heavy = number % 5 == 0
        fleet.journal.finished(
            outcome(
                request_id=f"r{number}",
                size_class="heavy" if heavy else "light",
                pool="light",
                pixels=24_000_000 if heavy else 480_000,
            )
        )
    fleet.journal.finished(failed(request_id="lost", detail="connection reset", node="light-2"))
    fleet.journal.finished(refused(request_id="turned-away"))
    fleet.dies("heavy-1")


async def findings(seen: Watched) -> list[str]:
    """What axe calls serious or critical, in a line each."""
    results = await Axe().run(seen.page)
    return [
        f"{found['id']}: {found['help']} {[part['target'] for part in found['nodes']]}"
        for found in results.response["violations"]
        if found["impact"] in {"serious", "critical"}
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [WIDE, NARROW], ids=["wide", "narrow"])
async def test_axe_finds_nothing_serious(scheme: str, screen: dict[str, int]) -> None:
    # axe is put into the page from outside, which the page's own policy rightly forbids.
    options = {"color_scheme": scheme, "viewport": screen, "bypass_csp": True}
    async with desk() as fleet, browse(fleet.url, **options) as seen:
        fill(fleet)
        page = seen.page
        await seen.verdict("Heavy pool down")
        await page.locator("canvas").nth(4).wait_for()
        await page.get_by_text("connection reset").first.wait_for()
        assert await findings(seen) == []
        await page.get_by_role("button", name="Refusals 1").click()
        await page.get_by_label("Find a request by its id").fill("lost")
        await page.get_by_role("button", name="Explain").click()
        await page.locator(".explanation").wait_for()
        assert await findings(seen) == []
        await page.get_by_role("button", name="Drain light-1").click()
        await page.get_by_role("dialog").wait_for()
        assert await findings(seen) == []
        assert seen.outside(fleet.url) == []
        assert seen.complaints == []


async def test_axe_finds_nothing_serious_without_javascript_either() -> None:
    async with desk() as fleet, browse(fleet.url, java_script_enabled=False) as seen:
        fill(fleet)
        await seen.page.reload()
        html = await seen.page.content()
    async with desk() as fleet, browse(fleet.url, bypass_csp=True) as seen:
        # axe is a script: it is shown what a browser without scripts drew.
        await seen.page.set_content(html.replace("<noscript>", "<div>").replace("</noscript>", "</div>"))
        assert await findings(seen) == []
