# SPDX-License-Identifier: Apache-2.0
"""Pages in a real browser: accessibility in both themes, small screens, keyboard, live counters and changes."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from playwright.sync_api import Page, expect

from chains import models
from chains.engine.reconcile import run_change
from chains.services import intent
from chains.services.actor import SYSTEM
from tests.frontend import world
from tests.frontend.browser import Browser

pytestmark = [
    pytest.mark.browser,
    # WhiteNoise serves files by plain iterators; Django wraps them.
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}}
DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}


def session_of(client: Client) -> str:
    return str(client.cookies["sessionid"].value)


def every_page() -> list[str]:
    """With something on each: chains in force, planned, refused; a finding; a device that drifted."""
    applied = world.internet_chain()
    change = world.apply(applied)
    world.apply(world.chain({**builders_filter(), "failure_mode": "bypass"}, name="local", priority=9))
    world.traffic(packets=12_345, dropped=7)
    refused = world.plan(world.chain(name="huge", of="tenant-b", bandwidth_mbps=9_000_000))
    window = models.ChangeWindow.objects.create(name="nights", weekdays=[5, 6], opens_at="02:00", minutes=120)
    models.Tenant.objects.filter(name="tenant-b").update(needs_approval=True)
    waits = intent.change_create(actor=SYSTEM, plan=world.plan(world.chain(name="waits", of="tenant-b", priority=7)))
    leaf = models.Device.objects.get(name="leaf1")
    models.Finding.objects.create(
        code="drift", device=leaf, chain=applied, severity="critical", detail="x", witness={"a": 1}
    )
    models.DeviceStatus.objects.filter(device=leaf).update(condition="drifted", reason="one item is missing")
    models.Chain.objects.filter(pk=applied.pk).update(status="degraded", status_reason="drift on leaf1")
    return [
        "/",
        "/chains/",
        "/chains/new/",
        f"/chains/{applied.pk}/",
        f"/chains/{applied.pk}/edit/",
        f"/chains/{refused.chain_id}/",
        f"/plans/{change.plan_id}/",
        f"/plans/{refused.pk}/",
        f"/changes/{change.pk}/",
        f"/changes/{waits.pk}/",
        "/changes/",
        "/windows/",
        f"/windows/{window.pk}/",
        "/devices/",
        "/devices/leaf1/",
        "/findings/?state=all",
        "/audit/",
        "/subscribers/",
        "/chains/999999/",
        "/no-such-page/",
    ]


def builders_filter() -> dict[str, Any]:
    return {"function": "filter", "policy": world.NGFW["policy"]}


def complaints_of(page: Page) -> list[str]:
    """What the browser says on its console: violations of the content security policy, script errors."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("request", lambda request: found.append(request.url) if not own(page, request.url) else None)
    return found


def own(page: Page, address: str) -> bool:
    return address.startswith(("http://127.0.0.1:", "data:"))


def test_no_page_has_a_barrier_in_either_theme_and_all_fit_a_phone(browser: Browser, server: str) -> None:
    pages = every_page()
    axe = Axe()

    def barriers_of(page: Page, address: str) -> list[str]:
        found = []
        page.goto(address)
        for details in page.locator("details:not(.menu):not(.confirm)").all():
            details.evaluate("element => { element.open = true }")
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            page.wait_for_function("theme => document.documentElement.dataset.bsTheme === theme", arg=theme)
            result = axe.run(page)
            if result.violations_count:
                found.append(f"{address} in {theme}: {result.generate_report()}")
        page.set_viewport_size(PHONE["viewport"])
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            found.append(f"{address} scrolls sideways on a phone")
        page.set_viewport_size(DESK["viewport"])
        return found

    def job(page: Page) -> list[str]:
        complaints = complaints_of(page)
        found = [text for address in ["/login/", *pages] for text in barriers_of(page, address)]
        return found + [text for text in complaints if "404" not in text]

    # Without motion: colours are measured, and a transition would still show those of the other theme.
    assert browser.look(job, server, session_of(world.operator()), reduced_motion="reduce", **DESK) == []


def test_the_theme_is_chosen_and_remembered(browser: Browser, server: str) -> None:
    def job(page: Page) -> list[str]:
        seen = []
        page.goto("/chains/")
        for _ in range(4):
            seen.append(page.evaluate("document.documentElement.dataset.bsTheme"))
            page.locator("[data-theme-toggle]").click()
        page.goto("/")
        seen.append(page.locator("[data-theme-toggle]").inner_text())
        return seen

    # The system is dark: system, light, dark, system; then light is chosen and kept.
    seen = browser.look(job, server, session_of(world.operator()), color_scheme="dark", **DESK)
    assert seen == ["dark", "light", "dark", "dark", "Theme: light"]


