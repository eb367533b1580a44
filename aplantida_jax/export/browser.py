"""Headless Chromium: found on this machine, driven by Playwright, and not trusted.

`open_page` gives a Playwright page. Whatever the page complains about while it is open
(console errors, uncaught exceptions, failed requests) becomes a `PageError` at the end.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from playwright import sync_api

from aplantida_jax.errors import UserError

VARIABLE = "APLANTIDA_CHROMIUM"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_TIMEOUT_MS = 60_000  # of any single wait; a page that hangs must not hang the stage


class PageError(RuntimeError):
    """A page reported errors of its own; the message holds them all."""


def find_chromium() -> Path:
    """The browser to use: $APLANTIDA_CHROMIUM, then PATH, then Playwright's own.

    Raises:
        UserError: there is none, or the variable points nowhere; says how to get one.
    """
    if wanted := os.environ.get(VARIABLE):
        if found := shutil.which(wanted):
            return Path(found)
        raise UserError(f"{VARIABLE}={wanted} is not a program: point it at Chromium")
    for name in _NAMES:
        if found := shutil.which(name):
            return Path(found)
    with sync_api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    if own.exists():
        return own
    raise UserError(
        "there is no Chromium on this machine: install it (Debian: apt-get install "
        "chromium), or run 'python -m playwright install chromium', or set "
        f"{VARIABLE} to the path of one"
    )


@contextlib.contextmanager
def open_page(
    url: str, *, context: Mapping[str, Any] | None = None
) -> Iterator[sync_api.Page]:
    """Opens `url` in a fresh profile.

    Args:
        url: of a page that `web_server.serve` serves.
        context: options of Playwright's `new_context`, e.g. viewport or color_scheme.

    Yields:
        The page, loaded.

    Raises:
        UserError: no Chromium, or it does not start.
        PageError: at the end, when the page reported errors.
    """
    executable = find_chromium()
    with (
        sync_api.sync_playwright() as playwright,
        contextlib.closing(_launch(playwright, executable)) as chromium,
    ):
        page = chromium.new_context(**(context or {})).new_page()
        page.set_default_timeout(_TIMEOUT_MS)
        errors = _collect_errors(page)
        try:
            page.goto(url)
            yield page
        except sync_api.Error as error:
            # What the page said is the cause; what Playwright noticed, the effect.
            noticed = error.message.splitlines()[0]
            raise PageError("; ".join([f"{url}: {noticed}", *errors])) from error
        if errors:
            raise PageError(f"{url}: " + "; ".join(errors))


def _launch(playwright: sync_api.Playwright, executable: Path) -> sync_api.Browser:
    arguments = list(_ARGUMENTS)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # Chromium refuses to sandbox for root. The pages are ours, from this machine.
        arguments.append("--no-sandbox")
    try:
        return playwright.chromium.launch(
            executable_path=str(executable), args=arguments
        )
    except sync_api.Error as error:
        reason = error.message.splitlines()[0]
        raise UserError(f"{executable} does not start: {reason}") from error


def _collect_errors(page: sync_api.Page) -> list[str]:
    """A list that fills with what the page, or a worker of it, reports from now on."""
    errors: list[str] = []

    def on_console(message: sync_api.ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    page.on("console", on_console)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "requestfailed",
        lambda request: errors.append(f"{request.url}: {request.failure}"),
    )
    return errors
