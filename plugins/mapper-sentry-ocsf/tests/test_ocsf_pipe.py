"""The mapper between a tap and a target: what comes out, in which order, and what stops it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from testing.ocsf_mapper import (
    ENVIRONMENT,
    SCHEMA,
    entry,
    lines,
    record,
    run_mapper,
    state,
)
from testing.waiting import wait_until_full

if TYPE_CHECKING:
    from pathlib import Path

    from testing.forked import Run

COMMAND = [sys.executable, "-m", "mapper_sentry_ocsf"]

OTHERS = [
    b'{ "type" : "SCHEMA","stream":"teams", "schema":{"properties":{}},"key_properties":[]}\r\n',
    b'{"stream":"teams","record":{"a":1.10,"b":1e400,"c":12345678901234567890123},"type":"RECORD"}\n',
    b'{"type":"RECORD","stream":"teams","record":{"a":"\\ud800","b":NaN,"c":"\xc3\xa9\xe2\x80\xa8"}}\n',
    b'{"type":"RECORD","stream":"teams","record":{"a":"\xff"}}\n',
    b'{"type":"RECORD","stream":"teams","record":' + b"[" * 9000 + b"]" * 9000 + b"}\n",
    b'{"type":"BATCH","stream":"teams","manifest":["audit_logs"]}\n',
    b'{"type":"ACTIVATE_VERSION","stream":"teams","version":3}\n',
    b'{"type":"OF_THE_FUTURE","stream":"audit_logs","more":[1]}\n',
    b'{"type":"STATE","value":{"bookmarks":{"audit_logs":{"x":1.10}}}}',
]


def refusal(run: Run) -> str:
    """The one line of a run that failed without a traceback, or a word of the input."""
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert "hidden" not in run.stderr
    [problem] = run.errors
    return problem


def test_other_streams_and_states_pass_byte_for_byte() -> None:
    text = b"".join(OTHERS)
    done = subprocess.run(COMMAND, input=text, env=ENVIRONMENT, capture_output=True, check=False)

    assert (done.returncode, done.stdout) == (0, text), done.stderr
    assert b"There was no stream 'audit_logs' in the input" in done.stderr


def test_messages_keep_their_order_and_the_state_its_value() -> None:
    given = [SCHEMA]
    for number in range(1, 700):
        given += [record(number), record(number, "teams"), state(number)]
    run = run_mapper(given)

    assert run.returncode == 0
    assert [message["type"] for message in run.messages] == [each["type"] for each in given]
    assert [message["stream"] for message in run.messages[1:3]] == ["ocsf_events", "teams"]
    assert [each["uid"] for each in run.records[::2]] == [str(n) for n in range(1, 700)]
    assert run.of_type("STATE") == [state(number) for number in range(1, 700)]
    assert "699 entries mapped to OCSF 1.8.0" in run.log("INFO")


def test_the_schema_has_every_attribute_of_an_event_and_the_key() -> None:
    run = run_mapper([SCHEMA, record(), record(2, event="member.edit", targetUser="9")])
    [schema] = run.of_type("SCHEMA")

    assert schema["key_properties"] == ["uid"]
    for event in run.records:
        assert event.keys() <= schema["schema"]["properties"].keys()


def test_a_record_keeps_its_version_and_its_time_of_extraction() -> None:
    given = {"version": 7, "time_extracted": "2026-01-31T08:00:01Z"}
    activate = {"type": "ACTIVATE_VERSION", "stream": "audit_logs", "version": 7}
    run = run_mapper([SCHEMA, record() | given, activate])

    [message] = run.of_type("RECORD")
    assert {name: message[name] for name in given} == given
    assert run.of_type("ACTIVATE_VERSION") == [activate | {"stream": "ocsf_events"}]


def test_what_comes_in_goes_out_before_more_is_waited_for() -> None:
    with subprocess.Popen(
        COMMAND,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(lines([SCHEMA, record()]))
        process.stdin.flush()
        found = [json.loads(process.stdout.readline())["type"] for _ in range(2)]
        process.stdin.close()

    assert found == ["SCHEMA", "RECORD"]


def test_numbers_are_exact_in_the_event_and_in_the_raw_data() -> None:
    numbers = '{"a":1.10,"b":12345678901234567890123,"c":0.1234567890123456789,"d":[-0.0]}'
    line = json.dumps(record()).replace('"data": {}', f'"data": {numbers}')
    run = run_mapper(lines([SCHEMA]) + line.encode() + b"\n")

    assert f'"data":{numbers}' in run.stdout
    assert numbers.replace('"', '\\"') in run.stdout


def test_the_raw_data_is_the_record_as_the_tap_wrote_it() -> None:
    text = json.dumps(entry(note="masked …cret, \u00e9\u2028", data={"key": "…1234"}))
    message = f'{{"type":"RECORD","stream":"audit_logs","record": {text} }}\n'
    run = run_mapper(lines([SCHEMA]) + message.encode())

    assert run.records[0]["raw_data"].strip() == text


def test_lone_surrogates_and_nan_are_mapped_and_kept_in_the_raw_data() -> None:
    line = json.dumps(record(note="a\ud800b")).replace('"data": {}', '"data": {"n": NaN}')
    run = run_mapper(lines([SCHEMA]) + line.encode() + b"\n")

    [event] = run.records
    assert event["message"] == "a\ufffdb"
    assert event["entity"]["data"] == {"n": "NaN"}
    assert json.loads(event["raw_data"])["note"] == "a\ud800b"


def test_events_that_the_table_lacks_are_mapped_and_named_once() -> None:
    unknown = [record(number, event="never.heard") for number in range(5)]
    run = run_mapper([SCHEMA, *unknown, record(9, event="a\nhidden line")])

    assert len(run.records) == 6
    assert run.log("WARNING") == [
        "Events that are not in the table were mapped by their names: …, never.heard"
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"hidden", "is not a JSON message"),
        (b"", "is not a JSON message"),
        (b"[]", "is not a JSON message"),
        (b'{"type":"RECORD","stream":"audit_logs","record":{"id":"hid', "is not a JSON message"),
        (b'{"stream":"audit_logs"}', "has no type: Singer messages have one"),
        (b'{"type":5}', "has no type: Singer messages have one"),
        (b'{"type":"RECORD","stream":"audit_logs"}', "is an audit entry that is not an object"),
        (
            b'{"type":"RECORD","stream":"audit_logs","record":["hidden"]}',
            "is an audit entry that is not an object",
        ),
        (b'{"type":"RECORD","stream":"audit_logs","record":{}}', "is an audit entry without id"),
        (
            b'{"type":"RECORD","stream":"audit_logs","record":{"id":"","dateCreated":"hidden"}}',
            "is an audit entry without id",
        ),
        (
            b'{"type":"RECORD","stream":"audit_logs","record":{"id":"1","dateCreated":null}}',
            "is an audit entry without dateCreated",
        ),
        (
            b'{"type":"RECORD","stream":"audit_logs","record":{"id":"1","dateCreated":"hidden"}}',
            "is an audit entry whose dateCreated is not a time",
        ),
        (
            b'{"type":"RECORD","stream":"audit_logs","record":{"id":"hidden\xff"}}',
            "is an audit entry that cannot be read",
        ),
        (
            b'{"type":"RECORD","stream":"audit_logs","record":{"id":"hidden","data":'
            + b"[" * 9000
            + b"]" * 9000
            + b"}}",
            "is an audit entry that is nested too deeply",
        ),
        (
            b'{"type":"RECORD","stream":"audit_logs","record":{"id":"hidden","data":'
            + b'{"a":' * 9000,
            "is an audit entry that is nested too deeply",
        ),
        (
            b'{"type":"BATCH","stream":"audit_logs","manifest":["hidden"]}',
            (
                "is a BATCH, but only records can be mapped: remove batch_config from the settings "
                "of the tap"
            ),
        ),
        (
            b'{"type":"RECORD","stream":"ocsf_events","record":{}}',
            (
                "belongs to a stream 'ocsf_events', which is also the name of the stream of "
                "events: choose another output_stream"
            ),
        ),
        (
            b'{"type":"SCHEMA","stream":"audit_logs"}',
            "is a SCHEMA whose schema has no properties",
        ),
        (
            b'{"type":"SCHEMA","stream":"audit_logs","schema":{"properties":{"id":{}}}}',
            "is a SCHEMA of entries without dateCreated: select this field in the tap",
        ),
        (
            (
                b'{"type":"SCHEMA","stream":"audit_logs","schema":{"properties":{"id":{},'
                b'"actor__id":{}}}}'
            ),
            (
                "is a SCHEMA of flattened entries: remove flattening_enabled from the settings of "
                "the tap, and flatten in the target"
            ),
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_line_that_cannot_be_used_is_reported_by_its_number_after_all_before_it_was_written(
    line: bytes, problem: str
) -> None:
    run = run_mapper(lines([SCHEMA, record(), state(1)]) + line + b"\n" + lines([state(2)]))

    assert refusal(run) == f"Line 4 of the input {problem}."
    assert [message["type"] for message in run.messages] == ["SCHEMA", "RECORD", "STATE"]
    assert run.state == {"done": 1}


def test_a_record_before_its_schema_is_refused() -> None:
    run = run_mapper([record()])

    expected = "Line 1 of the input is a RECORD of the audit log without a SCHEMA before it."
    assert refusal(run) == expected


def test_one_entry_is_said_to_be_one() -> None:
    assert "1 entry mapped to OCSF 1.8.0" in run_mapper([SCHEMA, record()]).log("INFO")


def test_no_input_at_all_is_no_error() -> None:
    assert run_mapper([]).returncode == 0


# --- who reads, and signals


def test_a_reader_that_goes_away_is_one_line() -> None:
    with subprocess.Popen(
        COMMAND,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.write(lines([SCHEMA, record()]))
        process.stdin.close()
        told = process.stderr.read().decode().splitlines()
        process.wait(30)

    assert process.returncode == 1
    [line] = [line for line in told if "ERROR" in line]
    assert "The output cannot be written (Broken pipe): if a program reads it, find out why" in line
    assert not any("Traceback" in line for line in told)


@pytest.mark.slow
def test_a_full_disk_and_a_closed_input_are_one_line_each() -> None:
    for redirection, told in (
        (">/dev/full", "No space left on device"),
        ("<&-", "stdin is closed"),
    ):
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND],
            input=lines([SCHEMA, record()]),
            env=ENVIRONMENT,
            capture_output=True,
            check=False,
        )
        [line] = [line for line in done.stderr.decode().splitlines() if "ERROR" in line]
        assert (done.returncode, told in line) == (1, True)
        assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_a_pipe_that_does_not_block_gets_everything() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    given = lines([SCHEMA, *(record(number) for number in range(300))])
    with (
        os.fdopen(reader, "rb") as output,
        subprocess.Popen(
            COMMAND, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE
        ) as process,
    ):
        os.close(writer)
        assert process.stdin
        feeding = Thread(target=process.communicate, args=(given,))
        feeding.start()
        found = output.read().splitlines()
        feeding.join()

    assert process.returncode == 0
    assert len(found) == 301


def test_the_input_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "messages"
    path.write_bytes(lines([SCHEMA, record()]))

    assert len(run_mapper([], f"--input={path}").records) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_the_tap_writes_after_a_signal_is_passed_on(number: signal.Signals) -> None:
    with subprocess.Popen(
        COMMAND,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(lines([SCHEMA, record()]))
        process.stdin.flush()
        for _ in range(2):
            process.stdout.readline()
        process.send_signal(number)
        time.sleep(0.3)
        rest, _ = process.communicate(lines([record(2), state(2)]), timeout=30)

    assert process.returncode == 0
    assert [json.loads(line)["type"] for line in rest.splitlines()] == ["RECORD", "STATE"]


@pytest.mark.slow
def test_an_input_that_does_not_end_is_left_some_seconds_after_a_signal() -> None:
    with subprocess.Popen(
        COMMAND,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(lines([SCHEMA, record()]) + b'{"type":"STATE","val')
        process.stdin.flush()
        found = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        found += process.stdout.readlines()
        told = process.stderr.read().decode()
        process.wait(10)
        process.stdin.close()

    assert process.returncode == 128 + signal.SIGTERM
    assert [json.loads(line)["type"] for line in found] == ["SCHEMA", "RECORD"]
    assert "Stopped by SIGTERM before the input ended" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_a_signal_ends_a_run_whose_output_nobody_reads() -> None:
    reader, writer = os.pipe()
    given = lines([SCHEMA, *(record(number) for number in range(2000))])
    with (
        os.fdopen(reader) as unread,
        subprocess.Popen(
            COMMAND, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE
        ) as process,
    ):
        os.close(writer)
        assert process.stdin
        assert process.stderr
        process.stdin.write(given[:100_000])  # its own pipe holds what the mapper does not read
        process.stdin.flush()
        wait_until_full(unread)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        told = process.stderr.read().decode()
        process.wait(10)
        took = time.monotonic() - began
        process.stdin.close()

    assert process.returncode == 128 + signal.SIGTERM
    assert took < 6
    assert "nobody read its output" in told
