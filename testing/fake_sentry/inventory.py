"""What an organization has besides its audit log, as rows that Sentry would show."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Self
from zlib import crc32

from . import entries
from .entries import Row

RECORDED = Path(__file__).parents[1] / "recorded_data" / "sentry-23.7.1-inventory"
ROLES = ["owner", "manager", "admin", "member", "member", "member"]
PLATFORMS = ["python", "javascript-react", "go", "ruby", "java-spring", None]
KINDS_OF_ERROR = 24
SECOND = 1_000_000
HOUR = 3_600 * SECOND

NUMBERED = re.compile(r"(Error|mod|\bf|\bu|id:|113\.|\")36\b")


@dataclass
class Inventory:
    """Change it with its methods, or put new rows into its lists, while a server runs.

    Rows may share what is nested in them: replace it rather than change it.
    """

    organization: Row
    """Without its teams and projects, which are the rows below."""
    projects: list[Row]
    teams: list[Row]
    members: list[Row]
    releases: list[Row]
    issues: list[Row]
    events: dict[str, list[Row]]
    """By a project's slug, in full form."""

    @classmethod
    def made(  # noqa: PLR0913
        cls,
        slug: str = "acme",
        *,
        projects: int = 3,
        teams: int = 2,
        members: int = 5,
        releases: int = 4,
        issues: int = 10,
        events: int = 20,
        days: float = 30,
        until: datetime | None = None,
        seed: int = 0,
    ) -> Self:
        """Make so many of each, but events for each project."""
        make = _Maker(slug, days, until or entries.UNTIL, seed)
        versions = make.releases(releases)
        owned = make.projects(projects, teams, versions)
        _spread_releases(versions, owned)
        found = make.issues(issues, owned)
        return cls(
            organization=make.organization(),
            projects=owned,
            teams=make.teams(teams, owned),
            members=make.members(members),
            releases=versions,
            issues=found,
            events={row["slug"]: make.events(events, row, found) for row in owned},
        )

    def touch(self, issue_id: str, at: int) -> None:
        """Let an issue happen once more, at so many microseconds since the epoch."""
        place = next(n for n, row in enumerate(self.issues) if row["id"] == issue_id)
        row = self.issues[place]
        seen = {"count": str(int(row["count"]) + 1), "lastSeen": entries.date_created(at)}
        self.issues[place] = {**row, **seen, "lifetime": {**row["lifetime"], **seen}}

    def add_releases(
        self, times: Iterable[int], *project_slugs: str, status: str = "open"
    ) -> list[int]:
        """Add releases of some projects, or of the first one."""
        slugs = project_slugs or (self.projects[0]["slug"],)
        projects = [row for row in self.projects if row["slug"] in slugs]
        first = 1 + max((row["id"] for row in self.releases), default=int(projects[0]["id"]))
        new = [
            {**_release(first + number, number, at, "added"), "status": status}
            for number, at in enumerate(times)
        ]
        for row in new:
            row["projects"] = [_project_of_release(project) for project in projects]
        self.releases[:0] = new
        return [row["id"] for row in new]

    def add_events(self, project_slug: str, times: Iterable[int]) -> list[str]:
        project = next(row for row in self.projects if row["slug"] == project_slug)
        had = self.events[project_slug]
        rng = entries.random(f"{project['id']}/{len(had)}/added")
        groups = _groups(project, self.issues)
        new = [_event(rng.getrandbits(128), at, project, groups) for at in times]
        self.events[project_slug] = new + had
        return [row["id"] for row in new]

    def remove_project(self, slug: str) -> None:
        """Take a project away together with its issues and events, as Sentry does."""
        self.projects[:] = [row for row in self.projects if row["slug"] != slug]
        self.issues[:] = [row for row in self.issues if row["project"]["slug"] != slug]
        self.events.pop(slug, None)
        for place, team in enumerate(self.teams):
            kept = [project for project in team["projects"] if project["slug"] != slug]
            self.teams[place] = {**team, "projects": kept}


def brief(event: Row) -> Row:
    """Shorten an event to the form it has in lists."""
    names = _recorded("events")[0]
    return {name: event.get("type" if name == "event.type" else name) for name in names}


