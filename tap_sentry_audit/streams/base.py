"""The base of the tap and of its streams: settings, state, signals, errors, `--test`."""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property, partial
from io import StringIO
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, ClassVar

import click
import msgspec
from singer_sdk import RESTStream, Tap
from singer_sdk.exceptions import ConfigValidationError, SingerSDKError
from singer_sdk.helpers._classproperty import classproperty  # for _env_var_config
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.singerlib import Metadata, RecordMessage

from tap_sentry_audit import config, signals
from tap_sentry_audit.api.client import Client
from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.api.pagination import parse_list
from tap_sentry_audit.config import Settings, SettingsError
from tap_sentry_audit.streams.flattening import FlatteningMapper
from tap_sentry_audit.streams.messages import MessageWriter, UnwritableRecordError
from tap_sentry_audit.streams.progress import is_relevant
from tap_sentry_audit.streams.records import fits_of, make_record
from tap_sentry_audit.streams.redaction import mask_fields
from tap_sentry_audit.streams.state import read_state_file, usable_state
from tap_sentry_audit.streams.unread import MOST_MINUTES, report_unread

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from types import FrameType

    from singer_sdk.helpers.capabilities import CapabilitiesEnum
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.singerlib import Catalog

    from tap_sentry_audit.api.pagination import ListPage
    from tap_sentry_audit.config import Schema

UNREAD = 3
"""The exit code of `--unread-for` if an organization was not read in time."""

_WRONG_TYPE = re.compile(r"in config\['?(\w+)")


class CatalogError(SingerSDKError):
    """A stream cannot be read as its catalog says; the text says what to change."""


class MappingError(SingerSDKError):
    """A stream map fails; the text shows nothing of the record."""


class _CatalogStream(msgspec.Struct):
    tap_stream_id: str
    schema: dict[str, Any]


class _Catalog(msgspec.Struct):
    streams: list[_CatalogStream]


def _read_catalog_file(file: IO[str]) -> str:
    """Return the text of a catalog file, or raise a CatalogError where the SDK would fail."""
    text = ""
    problem: object
    try:
        text = file.read()
        msgspec.json.decode(text, type=_Catalog)
    except UnicodeDecodeError:
        problem = "its file is no text in UTF-8"
    except RecursionError:
        problem = "it is nested too deeply"
    except msgspec.ValidationError as error:
        problem = error
    except msgspec.DecodeError:
        return text  # the SDK's own words for a file that is no JSON are good
    else:
        return text
    message = f"the catalog cannot be used ({problem}): make it anew with --discover"
    raise CatalogError(message)


