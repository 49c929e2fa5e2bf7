"""One bad record does not stop the pipe: it is found, put aside, counted, and told."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from target_otlp.delivery import Delivery
from target_otlp.log_mapping import LogMapping
from target_otlp.receiver import DeliveryError
from testing.fake_receiver import FakeReceiver, Reply, partial_success, refuses
from testing.otlp_target import record, run_target, schema, settings, state

if TYPE_CHECKING:
    from testing.forked import Message, Run

SCHEMA = schema() | {"key_properties": ["id"]}
MAPPED: dict[str, object] = {"mapping": {"*": {"id": "$.id"}}}


def numbered(first: int, end: int) -> list[Message]:
    """Records with these numbers, and a state after them."""
    return [*(record(number) for number in range(first, end)), state(end)]


def run(server: FakeReceiver, messages: list[Message], path: Path, **config: object) -> Run:
    """Run the target with a file for rejected records."""
    config = {"endpoint": server.url, "rejected_records_path": str(path), **MAPPED, **config}
    return run_target([SCHEMA, *messages], **config)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids(path: Path) -> list[str]:
    return [line["record"]["id"] for line in lines(path)]


@pytest.mark.parametrize("status", [400, 413])
def test_bad_records_are_put_aside_and_the_rest_arrives_in_order(
    status: int, tmp_path: Path
) -> None:
    path = tmp_path / "rejected"
    with FakeReceiver(judge=refuses("0", "7", "8", status=status)) as server:
        ended = run(server, numbered(0, 20), path, max_batch_size=10)

    good = [str(number) for number in range(20) if number not in {0, 7, 8}]
    assert server.ids == good
    assert ids(path) == ["0", "7", "8"]
    assert ended.messages == [{"done": 20}]
    assert ended.returncode == 1


def test_a_line_has_the_record_the_answer_and_the_time(tmp_path: Path) -> None:
    path = tmp_path / "rejected"
    odd = {"id": "1", "text": "\ud800\n", "big": 2**70, "null": None}
    message: Message = {"type": "RECORD", "stream": "audit_logs", "record": odd}
    key = {"Authorization": "Bearer hidden-secret"}
    judge = refuses("1", body=b"bad record for hidden-secret")
    with FakeReceiver(judge=judge) as server:
        ended = run(server, [message, record(2)], path, headers=key)

    [line] = lines(path)
    assert line.pop("time").startswith("20")
    assert line == {
        "stream": "audit_logs",
        "record": odd,
        "status": 400,
        "message": "bad record for ***",
    }
    assert "hidden" not in ended.stderr + path.read_text()


def test_what_was_put_aside_is_told_and_ends_the_run_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rejected"
    with FakeReceiver(judge=refuses("1")) as server:
        ended = run(server, numbered(0, 3), path)

    url = f"{server.url}/v1/logs"
    split, found = ended.log("WARNING")
    assert split.startswith(f"{url} answered 400 bad record: ")
    assert found == (
        f"{url} answered 400 bad record: it accepts others and refuses audit_logs, id 1. It is in "
        f"{path}"
    )
    [error] = ended.log("ERROR")
    assert error == (
        f"1 record was rejected: see why in {path}. 2 records were accepted before that; the state "
        "covers the first 3."
    )
    assert ended.returncode == 1


def test_only_the_owner_can_read_the_file_even_if_it_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "rejected"
    path.write_text('{"torn": ')
    path.chmod(0o644)
    before = os.umask(0)
    try:
        with FakeReceiver(judge=refuses("1")) as server:
            run(server, numbered(0, 3), path)
            run(server, numbered(0, 3), tmp_path / "new")
    finally:
        os.umask(before)

    for each in (path, tmp_path / "new"):
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
    torn, whole = path.read_text().splitlines()
    assert torn == '{"torn": '
    assert json.loads(whole)["record"] == {"id": "1"}


def test_streams_share_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rejected"
    messages = [schema("other"), record(1, "other"), record(2), record(3, "other"), record(4)]
    with FakeReceiver(judge=refuses("1", "4")) as server:
        run(server, messages, path)

    assert [line["stream"] for line in lines(path)] == ["other", "audit_logs"]


def test_without_a_rejection_there_is_no_file_and_no_error(tmp_path: Path) -> None:
    path = tmp_path / "rejected"
    with FakeReceiver(judge=refuses(status=413, most=3)) as server:
        ended = run(server, numbered(0, 20), path, max_batch_size=10)

    assert (ended.returncode, ended.messages) == (0, [{"done": 20}])
    assert server.ids == [str(number) for number in range(20)]
    assert not path.exists()
    [warning] = ended.log("WARNING")
    assert "answered 413 bad record: lower max_batch_size or max_batch_bytes" in warning


@pytest.mark.parametrize("count", [1, 2, 500])
def test_if_all_of_the_first_batch_is_refused_it_is_the_endpoint_that_is_wrong(
    count: int, tmp_path: Path
) -> None:
    path = tmp_path / "rejected"
    with FakeReceiver(Reply(400, b"no")) as server:
        ended = run(server, numbered(0, count), path)

    assert (ended.returncode, ended.messages) == (1, [])
    assert not path.exists()
    [error] = ended.log("ERROR")
    assert error.startswith(f"{server.url}/v1/logs answered 400 no: ")
    assert error.endswith(" 0 records were accepted before that; the state covers the first 0.")
    assert len(server.requests) < 220


def test_a_first_batch_of_one_bad_record_is_judged_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "rejected"
    messages = [record(0), state(1), record(1), state(2)]
    with FakeReceiver(judge=refuses("0")) as server:
        ended = run(server, messages, path, max_batch_size=1)

    assert ids(path) == ["0"]
    assert ended.messages == [{"done": 1}, {"done": 2}]
    assert server.ids == ["1"]


def test_a_bad_record_ends_the_run_without_the_file_and_is_named_by_its_id_alone() -> None:
    messages = [*numbered(0, 10), {**record(10), "record": {"id": "10", "text": "private"}}]
    messages += [state(11), record(11), state(12)]
    with FakeReceiver(judge=refuses("10", body=b'bad text "private"')) as server:
        ended = run_target([SCHEMA, *messages], endpoint=server.url, **MAPPED)

    assert (ended.returncode, ended.messages[-1:]) == (1, [])
    [error] = ended.log("ERROR")
    assert error == (
        f'{server.url}/v1/logs answered 400 bad text "…": it accepts others and refuses '
        "audit_logs, id 10. To go on without what is rejected, set rejected_records_path. 10 "
        "records were accepted before that; the state covers the first 0."
    )
    assert "private" not in ended.stderr


def test_the_state_before_a_bad_record_goes_out_without_the_file() -> None:
    messages = [*numbered(0, 10), *(record(number) for number in range(10, 20))]
    with FakeReceiver(judge=refuses("15")) as server:
        ended = run_target([SCHEMA, *messages], endpoint=server.url, **MAPPED)

    assert (ended.returncode, ended.messages) == (1, [{"done": 10}])


@pytest.mark.parametrize(
    ("keys", "mapping", "named"),
    [
        (["organization", "id"], {}, "audit_logs, organization acme, id 1"),
        (["id"], {"id": "$.id"}, "audit_logs, id 1"),
        (
            ["id"],
            {"id": ["$.organization", "$.id"]},
            "audit_logs, id 1, log.record.uid acme/1",
        ),
        ([], {"id": "$.organization"}, "audit_logs, log.record.uid acme"),
        ([], {}, "audit_logs, number 1"),
    ],
)
def test_a_record_is_named_by_its_keys_and_its_mapped_id(
    keys: list[str], mapping: dict[str, object], named: str
) -> None:
    bad = {"id": "1", "organization": "acme"}
    messages = [
        schema() | {"key_properties": keys},
        record(1) | {"record": bad},
        record(2) | {"record": {**bad, "id": "2"}},
    ]
    with FakeReceiver(Reply(400), Reply(400), Reply()) as server:
        ended = run_target(messages, endpoint=server.url, mapping={"*": mapping})

    assert f"refuses {named}. " in ended.log("ERROR")[0]


def test_more_rejected_records_than_allowed_end_the_run(tmp_path: Path) -> None:
    path = tmp_path / "rejected"
    with FakeReceiver(judge=refuses("1", "3", "5")) as server:
        ended = run(server, numbered(0, 9), path, max_batch_size=2, max_rejected_records=2)

    assert ids(path) == ["1", "3"]
    assert server.ids == ["0", "2", "4"]
    [error] = ended.log("ERROR")
    assert "refuses audit_logs, id 5. That makes more than 2 (max_rejected_records)." in error
    assert (ended.returncode, ended.messages) == (1, [])


def test_a_half_is_tried_again_like_any_other_request(tmp_path: Path) -> None:
    bad = Reply(400, b"bad record")
    passing = Reply(429, headers={"Retry-After": "0"})
    with FakeReceiver(bad, passing, Reply(), passing, bad, Reply()) as server:
        ended = run(server, numbered(0, 2), tmp_path / "rejected")

    assert server.ids == ["0"]
    assert ids(tmp_path / "rejected") == ["1"]
    assert ended.messages == [{"done": 2}]


def test_a_file_that_cannot_be_written_keeps_the_state_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "rejected"
    path.parent.mkdir()

    def judge(request: Any) -> Reply | None:  # noqa: ANN401
        if path.parent.exists():
            path.parent.rmdir()
        return refuses("1")(request)

    with FakeReceiver(judge=judge) as server:
        ended = run(server, numbered(0, 3), path)

    assert (ended.returncode, ended.messages) == (1, [])
    assert f"It cannot be written to {path} (FileNotFoundError). " in ended.log("ERROR")[0]


@pytest.mark.parametrize("path", [".", "/no/such/folder/file", "/dev/null", "x" * 5000, "\0"])
def test_a_path_that_cannot_be_written_is_found_before_the_first_request(path: str) -> None:
    with FakeReceiver() as server:
        ended = run_target([SCHEMA, record(1)], endpoint=server.url, rejected_records_path=path)

        assert not server.requests
    told = ended.log("ERROR")[0]
    assert told.startswith("rejected_records_path is ")
    assert ("which is not a file" in told) == (path in {".", "/dev/null"})


# --- partial success


def partial(rejected: int) -> Reply:
    return Reply(200, partial_success(rejected, "too old"))


def test_a_partial_success_is_noted_and_not_sent_again(tmp_path: Path) -> None:
    path = tmp_path / "rejected"
    with FakeReceiver(partial(2), Reply()) as server:
        ended = run(server, numbered(0, 7), path, max_batch_size=5)

        assert [len(request.log_records) for request in server.requests] == [5, 2]
    [line] = lines(path)
    del line["time"]
    assert line == {
        "stream": "audit_logs",
        "rejected": 2,
        "records": 5,
        "first_id": {"id": "0"},
        "last_stream": "audit_logs",
        "last_id": {"id": "4"},
        "status": 200,
        "message": "too old",
    }
    assert (ended.returncode, ended.messages) == (1, [{"done": 7}])
    [warning] = ended.log("WARNING")
    assert warning == (
        f"{server.url}/v1/logs rejected 2 of 5 records (audit_logs, id 0 to audit_logs, id 4): too "
        f"old. It is in {path}"
    )
    assert ended.log("ERROR")[0].startswith("2 records were rejected: see why in ")


def test_a_partial_success_beyond_what_is_allowed_ends_the_run(tmp_path: Path) -> None:
    with FakeReceiver(partial(3)) as server:
        ended = run(server, numbered(0, 5), tmp_path / "rejected", max_rejected_records=2)

    assert (ended.returncode, ended.messages) == (1, [])
    assert "That makes more than 2 (max_rejected_records)" in ended.log("ERROR")[0]


@pytest.mark.parametrize("size", [1, 10])
def test_a_partial_success_that_rejects_all_is_noted_record_by_record(
    size: int, tmp_path: Path
) -> None:
    path = tmp_path / "rejected"
    with FakeReceiver(Reply(), partial(size), Reply()) as server:
        ended = run(server, numbered(0, 3 * size), path, max_batch_size=size)

    assert ids(path) == [str(number) for number in range(size, 2 * size)]
    line = lines(path)[0]
    del line["time"]
    assert line == {
        "stream": "audit_logs",
        "record": {"id": str(size)},
        "status": 200,
        "message": "too old",
    }
    assert (ended.returncode, ended.messages) == (1, [{"done": 3 * size}])
    records = "1 record" if size == 1 else "10 records"
    assert ended.log("WARNING")[0].startswith(f"{server.url}/v1/logs rejected {size} of {records} ")
    assert f"it accepts others and refuses audit_logs, id {size}. It" in ended.log("WARNING")[0]


@pytest.mark.parametrize(
    ("replies", "size"),
    [
        ([partial(10)], 10),
        ([partial(999)], 10),
        ([partial(10), Reply(400, b"bad")], 10),
        ([partial(1), Reply(400, b"wrong path")], 1),
        ([Reply(400, b"bad"), partial(1)], 1),
    ],
)
def test_where_nothing_was_ever_accepted_nothing_is_put_aside(
    replies: list[Reply], size: int, tmp_path: Path
) -> None:
    path = tmp_path / "rejected"
    with FakeReceiver(*replies) as server:
        ended = run(server, [*numbered(0, 10), *numbered(10, 30)], path, max_batch_size=size)

    assert (ended.returncode, ended.messages) == (1, [])
    assert not path.exists()
    assert ended.log("ERROR")[0].endswith(
        " 0 records were accepted before that; the state covers the first 0."
    )


def test_a_partial_success_that_rejects_all_at_first_is_judged_by_the_next_record(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rejected"
    messages = [record(0), state(1), record(1), state(2)]
    with FakeReceiver(partial(1), Reply()) as server:
        ended = run(server, messages, path, max_batch_size=1)

    assert ids(path) == ["0"]
    assert ended.messages == [{"done": 1}, {"done": 2}]


def test_a_warning_for_a_rejected_half_lets_no_state_out_for_a_refused_one() -> None:
    messages = [record(0), state(1), record(1), state(2)]
    with FakeReceiver(Reply(400), Reply(400), partial(1)) as server:
        ended = run_target([SCHEMA, *messages], endpoint=server.url, on_partial_success="warn")

    assert (ended.returncode, ended.messages) == (1, [])


def test_all_lines_have_their_time_in_one_form(tmp_path: Path) -> None:
    path = tmp_path / "rejected"
    bad = [1, 2**70, "\ud800"]
    messages = [record(number) for number in range(4)]
    for message, odd in zip(messages, bad, strict=False):
        message["record"]["odd"] = odd
    with FakeReceiver(judge=refuses("0", "1", "2")) as server:
        run(server, messages, path)

    for line in lines(path):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["time"])


def test_the_advice_for_a_413_to_a_record_alone_is_not_to_make_batches_smaller() -> None:
    with FakeReceiver(Reply(413, b"large")) as server:
        ended = run_target([SCHEMA, *numbered(0, 2)], endpoint=server.url)

    assert ended.log("ERROR")[0].startswith(
        f"{server.url}/v1/logs answered 413 large: even a single record is too large for it, so "
        "raise its limit. "
    )


# --- a record that is nested too deeply


def nested(levels: int) -> bytes:
    """The line of a record that is so deep, itself and its message counted in."""
    inside = '{"[":' * (levels - 2) + '"]\\""' + "}" * (levels - 2)
    return b'{"record": {"id": "1", "x": %b}, "type": "RECORD", "stream": "audit_logs"}\n' % (
        inside.encode()
    )


def with_lines(*all_lines: Message | bytes) -> bytes:
    return b"".join(
        line if isinstance(line, bytes) else f"{json.dumps(line)}\n".encode() for line in all_lines
    )


def test_a_record_that_is_nested_too_deeply_is_put_aside_as_the_line_that_it_is(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rejected"
    deep = nested(200_000)
    sent = with_lines(SCHEMA, record(0), state(1), deep, state(2), record(2), state(3))
    with FakeReceiver() as server:
        config = {"rejected_records_path": str(path), **MAPPED}
        ended = run_target(sent, endpoint=server.url, **config)

    assert server.ids == ["0", "2"]
    assert ended.messages == [{"done": 1}, {"done": 2}, {"done": 3}]
    assert ended.returncode == 1
    [line] = lines(path)
    del line["time"]
    told = "line 4 of the input is a RECORD that is nested more than 500 levels deep"
    assert line == {"stream": "audit_logs", "line": deep.decode().strip(), "message": told}
    [warning] = ended.log("WARNING")
    assert warning == f"audit_logs: {told}. It is in {path}"
    assert ended.log("ERROR")[0].startswith(f"1 record was rejected: see why in {path}. 2 records ")


def test_without_the_file_such_a_record_ends_the_run_and_is_named() -> None:
    sent = with_lines(SCHEMA, record(0), state(1), nested(1000), state(2))
    with FakeReceiver() as server:
        ended = run_target(sent, endpoint=server.url)

    assert (ended.returncode, ended.messages) == (1, [{"done": 1}])
    [error] = ended.log("ERROR")
    assert error == (
        "audit_logs: line 4 of the input is a RECORD that is nested more than 500 levels deep. To "
        "go on without what is rejected, set rejected_records_path. 1 record was accepted before "
        "that; the state covers the first 1."
    )


def test_a_deep_record_behind_one_that_nothing_vouches_for_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "rejected"
    sent = with_lines(SCHEMA, record(0), nested(1000), state(2), record(2), state(3))
    with FakeReceiver(Reply(400, b"bad"), Reply()) as server:
        config = {"rejected_records_path": str(path), **MAPPED}
        ended = run_target(sent, endpoint=server.url, **config)

    assert ended.messages == [{"done": 3}]
    assert ["line" in line for line in lines(path)] == [False, True]


def test_a_record_of_just_so_many_levels_is_sent() -> None:
    mapping = {"*": {"attributes": {"x": "$.x"}}}
    with FakeReceiver() as server:
        ended = run_target(with_lines(SCHEMA, nested(500)), endpoint=server.url, mapping=mapping)

    assert ended.returncode == 0
    assert len(server.kept) == 1


# --- whatever is refused


@with_settings(deadline=None, max_examples=60)
@given(
    count=st.integers(2, 40),
    size=st.integers(1, 12),
    most=st.integers(1, 12),
    bad=st.sets(st.integers(0, 39), max_size=12),
)
def test_each_record_is_accepted_or_put_aside_once_and_in_order_before_its_state(
    count: int, size: int, most: int, bad: set[int]
) -> None:
    judge = refuses(*map(str, bad), most=most)
    with FakeReceiver(judge=judge) as server, TemporaryDirectory() as folder:
        path = Path(folder, "rejected")

        def settled() -> list[int]:
            aside = ids(path) if path.exists() else []
            return sorted(int(str(each)) for each in [*server.ids, *aside])

        def check(written: dict[str, Any]) -> None:
            assert settled()[: written["done"]] == list(range(written["done"]))

        read = settings(server.url, max_batch_size=size, rejected_records_path=str(path))
        delivery = Delivery(read, check)
        mapping = LogMapping("a", id=("id",))
        try:
            for number in range(count):
                delivery.add({"id": str(number)}, mapping)
                if number % 3 == 0:
                    delivery.add_state({"done": number + 1})
            delivery.send()
            delivery.finish()
        except DeliveryError:
            assert bad
        else:
            assert not bad & set(range(count))
        if set(range(min(size, count))) - bad:  # of the first batch, something was accepted
            assert settled() == list(range(count))
            assert server.ids == [str(number) for number in range(count) if number not in bad]
