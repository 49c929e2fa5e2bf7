"""The page as Streamlit draws it, over a log in DuckDB and in PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import streamlit as st
from loaded import entry, load_duckdb, load_postgres, user
from streamlit.testing.v1 import AppTest

if TYPE_CHECKING:
    from conftest import Load

PAGE = Path(__file__).parents[1] / "page.py"


@pytest.fixture(autouse=True)
def _no_settings_of_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("SENTRY_AUDIT_PAGE", "MELTANO")):
            monkeypatch.delenv(name)
    # No file output/audit.duckdb and no .meltano of this checkout.
    monkeypatch.chdir(tmp_path)
    st.cache_data.clear()


def page(monkeypatch: pytest.MonkeyPatch, place: str, **link: str | list[str]) -> AppTest:
    """Open a link to the page."""
    monkeypatch.setenv("SENTRY_AUDIT_PAGE_DATABASE", place)
    at = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in link.items():
        at.query_params[name] = value
    return ran(at.run())


def ran(at: AppTest) -> AppTest:
    assert not at.exception
    return at


def column(at: AppTest, name: str) -> list[Any]:
    """The values of a column of all tables."""
    return [value for table in at.dataframe for value in table.value[name]]


def said(at: AppTest) -> str:
    """All that is told as text."""
    kinds = (at.text, at.error, at.info, at.warning, at.success, at.code, at.markdown, at.caption)
    return "\n".join(str(each.value) for kind in kinds for each in kind)


def test_the_page_shows_the_newest_entries_and_says_that_times_are_utc(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(monkeypatch, load(entry("1", event="org.edit"), entry("2", 5)))

    assert column(at, "When (UTC)") == ["2026-11-20 12:05:00", "2026-11-20 12:00:00"]
    assert column(at, "Event") == ["member.edit", "org.edit"]
    assert "2 entries, 2026-11-20 to 2026-11-20 12:05. All times are UTC." in said(at)


def test_the_filters_and_the_search_narrow_the_list(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    bo = user(2, "bo@acme.example")
    place = load(
        entry("1", data={"role": "owner"}),
        entry("2", 1, event="org.edit"),
        entry("3", 2, organization="globex"),
        entry("4", 3, actor=bo),
    )
    at = page(monkeypatch, place)

    ran(at.multiselect(key="event").select("org.edit").run())
    assert column(at, "Event") == ["org.edit"]
    ran(at.multiselect(key="event").set_value([]).run())
    ran(at.multiselect(key="organization").select("globex").run())
    assert column(at, "Organization") == ["globex"]
    ran(at.button[-1].click().run())
    assert len(column(at, "Event")) == 4
    ran(at.multiselect(key="actor").select("bo@acme.example").run())
    assert column(at, "Actor") == ["bo@acme.example"]
    ran(at.multiselect(key="actor").set_value([]).run())
    ran(at.text_input(key="q").set_value("OWNER").run())
    assert column(at, "What") == ['{"role": "owner"}']
    ran(at.text_input(key="q").set_value("nowhere").run())
    assert "No entry fits these filters." in said(at)


def test_a_link_reopens_the_same_look(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    place = load(
        entry("1", note="one"),
        entry("2", 5, note="one"),
        entry("3", 9, note="one"),
        entry("4", 5, note="two"),
        entry("5", 5, event="org.edit", note="one"),
        entry("6", 5, organization="globex", note="one"),
        entry("7", 5, actor=None, note="one"),
    )
    link: dict[str, str | list[str]] = {
        "q": "one",
        "event": ["member.edit", "member.remove"],
        "organization": "acme",
        "actor": "ada@acme.example",
        "from": "2026-11-20T12:05",
        "before": "2026-11-20T12:06",
    }
    at = page(monkeypatch, place, **link)

    assert column(at, "When (UTC)") == ["2026-11-20 12:05:00"]
    assert column(at, "What") == ["one"]
    assert at.multiselect(key="event").value == ["member.edit", "member.remove"]


def test_a_link_to_an_actor_whom_the_log_does_not_know_shows_nobody_else(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(monkeypatch, load(entry("1")), actor="zoe@acme.example")

    assert "No entry fits these filters." in said(at)


def test_a_link_opens_an_entry_with_all_that_it_holds(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = entry("7", data={"deep": {"er": [1, None]}}, additionalFields={"new": "Ü"})
    at = page(monkeypatch, load(held, entry("8", 1)), entry="acme/7")

    [shown] = at.json
    assert json.loads(shown.value) == held | {"dateCreated": "2026-11-20T12:00:00Z"}


def test_a_link_to_an_entry_that_is_gone_says_so(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = load(entry("1"))
    for link in ("acme/9", "acme", "/", "a/b/c"):
        at = page(monkeypatch, place, entry=link)
        assert "The log has no entry" in said(at)
        assert column(at, "Event") == ["member.edit"]


def test_from_an_entry_one_click_leads_to_what_else_its_actor_did(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = 24 * 60
    place = load(
        entry("1", -day - 5),
        entry("2", -day + 5, actor=user(1, "ada@old.example")),
        entry("3"),
        entry("4", 1, actor=user(2, "bo@acme.example")),
        entry("5", day - 5),
        entry("6", day + 5),
    )
    at = page(monkeypatch, place, entry="acme/3", q="member", view="Detections")
    [button] = [each for each in at.button if each.label.startswith("What else")]
    ran(button.click().run())

    assert column(at, "When (UTC)") == [
        "2026-11-21 11:55:00",
        "2026-11-20 12:00:00",
        "2026-11-19 12:05:00",
    ]
    assert "entry" not in at.query_params


def test_the_plot_counts_entries_by_event_and_puts_the_rare_ones_together(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    rare = [entry(f"r{n}", n, event=f"rare.{n}") for n in range(12)]
    often = [entry(f"o{n}", n, event="often") for n in range(5)]
    at = page(monkeypatch, load(*rare, *often))

    chart: Any
    [chart] = at.get("vega_lite_chart")
    domain = json.loads(chart.spec)["encoding"]["color"]["scale"]["domain"]
    assert domain[0] == "often"
    assert (len(domain), domain[-1]) == (8, "others")


def test_the_detections_show_their_hits(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    off = entry("1", event="org.edit", data={"require_2fa": "to False"})
    at = page(monkeypatch, load(off, entry("2")), view="Detections", **{"from": "2026-11-20T00:00"})

    assert "Two-factor requirement switched off" in said(at)
    assert "require_2fa: to False" in column(at, "What")
    assert "holds no sign-ins" in said(at)


def test_pages_lead_to_older_entries(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    at = page(monkeypatch, load(*(entry(f"{n:03}", n) for n in range(120))))

    pages: Any = at.get("pagination")[0]
    ran(pages.set_value(2).run())
    assert column(at, "When (UTC)")[-1] == "2026-11-20 12:00:00"
    assert len(column(at, "Event")) == 20
    # A filter begins at the newest again.
    ran(at.multiselect(key="event").select("member.edit").run())
    assert len(column(at, "Event")) == 100


def test_a_link_to_a_page_shows_its_entries(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    place = load(*(entry(f"{n:03}", n) for n in range(120)))

    at = page(monkeypatch, place, page="2")
    assert column(at, "When (UTC)")[-1] == "2026-11-20 12:00:00"
    pages: Any = at.get("pagination")[0]
    assert pages.value == 2
    for odd in ("0", "3", "-1", "x", "9" * 5000):
        at = page(monkeypatch, place, page=odd)
        assert column(at, "When (UTC)")[0] == "2026-11-20 13:59:00"


@pytest.mark.parametrize("at", [None, "0001-01-01", "1969-07-20", "9999-12-31 23:59:59"])
def test_an_entry_of_an_odd_time_can_be_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: str | None
) -> None:
    place = load_duckdb(tmp_path / "audit.duckdb", [entry("1"), entry("2", dateCreated=at)])

    [shown] = page(monkeypatch, place, entry="acme/2").json
    assert json.loads(shown.value)["id"] == "2"


def test_a_number_that_a_browser_would_round_is_shown_as_text(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = load(entry("1", data={"ids": [2**53 - 1, 2**53 + 1]}))

    [shown] = page(monkeypatch, place, entry="acme/1").json
    assert json.loads(shown.value)["data"] == {"ids": [2**53 - 1, str(2**53 + 1)]}


def test_the_detections_say_which_day_they_look_at(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(monkeypatch, load(entry("1")), view="Detections", before="2026-11-20T13:00")

    assert "The 24 hours before 2026-11-20 13:00;" in said(at)


def test_how_the_export_is_doing_stands_above_all(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(monkeypatch, load(entry("1")))

    assert "Meltano's system database cannot be read" in at.info[0].value


EVIL = "**bold** <img src=x onerror=alert(1)> [link](http://evil.example) :red[x] $x^2$"


def test_nothing_of_the_log_is_taken_for_markdown_or_html(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = entry(
        "1",
        event=EVIL,
        note=EVIL,
        organization=EVIL,
        ipAddress=EVIL,
        actor={"name": EVIL},
        data={EVIL: EVIL, "require_2fa": "to False"},
    )
    place = load(evil, evil | {"id": "2", "event": "org.edit"})
    looks: list[dict[str, str]] = [
        {},
        {"q": EVIL},
        {"actor": EVIL, "event": EVIL},
        {"entry": f"{EVIL}/1"},
        {"entry": EVIL},
        {"view": "Detections", "from": "2026-11-20T00:00"},
    ]
    for link in looks:
        at = page(monkeypatch, place, **link)
        kinds = (
            at.markdown,
            at.caption,
            at.error,
            at.warning,
            at.info,
            at.success,
            at.title,
            at.header,
            at.subheader,
            at.get("html"),
        )
        assert not [each for kind in kinds for each in kind if "evil" in str(each)]


# What is wrong with the database


def test_a_database_that_is_not_there_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    at = page(monkeypatch, "nowhere.duckdb")

    assert at.error[0].value == "The log cannot be read."
    assert "nowhere.duckdb is not a file" in said(at)
    assert "SENTRY_AUDIT_PAGE_DATABASE" in said(at)


def test_a_database_without_the_table_is_said_plainly(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTRY_AUDIT_PAGE_SCHEMA", "other")
    at = page(monkeypatch, load(entry("1")))

    assert "the schema other has no table audit_logs" in said(at)


def test_an_empty_log_is_said_plainly(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "The log is empty" in said(page(monkeypatch, load()))


def test_a_file_that_a_target_is_writing_to_is_said_plainly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = load_duckdb(tmp_path / "audit.duckdb", [entry("1")])
    writing = f"import duckdb; d = duckdb.connect({place!r}); print('', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", writing], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout
        writer.stdout.readline()
        at = page(monkeypatch, place)
        writer.communicate("\n")
    assert "An export is writing to it. Look again when the export has ended." in said(at)
    ran(at.button[0].click().run())
    assert column(at, "Event") == ["member.edit"]


def test_a_file_that_is_no_database_is_said_plainly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "audit.duckdb").write_text("no database" * 1000)

    assert "The log cannot be read." in said(page(monkeypatch, str(tmp_path / "audit.duckdb")))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://reader:hunter2@127.0.0.1:1/sentry",
        "postgresql://reader:hunter2@127.0.0.1:none/sentry",
        "mysql://reader:hunter2@127.0.0.1/sentry",
    ],
)
def test_a_server_that_cannot_be_reached_is_said_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("MELTANO_DATABASE_URI", url)
    at = page(monkeypatch, url)

    assert at.error[0].value == "The log cannot be read."
    assert "hunter2" not in str(at)


def test_the_password_of_a_server_that_answers_is_not_shown_either(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_postgres(server, [entry("1")])
    at = page(monkeypatch, server.replace("postgres@", "postgres:hunter2@"))

    assert "PostgreSQL" in said(at)
    assert "hunter2" not in str(at)


@pytest.mark.parametrize("minutes", ["an hour", "9" * 20])
def test_a_setting_that_is_no_number_is_said_plainly(
    monkeypatch: pytest.MonkeyPatch, minutes: str
) -> None:
    monkeypatch.setenv("SENTRY_AUDIT_PAGE_OVERDUE_MINUTES", minutes)

    assert "must be a whole number" in said(page(monkeypatch, "nowhere.duckdb"))


@pytest.mark.parametrize("words", ["\0", "\x1b[31m", "x" * 100_000])
def test_odd_characters_in_a_link_lead_to_a_plain_answer(
    load: Load, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    at = page(monkeypatch, load(entry("1")), q=words)

    assert "No entry fits" in said(at) or "The log cannot be read." in said(at)
