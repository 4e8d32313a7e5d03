"""The operator page in a real browser, over a real fleet model without nodes behind it."""

import asyncio

from discovery.instance import Status
from tests.fakes.browser import browse
from tests.fakes.operators import SMALL_FLEET, TOKEN, desk, node
from tests.fakes.outcomes import failed, outcome, refused

HOSTILE = "<img src=x onerror=alert(1)>'\"&<script>alert(2)</script>"


async def test_the_page_says_in_one_sentence_whether_we_can_serve() -> None:
    async with desk() as fleet, browse(fleet.url) as seen:
        await seen.page.locator("table.nodes tbody tr").nth(2).wait_for()
        await seen.verdict("Serving. All 3 nodes healthy.")
        assert await seen.page.title() == "✓ · fleetgate"
        fleet.dies("heavy-1")
        await seen.verdict("Serving. Heavy pool down: 1 of 1 node ejected; oversized images go to light nodes.")
        row = seen.page.locator('tr[data-node="heavy-1"]')
        assert "probe failed: connection refused" in await row.inner_text()
        assert await row.get_attribute("class") == "bad"
        fleet.dies("light-1")
        fleet.dies("light-2")
        await seen.verdict("Down. No node can serve: 3 ejected.")
        assert "DOWN" in await seen.page.title()
        assert seen.complaints == []


async def test_it_asks_nobody_else_and_breaks_no_policy_of_its_own() -> None:
    async with desk() as fleet, browse(fleet.url) as seen:
        await seen.page.locator("canvas").nth(4).wait_for()
        assert len(seen.asked) > 10
        assert seen.outside(fleet.url) == []
        assert seen.complaints == []


async def test_it_is_small_and_there_at_once() -> None:
    async with desk() as fleet, browse(fleet.url) as seen:
        await seen.page.locator("canvas").nth(4).wait_for()
        loads = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        sizes = await seen.page.evaluate(f"Object.fromEntries({loads}.map(one => [one.name, one.transferSize]))")
        paints = await seen.page.evaluate("performance.getEntriesByType('paint').map(one => one.startTime)")
        print(f"{sum(sizes.values())} bytes in {len(sizes)} answers, first paint after {min(paints):.0f} ms")
        assert len(sizes) >= 12
        assert 20_000 < sum(sizes.values()) <= 60_000


async def test_hostile_names_are_text() -> None:
    hostile = node(HOSTILE, models=(f"{HOSTILE}@1",), status=Status.CRITICAL)
    async with desk([*SMALL_FLEET, hostile]) as fleet, browse(fleet.url) as seen:
        fleet.journal.finished(failed(request_id=HOSTILE, detail=HOSTILE, node=HOSTILE, error=HOSTILE))
        fleet.journal.finished(outcome(request_id=HOSTILE, node=HOSTILE, pool=HOSTILE, size_class=HOSTILE))
        fleet.dies(HOSTILE)
        await seen.page.locator("td", has_text=HOSTILE).nth(4).wait_for()
        await seen.page.locator("button.link", has_text=HOSTILE).first.click()
        await seen.page.locator(".explanation", has_text=HOSTILE).wait_for()
        await seen.page.locator("tr", has_text=HOSTILE).get_by_role("button", name="More actions").click()
        await seen.page.locator("dialog", has_text=HOSTILE).wait_for()
        assert await seen.page.locator("img, main script").count() == 0
        assert seen.complaints == []


async def test_without_javascript_a_table_tells_the_same() -> None:
    async with desk() as fleet:
        fleet.dies("heavy-1")
        async with browse(fleet.url, java_script_enabled=False) as seen:
            await seen.verdict("Serving. Heavy pool down: 1 of 1 node ejected")
            assert await seen.page.locator("noscript table.nodes tbody tr").count() == 3
            row = await seen.page.locator("noscript tr.bad").inner_text()
            assert "heavy-1" in row
            assert "probe failed: connection refused" in row
            refresh = seen.page.locator('meta[http-equiv="refresh"]')
            assert await refresh.count() == 0
            await seen.page.get_by_role("link", name="Reload every 5 seconds").click()
            await seen.page.get_by_role("link", name="Stop reloading").wait_for()
            assert await refresh.count() == 1


