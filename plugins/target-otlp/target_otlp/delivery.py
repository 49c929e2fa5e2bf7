"""Batches of records, and the states that wait until the records before them are accepted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from target_otlp.clock import Clock
from target_otlp.config import NAME, VERSION
from target_otlp.mapping import fill
from target_otlp.receiver import DeliveryError, Receiver
from target_otlp.values import encodable, set_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_otlp.config import LogMapping, Settings
    from target_otlp.signals import Stop
    from target_otlp.values import Json, Record

State: TypeAlias = "dict[str, Json]"

_LONGEST_WAIT = 60_000_000_000
"""Nanoseconds after which the next record completes a batch that is not full."""

_FRAMING = 12
"""Bytes that a request has for a log record at most beside its own: tags and lengths."""

_log = logging.getLogger(NAME)


class Delivery:
    """Delivers records to a receiver in batches.

    A state is written only when the receiver has accepted every record before it. A batch can have
    records of several streams; it is full at a number of records or bytes, whichever comes first.
    """

    def __init__(
        self,
        settings: Settings,
        write_state: Callable[[State], None],
        stop: Stop | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make a delivery; nothing is sent yet."""
        self._clock = clock or Clock()
        self.receiver = Receiver(settings, stop, self._clock)
        self.accepted = 0
        """Records that the receiver has accepted."""
        self._settings = settings
        self._write_state = write_state
        self._state: State | None = None
        self._added = self._state_covers = self._written_covers = 0
        self._begin()

    def _begin(self) -> None:
        # A new request each time: an emptied message keeps its memory.
        self._request = ExportLogsServiceRequest()
        resource_logs = self._request.resource_logs.add()
        for name, value in self._settings.resource.items():
            set_value(resource_logs.resource.attributes.add(key=encodable(name)).value, value)
        scope_logs = resource_logs.scope_logs.add()
        scope_logs.scope.name = NAME
        scope_logs.scope.version = VERSION
        self._log_records = scope_logs.log_records
        self._waiting = 0
        self._bytes = self._request.ByteSize()
        self._since = 0

    def add(self, record: Record, mapping: LogMapping) -> bool:
        """Add a record, and `send` a full batch; return whether the record has a time."""
        now = self._clock.time_ns()
        log_record = self._log_records.add(observed_time_unix_nano=now)
        fill(log_record, record, mapping)
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
        if is_full or now - self._since > _LONGEST_WAIT:
            self.send()
        return has_time

    def add_state(self, state: State) -> None:
        """Add a state, which covers all records that were added before it."""
        self._state, self._state_covers = state, self._added
        if not self._waiting:
            self._write_pending_state()

    def send(self) -> None:
        """Send the waiting records, or raise DeliveryError; then write the state."""
        if self._waiting:
            # A record that could not be written into a log record may have left one behind.
            del self._log_records[self._waiting :]
            self._send_batch()
            self._begin()
        self._write_pending_state()

    def _send_batch(self) -> None:
        try:
            response = self.receiver.send(self._request)
        except DeliveryError as error:
            raise self._failed(str(error)) from None
        count = self._waiting
        rejected = min(response.rejected, count)
        self.accepted += count - rejected
        message = f"{self.receiver.name} rejected {rejected:,} of {count:,} records"
        if response.message:
            message += f": {response.message}"
        if rejected and self._settings.on_partial_success == "fail":
            raise self._failed(message)
        if rejected:
            _log.warning(message)
        elif response.message:
            _log.warning("%s says: %s", self.receiver.name, response.message)

    def _failed(self, what: str) -> DeliveryError:
        return DeliveryError(
            f"{what}. {self.accepted:,} records were accepted before, and the state is out up to "
            f"the first {self._written_covers:,}."
        )

    def _write_pending_state(self) -> None:
        if self._state:
            self._write_state(self._state)
            self._state = None
            self._written_covers = self._state_covers
