"""The page in a real Chromium: for the tests, and for the picture in the docs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

PAGE = Path(__file__).with_name("page.py")
CHROMIUM = shutil.which("chromium")
"""Debian's package; Playwright's own browser is not downloaded."""

PATIENCE = 90


@contextmanager
def served(folder: Path, **settings: str) -> Iterator[str]:
    """Serve the page from a folder on a port that is free, and yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(PAGE), f"--server.port={port}"]
    settings = {"STREAMLIT_SERVER_HEADLESS": "true"} | settings
    variables = os.environ | settings
    with subprocess.Popen(  # noqa: S603
        command, cwd=folder, env=variables, stdout=subprocess.DEVNULL
    ) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_until_up(f"{address}/_stcore/health", server)
            yield address
        finally:
            server.terminate()


@contextmanager
def chromium(width: int = 1280, height: int = 900) -> Iterator[Page]:
    """Yield a page of a browser."""
    # Chromium's sandbox does not start for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(PATIENCE * 1000)
        yield page
        browser.close()


def click_row(page: Page, number: int) -> None:
    """Click on a row of the first table, which is a canvas: rows of 35 pixels, below a head."""
    table = page.get_by_test_id("stDataFrame").first
    table.click(position={"x": 60, "y": 35 * (number + 1) + 17})


def _wait_until_up(address: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()  # noqa: S310  (http)
        except OSError:
            time.sleep(0.2)
        else:
            return
    message = "the page does not start"
    raise TimeoutError(message)
