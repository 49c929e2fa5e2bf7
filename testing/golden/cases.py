"""What the golden files are made of: each function is a case, and plays runs of the tap."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testing import recorded, sentry_tap
from testing.fake_sentry import Answer, FakeSentry, Inventory, Log, ReleaseList, entries, faults
from testing.golden.player import Stop
from testing.sentry_tap import selecting

if TYPE_CHECKING:
    from collections.abc import Callable

    from testing.golden.player import Player


HERE = Path(__file__).parent
NEW_YEAR = entries.micros(entries.UNTIL)
HOUR = 3_600_000_000
MILLISECOND = 1_000
EVERYTHING = [
    "audit_logs",
    "organizations",
    "projects",
    "teams",
    "members",
    "releases",
    "issues",
    "events",
]
STATE_0_1_0 = HERE / "state-0.1.0.json"

CASES: dict[str, Callable[[Player], None]] = {}


def case(play: Callable[[Player], None]) -> Callable[[Player], None]:
    """Make a case of a function, named as it is."""
    CASES[play.__name__.replace("_", "-")] = play
    return play


def clock() -> float:
    """Show an hour after the newest entry, whenever the case is played."""
    return (NEW_YEAR + HOUR) / 1e6


def serving(log: Log | None = None, **more: Any) -> FakeSentry:  # noqa: ANN401
    """Serve one organization, acme, with a clock that stands still."""
    given: dict[str, Any] = {"clock": clock, "organizations": {"acme": log or Log()}}
    return FakeSentry(**(given | more))


def settings(sentry: FakeSentry, **more: object) -> dict[str, Any]:
    """Settings for the one organization, at no pace of ours."""
    return sentry_tap.config(sentry, requests_per_second=1000, **more)


def one_by_one(sentry: FakeSentry, **more: object) -> dict[str, Any]:
    """Settings with one request at a time, so that each comes at its place."""
    return settings(sentry, max_concurrent_requests=1, **more)


def several(sentry: FakeSentry, *slugs: str, **more: object) -> dict[str, Any]:
    """Settings with several organizations."""
    return one_by_one(sentry, organization=None, organizations=list(slugs), **more)


def fields(*names: str) -> dict[str, Any]:
    """Return a catalog in which audit_logs is selected with these fields alone."""
    catalog = selecting("audit_logs")
    for stream in catalog["streams"]:
        for about in stream["metadata"]:
            if stream["stream"] == "audit_logs" and about["breadcrumb"]:
                about["metadata"]["selected"] = about["breadcrumb"][-1] in names
    return catalog


def recorded_list(name: str) -> Any:  # noqa: ANN401
    """Return the rows of a recorded list."""
    return json.loads((HERE / "recorded" / f"{name}.json").read_text("utf-8"))


def recorded_sentry() -> FakeSentry:
    """Serve what was recorded of a Sentry 23.7.1, at a time shortly after."""
    events: dict[str, list[Any]] = {row["slug"]: [] for row in recorded_list("projects")}
    events["project-000"] = recorded_list("events")
    names = {path.stem for path in (HERE / "recorded").glob("*.json")} - {"events"}
    acme = Inventory(**{name: recorded_list(name) for name in names}, events=events)
    after = datetime(2026, 11, 21, 1, tzinfo=UTC).timestamp()
    log = Log(rows=recorded.audit_rows()[::9])
    return serving(log, inventories={"acme": acme}, clock=lambda: after)


def tied_log() -> Log:
    """A log with ties of each kind: narrow, at a page's end, wider than a page."""
    times = entries.even(40, 2)
    times += [NEW_YEAR - 20 * HOUR] * 30
    times += [NEW_YEAR - 10 * HOUR + n % 3 for n in range(101)]
    times += [NEW_YEAR - HOUR // 2] * 5
    return Log(sorted(times), ties="shuffled", seed=3)


# --- what a real Sentry sent


@case
def recorded_in_full(play: Player) -> None:
    with recorded_sentry() as sentry:
        catalog = selecting(*EVERYTHING)
        state = play.run(one_by_one(sentry), catalog=catalog)
        play.run(settings(sentry), catalog=catalog, state=state)


@case
def recorded_flattened(play: Player) -> None:
    with recorded_sentry() as sentry:
        flat = one_by_one(sentry, flattening_enabled=True, flattening_max_depth=1)
        play.run(flat, catalog=selecting("organizations", "projects", "members", "releases"))


@case
def recorded_refusals(play: Player) -> None:
    for name in ["bad_token", "no_auth", "expired_token", "org_read_only", "unknown_org"]:
        answer = Answer(
            recorded.status(name),
            recorded.body(name),
            {"Content-Type": recorded.headers(name)["Content-Type"]},
        )
        with serving(faults=lambda _, __, answer=answer: answer) as sentry:
            play.run(settings(sentry))


# --- the audit log


@case
def ties(play: Player) -> None:
    with serving(tied_log()) as sentry:
        few = fields("id", "organization", "actor", "dateCreated")
        state = play.run(settings(sentry), catalog=few)
        sentry.organizations["acme"].add([NEW_YEAR - HOUR // 2, NEW_YEAR - 1, NEW_YEAR])
        state = play.run(one_by_one(sentry), catalog=few, state=state)
        play.run(settings(sentry), catalog=few, state=state)


@case
def ties_interim_state(play: Player) -> None:
    times = [*entries.even(1000, 3), *[NEW_YEAR - 2 * HOUR] * 150]
    with serving(Log(times, ties="shuffled")) as sentry:
        play.run(settings(sentry), catalog=fields("id", "organization", "dateCreated"))


@case
def null_rows(play: Player) -> None:
    log = Log(entries.even(30, 2))
    for number in range(250):
        log.put(None, NEW_YEAR - 12 * HOUR + number % 120 * MILLISECOND)
    with serving(log) as sentry:
        state = play.run(settings(sentry))
        log.put(None, NEW_YEAR + 1)
        play.run(settings(sentry), state=state)


@case
def odd_rows(play: Player) -> None:
    """Rows of other types than usual, and numbers that a float cannot hold."""
    odd: list[dict[str, Any]] = [
        {"targetObject": 2**80, "data": {"ratio": 0.1, "count": 10**30, "none": None}},
        {"targetObject": "12", "targetUser": 5, "ipAddress": 5, "note": None},
        {"targetObject": 1.5, "targetUser": "user005@acme.example", "data": [1, {"a": []}]},
        {"targetUser": {"id": 7, "name": "Çelik", "emails": []}, "data": "text", "note": 12},
        {"unknown": {"deep": [1]}, "later": "field", "organization": "other"},
        {"actor": "a name", "event": None},
        {"actor": 12, "event": 5},
        {"actor": None, "data": None, "note": "\u2028 \U0001f512"},
        {"id": 123456789012},
        {"dateCreated": "2024-12-31T12:00:00Z"},
        {"dateCreated": "2024-12-31T12:00:00.5Z"},
        {"dateCreated": "2024-12-31T14:00:00.250000+02:00"},
    ]
    at = NEW_YEAR - HOUR
    log = Log(rows=[entries.row(str(n), at + n, **more) for n, more in enumerate(odd, start=1)])
    # As text, because no value of Python's makes these.
    written = (
        '{"id":"99","actor":null,"event":"x","ipAddress":null,"note":"\\ud800 alone \\u0000",'
        '"targetObject":null,"targetUser":null,"data":{"decimal":0.10,"exact":1e400,'
        '"precise":3.14159265358979323846264338327950288,"minus":-0.0,"lone":"\\udfff"},'
        '"dateCreated":"2024-12-31T23:30:00.000001Z"}'
    )
    body = f'{{"rows":[{written}],"options":[]}}'.encode()
    with serving(log) as sentry:
        play.run(settings(sentry))
        sentry.faults = lambda _, __: Answer(200, body, {"Content-Type": "application/json"})
        play.run(settings(sentry))


@case
def secrets(play: Player) -> None:
    key = "00112233445566778899aabbccddeeff"
    rows: list[dict[str, Any]] = [
        {"event": "api-key.create", "data": {"key": key, "label": "ci"}},
        {"actor": {"name": f"{key} (api key)"}, "note": f"made by {key}"},
        {"event": "projectkey.create", "data": {"secret_key": key, "public_key": "p" * 32}},
        {
            "event": "project.edit",
            "note": f"edited project settings in sentry:token to {key}",
            "data": {"sentry:token": key, "sentry:token_header": "X-Header"},
        },
        {
            "event": "sso-identity.link",
            "data": {"data": {"access_token": "a" * 40, "refresh_token": ["b" * 40, None]}},
        },
        {"event": "tag.edit", "data": {"key": "browser", "deep": [{"password": "hunter2"}]}},
    ]
    at = NEW_YEAR - HOUR
    log = Log(rows=[entries.row(str(n), at + n, **more) for n, more in enumerate(rows, start=1)])
    with serving(log) as sentry:
        play.run(settings(sentry))
        play.run(settings(sentry, redact_secrets=False))


@case
def late_entries(play: Player) -> None:
    log = Log(entries.even(20, 1))
    with serving(log) as sentry:
        state = play.run(settings(sentry))
        log.add([NEW_YEAR - HOUR // 2, NEW_YEAR - 2 * HOUR])
        state = play.run(settings(sentry), state=state)
        log.add([NEW_YEAR - 5 * HOUR])
        play.run(settings(sentry, lookback_seconds=6 * 3600), state=state)


@case
def future_entries(play: Player) -> None:
    log = Log([NEW_YEAR - 1, NEW_YEAR + 30 * 24 * HOUR])
    with serving(log) as sentry:
        state = play.run(settings(sentry))
        log.add([NEW_YEAR + HOUR // 2])
        play.run(settings(sentry), state=state)


@case
def no_entries(play: Player) -> None:
    with serving() as sentry:
        state = play.run(settings(sentry))
        play.run(settings(sentry), state=state)


@case
def dates(play: Player) -> None:
    with serving(Log(entries.even(60, 30))) as sentry:
        range_of_days = {"start_date": "2024-12-10", "end_date": "2024-12-20T12:00:00+02:00"}
        few = fields("id", "dateCreated")
        state = play.run(settings(sentry, **range_of_days), catalog=few)
        play.run(settings(sentry, start_date="2024-12-29"), catalog=few, state=state)
        day = settings(sentry, start_date="2024-12-31T23:59:59Z", end_date="2025-01-01")
        play.run(day, catalog=few)


@case
def no_backfill(play: Player) -> None:
    log = Log(entries.even(150, 1))
    with serving(log) as sentry:
        state = play.run(settings(sentry, backfill=False))
        log.add([NEW_YEAR - HOUR // 2, NEW_YEAR + 1])
        play.run(settings(sentry, backfill=False), state=state)


@case
def state_of_0_1_0(play: Player) -> None:
    """The STATE lies a while before the log's end, and knows some of its ids."""
    with serving(log_of_0_1_0(new=True)) as sentry:
        play.run(settings(sentry), state=json.loads(STATE_0_1_0.read_text()))


def log_of_0_1_0(*, new: bool) -> Log:
    """Return the log that STATE_0_1_0 comes from, or what became of it."""
    log = Log(entries.even(40, 1))
    if new:
        log.add([NEW_YEAR - HOUR // 2, NEW_YEAR, NEW_YEAR + 1])
    return log


@case
def hand_made_states(play: Player) -> None:
    value = {"replication_key": "dateCreated", "replication_key_value": "2024-12-31T12:00:00Z"}
    partition = {"context": {"organization": "acme"}, **value}
    of_partition = {"bookmarks": {"audit_logs": {"partitions": [partition]}}}
    with serving(Log(entries.even(20, 2))) as sentry:
        play.run(settings(sentry), state=of_partition)
        play.run(settings(sentry), state={"bookmarks": {"audit_logs": value}})
        play.run(settings(sentry), state={"type": "STATE", "value": of_partition})
        play.run(settings(sentry), state={"bookmarks": {"users": {}}})
        ahead = {"bookmarks": {"audit_logs": value | {"replication_key_value": "9999-01-01"}}}
        play.run(settings(sentry), state=ahead)


@case
def foreign_cursors_refused(play: Player) -> None:
    with serving(Log(entries.even(120, 2)), foreign_cursors="refuse") as sentry:
        state = play.run(settings(sentry), catalog=fields("id", "event", "dateCreated"))
        play.run(settings(sentry, start_date="2024-12-31T20:00:00Z"), state=state)


@case
def old_body(play: Player) -> None:
    with serving(Log(entries.even(20, 2)), old_body=True) as sentry:
        play.run(settings(sentry))


@case
def faults_on_the_way(play: Player) -> None:
    troubles = {1: faults.status(503), 2: "reset", 4: "truncated", 6: faults.NOT_JSON}
    log = Log(entries.even(220, 2))
    with serving(log, faults=troubles) as sentry:
        play.run(one_by_one(sentry), catalog=fields("id", "dateCreated"))


@case
def several_organizations(play: Player) -> None:
    logs = {slug: Log(entries.even(6, 1), first_id=1000 * n) for n, slug in enumerate("abc", 1)}
    with serving(organizations=logs) as sentry:
        state = play.run(several(sentry, "a", "missing", "b"))
        logs["a"].add([NEW_YEAR + 1])
        play.run(several(sentry, "c", "b", "a"), state=state)


@case
def stream_maps(play: Player) -> None:
    maps = {
        "audit_logs": {
            "actor_id": "actor.get('id') if actor else None",
            "actor_hash": "md5(config['salt'] + actor['email']) if actor and 'email' in actor "
            "else None",
            "actor": "__NULL__",
            "note": "__NULL__",
            "__filter__": "event != 'org.edit'",
            "__alias__": "audit",
        }
    }
    with serving(Log(entries.even(30, 2))) as sentry:
        play.run(settings(sentry, stream_maps=maps, stream_map_config={"salt": "s"}))


@case
def flattened(play: Player) -> None:
    with serving(Log(entries.even(15, 2))) as sentry:
        for depth in (0, 1, 3):
            play.run(settings(sentry, flattening_enabled=True, flattening_max_depth=depth))
        play.run(
            settings(
                sentry,
                flattening_enabled=True,
                flattening_max_depth=2,
                flattening_separator="-",
                stream_maps={"audit_logs": {"who": "actor__name"}},
            )
        )


# --- all streams


@case
def everything(play: Player) -> None:
    catalog = selecting(*EVERYTHING)
    acme = Inventory.made(projects=2, teams=2, members=3, releases=3, issues=4, events=2)
    with serving(Log(entries.even(3, 1)), inventories={"acme": acme}) as sentry:
        state = play.run(one_by_one(sentry), catalog=catalog)
        acme.add_events("web-001", [NEW_YEAR + 1, NEW_YEAR - HOUR // 2])
        acme.touch(acme.issues[2]["id"], NEW_YEAR + 2)
        acme.add_releases([NEW_YEAR])
        play.run(one_by_one(sentry), catalog=catalog, state=state)


@case
def everything_of_two_without_backfill(play: Player) -> None:
    catalog = selecting("audit_logs", "issues", "events", "teams")
    logs = {"one": Log(entries.even(3, 1)), "two": Log(entries.even(3, 1), first_id=500)}
    made = {slug: Inventory.made(slug, projects=1, issues=3, events=3) for slug in logs}
    with serving(organizations=logs, inventories=made) as sentry:
        state = play.run(several(sentry, "one", "two", backfill=False), catalog=catalog)
        made["two"].add_events("web-001", [NEW_YEAR + 1])
        made["two"].touch(made["two"].issues[0]["id"], NEW_YEAR + 2)
        logs["one"].add([NEW_YEAR + 3])
        play.run(several(sentry, "one", "two", backfill=False), catalog=catalog, state=state)


@case
def long_lists(play: Player) -> None:
    """Lists of several pages, releases of one date among them."""
    acme = Inventory.made(projects=103, teams=1, members=2, releases=2, issues=0, events=0)
    acme.add_releases([NEW_YEAR] * 110)
    catalog = selecting("projects", "releases")
    for stream in catalog["streams"]:
        for about in stream["metadata"]:
            if about["breadcrumb"]:
                wanted = about["breadcrumb"][-1] in {"id", "slug", "organization", "dateCreated"}
                about["metadata"]["selected"] = wanted
    ways = ReleaseList(ties="by page")
    with serving(inventories={"acme": acme}, release_list=ways) as sentry:
        play.run(one_by_one(sentry), catalog=catalog)


@case
def scopes_that_lack(play: Player) -> None:
    acme = Inventory.made(projects=1, teams=1, members=1, releases=1, issues=1, events=1)
    with serving(Log(entries.even(2, 1)), inventories={"acme": acme}) as sentry:
        sentry.scopes = {"token": {"org:read", "member:read"}}
        play.run(one_by_one(sentry), catalog=selecting(*EVERYTHING))


# --- without a sync


@case
def discover(play: Player) -> None:
    play.run({}, "--discover")


@case
def about(play: Player) -> None:
    play.run({}, "--about", "--format=json")


@case
def connection_test(play: Player) -> None:
    logs = {"acme": Log(entries.even(3, 1)), "beta": Log(entries.even(3, 1), first_id=50)}
    with serving(organizations=logs) as sentry:
        play.run(several(sentry, "acme", "beta"), "--test")
        play.run(several(sentry, "acme", "missing"), "--test")


@case
def bad_settings(play: Player) -> None:
    play.run({"organization": "acme"})
    play.run({"auth_token": "token", "organization": "a b", "lookback_seconds": -1})
    play.run({"auth_token": "token", "organization": "acme", "start_date": "soon"})


# --- runs that are stopped


def stopped(
    play: Player, which: signal.Signals, nth: int, *, is_tied: bool = False, count: int = 230
) -> None:
    """Stop a run at a request, and let another one go on from its state."""
    log = tied_log() if is_tied else Log(entries.even(count, 2))
    catalog = fields("id", "dateCreated")
    with serving(log) as sentry:
        stop = Stop(sentry, which, nth, settling=0.5)
        state = play.run(one_by_one(sentry), catalog=catalog, stop=stop)
        sentry.faults = ()
        play.run(one_by_one(sentry), catalog=catalog, state=state)


@case
def stops_before_the_first_record(play: Player) -> None:
    stopped(play, signal.SIGTERM, 1)


@case
def stops_by_sigterm(play: Player) -> None:
    stopped(play, signal.SIGTERM, 3)


@case
def stops_by_sigint(play: Player) -> None:
    stopped(play, signal.SIGINT, 2)


@case
def stops_by_sigkill(play: Player) -> None:
    stopped(play, signal.SIGKILL, 12, count=1110)


@case
def stops_within_a_tie(play: Player) -> None:
    stopped(play, signal.SIGTERM, 6, is_tied=True)


@case
def stops_in_the_second_organization(play: Player) -> None:
    logs = {slug: Log(entries.even(5, 1), first_id=1000 * n) for n, slug in enumerate("ab", 1)}
    with serving(organizations=logs) as sentry:
        stop = Stop(sentry, signal.SIGTERM, 3, settling=0.5)
        state = play.run(several(sentry, "a", "missing", "b"), stop=stop)
        sentry.faults = ()
        play.run(several(sentry, "a", "b"), state=state)


@case
def stops_with_a_given_state(play: Player) -> None:
    with serving(log_of_0_1_0(new=True)) as sentry:
        stop = Stop(sentry, signal.SIGTERM, 1)
        play.run(one_by_one(sentry), state=json.loads(STATE_0_1_0.read_text()), stop=stop)


@case
def stops_in_a_list(play: Player) -> None:
    acme = Inventory.made(projects=1, teams=1, members=120, releases=1, issues=1, events=1)
    catalog = selecting("audit_logs", "members")
    for stream in catalog["streams"]:
        for about in stream["metadata"]:
            if about["breadcrumb"]:
                about["metadata"]["selected"] = about["breadcrumb"][-1] in {"id", "dateCreated"}
    with serving(Log(entries.even(3, 1)), inventories={"acme": acme}) as sentry:
        stop = Stop(sentry, signal.SIGTERM, 2, "members")
        play.run(one_by_one(sentry), catalog=catalog, stop=stop)


@case
def stops_in_events(play: Player) -> None:
    acme = Inventory.made(projects=2, teams=1, members=1, releases=1, issues=2, events=3)
    with serving(Log(entries.even(3, 1)), inventories={"acme": acme}) as sentry:
        stop = Stop(sentry, signal.SIGTERM, 1, "events")
        play.run(one_by_one(sentry), catalog=selecting("audit_logs", "events"), stop=stop)


@case
def stops_a_test_of_the_connection(play: Player) -> None:
    with serving(Log(entries.even(3, 1))) as sentry:
        play.run(one_by_one(sentry), "--test", stop=Stop(sentry, signal.SIGTERM, 1))
