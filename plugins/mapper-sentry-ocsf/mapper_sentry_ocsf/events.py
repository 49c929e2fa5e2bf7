"""An entry of Sentry's audit log as an event of OCSF 1.8.0.

Attributes without a value are left out: neither null nor an empty object is valid in OCSF.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import msgspec
import simplejson

from mapper_sentry_ocsf.table import ACTOR, CATEGORY_NAME, CATEGORY_UID, TEAM, USER, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mapper_sentry_ocsf.table import Condition, Event

    Object = dict[str, Any]

KEY = "uid"
"""The one attribute that is not OCSF's: the primary key, which is the entry's id."""

ENTITY_MANAGEMENT, USER_ACCESS, GROUP_MANAGEMENT = 3004, 3005, 3006
OTHER = 99
UNKNOWN = "unknown"
"""A name where Sentry gives none, and OCSF asks for one."""

MOST_UNKNOWN = 1000
"""Names of events that are remembered; there could be any number of them."""

_PRODUCT = {"name": "Sentry", "vendor_name": "Sentry"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_ENTITY_TYPES = {"Organization": 4, "Policy": 5}
_TYPE_IDS = {1: "User", 2: "Admin"}

_EMAIL = re.compile(r"[a-zA-Z0-9!#$%&'*+-/=?^_`{|}~.]+@[a-zA-Z0-9-]+\.[a-zA-Z0-9-.]+", re.ASCII)
"""What OCSF 1.8.0 takes for an address."""

_LONGEST_ADDRESS = 40
"""Characters that OCSF allows for an IP address."""

_LONE_SURROGATES = re.compile(r"[\ud800-\udfff]")


class UnusableEntryError(ValueError):
    """A record is no entry of an audit log; the text says why, and quotes nothing of it."""


class _User(msgspec.Struct):
    id: Any = None
    name: Any = None
    username: Any = None
    email: Any = None
    isSuperuser: Any = None  # noqa: N815  (Sentry's names)
    isStaff: Any = None  # noqa: N815


class _Entry(msgspec.Struct):
    """A record of the tap, with the types that its schema declares."""

    id: str
    dateCreated: str  # noqa: N815  (Sentry's names)
    event: str = ""
    organization: str | None = None
    actor: _User | None = None
    ipAddress: str | None = None  # noqa: N815
    note: str | None = None
    targetObject: int | str | None = None  # noqa: N815
    targetUser: str | None = None  # noqa: N815
    targetUserDetail: _User | None = None  # noqa: N815
    data: Any = None
    additionalFields: Any = None  # noqa: N815


_decode_entry = msgspec.json.Decoder(_Entry, float_hook=Decimal).decode
_decode: Callable[[msgspec.Raw], Any] = msgspec.json.Decoder(float_hook=Decimal).decode


class EventMapper:
    """Maps entries; what does not depend on them is done once."""

    def __init__(self, severities: Mapping[str, int], *, with_raw_data: bool) -> None:
        """Make a mapper. `severities` are those of some events, instead of the table's."""
        self.unknown: set[str] = set()
        """Events that the table does not have."""
        self._severities = severities
        self._with_raw_data = with_raw_data
        self._template = lru_cache(1024)(self._make_template)

    def map(self, record: msgspec.Raw) -> Object:
        """Return the event of a record, whose very text becomes `raw_data`.

        Raises:
            UnusableEntryError: It is no object, or has no id, or no time that can be read.
            msgspec.DecodeError, RecursionError, UnicodeDecodeError: It is no JSON that can be read.

        """
        try:
            entry = _decode_entry(record)
        except msgspec.ValidationError:
            entry = _convert(_decode(record))
        event = self._event(entry)
        if self._with_raw_data:
            event["raw_data"] = str(record, "utf-8")
        return event

    def map_object(self, record: object) -> Object:
        """Return the event of a record that only Python's own decoder reads.

        Lone surrogates become U+FFFD, because no UTF-8 can hold them; in `raw_data` they are
        escaped. Raises UnusableEntryError as `map` does.
        """
        event = self._event(_convert(_without_surrogates(record)))
        if self._with_raw_data:
            event["raw_data"] = simplejson.dumps(record, use_decimal=True, separators=(",", ":"))
        return event

    def _event(self, entry: _Entry) -> Object:
        if not entry.id or not entry.dateCreated:
            error = f"is an audit entry without {'dateCreated' if entry.id else 'id'}"
            raise UnusableEntryError(error)
        row, common = self._template(entry.event)
        data = entry.data if isinstance(entry.data, dict) else {}
        event: Object = {
            KEY: entry.id,
            **common,
            "time": _milliseconds(entry.dateCreated),
            "metadata": _metadata(entry),
            "actor": _actor(entry.actor),
            **_target(row, entry, data),
        }
        if entry.note:
            event["message"] = entry.note
        if entry.ipAddress and _is_ip(entry.ipAddress):
            event["src_endpoint"] = {"ip": entry.ipAddress}
        if unmapped := _unmapped(row, entry):
            event["unmapped"] = unmapped
        if row.when:
            self._adapt(event, entry.event, [one for one in row.when if one.holds(data)])
        return event

    def _make_template(self, name: str) -> tuple[Event, Object]:
        """Return the row of an event, and what all entries of that event have in common."""
        row = table().find(name)
        if name not in table().events and len(self.unknown) < MOST_UNKNOWN:
            self.unknown.add(name)
        return row, {
            "category_uid": CATEGORY_UID,
            "category_name": CATEGORY_NAME,
            "class_uid": row.class_uid,
            "class_name": table().classes[row.class_uid],
            **_activity(row.class_uid, row.activity_id, row.activity_name),
            **_severity(self._severities.get(name, row.severity_id)),
            "status_id": 1,
            "status": "Success",
        }

    def _adapt(self, event: Object, name: str, conditions: list[Condition]) -> None:
        """Change an event as the conditions that hold say; a severity of the settings stays."""
        for one in conditions:
            if one.activity_id is not None and one.activity_name is not None:
                event |= _activity(event["class_uid"], one.activity_id, one.activity_name)
            is_higher = (one.severity_id or 0) > event["severity_id"]
            if one.severity_id is not None and is_higher and name not in self._severities:
                event |= _severity(one.severity_id)


