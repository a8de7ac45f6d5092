# SPDX-License-Identifier: Apache-2.0
"""Test log-in on the device's page: the button, the wait, the answer with its time; what is not verified is said."""

from __future__ import annotations

from threading import Event

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from chains import models
from chains.engine.logins import log_in_once
from drivers import fake
from tests.builders import device
from tests.frontend import world
from tests.frontend.browser import Browser
from tests.frontend.test_browser import DESK, PHONE, session_of
from tests.frontend.test_pages import text_of, words_of

LACKS = "no PBR: <b>add</b>: feature pbr"


@pytest.mark.usefixtures("fabric")
def test_asked_by_button_and_answered_by_a_worker() -> None:
    olga = world.operator()
    assert "Nobody has tested the log-in yet" in text_of(olga.get("/devices/leaf1/"))
    shown = text_of(olga.post("/devices/leaf1/test-login/", follow=True))
    assert "logging in" in shown and "Asked for by olga" in shown and 'hx-trigger="every 1s"' in shown
    assert 'action="/devices/leaf1/test-login/"' not in shown, "asked once is enough"
    with fake.box("leaf1") as box:
        box.faults.lacks = LACKS
    log_in_once(device("leaf1").pk)
    part = olga.get("/devices/leaf1/login/", headers={"HX-Request": "true"})
    assert "<html" not in text_of(part) and "hx-trigger" not in text_of(part)
    assert "Platform fake Version 1" in words_of(part)
    assert "no PBR: &lt;b&gt;add" in text_of(part) and "<b>add" not in text_of(part)
    assert "just now, asked for by olga" in text_of(part)
    assert "Test log-in" in text_of(part)


@pytest.mark.usefixtures("fabric")
def test_an_error_and_what_the_family_can_do() -> None:
    olga = world.operator()
    olga.post("/devices/leaf1/test-login/")
    with fake.box("leaf1") as box:
        box.faults.is_unreachable = True
    log_in_once(device("leaf1").pk)
    shown = words_of(olga.get("/devices/leaf1/"))
    assert "leaf1: no answer from" in shown and "failed" in shown
    assert "tier B" in shown and "no confirmed commit: a stored way back" in shown
    outside = models.Device.objects.filter(driver="")[0]
    assert "Log-in" not in words_of(olga.get(f"/devices/{outside.name}/"))


@pytest.mark.usefixtures("fabric")
def test_what_is_not_verified_is_said_on_both_pages() -> None:
    olga = world.operator()
    assert "not verified" not in text_of(olga.get("/devices/"))
    models.Device.objects.filter(name="leaf1").update(settings={"unverified": "yes"})
    assert "This device need not prove who it is" in text_of(olga.get("/devices/leaf1/"))
    assert text_of(olga.get("/devices/")).count("not verified") == 1


@pytest.mark.usefixtures("fabric")
def test_who_may_not() -> None:
    ed, olga = world.member("ed"), world.operator()
    assert ed.post("/devices/leaf1/test-login/").status_code == 404
    assert ed.get("/devices/leaf1/login/").status_code == 404
    assert olga.get("/devices/leaf1/test-login/").status_code == 405
    assert olga.post("/devices/nothing/test-login/").status_code == 404
    assert not models.LoginTest.objects.exists()


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")
def test_in_a_browser_it_comes_by_itself(browser: Browser, server: str) -> None:
    with fake.box("leaf1") as box:
        box.faults.lacks = "policy-based routing is off; add: feature pbr"
    models.Device.objects.filter(name="leaf1").update(settings={"unverified": "yes"})
    axe, number = Axe(), device("leaf1").pk

    pressed = Event()

    def job(page: Page) -> list[str]:
        page.goto("/devices/leaf1/")
        page.get_by_role("button", name="Test log-in").click()
        expect(page.get_by_text("logging in")).to_be_visible()
        pressed.set()
        expect(page.locator("#login").get_by_text("succeeded")).to_be_visible()
        found: list[str] = []
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            page.wait_for_function("theme => document.documentElement.dataset.bsTheme === theme", arg=theme)
            result = axe.run(page)
            found += [result.generate_report()] if result.violations_count else []
        page.set_viewport_size(PHONE["viewport"])
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            found.append("scrolls sideways on a phone")
        return found

    session = session_of(world.operator())
    running = browser.start(job, server, session, reduced_motion="reduce", **DESK)
    assert pressed.wait(30)
    log_in_once(number)
    assert running.result(60) == []
