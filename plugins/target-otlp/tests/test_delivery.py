"""Batches, and the state that is let out only for what the receiver has accepted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from target_otlp.clock import Clock
from target_otlp.delivery import Delivery
from target_otlp.log_mapping import LogMapping
from target_otlp.receiver import DeliveryError
from testing.fake_receiver import FakeReceiver, Reply, partial_success
from testing.otlp_target import settings

if TYPE_CHECKING:
    from target_otlp.delivery import State

MAPPING = LogMapping("a", id=("id",))
FAILS = Reply(400, b"no")
REJECTS = Reply(200, partial_success(2, "too old"), {"Content-Type": "application/x-protobuf"})


class Sent:
    """A delivery to a server, and the states that came out of it."""

    def __init__(self, server: FakeReceiver, **config: object) -> None:
        self.server = server
        self.states: list[State] = []
        self.now = 0
        self.delivery = Delivery(
            settings(server.url, **config),
            self.states.append,
            clock=Clock(time_ns=lambda: self.now),
        )

    def add(self, *ids: object) -> None:
        for id_ in ids:
            self.delivery.add({"id": str(id_)}, MAPPING)

    @property
    def batches(self) -> list[int]:
        return [len(request.log_records) for request in self.server.requests]


def test_a_batch_is_sent_when_it_has_as_many_records_as_it_may() -> None:
    with FakeReceiver() as server:
        sent = Sent(server, max_batch_size=3)
        sent.add(*range(7))
        assert sent.batches == [3, 3]
        sent.delivery.send()
        assert sent.batches == [3, 3, 1]
        assert server.ids == [str(number) for number in range(7)]
        assert sent.delivery.progress.accepted == 7


@with_settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(1, 300), min_size=20, max_size=60))
def test_no_request_has_more_bytes_than_it_may(sizes: list[int]) -> None:
    with FakeReceiver() as server:
        sent = Sent(server, max_batch_bytes=2000)
        sent.add(*("x" * size for size in sizes))
        sent.delivery.send()
        assert max(len(request.body) for request in server.requests) <= 2000
        assert [len(str(id_)) for id_ in server.ids] == sizes


def test_a_record_that_is_larger_than_a_batch_may_be_goes_alone() -> None:
    with FakeReceiver() as server:
        sent = Sent(server, max_batch_bytes=1000)
        sent.add("1", "x" * 5000, "2")
        sent.delivery.send()
        assert sent.batches == [1, 1, 1]


def test_nothing_waits_longer_than_a_minute_for_others() -> None:
    with FakeReceiver() as server:
        sent = Sent(server)
        sent.now = 1
        sent.add(1)
        sent.now += 60 * 10**9
        sent.add(2)
        assert sent.batches == []
        sent.now += 1
        sent.add(3)
        assert sent.batches == [3]


def test_state_waits_until_all_before_it_is_accepted() -> None:
    with FakeReceiver() as server:
        sent = Sent(server, max_batch_size=3)
        sent.add(1, 2)
        sent.delivery.add_state({"at": 2})
        assert sent.states == []
        sent.add(3)
        assert sent.states == [{"at": 2}]
        sent.delivery.add_state({"at": 3})
        assert sent.states == [{"at": 2}, {"at": 3}]


def test_each_state_comes_out_once_and_an_empty_one_never() -> None:
    with FakeReceiver() as server:
        sent = Sent(server)
        sent.delivery.add_state({})
        sent.delivery.add_state({"at": 1})
        # Python takes it for the same, JSON does not.
        sent.delivery.add_state({"at": True})
        sent.delivery.send()
        assert [json.dumps(state) for state in sent.states] == ['{"at": 1}', '{"at": true}']


def test_state_between_two_batches_comes_out_though_the_second_one_fails() -> None:
    with FakeReceiver(Reply(), FAILS) as server:
        sent = Sent(server, max_batch_size=2)
        sent.add(1, 2)
        sent.delivery.add_state({"at": 2})
        sent.add(3)
        sent.delivery.add_state({"at": 3})
        with pytest.raises(DeliveryError) as caught:
            sent.add(4)
        assert sent.states == [{"at": 2}]
    assert str(caught.value).endswith(
        ". 2 records were accepted before that; the state covers the first 2."
    )


def test_state_before_a_record_that_no_longer_fits_comes_out_with_what_is_before_it() -> None:
    with FakeReceiver(Reply(), FAILS) as server:
        sent = Sent(server, max_batch_bytes=1000)
        sent.add("1")
        sent.delivery.add_state({"at": 1})
        sent.add("x" * 900)
        assert sent.states == [{"at": 1}]
        with pytest.raises(DeliveryError):
            sent.delivery.send()
        assert sent.states == [{"at": 1}]


def test_records_that_the_receiver_rejects_are_a_failure() -> None:
    with FakeReceiver(REJECTS) as server:
        sent = Sent(server)
        sent.add(*range(5))
        sent.delivery.add_state({"at": 5})
        with pytest.raises(DeliveryError) as caught:
            sent.delivery.send()
        assert sent.states == []
        assert len(server.requests) == 1
    assert str(caught.value) == (
        f"{server.url}/v1/logs rejected 2 of 5 records (a, log.record.uid 0 to a, log.record.uid "
        "4): too old. To go on without what is rejected, set rejected_records_path. 3 records were "
        "accepted before that; the state covers the first 0."
    )


def test_rejected_records_are_a_warning_where_that_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with FakeReceiver(REJECTS) as server:
        sent = Sent(server, on_partial_success="warn")
        sent.add(*range(5))
        sent.delivery.add_state({"at": 5})
        sent.delivery.send()
        assert sent.states == [{"at": 5}]
        assert sent.delivery.progress.accepted == 3
    [warning] = caplog.messages
    assert warning.startswith(f"{server.url}/v1/logs rejected 2 of 5 records (")
    assert warning.endswith("): too old")


def test_a_message_to_an_acceptance_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    reply = Reply(200, partial_success(0, "use gzip"))
    with FakeReceiver(reply) as server:
        sent = Sent(server)
        sent.add(1)
        sent.delivery.send()
    assert caplog.messages == [f"{server.url}/v1/logs says: use gzip"]


class Interrupted(dict[str, Any]):
    """A record in the middle of which Ctrl-C comes."""

    def get(self, *_: object) -> Any:  # noqa: ANN401  (a value in JSON)
        raise KeyboardInterrupt


def test_a_record_that_was_only_half_filled_is_not_sent() -> None:
    with FakeReceiver() as server:
        sent = Sent(server)
        sent.add(1)
        with pytest.raises(KeyboardInterrupt):
            sent.delivery.add(Interrupted(id="2"), MAPPING)
        sent.delivery.send()
        assert server.ids == ["1"]


@with_settings(deadline=None)
@given(
    messages=st.lists(st.sampled_from(["record", "state"]), max_size=40),
    size=st.integers(1, 7),
    replies=st.lists(
        st.sampled_from([Reply(), FAILS, REJECTS, Reply(503, keeps=True)]), max_size=20
    ),
)
def test_whatever_fails_every_record_arrives_and_no_state_runs_ahead(
    messages: list[str], size: int, replies: list[Reply]
) -> None:
    """The run is begun again after each failure, from the state that came out last."""
    with FakeReceiver(*replies, Reply()) as server:
        done = 0
        for _ in range(len(replies) + 1):
            sent = Sent(server, max_batch_size=size, max_retry_seconds=0)
            try:
                for number, message in enumerate(messages[done:], done + 1):
                    if message == "record":
                        sent.add(number)
                    else:
                        sent.delivery.add_state({"done": number})
                    covered = sent.states[-1]["done"] if sent.states else done
                    assert {
                        str(number)
                        for number, message in enumerate(messages[: int(str(covered))], 1)
                        if message == "record"
                    } <= set(server.ids)
                sent.delivery.send()
            except DeliveryError:
                done = int(str(sent.states[-1]["done"])) if sent.states else done
            else:
                break
        records = [str(number) for number, message in enumerate(messages, 1) if message == "record"]
        assert set(server.ids) == set(records)
        last = [number for number, message in enumerate(messages, 1) if message == "state"]
        if last and last[-1] > done:
            assert sent.states[-1] == {"done": last[-1]}