async def test_drain_by_click_needs_a_reason_and_the_token_and_survives_a_reload() -> None:
    async with desk() as fleet, browse(fleet.url) as seen:
        page = seen.page
        await page.get_by_role("button", name="Drain light-1").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("button", name="Do it").click()
        assert fleet.changes == 0  # the browser insists on the reason
        await dialog.get_by_label("Reason").fill("new disk")
        await dialog.get_by_label("Your name").fill("Ada")
        await dialog.get_by_label("Operator token").fill("wrong")
        await dialog.get_by_role("button", name="Do it").click()
        await dialog.get_by_role("alert").filter(has_text="missing or wrong").wait_for()
        assert fleet.fleet.backends["light-1"].standing.state == "healthy"
        await dialog.get_by_label("Operator token").fill(TOKEN)
        await dialog.get_by_role("button", name="Do it").click()
        await page.locator('tr[data-node="light-1"] .state', has_text="draining").wait_for()
        await page.locator("section", has=page.locator("#events-title")).get_by_text("Ada from 127.0.0.1").wait_for()
        assert fleet.fleet.backends["light-1"].standing.state == "draining"
        await page.reload()
        await page.locator('tr[data-node="light-1"] .why', has_text="drained by an operator: new disk").wait_for()
        await page.get_by_role("button", name="Undrain light-1").click()
        assert await page.get_by_label("Operator token").count() == 0  # this tab knows it
        await page.get_by_label("Reason").fill("disk is in")
        await page.get_by_role("button", name="Do it").click()
        await page.locator('tr[data-node="light-1"] .state', has_text="healthy").wait_for()


async def test_a_pool_says_where_its_work_went() -> None:
    async with desk() as fleet, browse(fleet.url) as seen:
        pool = seen.page.locator(".pool", has_text="Light pool")
        await pool.get_by_text("ordinary images may spill to heavy nodes").wait_for()
        for number in range(4):
            fleet.journal.finished(outcome(request_id=str(number), pool="light" if number else "heavy"))
        await pool.get_by_text("→ 25 % of ordinary images went to heavy nodes in the last minute").wait_for()


async def test_the_threshold_is_moved_by_click() -> None:
    async with desk() as fleet, browse(fleet.url) as seen:
        page = seen.page
        await page.get_by_role("button", name="Change…").click()
        await page.get_by_label("Oversized from").fill("3.5")
        await page.get_by_label("Policy").select_option("p2c")
        await page.get_by_label("Reason").fill("heavy pool idles")
        await page.get_by_label("Operator token").fill(TOKEN)
        await page.get_by_role("button", name="Do it").click()
        await page.get_by_text("More than 3.5 MP is heavy.").wait_for()
        assert fleet.scheduler.routing.oversize_pixels == 3_500_000
        assert fleet.scheduler.policy == "p2c"


async def test_what_an_operator_has_typed_stays_while_the_fleet_changes() -> None:
    async with desk() as fleet, browse(fleet.url) as seen:
        page = seen.page
        await page.get_by_role("button", name="Change…").click()
        await page.get_by_label("Oversized from").fill("3.5")
        await page.get_by_label("Policy").select_option("p2c")
        fleet.dies("heavy-1")
        await seen.verdict("Serving. Heavy pool down")
        assert await page.get_by_label("Oversized from").input_value() == "3.5"
        assert await page.get_by_label("Policy").input_value() == "p2c"
        await page.get_by_role("button", name="Cancel").click()
        await page.locator('tr[data-node="light-1"]').get_by_role("button", name="More actions").click()
        await page.get_by_label("Set weight").check()
        await page.get_by_label("Weight (").fill("0.25")
        fleet.dies("light-2")
        await page.locator('tr[data-node="light-2"].bad').wait_for()
        assert await page.get_by_label("Weight (").input_value() == "0.25"


async def test_without_a_token_no_button_is_offered() -> None:
    async with desk(token="") as fleet, browse(fleet.url) as seen:
        await seen.page.get_by_text("Actions are off").wait_for()
        assert await seen.page.get_by_role("button", name="Drain").count() == 0


async def test_a_request_is_found_by_its_id_and_explained() -> None:
    async with desk() as fleet, browse(fleet.url) as seen:
        fleet.journal.finished(outcome(request_id="wanted", attempts=2, retries=("node-busy",)))
        await seen.page.get_by_label("Find a request by its id").fill("wanted")
        await seen.page.get_by_role("button", name="Explain").click()
        explanation = seen.page.locator(".explanation")
        await explanation.get_by_text("It went to light-1 in the light pool.").wait_for()
        await seen.page.get_by_label("Find a request by its id").fill("never seen")
        await seen.page.get_by_role("button", name="Explain").click()
        await explanation.get_by_text("not remembered").wait_for()