def _activity(class_uid: int, activity_id: int, name: str) -> Object:
    """Return the activity; one that is Other has a name of the table's own."""
    kind = "Other" if activity_id == OTHER else name
    return {
        "activity_id": activity_id,
        "activity_name": name,
        "type_uid": class_uid * 100 + activity_id,
        "type_name": f"{table().classes[class_uid]}: {kind}",
    }


def _severity(severity_id: int) -> Object:
    return {"severity_id": severity_id, "severity": table().severities[severity_id]}


def _milliseconds(text: str) -> int:
    """Return a time as OCSF has it: milliseconds since 1970, rounded down."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        error = "is an audit entry without a dateCreated that is a time"
        raise UnusableEntryError(error) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - _EPOCH) // _MILLISECOND


def _metadata(entry: _Entry) -> Object:
    found: Object = {
        "version": table().ocsf_version,
        "product": _PRODUCT,
        "uid": entry.id,
        "log_name": "audit_logs",
        "log_provider": "Sentry",
        "original_time": entry.dateCreated,
    }
    if entry.event:
        found["event_code"] = entry.event
    if entry.organization:
        found["tenant_uid"] = entry.organization
    return found


def _actor(user: _User | None) -> Object:
    """Return who did it. Without an id it is an API key, SCIM, or a user since deleted."""
    if user is not None and _text(user.id):
        return {"user": _user(user)}
    return {"app_name": (user and _text(user.name)) or UNKNOWN}


def _user(user: _User | None) -> Object:
    """Return a user as OCSF's, or nothing where there is no id."""
    uid = user and _text(user.id)
    if user is None or not uid:
        return {}
    type_id = 2 if user.isSuperuser is True or user.isStaff is True else 1
    found = {"uid": uid, "type_id": type_id, "type": _TYPE_IDS[type_id]}
    for name, value in (("name", user.username), ("full_name", user.name)):
        if text := _text(value):
            found[name] = text
    return found | _address(user.email)


def _address(value: object) -> Object:
    text = _text(value)
    return {"email_addr": text} if text and _EMAIL.fullmatch(text) else {}


def _target(row: Event, entry: _Entry, data: Object) -> Object:
    """Return what an event was done to, in the attributes that its class has for that."""
    if row.target == USER:
        user = {"user": _target_user(entry, data)}
        return user | {"privileges": _privileges(data)} if row.class_uid == USER_ACCESS else user
    if row.target == ACTOR:
        actor = _actor(entry.actor)
        return {"user": actor.get("user") or {"name": actor["app_name"]}}
    if row.target == TEAM:
        return _team(row, entry, data)
    entity = {
        "type": row.target,
        "type_id": _ENTITY_TYPES.get(row.target, OTHER),
        **_identity(row, entry, data),
    }
    if entry.data is not None:
        entity["data"] = entry.data
    return {"entity": entity}


