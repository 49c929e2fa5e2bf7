"""What is on its way: records in batches, and the state that stands for them, in order."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from target_otlp.receiver import DeliveryError, Receiver
from target_otlp.values import encodable, set_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_otlp.mapping import LogMapping
    from target_otlp.settings import Settings
    from target_otlp.stopping import Stop
    from target_otlp.values import Json, Record

State: TypeAlias = "dict[str, Json]"

LONGEST_WAIT = 60_000_000_000
"""Nanoseconds after which a batch is sent though it is not full, when the next record comes."""

_FRAMING = 12
"""Bytes that a log record takes in a request at most beside its own: tags and lengths."""

_log = logging.getLogger("target-otlp")


class Delivery:
    """Records on their way to a receiver.

    State is let out only when the receiver has accepted every record before it. A batch may hold
    records of several streams: it is full by number or by bytes, whatever comes first.
    """

    def __init__(
        self, settings: Settings, write_state: Callable[[State], None], stop: Stop | None = None
    ) -> None:
        """Make a delivery; nothing is sent yet."""
        self.receiver = Receiver(settings, stop)
        self.accepted = 0
        """Records that the receiver has accepted."""
        self._settings = settings
        self._write_state = write_state
        self._state: State | None = None
        self._added = 0
        self._state_stands_for = 0
        self._out_stands_for = 0
        self._begin()

    def _begin(self) -> None:
        # A new request each time: a message that is only emptied keeps its memory.
        self._request = ExportLogsServiceRequest()
        resource_logs = self._request.resource_logs.add()
        for name, value in self._settings.resource.items():
            set_value(resource_logs.resource.attributes.add(key=encodable(name)).value, value)
        scope_logs = resource_logs.scope_logs.add()
        scope_logs.scope.name = "target-otlp"
        scope_logs.scope.version = self._settings.version
        self._log_records = scope_logs.log_records
        self._waiting = 0
        self._bytes = self._request.ByteSize()
        self._since = 0

    def add(self, record: Record, mapping: LogMapping) -> bool:
        """Take a record, and send what waits if that is enough; return whether it has a time.

        Raises:
            DeliveryError: A batch was not accepted.

        """
        now = time.time_ns()
        log_record = self._log_records.add(observed_time_unix_nano=now)
        mapping.fill(log_record, record)
        has_time = log_record.time_unix_nano > 0
        size = log_record.ByteSize() + _FRAMING
        if self._waiting and self._bytes + size > self._settings.max_batch_bytes:
            last = self._log_records.pop()
            self.send()
            self._log_records.append(last)
        self._since = self._since or now
        self._bytes += size
        self._waiting += 1
        self._added += 1
        is_full = self._waiting >= self._settings.max_batch_size
        if is_full or now - self._since > LONGEST_WAIT:
            self.send()
        return has_time

    def add_state(self, state: State) -> None:
        """Take a state, which stands for all records that were added before it."""
        self._state, self._state_stands_for = state, self._added
        if not self._waiting:
            self._let_state_out()

    def send(self) -> None:
        """Send what waits, then let the state out.

        Raises:
            DeliveryError: It was not accepted.

        """
        if self._waiting:
            # What was to fill another one may have failed.
            del self._log_records[self._waiting :]
            self._send_batch(self._waiting)
            self._begin()
        self._let_state_out()

    def _send_batch(self, count: int) -> None:
        try:
            answer = self.receiver.send(self._request)
        except DeliveryError as error:
            raise self._failed(str(error)) from None
        rejected = min(answer.rejected, count)
        self.accepted += count - rejected
        told = f"{self.receiver.name} rejected {rejected:,} of {count:,} records"
        if answer.message:
            told += f": {answer.message}"
        if rejected and self._settings.fails_on_partial:
            raise self._failed(told)
        if rejected:
            _log.warning(told)
        elif answer.message:
            _log.warning("%s says: %s", self.receiver.name, answer.message)

    def _failed(self, what: str) -> DeliveryError:
        return DeliveryError(
            f"{what}. {self.accepted:,} records were accepted before, and the state is out up to "
            f"the first {self._out_stands_for:,}."
        )

    def _let_state_out(self) -> None:
        if self._state:
            self._write_state(self._state)
            self._state = None
            self._out_stands_for = self._state_stands_for