class SentryTap(Tap):
    """A tap with one client, which stops between two records and never loses a state."""

    name = config.NAME
    message_writer_class = MessageWriter
    config_jsonschema: ClassVar[Schema] = copy.deepcopy(config.JSON_SCHEMA)  # the SDK adds its own

    # Without BATCH: the SDK writes the STATE before the batch of its records, and the files hold
    # what stream maps mask and what was deselected (singer-sdk 0.54.9).
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        capability for capability in Tap.capabilities if capability is not PluginCapabilities.BATCH
    ]

    stream_types: ClassVar[tuple[type[SentryStream], ...]]
    message_writer: MessageWriter
    has_failed = False
    """Whether something could not be read: the run fails at its end, or when it is stopped."""

    unexpected: Exception | None = None
    """The first error that was not foreseen: the run ends with it once all else has been read."""

    _is_state_loaded = False

    @cached_property
    def settings(self) -> Settings:
        """The settings, parsed once; a SettingsError if they cannot be used."""
        return config.parse_settings(self.config)

    @cached_property
    def client(self) -> Client:
        """The run's one client: the server limits requests per token, across streams."""
        return Client(self.settings, self.logger, is_test=self.is_test)

    def discover_streams(self) -> list[SentryStream]:
        """Return all streams, selected or not."""
        return [stream(self) for stream in self.stream_types]

    @classmethod
    def get_singer_command(cls) -> click.Command:
        """Return the SDK's command, with one more option."""
        command = super().get_singer_command()
        option = click.Option(
            ["--unread-for"],
            type=click.IntRange(1, MOST_MINUTES),
            metavar="MINUTES",
            help="Read nothing; list organizations whose audit log the --state says was not read "
            "for so long, and exit with 3 if there are any. With --config, only those in it count.",
        )
        command.params.append(option)
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
        """Run the tap, or raise a StateError or CatalogError: the SDK takes `[]` for no state."""
        text = None if state is None else read_state_file(state)
        if unread_for is not None:
            cls._exit_if_unread(text, options["config"], unread_for)
            return
        super().invoke(
            state=None if text is None else StringIO(text),
            catalog=None if catalog is None else StringIO(_read_catalog_file(catalog)),
            **options,
        )

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

    def end_test(self, stream: SentryStream) -> None:
        """Fail a connection test after its last stream if any could not be read."""
        selected = [each for each in self.streams.values() if each.selected]
        if self.has_failed and stream is selected[-1]:
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
            signals.end(signum, "its last STATE holds all that it sent", int(self.has_failed))

    @classproperty
    def _env_var_config(cls) -> dict[str, Any]:  # noqa: N805  (the SDK's)
        """Return the settings in the environment, which overrides a `.env` file.

        The SDK has no public hook. Its method lets the file win, without a word about it
        (singer-sdk 0.54.9, configuration/_dict_config.py).
        """
        if path := config.load_dotenv_file():
            cls.logger.info("Settings that the environment lacks come from %s", path)
        cls.append_builtin_config(cls.config_jsonschema)
        return config.parse_variables(os.environ, cls.config_jsonschema)

    @classmethod
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> Any:  # noqa: ANN401  (the SDK's)
        """Read the files of --config; the SDK takes a list for an object without settings."""
        given = super().cb_config(ctx, param, tuple(name for name in value if name == "ENV"))
        for name in value:
            if name != "ENV":
                given.config.update(config.read_config_file(name))
        return given

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check the settings before the SDK does.

        The SDK has no public hook, and its errors echo values, secrets included (singer-sdk 0.54.9,
        plugin_base.py).
        """
        try:
            settings = self.settings
        except SettingsError as error:
            problems = error.problems
        else:
            # The SDK's own check does not take 1.0, which is a Decimal, for an integer.
            self._config |= {
                name: getattr(settings, name)
                for name, value in self.config.items()
                if isinstance(value, Decimal) and name in config.JSON_SCHEMA["properties"]
            }
            self.append_builtin_config(self.config_jsonschema)
            for remark in config.remarks(self.config, settings, self.config_jsonschema):
                self.logger.warning(remark)
            # Only the SDK's own settings can be wrong now; its errors would quote their values.
            problems = [
                f"{name} has a wrong type or value: compare it with --about"
                for error in super()._validate_config(raise_errors=False)
                for name in _WRONG_TYPE.findall(error)
            ]
        if problems and raise_errors:
            message = "the settings cannot be used"
            raise ConfigValidationError(message, errors=problems, schema=self.config_jsonschema)
        return problems


class SentryStream(RESTStream[str | None]):
    """A stream of Sentry's API: after an organization that cannot be read comes the next one.

    `post_process` makes records with the types that SCHEMA declares, so the SDK need not conform
    them again.
    """

    scopes: ClassVar[tuple[str, ...]]
    """The scopes that the token needs."""

    permission: str
    """What the token and its user need, as a sentence for a 403."""

    required_fields: ClassVar[tuple[str, ...]] = ("id",)
    """Fields that every row of a page must have."""

    time_field: ClassVar[str | None] = None
    """The field in which every row of a page must have a time."""

    filtered = 0
    """How many records stream maps have left out."""

    unwritten = 0
    """How many records could not be written; each was reported."""

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
        self.logger.addFilter(is_relevant)
        self.tap = tap
        self._fits = fits_of(self.schema)

    @property
    def noun(self) -> str:
        """What log lines call the stream's records."""
        return self.name

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
        is_test = self.tap.is_test
        if is_test and not self.selected:
            return
        if context is not None:
            self._organization = context["organization"]
            self._mapping_error = None
            try:
                for row in self._test(context) if is_test else self.read(context):
                    with signals.held:
                        yield row
                    self._raise_mapping_error()
            except OSError:  # stdout is closed, or the disk is full
                raise
            except Exception as error:  # noqa: BLE001  (whatever it is, it stops one organization)
                self.report_failure(context["organization"], error)
            self.save_bookmark()
        if is_test and (context is None or context == self.partitions[-1]):
            self.tap.end_test(self)

    def _test(self, context: Context) -> list[Record]:
        """Read a row of an organization, and return the first organization's.

        The SDK ends a test at the second row, and would leave other organizations untested.
        """
        organization = context["organization"]
        first = list(islice(self.read(context), 1))
        self.logger.info("%s: %s can be read", organization, self.name)
        return first if organization == self.tap.settings.slugs[0] else []

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
        return client.get(path, parameters, self.parse_page, self.permission, base_url)

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
            self.unwritten += 1
            return
        except Exception as error:  # noqa: BLE001  (a stream map can raise anything)
            self._mapping_error = error
            return
        self.filtered += not messages
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
            self.logger.warning(
                "%s: Sentry could not show %d %s (null rows)", organization, count, self.noun
            )

    def report_failure(self, organization: str, error: Exception) -> None:
        """Log why an organization, or a part of it, could not be read to its end."""
        if isinstance(error, SentryError | SingerSDKError):
            self.report(organization, error)
            return
        # Its text can hold a part of an entry.
        self.report(organization, f"stopped by an unexpected {type(error).__name__}")
        self.tap.unexpected = self.tap.unexpected or error

    def report(self, organization: str, error: object) -> None:
        """Log an error. The run goes on, and fails at its end."""
        self.tap.has_failed = True
        self.logger.error("%s: %s", organization, error)

    def log_sync_costs(self) -> None:
        """Write the last STATE, and end the run with an error if something could not be read.

        This is the SDK's last call to a stream: all streams have finished.
        """
        super().log_sync_costs()
        self.tap.close_state()
        if self.tap.unexpected:
            raise self.tap.unexpected
        if self.tap.has_failed:
            raise SystemExit(1)