def newest_first(rows: Iterable[Row], field: str) -> list[Row]:
    return sorted(rows, key=lambda row: moment(row, field), reverse=True)


def moment(row: Row, field: str) -> str:
    """Tell a time such that as text it compares like a time: no fraction comes first."""
    when: str = row[field]
    return when.removesuffix("Z")


class _Maker:
    def __init__(self, slug: str, days: float, until: datetime, seed: int) -> None:
        self._slug, self._days, self._until, self._seed = slug, days, until, seed
        self._end = entries.micros(until)
        # All organizations of a server number their things together.
        self._first_id = 1 + crc32(slug.encode()) % 2_000 * 1_000_000

    def organization(self) -> Row:
        prototype = _recorded("organization")[0]
        made = {name: prototype[name] for name in prototype if name not in {"teams", "projects"}}
        about = {"slug": self._slug, "name": self._slug.replace("-", " ").title()}
        created = entries.date_created(self._start(0))
        return made | {"id": str(self._first_id), **about, "dateCreated": created}

    def projects(self, count: int, teams: int, versions: list[Row]) -> list[Row]:
        prototype = _recorded("projects")[0]
        latest = {"version": versions[0]["version"]} if versions else None
        made = []
        for number in range(count):
            slug = f"web-{number + 1:03}"
            mine = [self._team(number % teams)] if teams else []
            changes = {
                "team": mine[0] if mine else None,
                "teams": mine,
                "id": str(self._first_id + number),
                "name": slug,
                "slug": slug,
                "dateCreated": entries.date_created(self._start(number + 1)),
                "firstEvent": entries.date_created(self._start(number + 1) + HOUR),
                "platform": PLATFORMS[number % len(PLATFORMS)],
                "latestRelease": latest,
            }
            made.append(prototype | changes)
        return made

    def teams(self, count: int, projects: list[Row]) -> list[Row]:
        prototype = _recorded("teams")[0]
        owned = prototype["projects"][0]
        return [
            prototype
            | self._team(number)
            | {
                "dateCreated": entries.date_created(self._start(number)),
                "memberCount": number * 7 % 40,
                "projects": [
                    {name: row.get(name, owned[name]) for name in owned}
                    for row in projects[number::count]
                ],
            }
            for number in range(count)
        ]

    def members(self, count: int) -> list[Row]:
        users = entries.actors(self._seed)
        known = {int(user["id"]) for user in users}
        others = (number for number in range(1, count + len(known) + 1) if number not in known)
        users += map(entries.user, others)
        return [self._member(number, users[number]) for number in range(count)]

    def releases(self, count: int) -> list[Row]:
        step = int(self._days * entries.DAY) // max(count, 1)
        made = []
        for number in reversed(range(count)):
            at = self._end - (count - number) * step
            made.append(_release(self._first_id + number, number, at - at % SECOND, self._seed))
        return made

    def issues(self, count: int, projects: list[Row]) -> list[Row]:
        """Give each project its share; every fifth issue is resolved."""
        rng = entries.random(f"{self._seed}/{self._slug}/issues")
        times = entries.even(count, self._days, until=self._until, seed=self._seed)
        made = []
        for number, time in enumerate(reversed(times if projects else [])):
            project, prototype = projects[number % len(projects)], _numbered("issues", number)
            at = time - time % SECOND
            seen = {
                "count": str(rng.randint(1, 900)),
                "userCount": rng.randint(0, 50),
                "lastSeen": entries.date_created(at),
            }
            born, exactly = at - rng.randrange(30 * entries.DAY), rng.randrange(SECOND)
            born -= born % SECOND
            first = entries.date_created(born + exactly)
            issue_id, resolved = str(self._first_id + number), number % 5 == 4
            changes = {
                "id": issue_id,
                "shortId": f"{project['slug'].upper()}-{number + 1:X}",
                "permalink": prototype["permalink"].replace("/46/", f"/{issue_id}/"),
                "status": "resolved" if resolved else "unresolved",
                "substatus": None if resolved else "ongoing",
                "platform": project["platform"] or "other",
                "project": {name: project[name] for name in prototype["project"]},
                "firstSeen": entries.date_created(born),
                "lifetime": prototype["lifetime"] | seen | {"firstSeen": first},
            }
            made.append(prototype | seen | changes)
        return made

    def events(self, count: int, project: Row, issues: list[Row]) -> list[Row]:
        rng = entries.random(f"{self._seed}/{self._slug}/{project['slug']}")
        seed = rng.getrandbits(32)
        times = entries.even(count, self._days, until=self._until, seed=seed)
        groups = _groups(project, issues)
        return [
            _event(rng.getrandbits(128), at - at % SECOND, project, groups)
            for at in reversed(times)
        ]

    def _start(self, number: int) -> int:
        """Tell when a thing began to be that was there before all entries."""
        before = self._until - timedelta(days=self._days + 90)
        return entries.micros(before) + number * 26_855_000 % entries.DAY

    def _team(self, number: int) -> Row:
        names = {"slug": f"team-{number:02}", "name": f"Team {number:02}"}
        return {"id": str(self._first_id + number), **names}

    def _member(self, number: int, user: Row) -> Row:
        prototype, role = _recorded("members")[0], ROLES[number % len(ROLES)]
        return prototype | {
            "id": str(self._first_id + number),
            "email": user["email"],
            "name": user["name"],
            "user": user,
            "role": role,
            "roleName": role.title(),
            "orgRole": role,
            "dateCreated": entries.date_created(self._start(number)),
        }


