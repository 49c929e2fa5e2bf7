"""The base of the tap and of its streams: state, signals, errors, `--test`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from functools import cached_property, partial
from io import StringIO
from itertools import islice
from logging import DEBUG, ERROR, INFO
from typing import IO, TYPE_CHECKING, Any, ClassVar

import click
from singer_sdk import RESTStream, Tap
from singer_sdk.exceptions import SingerSDKError
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.singerlib import Metadata, RecordMessage
from singer_sdk.tap_base import CliTestOptionValue

from tap_sentry_audit import config, console, signals
from tap_sentry_audit.api.access import Access
from tap_sentry_audit.api.client import Client
from tap_sentry_audit.api.exceptions import ForbiddenError, SentryError
from tap_sentry_audit.api.pagination import parse_list
from tap_sentry_audit.streams.catalog import CatalogError, read_catalog_file
from tap_sentry_audit.streams.configured import ConfiguredTap
from tap_sentry_audit.streams.flattening import FlatteningMapper
from tap_sentry_audit.streams.messages import MessageWriter, UnwritableRecordError
from tap_sentry_audit.streams.outcome import Outcome
from tap_sentry_audit.streams.progress import Progress
from tap_sentry_audit.streams.records import fits_of, make_record
from tap_sentry_audit.streams.redaction import mask_fields
from tap_sentry_audit.streams.state import read_state_file, usable_state
from tap_sentry_audit.streams.summary import Meter, Summary, counted
from tap_sentry_audit.streams.unread import report_unread, unread_option
from tap_sentry_audit.streams.verdict import Trial, Verdict

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from types import FrameType

    from singer_sdk.helpers.capabilities import CapabilitiesEnum
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.singerlib import Catalog

    from tap_sentry_audit.api.pagination import ListPage

UNREAD = 3
"""The exit code of `--unread-for` if an organization was not read in time."""


class MappingError(SingerSDKError):
    """A stream map fails; the text shows nothing of the record."""


class OutputError(SingerSDKError):
    """Nothing more can be written to stdout."""

    def __init__(self, error: OSError) -> None:
        """Say why."""
        if isinstance(error, BrokenPipeError):
            message = "what reads the messages, such as the target, has ended: see what it says"
        else:
            message = f"the messages cannot be written: {error.strerror or type(error).__name__}"
        super().__init__(message)


class SentryTap(ConfiguredTap):
    """A tap with one client, which stops between two records and never loses a state."""

    name = config.NAME
    message_writer_class = MessageWriter

    # Without BATCH: the SDK writes the STATE before the batch of its records, and the files hold
    # what stream maps mask and what was deselected (singer-sdk 0.54.9).
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        capability for capability in Tap.capabilities if capability is not PluginCapabilities.BATCH
    ]

    stream_types: ClassVar[tuple[type[SentryStream], ...]]
    message_writer: MessageWriter

    _is_state_loaded = False

    @cached_property
    def client(self) -> Client:
        """The run's one client: the server limits requests per token, across streams."""
        return Client(self.settings, self.logger, is_test=self.is_test)

    @cached_property
    def access(self) -> Access:
        """What the token may do."""
        return Access(self.client)

    @cached_property
    def outcome(self) -> Outcome:
        """What has gone wrong so far."""
        is_single = len(self.settings.slugs) == len(self.selected_streams) == 1
        return Outcome(self.logger, is_single=is_single)

    @cached_property
    def verdict(self) -> Verdict:
        """What the connection test has found so far."""
        return Verdict([stream.name for stream in self.selected_streams])

    @property
    def selected_streams(self) -> list[SentryStream]:
        """The streams that a run reads."""
        streams = self.streams.values()
        return [each for each in streams if isinstance(each, SentryStream) and each.selected]

    def discover_streams(self) -> list[SentryStream]:
        """Return all streams, selected or not."""
        return [stream(self) for stream in self.stream_types]

    @classmethod
    def get_singer_command(cls) -> click.Command:
        """Return the SDK's command, with one more option."""
        command = super().get_singer_command()
        console.set_up()
        command.help = (
            "Read the complete audit log of Sentry organizations, and write it to stdout as Singer "
            f"messages.\n\nExample: {config.NAME} --config=ENV | target-jsonl"
        )
        command.epilog = f"Documentation: {config.DOCUMENTATION}"
        for parameter in command.params:
            # `cb_test` needs it, wherever it stands.
            parameter.is_eager |= parameter.name == "catalog"
        command.params.append(unread_option())
        return command

    @classmethod
    def invoke(
        cls,
        *,
        state: IO[str] | None = None,
        catalog: IO[str] | None = None,
        unread_for: int | None = None,
        **options: Any,  # noqa: ANN401  (the SDK's)
    ) -> None:
        """Run the tap; the SDK takes `[]` for no state, and click hides that a pipe was closed.

        Raises:
            StateError, CatalogError: The file cannot be used.
            OutputError: stdout cannot be written.

        """
        text = None if state is None else read_state_file(state)
        if unread_for is not None:
            cls._exit_if_unread(text, options["config"], unread_for)
            return
        catalog_text = None if catalog is None else read_catalog_file(catalog)
        try:
            super().invoke(
                state=None if text is None else StringIO(text),
                catalog=None if catalog_text is None else StringIO(catalog_text),
                **options,
            )
        except OSError as error:
            raise OutputError(error) from error

    @classmethod
    def _exit_if_unread(cls, state: str | None, given: Any, minutes: int) -> None:  # noqa: ANN401  (the SDK's)
        """Print which organizations were not read for so long; exit with 3 if there are any."""
        if state is None:
            message = "--unread-for needs --state: the file with the state of the last run"
            raise click.UsageError(message)
        settings = given.config if given else {}
        if given and given.parse_env:
            settings |= cls._env_var_config
        names = [stream.name for stream in cls.stream_types]  # type: ignore[misc]  # each has one
        usable = usable_state(json.loads(state), names)
        slugs = config.parse_slugs(settings) if settings else None
        report = report_unread(usable, slugs, minutes, datetime.now(UTC))
        click.echo(str(report))
        if report.is_alarm:
            sys.exit(UNREAD)

    def setup_mapper(self) -> None:
        """Set up stream maps, followed by lossless flattening.

        This is the first that the SDK does with a catalog. Keys are sent even if they are
        deselected there: targets need them.
        """
        for stream in self.discover_streams():
            if entry := self.catalog.get_stream(stream.name):
                for key in (*stream.primary_keys, stream.replication_key):
                    if about := entry.metadata.get(("properties", str(key))):
                        about.inclusion = Metadata.InclusionType.AUTOMATIC
        self.mapper = FlatteningMapper(self.config, self.logger)
        self.mapper.register_raw_streams_from_catalog(self.catalog)

    def load_state(self, state: dict[str, Any]) -> None:
        """Load a state, wrapped or not, or raise a StateError."""
        super().load_state(usable_state(state, self.streams.keys()))
        self._is_state_loaded = True

    @property
    def is_test(self) -> bool:
        """Whether the run is a connection test (`--test`)."""
        return any(stream.ABORT_AT_RECORD_COUNT == 1 for stream in self.streams.values())

    def end_test(self) -> None:
        """Show the verdict of a connection test; fail if what is selected cannot be read whole."""
        if not self.verdict.selected:
            self.logger.error("no stream is selected, so there is nothing to test")
            sys.exit(1)
        *lines, last = self.verdict.lines()
        for line in lines:
            self.logger.info(line)
        self.logger.log(INFO if self.verdict.is_good else ERROR, last)
        if not self.verdict.is_good:
            sys.exit(1)

    def end_run(self) -> None:
        """Write the last STATE, and say what the run did; end it with an error if there was one.

        A run that has read nothing writes no STATE: `meltano config test` shows the last line of
        stdout and stderr together.
        """
        if self.outcome.has_read or not self.outcome.has_failed:
            self.close_state()
        sys.stdout.flush()
        for stream in self.selected_streams:
            stream.log_summary()
        if self.outcome.unexpected:
            raise self.outcome.unexpected
        if self.outcome.has_failed:
            self.outcome.conclude()
            sys.exit(1)

    def close_state(self) -> None:
        """Write a STATE unless the last message was one, even if it equals the last STATE.

        Some targets forget a state when a record follows it (target-jsonl 0.1.4), and the SDK's
        writer leaves out a STATE that equals the last one.
        """
        for stream in self.streams.values():
            if isinstance(stream, SentryStream):
                stream.save_bookmark()
        if self.state and not self.message_writer.ends_with_state:
            self.message_writer.write_last_state(self.state)

    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """Stop with a last STATE, but not between a record and its bookmark.

        The SDK has no public hook. Its method writes a STATE even before the given state is loaded,
        which makes a target forget its state (singer-sdk 0.54.9, tap_base.py).
        """
        del frame
        if not self._is_state_loaded or not self.state or self.is_test:
            signals.stop_at_once(signum, None)
        if signals.held.put_off(partial(self._handle_termination, signum, None)):
            return
        with signals.held:  # another signal changes nothing
            try:
                self.close_state()
            except OSError:  # stdout is closed
                signals.end(signum, "its last STATE could not be written", 1)
            signals.end(
                signum, "its last STATE covers everything that it sent", self.outcome.has_failed
            )

    @classmethod
    def cb_test(cls, ctx: click.Context, param: click.Option, value: str) -> None:
        """Run a connection test, which shows its verdict alone.

        The SDK's own ignores the catalog.
        """
        if value != CliTestOptionValue.All.value:
            if value not in {each.value for each in CliTestOptionValue}:
                message = f"--test={value} is not a test: write --test or --test=schema"
                raise click.UsageError(message)
            super().cb_test(ctx, param, value)
            return
        console.set_up(is_for_test=True)
        given, catalog = ctx.params["config"], ctx.params.get("catalog")
        try:
            tap = cls(
                config=given.config,
                catalog=None if catalog is None else json.loads(read_catalog_file(catalog)),
                parse_env_config=given.parse_env,
                validate_config=True,
            )
            tap.run_connection_test()
        except OSError as error:
            raise OutputError(error) from error
        ctx.exit()


