"""What the queries find, in DuckDB and in PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from loaded import NOON, entry, user

import entries
from entries import Filters, Place

if TYPE_CHECKING:
    from conftest import Load

DAY = timedelta(days=1)


def ids(place: str, page: int = 1, **filters: Any) -> list[str]:  # noqa: ANN401  (Filters by name)
    found = entries.find(Place(place, "sentry"), Filters(**filters), DAY, page)
    assert found.count == sum(bar.entries for bar in found.bars)
    return [row.id for row in found.rows]


def test_the_newest_entry_comes_first(load: Load) -> None:
    place = load(entry("1", 5), entry("2", 9), entry("3", 7))

    assert ids(place) == ["2", "3", "1"]


def test_each_filter_leaves_out_what_does_not_fit_it(load: Load) -> None:
    place = load(
        entry("1"),
        entry("2", 1, event="org.edit"),
        entry("3", 2, organization="globex"),
        entry("4", 3, actor=user(2, "bo@acme.example")),
        entry("5", 4, actor=None),
    )

    assert ids(place, events=["org.edit"]) == ["2"]
    assert ids(place, events=["org.edit", "member.edit"], organizations=["globex"]) == ["3"]
    assert ids(place, actors=["bo@acme.example"]) == ["4"]
    assert ids(place, actors=[entries.NOBODY]) == ["5"]
    assert ids(place, actors=["zoe@acme.example"]) == []
    since, until = NOON + timedelta(minutes=1), NOON + timedelta(minutes=3)
    assert ids(place, since=since, until=until) == ["3", "2"]


HELD = [
    ("note", "removed Täglich", "täglich"),
    ("note", 'he said "no"', 'said "no"'),
    ("event", "org.edit", "ORG.ed"),
    ("ipAddress", "2001:db8::7", "db8::7"),
    ("targetObject", 1_099_511_627_901, "511627901"),
    ("targetUser", "4711", "4711"),
    ("actor", user(1, "x") | {"name": "Dana Müller"}, "Müller"),
    ("data", {"deep": [{"er": "a lost_key 100%"}]}, "lost_key 100%"),
    ("data", {"label": 'Täglich "Alarm" \\o/'}, 'täglich "alarm" \\o/'),
    ("data", {"dataScrubber": "from True to False"}, "datascrubber"),
    ("targetUserDetail", {"name": "李"}, "李"),
    ("additionalFields", {"new": "thing"}, "thing"),
]


@pytest.mark.parametrize(("field", "value", "words"), HELD, ids=lambda each: str(each)[:20])
def test_the_search_looks_into_every_field(
    load: Load, field: str, value: object, words: str
) -> None:
    place = load(entry("1"), entry("2", 1, **{field: value}))

    assert ids(place, search=words) == ["2"]


@pytest.mark.parametrize("words", ["%", "_", "a%c", "a_c", "!", "\\", "' OR 1=1 --", "$1", "{}{"])
def test_what_is_typed_is_looked_for_to_the_letter(load: Load, words: str) -> None:
    place = load(entry("1", note="abc"), entry("2", 1, note=f"<{words}>"))

    assert ids(place, search=words) == ["2"]
    for column in ("events", "organizations", "actors"):
        assert ids(place, 1, **{column: [words]}) == []


def test_each_entry_is_on_one_page_also_where_many_share_a_time(load: Load) -> None:
    place = load(*(entry(f"{number:03}", number // 130) for number in range(250)))

    pages = [ids(place, page) for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [100, 100, 50]
    assert ids(place, 4) == pages[0]
    assert [key for page in pages for key in page] == [
        f"{number:03}" for number in reversed(range(250))
    ]


def test_bars_count_the_entries_of_each_event_over_time(load: Load) -> None:
    place = load(entry("1"), entry("2", 59), entry("3", 59, event="org.edit"), entry("4", 60))

    found = entries.find(Place(place, "sentry"), Filters(), DAY)
    assert found.unit == "hour"
    assert found.bars == [
        (NOON, "member.edit", 2),
        (NOON, "org.edit", 1),
        (NOON + timedelta(hours=1), "member.edit", 1),
    ]
    for days, unit in ((0.1, "minute"), (90, "day"), (700, "week"), (3000, "month")):
        assert entries.find(Place(place, "sentry"), Filters(), DAY * days).unit == unit


def test_the_choices_are_what_the_log_holds_the_most_frequent_first(load: Load) -> None:
    place = load(
        entry("1", actor=None),
        entry("2", 1, event="org.edit", actor={"name": "Terraform"}),
        entry("3", 2, organization="globex", event="org.edit", actor={"name": "Terraform"}),
        entry("4", 3, event="org.edit", actor={"name": "Terraform"}),
    )

    found = entries.contents(Place(place, "sentry"))
    assert found.organizations == ["acme", "globex"]
    assert found.events == ["org.edit", "member.edit"]
    assert found.actors == ["Terraform", entries.NOBODY]
    assert (found.count, found.first, found.last) == (4, NOON, NOON + timedelta(minutes=3))


def test_entries_that_lack_almost_everything_hide_no_others(load: Load) -> None:
    bare = dict.fromkeys(("organization", "event", "actor"))
    place = load(
        entry("1"), entry("2", 1, **bare), entry("3", dateCreated=None), entry("4", actor={})
    )

    assert ids(place) == ["2", "4", "1"]
    found = entries.contents(Place(place, "sentry"))
    assert (found.count, found.first, found.last) == (4, NOON, NOON + timedelta(minutes=1))
    assert set(found.actors) == {"ada@acme.example", entries.NOBODY}


def test_an_entry_has_all_its_fields(load: Load) -> None:
    held = entry("1", data={"a": [None, "Ü"]}, additionalFields={"b": 1}, note="said")
    place = Place(load(held), "sentry")

    assert entries.entry(place, "acme", "1") == held
    assert entries.entry(place, "globex", "1") is None


def test_somebody_is_known_under_all_names_that_the_log_has_for_them(load: Load) -> None:
    place = Place(
        load(
            entry("1"),
            entry("2", 1, actor=user(1, "ada@new.example")),
            entry("3", 2, actor=user(2, "bo@acme.example")),
        ),
        "sentry",
    )

    names = entries.names_of(place, user(1, "ada@acme.example"))
    assert names == ["ada@acme.example", "ada@new.example"]
    assert entries.names_of(place, {"name": "Terraform"}) == ["Terraform"]
    nobodies: list[object] = [None, {}, [1], "Ada"]
    for nobody in nobodies:
        assert entries.names_of(place, nobody) == [entries.NOBODY]


def test_detections_find_what_the_filters_let_through(load: Load) -> None:
    off = {"require_2fa": "to False"}
    place = Place(
        load(
            entry("1", event="org.edit", data=off),
            entry("2", 1, event="org.edit", data=off, organization="globex"),
            entry("3", -3000, event="org.edit", data=off),
        ),
        "sentry",
    )

    def found(**filters: Any) -> list[str]:  # noqa: ANN401  (Filters by name)
        all_hits = entries.hits(place, Filters(**filters), NOON + timedelta(hours=1))
        [hits] = [each for each in all_hits if each.detection.number == "01"]
        assert hits.count == len(hits.rows)
        return [row.id for row in hits.rows]

    assert found() == ["2", "1"]
    assert found(organizations=["acme"]) == ["1"]
    assert found(since=NOON - timedelta(days=9)) == ["2", "1", "3"]


def test_the_worst_detections_come_first_with_the_newest_of_many_hits(load: Load) -> None:
    place = Place(
        load(*(entry(f"{n:03}", n / 60, event="project.remove") for n in range(150))), "sentry"
    )

    hits = entries.hits(place, Filters(), NOON + timedelta(hours=1))
    assert hits[0].detection.severity == "critical"
    [removed] = [each for each in hits if each.detection.name == "project-deleted"]
    assert (removed.count, len(removed.rows), removed.rows[0].id) == (150, 100, "149")


def test_no_look_keeps_the_file_open(load: Load) -> None:
    place = Place(load(entry("1")), "sentry")
    entries.contents(place)
    entries.find(place, Filters(search="x"), DAY)
    entries.entry(place, "acme", "1")
    entries.hits(place, Filters(), NOON)

    if place.database.endswith(".duckdb"):
        # DuckDB refuses a writer while this process has the file open for reading.
        with duckdb.connect(place.database) as writer:
            writer.execute("DELETE FROM sentry.audit_logs")