def test_the_keyboard_is_enough(browser: Browser, server: str) -> None:
    row = world.chain()

    def job(page: Page) -> None:
        page.goto(f"/chains/{row.pk}/")
        page.keyboard.press("Tab")
        expect(page.locator(".skip-link")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#main")).to_be_focused()
        page.locator("summary", has_text="Delete").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Delete the chain")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Delete the chain")).not_to_be_visible()
        expect(page.locator("summary", has_text="Delete")).to_be_focused()
        page.get_by_role("button", name="Plan").focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Apply this plan").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("Change")

    browser.look(job, server, session_of(world.operator()), **DESK)
    assert models.Change.objects.count() == 1


def test_counters_move_in_a_drawing_that_stays(browser: Browser, server: str) -> None:
    row = world.internet_chain()
    world.apply(row)
    world.traffic(packets=100)
    session = session_of(world.operator())
    opened = Event()

    def job(page: Page) -> None:
        page.goto(f"/chains/{row.pk}/")
        count = page.locator('[data-counter="hop-1-forward"]')
        expect(count).to_have_text("100")
        opened.set()
        page.evaluate("window.drawing = document.querySelector('.path-drawing')")
        page.locator(".drawing").focus()
        expect(count).to_have_text("7777")
        assert page.evaluate("window.drawing === document.querySelector('.path-drawing')")
        expect(page.locator(".drawing")).to_be_focused()

    looking = browser.start(job, server, session, **DESK)
    assert opened.wait(timeout=60)
    world.traffic(packets=7777)
    looking.result(timeout=60)


@pytest.mark.parametrize("way", ["stream", "polling"])
def test_a_change_is_followed_without_reloading(browser: Browser, server: str, way: str) -> None:
    row = world.chain()
    change = intent.change_create(actor=SYSTEM, plan=world.plan(row))
    session = session_of(world.operator())
    opened = Event()

    def job(page: Page) -> None:
        if way == "polling":
            page.route("**/stream/", lambda route: route.fulfill(status=503, body="no"))
        page.goto(f"/changes/{change.pk}/")
        expect(page.locator("#progress")).to_contain_text("pending")
        page.evaluate("window.same = true")
        opened.set()
        expect(page.locator("#progress")).to_contain_text("succeeded")
        expect(page.locator("#progress .log")).to_contain_text("read back")
        expect(page.locator("#progress[data-live]")).to_have_count(0)
        assert page.evaluate("window.same")

    looking = browser.start(job, server, session, **DESK)
    assert opened.wait(timeout=30)
    run_change(change.pk)
    looking.result(timeout=60)


def test_rows_are_added_in_place_and_the_form_saves(browser: Browser, server: str) -> None:
    def job(page: Page) -> str:
        complaints = complaints_of(page)
        page.goto("/chains/new/?tenant=tenant-a")
        page.get_by_label("Name").fill("from-the-browser")
        page.get_by_label("From segment").select_option("clients")
        page.get_by_label("To segment").select_option("servers")
        page.evaluate("window.same = true")
        page.get_by_role("button", name="Add traffic").click()
        expect(page.locator("#classifiers-1-protocol")).to_be_visible()
        page.locator("#classifiers-0-destination_ports").fill("80")
        page.locator("#classifiers-1-destination_ports").fill("443")
        page.locator("#hops-0-function").select_option("ngfw")
        assert page.evaluate("window.same")
        expect(page.get_by_label("Name")).to_have_value("from-the-browser")
        page.get_by_role("button", name="Save").last.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("from-the-browser")
        assert complaints == []
        return page.url

    browser.look(job, server, session_of(world.operator()), **DESK)
    assert models.Chain.objects.get().classifiers.count() == 2


def test_errors_are_at_hand_after_a_failed_save(browser: Browser, server: str) -> None:
    def job(page: Page) -> None:
        page.goto("/chains/new/?tenant=tenant-a")
        page.get_by_label("Name").fill("Not A Name")
        page.keyboard.press("Enter")
        expect(page.locator("[data-focus]")).to_be_focused()
        page.locator("[data-focus] a[href='#name']").click()
        expect(page.locator("#name")).to_be_focused()

    browser.look(job, server, session_of(world.operator()), **DESK)


def test_pages_work_without_scripts(browser: Browser, server: str) -> None:
    row = world.chain()

    def job(page: Page) -> None:
        page.goto(f"/chains/{row.pk}/")
        page.get_by_role("button", name="Plan").click()
        page.get_by_role("button", name="Apply this plan").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Change")
        expect(page.locator("#progress")).to_contain_text("pending")
        expect(page.locator("[data-theme-toggle]")).to_be_hidden()
        page.locator("summary", has_text="olga").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")

    browser.look(job, server, session_of(world.operator()), java_script_enabled=False, **DESK)
