"""The page in a real browser, once: what is clicked and typed there."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from loaded import entry, load_duckdb
from playwright.sync_api import expect

from browser import CHROMIUM, chromium, click_row, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("browser")
    log = [entry(str(n), n, note=f"note {n}", data={"secret": f"s{n}"}) for n in range(6)]
    log.append(entry("9", -9, note="<b>bold</b> **star**", event="org.edit"))
    place = load_duckdb(folder / "audit.duckdb", log)
    runs = f"sqlite:///{folder}/meltano.db"
    with served(folder, SENTRY_AUDIT_PAGE_DATABASE=place, MELTANO_DATABASE_URI=runs) as found:
        yield found


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as found:
        yield found


def parameters(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_a_search_is_typed_a_row_is_clicked_and_the_link_shows_the_same_again(
    page: Page, address: str
) -> None:
    page.goto(address)
    page.get_by_text("7 entries fit.").wait_for()
    page.get_by_label("Search").fill("S4")
    page.get_by_label("Search").press("Enter")
    page.get_by_text("1 entry fits.").wait_for()
    click_row(page, 0)
    drawer = page.get_by_role("dialog")
    expect(drawer).to_contain_text("note 4")
    expect(drawer).to_contain_text('"s4"')
    page.wait_for_url("**entry=acme%2F4**")
    assert parameters(page) == {"q": ["S4"], "entry": ["acme/4"]}
    link = page.url

    page.goto("about:blank")
    page.goto(link)
    expect(page.get_by_role("dialog")).to_contain_text("note 4")
    expect(page.get_by_label("Search")).to_have_value("S4")

    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.wait_for_function("!location.search.includes('entry')")
    # The same row can be clicked again.
    page.get_by_text("1 entry fits.").wait_for()
    click_row(page, 0)
    page.get_by_role("button", name="What else this actor did").click()
    page.get_by_text("7 entries fit.").wait_for()
    assert set(parameters(page)) == {"actor", "from", "before"}


def test_a_click_opens_the_entry_that_was_shown_though_newer_ones_have_arrived(
    page: Page, tmp_path: Path
) -> None:
    place = load_duckdb(tmp_path / "audit.duckdb", [entry("1", note="clicked")])
    with served(tmp_path, SENTRY_AUDIT_PAGE_DATABASE=place) as address:
        page.goto(address)
        page.get_by_test_id("stDataFrame").wait_for()
        (tmp_path / "audit.duckdb").unlink()
        load_duckdb(tmp_path / "audit.duckdb", [entry("1", note="clicked"), entry("2", 5)])
        click_row(page, 0)
        expect(page.get_by_role("dialog")).to_contain_text("clicked")


def test_a_hit_of_a_detection_is_one_click_from_its_entry(page: Page, tmp_path: Path) -> None:
    off = entry("7", event="org.edit", data={"require_2fa": "to False"})
    place = load_duckdb(tmp_path / "audit.duckdb", [off])
    with served(tmp_path, SENTRY_AUDIT_PAGE_DATABASE=place) as address:
        page.goto(f"{address}/?from=2026-11-20T00:00")
        page.get_by_text("Detections", exact=True).click()
        page.get_by_text("Two-factor requirement switched off").wait_for()
        click_row(page, 0)
        expect(page.get_by_role("dialog")).to_contain_text('"to False"')
        assert parameters(page)["view"] == ["Detections"]


def test_names_and_notes_are_shown_as_they_are(page: Page, address: str) -> None:
    page.goto(f"{address}/?entry=acme/9")
    expect(page.get_by_role("dialog")).to_contain_text("<b>bold</b> **star**")


def test_the_page_speaks_to_this_machine_alone(page: Page, address: str) -> None:
    hosts: set[str | None] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.goto(address)
    page.get_by_test_id("stDataFrame").wait_for()

    assert hosts == {"127.0.0.1"}
    port = urlsplit(address).port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port or 0), timeout=5).close()
