"""A page to look at Sentry's audit log: `make page`, or `streamlit run page.py`.

Everything from the log is shown as text, never as Markdown or HTML. The URL holds the view.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import altair as alt
import pandas as pd
import streamlit as st

import entries
from entries import Bar, Contents, Filters, Hits, Place, Row
from runs import system_database, verdict
from sentry_audit_detections.database import POSTGRES
from sentry_audit_detections.exceptions import DetectionsError
from sentry_audit_detections.findings import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OTHERS = "others"
COLOURS = ("#4c78a8", "#f58518", "#e45756", "#72b7b2", "#54a24b", "#eeca3b", "#b279a2", "#bab0ac")
SINCE = {"Last hour": 1, "24 hours": 24, "7 days": 7 * 24, "30 days": 30 * 24}
BADGES = {"critical": "red", "high": "orange", "medium": "yellow", "low": "gray"}
MOST_CHARACTERS = 600
MOST_EXACT = 2**53 - 1
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the log is and what its export is called, from the environment."""

    place: Place
    runs: str
    job: str
    overdue: timedelta

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Settings:
        """Read the settings, with the defaults of a checkout."""
        # An empty one is as good as none.
        variables = {name: value for name, value in variables.items() if value}
        database = variables.get("SENTRY_AUDIT_PAGE_DATABASE", "output/audit.duckdb")
        target = "postgres" if POSTGRES.match(database) else "duckdb"
        return cls(
            Place(database, variables.get("SENTRY_AUDIT_PAGE_SCHEMA", "sentry")),
            system_database(variables),
            variables.get("SENTRY_AUDIT_PAGE_JOB", f"tap-sentry-audit-to-target-{target}"),
            timedelta(minutes=int(variables.get("SENTRY_AUDIT_PAGE_OVERDUE_MINUTES", "90"))),
        )


def main() -> None:
    """Show the page."""
    st.set_page_config("Sentry audit log", page_icon="📜", layout="wide")
    # So that an unreachable server is reported soon.
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")
    try:
        settings = Settings.of(os.environ)
    except (ValueError, OverflowError):
        st.error("SENTRY_AUDIT_PAGE_OVERDUE_MINUTES must be a whole number of minutes, such as 90.")
        return
    head, export = st.columns([2, 3])
    head.header("Sentry audit log")
    with export:
        show_export(settings)
    try:
        show_log(settings.place)
    except DetectionsError as error:
        st.error("The log cannot be read.")
        st.text(explained(str(error)))
        st.button("Look again")


def show_export(settings: Settings) -> None:
    """Show how the export is doing, with its last error."""
    found = verdict(settings.runs, settings.job, settings.overdue, entries.now_utc())
    getattr(st, found.level)(found.sentence)
    if found.error:
        st.text(shortened(found.error))


def show_log(place: Place) -> None:
    """Show the filters, what matches them, and the open entry, if there is one."""
    there = contents(place)
    if not there.count:
        contents.clear()
        st.info("The log is empty: no export has loaded an entry yet.")
        return
    with st.sidebar:
        filters = choose(there)
    if opened := st.query_params.get("entry"):
        organization, _, key = opened.partition("/")
        show_entry(place, organization, key)
    view = st.segmented_control(
        "View",
        ["Entries", "Detections"],
        default="Entries",
        required=True,
        key="view",
        bind="query-params",
        label_visibility="collapsed",
    )
    if view == "Detections":
        show_hits(place, filters)
    else:
        show_entries(place, filters, there)
    st.text(f"{named(place)}: {extent(there)} All times are UTC.")


@st.cache_data(ttl="1m", show_spinner=False)
def contents(place: Place) -> Contents:
    """Return what there is to choose from; it can be up to a minute old."""
    return entries.contents(place)


def choose(there: Contents) -> Filters:
    """Show the filters, and return what is chosen."""
    search = st.text_input(
        "Search",
        key="q",
        bind="query-params",
        type="search",
        placeholder="Part of any field …",
        on_change=first_page,
    )
    lists, times = {}, {}
    for key, options in (
        ("event", there.events),
        ("organization", there.organizations),
        ("actor", there.actors),
    ):
        lists[key] = st.multiselect(
            key.capitalize(),
            options,
            key=key,
            bind="query-params",
            # A link may name what the log no longer holds; it must not show everything then.
            accept_new_options=True,
            placeholder="All",
            on_change=first_page,
        )
    for key in ("from", "before"):
        times[key] = st.datetime_input(
            f"{key.capitalize()} (UTC)",
            None,
            key=key,
            bind="query-params",
            format="YYYY-MM-DD",
            step=MINUTE,
            on_change=first_page,
        )
    with st.container(horizontal=True):
        for label, hours in SINCE.items():
            since = entries.now_utc() - timedelta(hours=hours)
            st.button(label, on_click=look, kwargs={"from": since, "before": None})
    st.button("Clear all filters", on_click=look, kwargs=NO_FILTERS)
    return Filters(
        (search or "").strip(),
        lists["event"],
        lists["organization"],
        lists["actor"],
        times["from"],
        times["before"],
    )


