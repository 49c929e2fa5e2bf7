"""Batches of records, and the states that wait until the records before them are accepted."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from target_otlp.clock import Clock
from target_otlp.config import NAME, VERSION
from target_otlp.log_mapping import UNIQUE_ID
from target_otlp.mapping import fill, unique_id
from target_otlp.progress import records, records_were, sentence
from target_otlp.receiver import DeliveryError, Receiver, RefusedError
from target_otlp.rejections import RejectedRecordsFile
from target_otlp.values import encodable, set_value, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_otlp.config import Settings
    from target_otlp.log_mapping import LogMapping
    from target_otlp.responses import PartialSuccess
    from target_otlp.signals import Stop
    from target_otlp.values import Json, Record

State: TypeAlias = "dict[str, Json]"

_LONGEST_WAIT = 60_000_000_000
"""Nanoseconds after which the next record completes a batch that is not full."""

_FRAMING = 12
"""Bytes that a request has for a log record at most on top of its own: tags and lengths."""

_SHOWN = 100
"""How much of an id is shown."""

_log = logging.getLogger(NAME)


class _Entry(NamedTuple):
    """A record that waits; `number` counts those of the run from 1."""

    number: int
    record: Record
    mapping: LogMapping
    keys: Sequence[str]

    @property
    def id(self) -> Record:
        """What identifies the record: its key properties, and the mapped id if it differs."""
        found = {name: self.record[name] for name in self.keys if name in self.record}
        uid = unique_id(self.record, self.mapping)
        if uid is not None and uid not in map(text_of, found.values()):
            found[UNIQUE_ID] = uid
        return found or {"number": self.number}

    def __str__(self) -> str:
        """Name the record for a person, without anything else that is in it."""
        texts = [f"{name} {text_of(value)}" for name, value in self.id.items()]
        name = ", ".join((self.mapping.stream, *texts))
        shown = "".join(c if c.isprintable() else " " for c in name)
        return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


class _Rejection(NamedTuple):
    """A record to put aside; `found` is its line in the file, `what` and `error` are the messages.

    `error` is for a run in which nothing is accepted, so that it may be the endpoint that is wrong.
    """

    entry: _Entry
    found: Record
    what: str
    error: DeliveryError


class Delivery:
    """Delivers records to a receiver in batches.

    A state is written only when every record before it is settled: the receiver has accepted it, or
    has rejected it and it is in the file of rejected records. A batch can have records of several
    streams; it is full at a number of records or bytes, whichever comes first.
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
        self.progress = self.receiver.progress
        self._settings = settings
        path = settings.rejected_records_path
        self._file = RejectedRecordsFile(path) if path else None
        self._write_state = write_state
        self._state: State | None = None
        self._added = self._state_covers = self._written_covers = self._settled = 0
        self._unproven: list[_Rejection] = []
        """What was refused before anything was accepted: it may be the endpoint that is wrong."""
        self._is_proven = False
        self._has_split = False
        self._begin()

    def _begin(self) -> None:
        # A new request each time: an emptied message keeps its memory.
        self._request = self._empty_request()
        self._log_records = self._request.resource_logs[0].scope_logs[0].log_records
        self._waiting: list[_Entry] = []
        self._bytes = self._request.ByteSize()
        self._since = 0

    def _empty_request(self) -> ExportLogsServiceRequest:
        request = ExportLogsServiceRequest()
        resource_logs = request.resource_logs.add()
        for name, value in self._settings.resource.items():
            set_value(resource_logs.resource.attributes.add(key=encodable(name)).value, value)
        scope_logs = resource_logs.scope_logs.add()
        scope_logs.scope.name = NAME
        scope_logs.scope.version = VERSION
        return request

    def add(self, record: Record, mapping: LogMapping, keys: Sequence[str] = ()) -> bool:
        """Add a record, and `send` a full batch; return whether the record has a time.

        `keys` are the stream's key properties.
        """
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
        self._added += 1
        self._waiting.append(_Entry(self._added, record, mapping, keys))
        is_full = len(self._waiting) >= self._settings.max_batch_size
        if is_full or now - self._since > _LONGEST_WAIT:
            self.send()
        return has_time

    def add_unreadable(self, line: str, mapping: LogMapping, what: str) -> None:
        """Put the line of a record aside that cannot be sent, or raise DeliveryError.

        `what` says why. Nothing has to vouch for it, but it waits for those before it.
        """
        self.send()
        self._added += 1
        entry = _Entry(self._added, {}, mapping, ())
        told = f"{mapping.stream}: {what}"
        found: Record = {"line": line, "message": what}
        self._unproven.append(_Rejection(entry, found, told, DeliveryError(told)))
        if self._is_proven or len(self._unproven) == 1:
            try:
                self._reject_proven()
            except DeliveryError as error:
                raise self._failed(str(error)) from None

    def add_state(self, state: State) -> None:
        """Add a state, which covers all records that were added before it."""
        self._state, self._state_covers = state, self._added
        self._write_settled_state()

    def send(self) -> None:
        """Send the waiting records, or raise DeliveryError; then write the state."""
        if not self._waiting:
            return
        # A record that could not be written into a log record may have left one behind.
        del self._log_records[len(self._waiting) :]
        try:
            self._deliver(self._request, self._waiting)
            # One record alone proves nothing: the next batch shows whose fault it is.
            if self._unproven and (len(self._waiting) > 1 or not self._file):
                raise self._unproven[0].error
        except DeliveryError as error:
            self._write_settled_state()
            raise self._failed(str(error)) from None
        self._begin()
        self._write_settled_state()

    def finish(self) -> None:
        """Raise DeliveryError if the receiver rejected records; all have been sent before."""
        if self._unproven:
            raise self._failed(str(self._unproven[0].error))
        if rejected := self.progress.rejected:
            path = self._settings.rejected_records_path
            message = f"{records_were(rejected)} rejected: see why in {path}"
            raise self._failed(message)

    def _deliver(self, request: ExportLogsServiceRequest, entries: list[_Entry]) -> None:
        """Send a request; if it is refused, send its halves, down to single records."""
        try:
            response = self.receiver.send(request)
        except RefusedError as error:
            if len(entries) == 1:
                self._refuse(entries, error)
                return
            if not self._has_split:
                self._has_split = True
                _log.warning("%s Sending it again in halves", sentence(str(error)))
        else:
            self._accept(response, entries)
            return
        log_records = request.resource_logs[0].scope_logs[0].log_records
        middle = len(entries) // 2
        for part in (slice(middle), slice(middle, None)):
            half = self._empty_request()
            half.resource_logs[0].scope_logs[0].log_records.extend(log_records[part])
            self._deliver(half, entries[part])

    def _accept(self, response: PartialSuccess, entries: list[_Entry]) -> None:
        """Count what was accepted, and deal with what was rejected of it and before it."""
        rejected = min(response.rejected, len(entries))
        accepted = len(entries) - rejected
        if accepted:
            self.progress.accepted += accepted
            self._is_proven = True
            self._reject_proven()
        elif self._file or self._settings.on_partial_success != "warn" or self._unproven:
            what, message = self._told(rejected, response, entries), response.message
            self._refuse(entries, RefusedError(what, "", HTTPStatus.OK.value, message))
            return
        if rejected:
            self._reject_some(rejected, response, entries)
        elif response.message:
            _log.warning("%s says: %s", self.receiver.name, response.message)
        self._settled += len(entries)

    def _refuse(self, entries: list[_Entry], error: RefusedError) -> None:
        """Deal with records each of which is refused for certain."""
        found: Record = {"status": error.status, "message": error.message}
        failure: DeliveryError = error
        if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            told = f"{error.what}: even a single record is too large for it, so raise its limit"
            failure = DeliveryError(told)
        for entry in entries:
            what = f"{error.what}: it accepts others and refuses {entry}"
            own: Record = {"record": entry.record}
            self._unproven.append(_Rejection(entry, own | found, what, failure))
        if self._is_proven:
            self._reject_proven()
        elif len(self._unproven) > self._settings.max_rejected_records:
            raise failure

    def _reject_proven(self) -> None:
        """Put aside what was refused by a receiver which accepts others."""
        while self._unproven:
            entry, found, what, _ = self._unproven[0]
            self._put_aside(1, what, entry, found)
            del self._unproven[0]
            self._settled += 1

    def _told(self, rejected: int, response: PartialSuccess, entries: list[_Entry]) -> str:
        first, last = entries[0], entries[-1]
        what = f"{self.receiver.name} rejected {rejected:,} of {records(len(entries))} ("
        what += f"{first} to {last})" if len(entries) > 1 else f"{first})"
        return what + (f": {response.message}" if response.message else "")

    def _reject_some(self, rejected: int, response: PartialSuccess, entries: list[_Entry]) -> None:
        """Deal with a partial success, which does not name the records."""
        first, last = entries[0], entries[-1]
        what = self._told(rejected, response, entries)
        if not self._file and self._settings.on_partial_success == "warn":
            _log.warning(what)
            return
        found: Record = {
            "rejected": rejected,
            "records": len(entries),
            "first_id": first.id,
            "last_stream": last.mapping.stream,
            "last_id": last.id,
            "status": HTTPStatus.OK.value,
        }
        self._put_aside(rejected, what, first, found | {"message": response.message})

    def _put_aside(self, count: int, what: str, entry: _Entry, found: Record) -> None:
        """Write rejected records into their file; raise DeliveryError if that cannot be."""
        path = self._settings.rejected_records_path
        if not self._file:
            error = f"{sentence(what)} To go on without what is rejected, set rejected_records_path"
            raise DeliveryError(error)
        most = self._settings.max_rejected_records
        if self.progress.rejected + count > most:
            error = f"{sentence(what)} That makes more than {most:,} (max_rejected_records)"
            raise DeliveryError(error)
        now = datetime.fromtimestamp(self._clock.time_ns() // 10**9, UTC)
        head: Record = {"time": f"{now:%Y-%m-%dT%H:%M:%SZ}", "stream": entry.mapping.stream}
        try:
            self._file.append(head | found)
        except OSError as problem:
            error = f"{sentence(what)} It cannot be written to {path} ({type(problem).__name__})"
            raise DeliveryError(error) from None
        self.progress.rejected += count
        _log.warning("%s It is in %s", sentence(what), path)

    def _failed(self, what: str) -> DeliveryError:
        return DeliveryError(
            f"{sentence(what)} {records_were(self.progress.accepted)} accepted before that; "
            f"the state covers the first {self._written_covers:,}."
        )

    def _write_settled_state(self) -> None:
        if self._state and self._state_covers <= self._settled:
            self._write_state(self._state)
            self._state = None
            self._written_covers = self._state_covers
