"""Audit entries as Sentry renders them, and the moments they happen at."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec

from .paging import EPOCH, MICROSECOND

Row = dict[str, Any]
Filter = tuple[str | None, str | None]
"""An event's name and the id of its actor."""

UNTIL = datetime(2025, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000
MINUTE = 60_000_000
BURST = 5_000

ADDRESSES = ["203.0.113.9", "198.51.100.77", "10.20.30.40", "2001:db8::7", "::1", None]
FIRST_NAMES = ["Ada", "Bo", "Çelik", "Dana", "Eve", "Farid", "Grace", "Hugo", "Ines", "李"]
LAST_NAMES = ["Abel", "O'Neil", "Kaya", "Müller"]
NAMES_ONLY = [
    "Terraform",
    "SCIM Internal Integration (ab12cd)",
    "gone@acme.example",
    "00112233445566778899aabbccddeeff (api key)",
    None,
]


@dataclass(frozen=True, slots=True)
class Prototype:
    """A rendered row without its id and dateCreated."""

    fits: Filter
    text: str


def micros(when: datetime | str) -> int:
    moment = datetime.fromisoformat(when) if isinstance(when, str) else when
    return (moment - EPOCH) // MICROSECOND


def date_created(at: int) -> str:
    """Write a moment as Sentry does: with no fraction where it would be zero."""
    return (EPOCH + timedelta(microseconds=at)).isoformat()[:-6] + "Z"


def row(entry_id: str, at: int, **changes: object) -> Row:
    """Make one whole entry, for tests that put an odd one into a log."""
    made = _row(random(entry_id))
    return {"id": entry_id, **made, "dateCreated": date_created(at), **changes}


def prototypes(seed: int = 0, count: int = 96) -> list[Prototype]:
    rng = random(seed)
    rows = [_row(rng) for _ in range(count)]
    return [Prototype(fits(r), msgspec.json.encode(r).decode()[1:-1]) for r in rows]


def actors(seed: int = 0) -> list[Row]:
    """Tell the users who appear as actors of entries generated with this seed."""
    users = {}
    for prototype in prototypes(seed):
        actor = msgspec.json.decode(f"{{{prototype.text}}}")["actor"]
        if "id" in actor:
            users[int(actor["id"])] = actor
    return [users[number] for number in sorted(users)]


def fits(made: Row) -> Filter:
    event, actor = made.get("event"), made.get("actor")
    actor_id = actor.get("id") if isinstance(actor, dict) else None
    return event if isinstance(event, str) else None, actor_id


def even(count: int, days: float = 30, *, until: datetime = UNTIL, seed: int = 0) -> list[int]:
    """Spread moments evenly, every fiftieth on a whole second."""
    rng = random(seed)
    end, step = micros(until), days * DAY / max(count, 1)
    moments = [end - int((number + rng.random()) * step) for number in range(count)]
    moments[::50] = [at - at % 1_000_000 for at in moments[::50]]
    return sorted(moments)


def bursty(count: int, days: float = 30, *, until: datetime = UNTIL, seed: int = 0) -> list[int]:
    """Put nine in ten into minutes of 5,000, the others evenly over quiet weeks."""
    rng = random(seed)
    bursts, rest = divmod(count * 9 // 10, BURST)
    sizes = [BURST] * bursts + [rest]
    moments = even(count - sum(sizes), days, until=until, seed=seed)
    for size in sizes:
        start = micros(until) - MINUTE - rng.randrange(int(days * DAY))
        moments += [start + rng.randrange(MINUTE) for _ in range(size)]
    return sorted(moments)


def random(seed: int | str) -> Random:
    return Random(seed)  # noqa: S311


def user(number: int) -> Row:
    first, last = FIRST_NAMES[number % 10], LAST_NAMES[number % 4]
    email = f"user{number:03}@acme.example"
    return {
        "id": str(number),
        "name": f"{first} {last}",
        "username": email,
        "email": email,
        "avatarUrl": f"https://avatars.example/{number * 7919:032x}?s=32&d=mm",
        "isActive": number % 9 > 0,
        "hasPasswordAuth": number % 3 > 0,
        "isManaged": False,
        "dateJoined": f"2023-02-{number % 28 + 1:02}T09:14:03.{number * 7919:06}Z",
        "lastLogin": None if number % 4 else "2024-11-30T06:00:00Z",
        "has2fa": number % 2 == 0,
        "lastActive": "2024-12-24T17:31:59.041408Z",
        "isSuperuser": False,
        "isStaff": False,
        "experiments": {},
        "emails": [{"id": str(number), "email": email, "is_verified": True}],
        "avatar": {"avatarType": "letter_avatar", "avatarUuid": None},
    }


def _row(rng: Random) -> Row:
    actor, member = user(rng.randint(1, 40)), user(rng.randint(1, 40))
    event, note, data = rng.choice(_happenings(rng, member))
    forms = [member, int(member["id"]), member["id"], None]
    return {
        "actor": actor if rng.random() < 0.85 else {"name": rng.choice(NAMES_ONLY)},
        "event": event,
        "ipAddress": rng.choice(ADDRESSES),
        "note": note,
        "targetObject": rng.choice([rng.randint(1, 9_999), 1_099_511_627_901, None]),
        "targetUser": rng.choice(forms) if event.startswith("member.") else None,
        "data": data,
    }


def _happenings(rng: Random, member: Row) -> list[tuple[str, str, Row]]:
    number, secret = rng.randint(1, 130), f"{rng.getrandbits(128):032x}"
    email, project, team = member["email"], f"web-{number:03}", f"team-{number % 12:02}"
    membership = {"email": email, "user": int(member["id"]), "teams": [number, 7]}
    described = {"id": number, "slug": project, "name": project, "public": False}
    rule = {
        "label": 'Täglich "Alarm"',
        "environment": None,
        "data": {"frequency": 30, "actions": [{"id": "mail", "value": 1.5}, {}]},
    }
    key = {"label": "Default", "public_key": secret[::-1], "secret_key": secret}
    api_key = {"label": "ci", "key": secret, "scopes": ["org:read", "org:write"]}
    return [
        ("member.invite", f"invited member {email}", {**membership, "role": "member"}),
        ("member.edit", f"edited member {email}", {**membership, "role": "owner"}),
        ("member.remove", f"removed member {email}", membership),
        ("member.join-team", f"added {email} to {team}", {**membership, "t": team}),
        ("org.edit", "edited a setting", {"require_2fa": "to True"}),
        ("team.create", f"created team {team}", {"id": number, "slug": team}),
        ("project.create", f"created project {project}", described),
        ("project.edit", "", {"sentry:origins": ["*"], "sentry:nested": {"a": [None]}}),
        ("project.remove", f"removed project {project}", described),
        ("project.enable", "enabled a filter", {"state": True}),
        ("project.disable", "disabled filters", {"state": ["ie9", "opera_pre_15"]}),
        ("projectkey.create", f"added project key {secret[::-1]}", key),
        ("api-key.create", "added api key ci", api_key),
        ("sso.enable", "enabled sso (saml2)", {"provider": "saml2", "config": {}}),
        ("rule.create", "added a rule", rule),
        ("rule.edit", "edited a rule", rule),
        ("alertrule.edit", "edited an alert rule", {"label": "p95 > 1s"}),
        ("integration.upgrade", "updated an integration", {}),
        ("org-auth-token.create", "added token ci", {"scopes": ["org:ci"]}),
    ]


EVENTS = [event for event, _, _ in _happenings(random(0), user(1))]