def show_entries(place: Place, filters: Filters, there: Contents) -> None:
    """Show a chart and a list of the entries that match."""
    since, before = filters.since or there.first, filters.until or there.last
    span = before - since if since and before else DAY
    page = st.session_state.get("page") or linked_page()
    found = entries.find(place, filters, span, page)
    fit = "1 entry fits." if found.count == 1 else f"{found.count:,} entries fit."
    st.text(fit if found.count else "No entry fits these filters.")
    if not found.count:
        return
    st.altair_chart(plot(found.bars, found.unit), height=200, alt="Entries over time by event")
    show_rows("entries", found.rows)
    pages = -(-found.count // entries.ON_A_PAGE)
    if pages > 1:
        st.pagination(pages, key="page", bind="query-params")


def show_hits(place: Place, filters: Filters) -> None:
    """Show what the detections find."""
    if filters.since is None:
        hours = (
            f"24 hours before {filters.until:%Y-%m-%d %H:%M}" if filters.until else "last 24 hours"
        )
        st.text(f"The {hours}; set From to choose another time.")
    st.text(f"{LIMITS} Search does not apply to detections.")
    with st.spinner("Running the detections …"):
        found = hits(place, filters)
    if not found:
        st.text("The detections found nothing.")
    for each in found:
        detection = each.detection
        badge = f":{BADGES[detection.severity]}-badge[{detection.severity}]"
        st.markdown(f"##### {badge} {detection.title}")
        st.text(f"{detection.meaning} May also be: {detection.false_positives}")
        if each.count > len(each.rows):
            st.text(f"The newest {len(each.rows)} of {each.count:,}:")
        show_rows(detection.name, each.rows)


@st.cache_data(ttl="1m", show_spinner=False)
def hits(place: Place, filters: Filters) -> list[Hits]:
    """Return what the detections found, up to a minute ago, so that a click need not wait."""
    return entries.hits(place, filters, entries.now_utc())


def show_rows(name: str, rows: Sequence[Row]) -> None:
    """Show entries as a table; a click on one opens it."""
    table = pd.DataFrame(
        {
            "When (UTC)": [f"{row.at:%Y-%m-%d %H:%M:%S}" for row in rows],
            "Event": [row.event for row in rows],
            "Actor": [row.actor for row in rows],
            "Address": [row.address for row in rows],
            "Organization": [row.organization for row in rows],
            "What": [row.what for row in rows],
        },
        dtype="string",
    )
    # A new key after an entry was closed, so that its cell can be clicked again.
    key = f"{name}-{st.session_state.get('closed', 0)}"
    # For the rows that are shown: new ones can arrive before the click does.
    keys = [f"{row.organization}/{row.id}" for row in rows]
    st.dataframe(
        table,
        key=key,
        hide_index=True,
        placeholder="",
        on_select=lambda: click(key),
        selection_mode="single-cell",
        column_config={"What": st.column_config.TextColumn(width="large")},
        alt="Entries, newest first: click one to open it",
    )
    st.session_state[f"shown-{key}"] = keys


def click(key: str) -> None:
    """Open the entry whose cell was clicked."""
    if cells := st.session_state[key].selection.cells:
        st.query_params["entry"] = st.session_state[f"shown-{key}"][cells[0][0]]


def close() -> None:
    """Close the entry that is open."""
    st.query_params.pop("entry", None)
    st.session_state["closed"] = st.session_state.get("closed", 0) + 1


@st.dialog("Entry", width="medium", position="right", on_dismiss=close)
def show_entry(place: Place, organization: str, key: str) -> None:
    """Show a whole entry in a side panel."""
    found = entries.entry(place, organization, key)
    if found is None:
        st.text(f"The log has no entry {key} for the organization {organization}.")
        return
    at = found["dateCreated"]
    if at is None:
        st.json(exact(found))
        return
    names = entries.names_of(place, found["actor"])
    address = found["ipAddress"] or "no address"
    st.text(f"{found['event']}\n{at:%Y-%m-%d %H:%M:%S} UTC\n{', '.join(names)}\n{address}")
    if found["note"]:
        st.text(found["note"])
    first, last = shifted(at, -DAY), shifted(at, DAY + MINUTE)
    around = {"from": first, "before": last, "actor": names, "view": "Entries"}
    nobody = names == [entries.NOBODY]
    what = "Other entries without an actor" if nobody else "What else this actor did"
    label = f"{what} in the day before and after"
    if st.button(label, on_click=look, kwargs=NO_FILTERS | around):
        # The panel is drawn separately; this redraws the page behind it.
        st.rerun()
    st.json(exact(found | {"dateCreated": f"{at.isoformat()}Z"}), expanded=2)


def shifted(at: datetime, by: timedelta) -> datetime:
    """Return a time that is later by so much, as far as there are such times."""
    try:
        return at + by
    except OverflowError:
        return at


def exact(value: Any) -> Any:  # noqa: ANN401  (JSON)
    """Return JSON with numbers as texts where a browser would round them."""
    if isinstance(value, dict):
        return {key: exact(each) for key, each in value.items()}
    if isinstance(value, list):
        return [exact(each) for each in value]
    return str(value) if isinstance(value, int) and abs(value) > MOST_EXACT else value


def plot(bars: Sequence[Bar], unit: str) -> alt.Chart:
    """Return a chart of the entries over time; rarer events share a colour."""
    counts = Counter[str]()
    for bar in bars:
        counts[bar.event] += bar.entries
    frequent = [event for event, _ in counts.most_common(len(COLOURS) - 1)]
    heights = Counter[tuple[datetime, str]]()
    for bar in bars:
        heights[bar.at, bar.event if bar.event in frequent else OTHERS] += bar.entries
    table = pd.DataFrame(
        {
            # Without a zone, a browser would assume its own.
            "at": [at.replace(tzinfo=UTC) for at, _ in heights],
            "when": [f"{at:%Y-%m-%d %H:%M} UTC" for at, _ in heights],
            "event": [event for _, event in heights],
            "entries": list(heights.values()),
        }
    )
    colours = alt.Scale(domain=[*frequent, OTHERS], range=[*COLOURS[: len(frequent)], COLOURS[-1]])
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_bar()
        .encode(
            alt.X(
                "at:T",
                title=f"by {unit}, UTC",
                scale=alt.Scale(type="utc"),
                axis=alt.Axis(format="%d %b %H:%M" if unit in {"minute", "hour"} else "%d %b %Y"),
            ),
            alt.Y("entries:Q", title=None),
            alt.Color("event:N", title=None, scale=colours),
            tooltip=["when:N", "event:N", "entries:Q"],
        )
    )
    return chart