def _unmapped(row: Event, entry: _Entry) -> Object:
    """Return what has no place in OCSF."""
    found: Object = {}
    if entry.ipAddress and not _is_ip(entry.ipAddress):
        found["ipAddress"] = entry.ipAddress
    if entry.targetObject is not None and not row.has_uid:
        found["targetObject"] = entry.targetObject
    if entry.data is not None and row.class_uid != ENTITY_MANAGEMENT:
        found["data"] = entry.data
    if entry.additionalFields is not None:
        found["additionalFields"] = entry.additionalFields
    return found


def _target_user(entry: _Entry, data: Object) -> Object:
    """Return the user whom it was done to; the invited have no id, and an address at most."""
    found = _user(entry.targetUserDetail)
    if found:
        return found
    detail = entry.targetUserDetail
    email = _text(data.get("email"))
    uid = entry.targetUser or _text(data.get("user"))
    name = email or (detail and (_text(detail.username) or _text(detail.name)))
    found |= {"uid": uid} if uid else {}
    found |= {"name": name} if name else {}
    return found | _address(email) or {"name": UNKNOWN}


def _privileges(data: Object) -> list[str]:
    """Return the role and the teams that a member has after the change."""
    role = _text(data.get("role"))
    teams = data.get("teams_slugs")
    slugs = map(_text, teams) if isinstance(teams, list) else ()
    return [*([f"role:{role}"] if role else []), *(f"team:{slug}" for slug in slugs if slug)]


def _team(row: Event, entry: _Entry, data: Object) -> Object:
    """Return the team; who joined or left it, or the project that it got or lost."""
    found: Object = {"group": {"type": "Team", **_identity(row, entry, data)}}
    if entry.targetUser or entry.targetUserDetail:
        found["user"] = _target_user(entry, data)
    project = _text(data.get("project_slug"))
    if project and row.class_uid == GROUP_MANAGEMENT and row.activity_id in {1, 2}:
        found["privileges"] = [f"project:{project}"]
        found["resource"] = {"type": "Project", "name": project}
    return found


def _identity(row: Event, entry: _Entry, data: Object) -> Object:
    """Return the name of an entity or a team, and its id if `targetObject` is that."""
    found = {}
    if row.has_uid and entry.targetObject is not None:
        found["uid"] = str(entry.targetObject)
    name = _first(row.name_from or table().names, data) or row.name
    if name or not found:
        found["name"] = name or UNKNOWN
    return found


def _first(keys: Iterable[str], data: Object) -> str | None:
    for key in keys:
        value = data.get(key)
        # The names of inbound filters came as lists of letters (Sentry 23.7.1).
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            value = ("" if all(len(one) == 1 for one in value) else ", ").join(value)
        if text := _text(value):
            return text
    return None


def _text(value: object) -> str | None:
    """Return a text that is not empty, or a number as text; nothing else."""
    if isinstance(value, str):
        return value or None
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return str(value) if is_number else None


@lru_cache(4096)
def _is_ip(text: str) -> bool:
    if len(text) > _LONGEST_ADDRESS:
        return False
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _convert(record: object) -> _Entry:
    """Return an entry of other types than the tap declares, as far as they have a meaning.

    Raises UnusableEntryError if it is no object.
    """
    if not isinstance(record, dict):
        error = "is an audit entry that is no object"
        raise UnusableEntryError(error)
    target = record.get("targetUser")
    detail = record.get("targetUserDetail")
    number = record.get("targetObject")
    user = _as_user(detail if detail is not None else target if isinstance(target, dict) else None)
    return _Entry(
        id=_text(record.get("id")) or "",
        dateCreated=_text(record.get("dateCreated")) or "",
        event=_text(record.get("event")) or "",
        organization=_text(record.get("organization")),
        actor=_as_user(record.get("actor")),
        ipAddress=_text(record.get("ipAddress")),
        note=_text(record.get("note")),
        targetObject=_text(number) if not isinstance(number, int) else number,
        targetUser=_text(target),
        targetUserDetail=user,
        data=record.get("data"),
        additionalFields=record.get("additionalFields"),
    )


def _as_user(value: object) -> _User | None:
    if isinstance(value, dict):
        return _User(**{name: value.get(name) for name in _User.__struct_fields__})
    return _User(name=value) if isinstance(value, str) else None


def _without_surrogates(value: Any) -> Any:  # noqa: ANN401  (whatever JSON can hold)
    if isinstance(value, str):
        return _LONE_SURROGATES.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_without_surrogates(one) for one in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(one) for key, one in value.items()}
    return value