@cache
def _recorded(name: str) -> list[Row]:
    found = json.loads((RECORDED / f"{name}.json").read_text("utf-8"))
    return found if isinstance(found, list) else [found]


@cache
def _variants(name: str) -> list[Row]:
    text = json.dumps(_recorded(name)[0])
    return [
        json.loads(NUMBERED.sub(rf"\g<1>{number:02}", text)) for number in range(KINDS_OF_ERROR)
    ]


def _numbered(name: str, number: int) -> Row:
    return _variants(name)[number % KINDS_OF_ERROR]


def _event(number: int, at: int, project: Row, groups: list[str]) -> Row:
    event_id = f"{number:032x}"
    kind = number % len(groups)
    return _numbered("events_full", kind) | {
        "id": event_id,
        "groupID": groups[kind],
        "eventID": event_id,
        "projectID": project["id"],
        "dateReceived": entries.date_created(at + 1_041_408 + number % SECOND),
        "dateCreated": entries.date_created(at),
    }


def _groups(project: Row, issues: list[Row]) -> list[str]:
    mine = [row["id"] for row in issues if row["project"]["id"] == project["id"]]
    return mine or [project["id"]]


def _release(release_id: int, number: int, at: int, seed: object) -> Row:
    prototype = _recorded("releases")[0]
    build = f"{crc32(f'{seed}/{number}'.encode()):08x}"[:7]
    parts = {"major": 1, "minor": number // 10, "patch": number % 10}
    text = ".".join(map(str, parts.values()))
    raw, whole = f"{text}+{build}", f"app@{text}+{build}"
    info = prototype["versionInfo"]
    version = info["version"] | {"raw": raw, **parts, "buildCode": build}
    described = {"version": version, "description": f"{text} ({build})"}
    changes = {
        "id": release_id,
        "version": whole,
        "shortVersion": whole,
        "versionInfo": info | described,
        "ref": ["main", "v1", None][number % 3],
        "dateReleased": entries.date_created(at + HOUR // 2) if number % 3 else None,
        "dateCreated": entries.date_created(at),
    }
    return prototype | changes


def _project_of_release(project: Row) -> Row:
    prototype: Row = _recorded("releases")[0]["projects"][0]
    about = {name: project.get(name, prototype[name]) for name in prototype}
    return about | {"id": int(project["id"])}


def _spread_releases(releases: list[Row], projects: list[Row]) -> None:
    if not projects:
        return
    for number, release in enumerate(releases):
        release["projects"] = [_project_of_release(projects[number % len(projects)])]