class SentryStream(RESTStream[str | None]):
    """A stream of Sentry's API: after an organization that cannot be read comes the next one.

    `post_process` makes records with the types that SCHEMA declares, so the SDK need not conform
    them again.
    """

    scopes: ClassVar[tuple[str, ...]]
    """The scopes that the token needs."""

    required_fields: ClassVar[tuple[str, ...]] = ("id",)
    """Fields that every row of a page must have."""

    time_field: ClassVar[str | None] = None
    """The field in which every row of a page must have a time."""

    summary: Summary
    """What was done for the partition in progress."""

    is_written = True
    """Whether the last record was written, or left out by a stream map."""

    _organization = ""
    _mapping_error: Exception | None = None

    url_base = ""  # unused: each organization has its region's
    allow_redirects = False
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE
    STATE_MSG_FREQUENCY = 1000

    def __init__(self, tap: SentryTap) -> None:
        """Make a stream of a tap, without a look at its settings: discovery needs none."""
        super().__init__(tap)
        self.tap = tap
        self.total = Summary()
        self._fits = fits_of(self.schema)

    @property
    def nouns(self) -> tuple[str, str]:
        """What log lines call one record, and many."""
        return self.name.removesuffix("s"), self.name

    @cached_property
    def progress(self) -> Progress:
        """What people see while the stream is read; it starts with the first partition."""
        return Progress(self.name, self.nouns, len(self.tap.settings.slugs), self.logger)

    @cached_property
    def _meter(self) -> Meter:
        return self._new_meter()

    def _new_meter(self) -> Meter:
        return Meter(self.tap.client.rate_limiter)

    @property
    def partitions(self) -> list[dict[str, str]]:
        """One partition for each organization."""
        return [{"organization": slug} for slug in self.tap.settings.slugs]

    def apply_catalog(self, catalog: Catalog) -> None:
        """Apply a catalog; if it changes fields or types, the SDK conforms records to it.

        Raises:
            CatalogError: The stream is to be read in another way than it can be.

        """
        own_key, own_method = self.replication_key, self.replication_method
        super().apply_catalog(catalog)
        if self.selected:
            self._check_replication(own_key, own_method)
        self.replication_key = own_key
        if self.effective_schema != self.schema:
            self.TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.ROOT_ONLY

    def _check_replication(self, own_key: str | None, own_method: str) -> None:
        if self.replication_key not in {None, own_key}:
            takes = f"leave it out, or set it to {own_key}" if own_key else "leave it out"
            message = (
                f"the catalog's replication key for {self.name} is {self.replication_key}, by "
                f"which the stream cannot be read: {takes}"
            )
            raise CatalogError(message)
        method = self.forced_replication_method or own_method
        if method != own_method:
            message = (
                f"the catalog's replication method for {self.name} is {method}, but the stream is "
                f"read as {own_method} only: leave it out"
            )
            if own_key:
                message += ". To read everything again, run without a state"
            raise CatalogError(message)

    @property
    def is_read(self) -> bool:
        """Whether the run reads the stream.

        A test of one organization tries those that are not selected, too, unless it has failed for
        a reason that would be theirs as well.
        """
        if self.selected or not self.tap.is_test:
            return self.selected
        return len(self.tap.settings.slugs) == 1 and self.tap.verdict.is_connected

    @property
    def selected(self) -> bool:
        """Whether the stream is selected."""
        return super().selected

    @selected.setter
    def selected(self, value: bool | None) -> None:
        """Select the stream, but not for a test: a token need not be able to read every stream."""
        if not self.tap.is_test:
            # `super()` does not reach a property's setter.
            RESTStream.selected.fset(self, value)  # type: ignore[attr-defined]

    def read(self, context: Context) -> Iterator[Record]:
        """Yield the rows of a partition, or raise a SentryError."""
        raise NotImplementedError

    def get_records(self, context: Context | None) -> Iterator[Record]:
        """Yield the rows of a partition, and defer signals while the SDK writes their records.

        A partition that cannot be read is reported, and makes the run fail at its end
        (`log_sync_costs`).
        """
        if self.tap.is_test:
            yield from self._test(context)
        elif context is not None:
            yield from self._read(context)

    def _read(self, context: Context) -> Iterator[Record]:
        """Yield the rows of a partition; if it cannot be read, report why."""
        self._organization = context["organization"]
        self._mapping_error = None
        self.summary = Summary()
        self._meter  # noqa: B018  (it starts with the first partition)
        meter, is_done = self._new_meter(), False
        self.progress.begin(self._organization)
        try:
            for row in self.read(context):
                with signals.held:
                    yield row
                self._raise_mapping_error()
            is_done = bool(self.summary.organizations)
        except OSError:  # stdout is closed, or the disk is full
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is, it stops one organization)
            self.report_failure(self._organization, error)
            is_done = True
        finally:
            self.progress.end(is_done=is_done)
            meter.measure(self.summary)
            self.total.add(self.summary)
            if self.summary.new or self.summary.organizations:
                self.tap.outcome.has_read = True
            self._meter.measure(self.total)
        self.save_bookmark()
        line = f"{self._organization} {self.name}: {self._describe(self.summary)}"
        self.logger.debug("%s", line)

    def try_out(self, context: Context) -> list[Record]:
        """Read at most a row of a partition, and add to the verdict whether that is possible."""
        organization = context["organization"]
        self.summary = Summary()
        self.tap.client.is_hasty = not self.selected
        found: list[Record] = []
        try:
            found = list(islice(self.read(context), 1))
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to the verdict)
            self.report_failure(organization, error)
        self.progress.close()
        self.tap.verdict.add_success(organization, self.name)
        return found

    def _test(self, context: Context | None) -> list[Record]:
        """Read a row of an organization, and return the first organization's.

        The SDK ends a test at the second row, and would leave other organizations untested.
        """
        found = self.try_out(context) if context is not None and self.is_read else []
        is_last = self is list(self.tap.streams.values())[-1]
        if is_last and (context is None or context == self.partitions[-1]):
            self.tap.end_test()
        return found if self.selected and context == self.partitions[0] else []

    def get_page(
        self, context: Context, parameters: Mapping[str, str], cursor: str | None = None
    ) -> ListPage:
        """Return a page from the organization's region, or raise a SentryError.

        `context` fills in the stream's path.
        """
        client = self.tap.client
        base_url = client.region(context["organization"]).base_url
        if cursor:
            parameters = {**parameters, "cursor": cursor}
        path = self.path.format(**context)
        return client.get(path, parameters, self.parse_page, base_url)

    def parse_page(self, body: bytes, headers: Mapping[str, str]) -> ListPage:
        """Return the page in a response, or raise an InvalidBodyError."""
        return parse_list(body, headers, *self.required_fields, time=self.time_field)

    def post_process(self, row: Record, context: Context | None = None) -> Record:
        """Return the record of a row."""
        record = make_record(row, self._fits, (context or {})["organization"])
        if self.tap.settings.redact_secrets:
            mask_fields(record)
        return record

    @cached_property
    def _is_passed_through(self) -> bool:
        """Whether stream maps get records as `post_process` made them, with every field."""
        is_conformed = self.TYPE_CONFORMANCE_LEVEL is not TypeConformanceLevel.NONE
        return not is_conformed and all(self.mask.values())

    def _generate_record_messages(self, record: Record) -> Generator[RecordMessage]:
        """Yield the RECORD messages of a record.

        The SDK has no public hook. Its method checks every field for deselection, which takes a
        seventh of a run (singer-sdk 0.54.9, streams/core.py).
        """
        if not self._is_passed_through:
            yield from super()._generate_record_messages(record)
            return
        for stream_map in self.stream_maps:
            mapped = stream_map.transform(record)
            if mapped is not None:
                yield RecordMessage(
                    stream=stream_map.stream_alias,
                    record=mapped,
                    version=self._stream_version,
                    time_extracted=datetime.now(UTC),
                )

    def _write_record_message(self, record: Record) -> None:
        """Write a record, or report that it cannot be written; keep the error of a stream map.

        The SDK has no public hook, and an error here would end the run for all organizations
        (singer-sdk 0.54.9, streams/core.py).
        """
        self.is_written = False
        try:
            messages = list(self._generate_record_messages(record))
            for message in messages:
                self.tap.write_message(message)
        except OSError:
            raise
        except (RecursionError, UnwritableRecordError):
            which = "".join(f", {key} {record.get(key)}" for key in [self.replication_key] if key)
            self.report(self._organization, f"a record that JSON cannot hold is left out{which}")
            self.summary.unwritten += 1
            return
        except Exception as error:  # noqa: BLE001  (a stream map can raise anything)
            self._mapping_error = error
            self.summary.unwritten += 1
            return
        self.summary.filtered += not messages
        self.is_written = True
        self.state_manager.is_flushed = False

    def _raise_mapping_error(self) -> None:
        if isinstance(self._mapping_error, SingerSDKError):
            raise self._mapping_error
        if self._mapping_error is not None:
            kind = type(self._mapping_error).__name__
            message = f"stream_maps: an expression fails on a record ({kind}): correct it"
            raise MappingError(message) from self._mapping_error

    def save_bookmark(self) -> None:
        """Write the bookmark into the state; lists have none."""

    def _write_state_message(self) -> None:
        """Write a STATE message with the bookmark of the partition in progress, if there is room.

        The SDK has no public hook before a STATE (singer-sdk 0.54.9, streams/core.py).
        """
        if self.tap.message_writer.has_room_for_state:
            self.save_bookmark()
            super()._write_state_message()

    def warn_of_null_rows(self, organization: str, count: int) -> None:
        """Warn of rows that Sentry could not show."""
        if count:
            what = counted(count, *self.nouns)
            self.logger.warning("%s: Sentry could not show %s (null rows)", organization, what)

    def explain(self, organization: str, error: Exception) -> SentryError:
        """Return the error that says why an organization could not be read."""
        if isinstance(error, ForbiddenError):
            access = self.tap.access
            return access.explain(organization, self.name, self.scopes, error)
        if isinstance(error, SentryError):
            return error
        if isinstance(error, SingerSDKError):
            return SentryError(str(error))
        self.tap.outcome.unexpected = self.tap.outcome.unexpected or error
        # Its text can hold a part of an entry.
        return SentryError(f"stopped by an unexpected {type(error).__name__}")

    def report_failure(self, organization: str, error: Exception) -> None:
        """Report why an organization, or a part of it, could not be read to its end."""
        self._report(organization, self.explain(organization, error), is_end=True)

    def report(self, organization: str, problem: SentryError | str) -> None:
        """Report a problem. The run continues, and fails at its end."""
        error = SentryError(problem) if isinstance(problem, str) else problem
        self._report(organization, error, is_end=False)

    def _report(self, organization: str, error: SentryError, *, is_end: bool) -> None:
        if self.tap.is_test:
            self.tap.verdict.trials.append(Trial(organization, self.name, error))
        else:
            self.tap.outcome.report(organization, error, is_end=is_end)

    def log_summary(self) -> None:
        """Log the line that sums up what the run did for the stream, if it could read any of it."""
        if not self.total.organizations and not self.total.new:
            return
        slugs = self.tap.settings.slugs
        name = f"{slugs[0]} {self.name}" if len(slugs) == 1 else self.name
        self.logger.info("%s: %s", name, self._describe(self.total, len(slugs)))

    def _describe(self, summary: Summary, organizations: int = 1) -> str:
        is_debug = self.logger.isEnabledFor(DEBUG)
        kind = "new " if self.replication_key else ""
        one, many = (kind + noun for noun in self.nouns)
        return summary.describe(one, many, organizations, in_full=is_debug)

    def log_sync_costs(self) -> None:
        """End the run after the SDK's last call to the last stream."""
        super().log_sync_costs()
        if self is list(self.tap.streams.values())[-1]:
            self.tap.end_run()