def linked_page() -> int:
    """Return the page that the link names: what shows the pages is drawn after the entries."""
    number = st.query_params.get("page", "")
    return int(number) if re.fullmatch("[1-9][0-9]{0,8}", number) else 1


def first_page() -> None:
    """Go back to the newest entries."""
    st.session_state["page"] = 1


NO_FILTERS: dict[str, Any] = {"q": ""} | dict.fromkeys(("from", "before"))
NO_FILTERS |= {key: [] for key in ("event", "organization", "actor")}


def look(**chosen: Any) -> None:  # noqa: ANN401  (whatever a widget holds)
    """Set filters, go to the first page, and close the open entry."""
    close()
    first_page()
    for key, value in chosen.items():
        to_the_minute = isinstance(value, datetime)
        st.session_state[key] = value.replace(second=0, microsecond=0) if to_the_minute else value


def named(place: Place) -> str:
    """Return a name for a database that is safe to show: no user, password, or options."""
    if not POSTGRES.match(place.database):
        return place.database
    parts = urlsplit(place.database)
    return f"PostgreSQL {parts.hostname or ''}{parts.path}"


def extent(there: Contents) -> str:
    """Return how much the log holds."""
    if not (there.first and there.last):
        return "no entries."
    return f"{there.count:,} entries, {there.first:%Y-%m-%d} to {there.last:%Y-%m-%d %H:%M}."


def shortened(text: str) -> str:
    """Return a text, cut to a few lines."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} …"


def explained(message: str) -> str:
    """Add advice to what a database says."""
    if "lock" in message.lower():
        return f"An export is writing to it. Look again when the export has ended.\n\n{message}"
    return f"{message}\n\nSENTRY_AUDIT_PAGE_DATABASE and SENTRY_AUDIT_PAGE_SCHEMA say where it is."


if __name__ == "__main__":
    main()
