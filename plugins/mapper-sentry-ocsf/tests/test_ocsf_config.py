"""The settings: what they do, and what is said of those that cannot be used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from testing import forked
from testing.ocsf_mapper import ENVIRONMENT, SCHEMA, entry, events, lines, record, run_mapper

if TYPE_CHECKING:
    from pathlib import Path

SPLIT = {
    3001: "ocsf_events_account_change",
    3004: "ocsf_events_entity_management",
    3005: "ocsf_events_user_access_management",
    3006: "ocsf_events_group_management",
}


@pytest.mark.slow
def test_streams_can_have_other_names() -> None:
    given = [message | {"stream": "sentry"} for message in (SCHEMA, record())]
    run = run_mapper([*given, record(2)], input_stream="sentry", output_stream="security")

    assert [message["stream"] for message in run.messages] == ["security", "security", "audit_logs"]


def test_each_class_can_have_a_stream_of_its_own() -> None:
    names = ("member.invite", "org.edit", "member.edit", "team.create")
    given = [record(number, event=name) for number, name in enumerate(names)]
    activate = {"type": "ACTIVATE_VERSION", "stream": "audit_logs", "version": 1}
    run = run_mapper([SCHEMA, *given, activate], split_by_class=True)

    schemas = {message["stream"]: message for message in run.of_type("SCHEMA")}
    assert list(schemas) == [*SPLIT.values()]
    for message in run.of_type("RECORD"):
        assert message["stream"] == SPLIT[message["record"]["class_uid"]]
        properties = schemas[message["stream"]]["schema"]["properties"]
        assert message["record"].keys() <= properties.keys()
    assert "user" not in schemas[SPLIT[3004]]["schema"]["properties"]
    assert [each["stream"] for each in run.of_type("ACTIVATE_VERSION")] == [*SPLIT.values()]


def test_raw_data_can_be_left_out_of_events_and_schema() -> None:
    run = run_mapper([SCHEMA, record()], include_raw_data=False)

    assert "raw_data" not in run.records[0]
    assert "raw_data" not in run.of_type("SCHEMA")[0]["schema"]["properties"]


def test_severities_by_event_win_over_all_of_the_table() -> None:
    # Meltano makes nested objects of names with dots.
    severities = {"member": {"invite": "low"}, "never.heard": "Critical"}
    [owner, unknown, other] = events(
        entry(1, "member.invite", data={"role": "owner"}),
        entry(2, "never.heard"),
        entry(3, "member.add", data={"role": "owner"}),
        severity_by_event=severities,
    )

    assert (owner["severity_id"], owner["severity"]) == (2, "Low")
    assert (unknown["severity_id"], other["severity_id"]) == (5, 4)


def test_a_severity_of_an_event_that_is_not_in_the_table_gets_a_hint() -> None:
    run = run_mapper([], severity_by_event={"member.invit": "High"}, split_by_clas=True)

    assert run.log("WARNING")[:2] == [
        "There is no setting 'split_by_clas'; it is ignored: did you mean split_by_class?",
        (
            "severity_by_event: the table has no event 'member.invit', but Sentry may: did you "
            "mean member.invite?"
        ),
    ]


def test_every_problem_is_named_at_once() -> None:
    run = run_mapper(
        [SCHEMA, record()],
        input_stream=5,
        output_stream="a b",
        split_by_class="no",
        severity_by_event={"org.edit": "hot", "rule.edit": 2, "rule.mute": "Low"},
    )

    assert (run.returncode, run.stdout) == (1, "")
    assert run.errors == [
        "input_stream is not a text: put it in quotes",
        "output_stream has spaces or line breaks: write a name such as ocsf_events",
        "split_by_class is 'no': write true or false",
        (
            "severity_by_event has 'hot' for org.edit and 2 for rule.edit: write Unknown, "
            "Informational, Low, Medium, High, Critical or Fatal"
        ),
    ]
    assert run.stderr.rstrip().endswith("Critical or Fatal")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "is no object: write events and severities"),
        ({"org.edit": 4}, "has 4 for org.edit: write "),
        ({"org.edit": "Low", "org": {"edit": "High"}}, "has an event twice"),
    ],
)
def test_severities_that_are_none_are_named(value: object, problem: str) -> None:
    run = run_mapper([], severity_by_event=value)

    assert run.returncode == 1
    assert run.errors[0].startswith(f"severity_by_event {problem}")


def test_severities_that_meltano_loses_on_the_way_are_missed(tmp_path: Path) -> None:
    # What Meltano 4.4.1 makes of names with dots in a variable; that it sets the variable too.
    path = tmp_path / "config.json"
    path.write_text('{"severity_by_event": {}}')
    given = {"MAPPER_SENTRY_OCSF_SEVERITY_BY_EVENT": '{"member.invite": "High"}'}
    run = forked.run("mapper_sentry_ocsf", [f"--config={path}"], ENVIRONMENT | given)

    assert run.log("WARNING")[0] == (
        "MAPPER_SENTRY_OCSF_SEVERITY_BY_EVENT is set, but does not count: in Meltano, write "
        'objects in objects such as {"member": {"invite": "High"}} instead of names with dots; '
        "elsewhere, give --config ENV"
    )


def test_every_variable_that_cannot_be_used_is_named_at_once() -> None:
    given = {
        "MAPPER_SENTRY_OCSF_SPLIT_BY_CLASS": "2",
        "MAPPER_SENTRY_OCSF_SEVERITY_BY_EVENT": "{",
        "MAPPER_SENTRY_OCSF_OUTPUT_STREAM": "",
    }
    run = forked.run("mapper_sentry_ocsf", ["--config=ENV"], ENVIRONMENT | given)

    assert run.returncode == 1
    problems = "\n".join(run.errors)
    for name in given:
        assert f"(from {name})" in problems


def test_settings_come_from_the_environment() -> None:
    given = {
        "MAPPER_SENTRY_OCSF_INCLUDE_RAW_DATA": "no",
        "MAPPER_SENTRY_OCSF_SEVERITY_BY_EVENT": '{"org.edit": "High"}',
    }
    text = lines([SCHEMA, record()])
    run = forked.run("mapper_sentry_ocsf", ["--config=ENV"], ENVIRONMENT | given, text)

    assert "raw_data" not in run.records[0]
    assert run.records[0]["severity"] == "High"


def test_the_help_has_an_example_and_names_the_documentation() -> None:
    told = forked.run("mapper_sentry_ocsf", ["--help"], ENVIRONMENT).stdout

    assert "| mapper-sentry-ocsf | target-jsonl" in told
    assert "plugins/mapper-sentry-ocsf/README.md" in told


def test_the_environment_wins_over_a_dotenv_file_which_fills_in_and_is_named(
    tmp_path: Path,
) -> None:
    path = tmp_path / ".env"
    names = ("MAPPER_SENTRY_OCSF_INPUT_STREAM", "MAPPER_SENTRY_OCSF_OUTPUT_STREAM")
    path.write_text("".join(f"{name}=of_the_file\n" for name in names))
    environment = ENVIRONMENT | {"MAPPER_SENTRY_OCSF_INPUT_STREAM": "audit_logs"}
    given = lines([SCHEMA])
    run = forked.run_below(tmp_path, "mapper_sentry_ocsf", ["--config=ENV"], environment, given)

    assert [message["stream"] for message in run.messages] == ["of_the_file"]
    assert f"Settings that the environment lacks come from {path}" in run.log("INFO")


def test_a_dotenv_file_of_the_current_folder_goes_before_others(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAPPER_SENTRY_OCSF_OUTPUT_STREAM=of_the_folder\n")
    given = lines([SCHEMA])
    run = forked.run_in(tmp_path, "mapper_sentry_ocsf", ["--config=ENV"], ENVIRONMENT, given)

    assert [message["stream"] for message in run.messages] == ["of_the_folder"]


def test_the_second_of_two_config_files_wins(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).write_text(json.dumps({"output_stream": name}))
    given = [f"--config={tmp_path / name}" for name in ("first", "second")]
    run = forked.run("mapper_sentry_ocsf", given, ENVIRONMENT, lines([SCHEMA]))

    assert run.messages[0]["stream"] == "second"
