"""What becomes of an entry: who, to whom or what, from where, how severe."""

from __future__ import annotations

import json

import pytest

from mapper_sentry_ocsf.table import table
from testing.ocsf_mapper import entry, mapped

USER = {"id": "9", "name": "Ida Rhodes", "username": "ida", "email": "ida@example.com"}
AS_OCSF = {
    "uid": "9",
    "type_id": 1,
    "type": "User",
    "name": "ida",
    "full_name": "Ida Rhodes",
    "email_addr": "ida@example.com",
}


def test_an_entry_becomes_this_event() -> None:
    given = entry(21, "org.edit", targetObject=11, data={"require_2fa": "from True to False"})

    assert mapped(given) == {
        "uid": "21",
        "category_uid": 3,
        "category_name": "Identity & Access Management",
        "class_uid": 3004,
        "class_name": "Entity Management",
        "activity_id": 3,
        "activity_name": "Update",
        "type_uid": 300403,
        "type_name": "Entity Management: Update",
        "severity_id": 4,
        "severity": "High",
        "status_id": 1,
        "status": "Success",
        "time": 1769846400123,
        "metadata": {
            "version": "1.8.0",
            "product": {"name": "Sentry", "vendor_name": "Sentry"},
            "uid": "21",
            "event_code": "org.edit",
            "tenant_uid": "acme",
            "log_name": "audit_logs",
            "log_provider": "Sentry",
            "original_time": "2026-01-31T08:00:00.123456Z",
        },
        "actor": {
            "user": {
                "uid": "7",
                "type_id": 1,
                "type": "User",
                "name": "ada",
                "full_name": "Ada Byron",
                "email_addr": "ada@example.com",
            }
        },
        "src_endpoint": {"ip": "203.0.113.9"},
        "message": "did something",
        "entity": {
            "type": "Organization",
            "type_id": 4,
            "uid": "11",
            "data": {"require_2fa": "from True to False"},
        },
        "raw_data": json.dumps(given),
    }


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        (USER, {"user": AS_OCSF}),
        (USER | {"isSuperuser": True}, {"user": AS_OCSF | {"type_id": 2, "type": "Admin"}}),
        (USER | {"email": "no address"}, {"user": {**AS_OCSF, "email_addr": None}}),
        ({"name": "Terraform"}, {"app_name": "Terraform"}),
        ({"name": None}, {"app_name": "unknown"}),
        (None, {"app_name": "unknown"}),
    ],
    ids=["user", "superuser", "no address", "API key", "no name", "nobody"],
)
def test_who_did_it_is_a_user_or_an_app(actor: object, expected: dict[str, object]) -> None:
    if user := expected.get("user"):
        assert isinstance(user, dict)
        expected = {"user": {name: value for name, value in user.items() if value}}

    assert mapped(entry(actor=actor))["actor"] == expected


def test_a_member_who_has_an_account_is_the_user() -> None:
    event = mapped(entry(1, "member.remove", targetUser="9", targetUserDetail=USER))

    assert event["user"] == AS_OCSF


def test_somebody_who_is_invited_has_an_address_and_no_id() -> None:
    event = mapped(entry(1, "member.invite", data={"email": "eve@example.com", "user": None}))

    assert event["user"] == {"name": "eve@example.com", "email_addr": "eve@example.com"}


def test_a_change_of_a_member_holds_role_and_teams_as_privileges() -> None:
    data = {"email": "eve@example.com", "role": "manager", "teams_slugs": ["web", "ops"]}
    event = mapped(entry(1, "member.edit", targetUser="9", data=data))

    assert (event["class_uid"], event["activity_id"], event["severity_id"]) == (3005, 1, 4)
    assert event["privileges"] == ["role:manager", "team:web", "team:ops"]
    assert event["user"]["uid"] == "9"
    assert event["unmapped"] == {"data": data}


def test_the_id_of_a_membership_is_not_taken_for_the_team() -> None:
    data = {"team_slug": "web", "email": "ida@example.com"}
    event = mapped(entry(1, "member.join-team", targetObject=5, targetUser="9", data=data))

    assert event["group"] == {"type": "Team", "name": "web"}
    assert event["user"]["uid"] == "9"
    assert event["unmapped"]["targetObject"] == 5


def test_a_team_that_gets_a_project_has_it_as_privilege_and_resource() -> None:
    data = {"team_slug": "web", "project_slug": "shop"}
    event = mapped(entry(1, "project-team.add", data=data))

    assert event["group"]["name"] == "web"
    assert event["privileges"] == ["project:shop"]
    assert event["resource"] == {"type": "Project", "name": "shop"}


def test_a_linked_identity_is_a_change_of_the_actors_own_account() -> None:
    event = mapped(entry(1, "sso-identity.link"))

    assert event["user"] == event["actor"]["user"]
    assert event["activity_name"] == "Link identity"


def test_the_id_of_the_organization_is_not_taken_for_the_app() -> None:
    event = mapped(entry(1, "sentry-app.add", targetObject=1, data={"sentry_app": "bot"}))

    assert event["entity"] == {
        "type": "Sentry app",
        "type_id": 99,
        "name": "bot",
        "data": {"sentry_app": "bot"},
    }
    assert event["unmapped"] == {"targetObject": 1}


