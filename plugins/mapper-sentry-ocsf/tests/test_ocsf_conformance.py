"""The cases of every program in this repository that fit one without a server."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from testing.conformance import Program, conformance_suite
from testing.ocsf_mapper import SCHEMA, lines, record

if TYPE_CHECKING:
    from testing.conformance import Server


@dataclass(frozen=True)
class NoServer:
    """Stands in for a server where there is none; its URL is the name of a stream."""

    url: str = "ocsf_events"
    requests: tuple[object, ...] = ()


TestConformance = conformance_suite(
    Program(
        package="mapper_sentry_ocsf",
        server=lambda: cast("AbstractContextManager[Server]", nullcontext(NoServer())),
        settings={},
        address="output_stream",
        required="",
        number=("", 0, 0),
        flag="split_by_class",
        confidential="",
        unusable="",
        usable="",
        retry_after=lambda _headers, _now: None,
        without_sdk=("config", "events", "signals", "streams", "table"),
        input=lines([SCHEMA, record()]),
    )
)

# A mapper has no server, numbers, secrets, or required settings, nor the SDK's stream maps.
for unfit in (
    "test_a_date_counts_from_the_servers_clock",
    "test_a_dotenv_file_of_the_current_folder_goes_before_others",
    "test_a_dotenv_file_can_be_a_pipe_and_its_numbers_are_checked",
    "test_a_misspelt_name_is_reported_where_a_required_setting_is_missing",
    "test_a_number_in_the_environment_that_cannot_be_used_is_named_with_its_variable",
    "test_a_required_setting_that_is_missing_is_named",
    "test_a_secret_that_is_in_another_setting_too_is_not_shown",
    "test_a_wrong_server_is_named",
    "test_a_signal_when_the_work_is_done_changes_nothing",
    "test_a_stream_map_that_fails_is_one_line_without_its_text",
    "test_a_whole_number_may_have_a_decimal_point_and_null_is_the_default",
    "test_an_unknown_setting_is_named_with_the_nearest_known_one",
    "test_every_problem_is_named_at_once_and_no_secret_shown",
    "test_every_setting_can_come_from_the_environment",
    "test_every_variable_is_named_at_once_and_no_secret_shown",
    "test_retry_after_is_seconds_or_a_date",
    "test_the_environment_wins_over_a_dotenv_file_which_fills_in_and_is_named",
    "test_the_sdks_own_settings_are_refused_without_their_values",
    "test_the_second_of_two_config_files_wins",
    "test_a_value_that_is_not_a_whole_number_in_range_is_refused_and_shown_as_written",
    "test_without_the_header_nothing_is_asked_for",
):
    setattr(TestConformance, unfit, None)