async def test_refusals_and_errors_are_listed() -> None:
    async with desk() as fleet, browse(fleet.url) as seen:
        fleet.journal.finished(refused(request_id="turned-away", detail="1000 requests wait already"))
        await seen.page.get_by_text("1000 requests wait already").wait_for()
        fleet.journal.finished(failed(request_id="lost"))
        await seen.page.get_by_role("button", name="Errors 1").click()
        await seen.page.get_by_text("A node answered garbage").wait_for()
        await seen.verdict("1 error in")


async def test_when_the_gateway_falls_silent_the_page_does_not_pretend() -> None:
    async with desk() as fleet, browse(fleet.url) as seen:
        await seen.page.locator("table.nodes").wait_for()
        await fleet.end()
        await seen.verdict("No word from the gateway for")
        assert "unknown" in str(await seen.page.locator("#verdict").get_attribute("class"))
        assert "lost" in await seen.page.title()


async def test_a_browser_that_slept_for_an_hour_is_told_everything_anew() -> None:
    async with desk() as fleet, browse(fleet.url) as seen:
        page = seen.page
        await seen.verdict("Serving. All 3 nodes healthy.")
        await page.context.set_offline(True)
        fleet.hang_up()
        await seen.verdict("No word from the gateway for")
        fleet.sleeps(3600)
        fleet.journal.finished(failed(request_id="while-it-slept"))
        fleet.dies("heavy-1")
        await page.context.set_offline(False)
        await seen.verdict("Heavy pool down")
        await page.get_by_text("while-it-slept").first.wait_for()
        assert await page.locator("tr", has_text="while-it-slept").count() >= 1
        assert await page.locator('tr[data-node="heavy-1"].bad').count() == 1


async def test_a_narrow_screen_needs_no_sideways_scrolling() -> None:
    async with desk() as fleet, browse(fleet.url, viewport={"width": 360, "height": 740}) as seen:
        await seen.page.locator("canvas").nth(4).wait_for()
        assert await seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_the_keyboard_reaches_an_action_and_leaves_it() -> None:
    async with desk() as fleet, browse(fleet.url) as seen:
        page = seen.page
        button = page.get_by_role("button", name="Drain light-1")
        await button.wait_for()
        for _ in range(40):
            await page.keyboard.press("Tab")
            if await button.evaluate("element => element === document.activeElement"):
                break
        await page.keyboard.press("Enter")
        assert await page.get_by_label("Reason").evaluate("element => element === document.activeElement")
        await page.keyboard.press("Escape")
        await page.get_by_role("dialog").wait_for(state="detached")


async def test_two_hundred_nodes_show_trouble_first() -> None:
    nodes = [node(f"node-{number:03}", "heavy" if number % 5 == 0 else "light") for number in range(200)]
    async with desk(nodes) as fleet, browse(fleet.url) as seen:
        fleet.dies("node-137")
        await seen.page.locator("tbody tr.bad").wait_for()
        rows = seen.page.locator("table.nodes tbody tr")
        assert await rows.count() == 50
        assert await rows.first.get_attribute("data-node") == "node-137"
        await seen.page.get_by_role("button", name="Show all 200").click()
        assert await rows.count() == 200
        await seen.page.get_by_label("Filter nodes").fill("node-04")
        await asyncio.sleep(0)
        await seen.page.get_by_text("10 shown").wait_for()
        await seen.page.get_by_label("only trouble").check()
        await seen.page.get_by_text("No node matches.").wait_for()


async def test_both_themes_can_be_chosen_and_are_kept() -> None:
    async with desk() as fleet, browse(fleet.url) as seen:
        background = "getComputedStyle(document.body).backgroundColor"
        await seen.page.get_by_label("Theme").select_option("dark")
        dark = await seen.page.evaluate(background)
        await seen.page.reload()
        await seen.page.get_by_label("Theme").wait_for()
        assert await seen.page.evaluate(background) == dark
        await seen.page.get_by_label("Theme").select_option("light")
        assert await seen.page.evaluate(background) != dark
