from pathlib import Path

import pytest
import tiny_export as tiny

from aplantida_jax import web_server
from aplantida_jax.errors import UserError
from aplantida_jax.export import browser

PAGE = "<!doctype html><link rel=icon href='data:,'><title>{title}</title>{body}"


@pytest.fixture
def site(tmp_path):
    def write(title: str = "", body: str = "") -> Path:
        (tmp_path / "index.html").write_text(PAGE.format(title=title, body=body))
        return tmp_path

    return write


def test_the_variable_must_point_at_a_program(monkeypatch):
    monkeypatch.setenv(browser.VARIABLE, "/nowhere/chromium")
    with pytest.raises(UserError, match=r"APLANTIDA_CHROMIUM=/nowhere/chromium is not"):
        browser.find_chromium()


def test_the_variable_wins(monkeypatch, tmp_path):
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv(browser.VARIABLE, str(program))
    assert browser.find_chromium() == program


def test_no_browser_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.delenv(browser.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"no Chromium.*apt-get install chromium"):
        browser.find_chromium()


def test_a_browser_that_does_not_start_is_named(monkeypatch, tmp_path, site):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv(browser.VARIABLE, str(broken))
    with pytest.raises(UserError, match="broken does not start"):  # noqa: SIM117
        with browser.open_page("http://127.0.0.1:9/"):
            pass


def test_a_page_opens_in_the_context_that_was_asked_for(site):
    tiny.needs_browser()
    context = {"viewport": {"width": 360, "height": 640}, "color_scheme": "dark"}
    with (
        web_server.serve(site(title="hello")) as url,
        browser.open_page(url, context=context) as page,
    ):
        assert page.title() == "hello"
        assert page.evaluate("innerWidth") == 360
        assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")


def test_what_the_page_complains_about_becomes_an_error(site):
    tiny.needs_browser()
    body = """
        <script>console.error("said so"); console.warn("not an error")</script>
        <script>throw new Error("thrown")</script>
        <script src="missing.js"></script>
        <script type="module">
          new Worker("data:text/javascript,console.error('from a worker')");
        </script>
    """
    with pytest.raises(browser.PageError) as caught:  # noqa: SIM117
        with (
            web_server.serve(site(body=body)) as url,
            browser.open_page(url) as page,
        ):
            page.wait_for_timeout(300)
    message = str(caught.value)
    for expected in ("said so", "thrown", "404", "from a worker"):
        assert expected in message
    assert "not an error" not in message


def test_a_failing_step_carries_what_the_page_said(site):
    tiny.needs_browser()
    with pytest.raises(browser.PageError, match="is not defined.*the cause"):  # noqa: SIM117
        with (
            web_server.serve(
                site(body="<script>console.error('the cause')</script>")
            ) as url,
            browser.open_page(url) as page,
        ):
            page.evaluate("nothing()")