@pytest.mark.parametrize("state", ["browser-extensions", list("browser-extensions")])
def test_an_inbound_filter_is_named_by_its_state_and_not_by_the_project(state: object) -> None:
    event = mapped(entry(1, "project.enable", data={"slug": "shop", "state": state}))

    assert event["entity"]["name"] == "browser-extensions"


def test_a_policy_is_named_though_its_data_does_not_say_how() -> None:
    for data, name in (
        ({"require_link": "to False"}, "Single sign-on"),
        ({"provider": "okta"}, "okta"),
    ):
        entity = mapped(entry(1, "sso.edit", targetObject=3, data=data))["entity"]
        assert (entity["type"], entity["name"]) == ("Policy", name)


def test_a_secret_key_is_never_a_name() -> None:
    data = {"label": "", "key": "hidden", "secret_key": "hidden", "config": "hidden"}
    for name in table().events.keys() - {"tagkey.remove"}:
        event = mapped(entry(1, name, data=data), with_raw_data=False)
        event.get("entity", {}).pop("data", None)
        event.pop("unmapped", None)
        assert "hidden" not in json.dumps(event), name


@pytest.mark.parametrize(
    ("name", "data", "severity"),
    [
        ("org.edit", {"require_2fa": "to False"}, 4),
        ("org.edit", {"require_2fa": "to False when enabling SSO"}, 4),
        ("org.edit", {"require_2fa": "to True"}, 2),
        ("org.edit", {"default_role": "from member to manager"}, 4),
        ("org.edit", {"allow_joinleave": "to True"}, 3),
        ("org.edit", {"allowJoinRequests": "from False to True"}, 3),
        ("org.edit", {"allowJoinRequests": "from True to False"}, 2),
        ("org.edit", {"disable_shared_issues": "to False"}, 3),
        ("org.edit", {"safeFields": "to ['password']"}, 3),
        ("org.edit", {"safeFields": "from ['password'] to []"}, 2),
        ("org.edit", {"trustedRelays": "from OrganizationOption object (8) to []"}, 2),
        ("org.edit", {"trustedRelays": None}, 4),
        ("sso.edit", {"default_role": "to owner"}, 4),
        ("sso.edit", {"enable_scim": "to True"}, 3),
        ("project.edit", {"sentry:scrub_data": False}, 4),
        ("project.edit", {"sentry:scrub_data": 0}, 1),
        ("project.edit", {"sentry:scrub_defaults": False}, 4),
        ("project.edit", {"sentry:safe_fields": ["password"]}, 3),
        ("project.edit", {"sentry:verify_ssl": False}, 3),
        ("project.edit", {"sentry:safe_fields": []}, 1),
        ("project.edit", {"sentry:origins": ["https://acme.example", "*"]}, 3),
        ("project.edit", {"sentry:origins": ["https://acme.example"]}, 1),
        ("project.edit", {"sentry:scrub_ip_address": False, "public": True}, 4),
        ("project.edit", {"public": False}, 1),
        ("member.invite", {"role": "owner"}, 4),
        ("member.invite", {"role": "member"}, 2),
        ("member.invite", None, 2),
        ("member.invite", ["role"], 2),
    ],
)
def test_what_weakens_security_is_more_severe(name: str, data: object, severity: int) -> None:
    assert mapped(entry(1, name, data=data))["severity_id"] == severity


def test_a_renamed_project_is_moved() -> None:
    event = mapped(entry(1, "project.edit", data={"old_slug": "a", "new_slug": "b"}))

    assert (event["activity_name"], event["type_uid"]) == ("Move", 300405)


@pytest.mark.parametrize(
    ("name", "target", "activity"),
    [
        ("widget.created", "widget", "Create"),
        ("widget.part.removed", "widget.part", "Delete"),
        ("widget.twisted", "widget", "twisted"),
        ("widget", "widget", "widget"),
        ("", "Unknown", "Other"),
    ],
)
def test_an_event_that_nobody_knows_is_mapped_by_its_name(
    name: str, target: str, activity: str
) -> None:
    event = mapped(entry(1, name))

    assert (event["class_uid"], event["severity_id"]) == (3004, 1)
    assert (event["entity"]["type"], event["activity_name"]) == (target, activity)


@pytest.mark.parametrize(
    ("time", "milliseconds"),
    [
        ("2026-01-31T08:00:00.999999Z", 1769846400999),
        ("2026-01-31T10:00:00+02:00", 1769846400000),
        ("2026-01-31T08:00:00", 1769846400000),
        ("1969-12-31T23:59:59.999999Z", -1),
    ],
)
def test_the_time_is_in_milliseconds_rounded_down(time: str, milliseconds: int) -> None:
    event = mapped(entry(dateCreated=time))

    assert event["time"] == milliseconds
    assert event["metadata"]["original_time"] == time


def test_what_has_no_place_in_ocsf_is_kept() -> None:
    event = mapped(entry(ipAddress="unix:", additionalFields={"new": 1}), with_raw_data=False)

    assert "src_endpoint" not in event
    assert event["unmapped"] == {"ipAddress": "unix:", "additionalFields": {"new": 1}}
