"""`--connect`: from nothing to the first entries, by a few questions."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from dotenv import dotenv_values, set_key

from tap_sentry_audit import config, console, signals
from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.streams.audit_logs import AuditLogs
from tap_sentry_audit.streams.base import SentryStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from singer_sdk.helpers.types import Record

    from tap_sentry_audit.streams.base import SentryTap

FILE = Path(".env")

_NEWEST = 5
_WIDEST_ACTOR = 24

_PROMPTS = {
    "host": "Address of your Sentry",
    "organization": "Slug of your organization (acme in sentry.io/organizations/acme/)",
    "auth_token": "Token (it will not be shown)",
}


def option(tap: type[SentryTap]) -> click.Option:
    """Return the option `--connect` of a tap's command."""

    def run(context: click.Context, _: click.Parameter, *, is_given: bool) -> None:
        if is_given:
            connect(tap)
            context.exit()

    return click.Option(
        ["--connect"],
        is_flag=True,
        expose_value=False,
        callback=lambda context, parameter, value: run(context, parameter, is_given=value),
        help=f"Ask for the settings, try them, and write them into {FILE}.",
    )


def connect(tap: type[SentryTap]) -> None:
    """Ask for the settings, show what they can read and the newest entries, and write `.env`.

    Raises:
        click.UsageError: There is no terminal, or there are settings for several organizations.
        SystemExit: The settings cannot be used, or are not to be written.

    """
    if not (console.is_terminal() and sys.stdin and sys.stdin.isatty()):
        message = (
            f"--connect asks questions, so it needs a terminal. Without one, write "
            f"{config.variable('auth_token')} and {config.variable('organization')} into {FILE}"
        )
        raise click.UsageError(message)
    try:
        _connect(tap)
    except (click.Abort, KeyboardInterrupt):
        _say("")
        _give_up()
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        _say(
            f"Error: {FILE.absolute()} cannot be used ({why}): correct it, or go to another folder"
        )
        _give_up()


def _connect(tap: type[SentryTap]) -> None:
    # A handler that ends the process at once would leave the terminal without an echo.
    signals.handle_with(signal.default_int_handler)
    _check_file()
    known = dotenv_values(FILE) | os.environ
    if known.get(config.variable("organizations")):
        message = (
            f"--connect sets up one organization, but {config.variable('organizations')} names "
            "several: remove it first"
        )
        raise click.UsageError(message)
    given = {name: _ask(name, known.get(config.variable(name))) for name in _PROMPTS}
    _try(tap, given)
    _write(given)
    _say("")
    _say(f"{FILE} now holds these settings, for your eyes only: keep it out of version control.")
    for name, value in given.items():
        if os.environ.get(config.variable(name), value) != value:
            _say(f"{config.variable(name)} in your environment has another value, which is used!")
    _say(f"To read everything: {_next_command()}")


def _next_command() -> str:
    """Return what reads the whole log from here: in a Meltano project, Meltano does."""
    if Path("meltano.yml").is_file():
        return f"meltano run {config.NAME} TARGET, such as target-duckdb"
    return f"{config.NAME} --config=ENV | target-jsonl"


def _check_file() -> None:
    """Raise an OSError if `.env` could not be written after all questions."""
    path = FILE.resolve()
    if path.exists() and not path.is_file():
        raise IsADirectoryError(errno.EISDIR, "it is not a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "it is a link into a folder that does not exist")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "its folder is read-only")


def _ask(name: str, known: str | None) -> str:
    """Return a setting that can be used."""
    is_secret = name == "auth_token"
    default = known or ("https://sentry.io" if name == "host" else None)

    def checked(text: str) -> str:
        text = text.strip()
        try:
            config.parse_setting(name, text)
        except config.SettingsError as error:
            raise click.UsageError(error.problems[0]) from None
        return text

    answer: str = click.prompt(
        _PROMPTS[name],
        default=None if is_secret else default,
        hide_input=is_secret,
        value_proc=checked,
        err=True,
    )
    return answer


def _try(tap: type[SentryTap], given: Mapping[str, str]) -> None:
    """Show what the settings can read, and the newest entries."""
    trial = tap(config=dict(given))
    signals.handle_with(signal.default_int_handler)  # the SDK has set its own
    streams = [each for each in trial.streams.values() if isinstance(each, SentryStream)]
    for stream in streams:
        stream.ABORT_AT_RECORD_COUNT = 1  # which is what makes it a test
    for stream in streams:
        for context in stream.partitions if stream.is_read else ():
            stream.try_out(context)
    _say("")
    *lines, last = trial.verdict.lines()
    for line in lines:
        _say(line)
    if not trial.verdict.is_good:
        _say(f"Error: {last}")
        _give_up()
    _say(last)
    [log] = [stream for stream in streams if isinstance(stream, AuditLogs)]
    with suppress(SentryError):  # it could be read a moment ago
        newest = log.newest_records(given["organization"], _NEWEST)
        _say("")
        _say("The newest entries:" if newest else "The audit log has no entries yet.")
        for record in reversed(newest):
            click.echo(_line(record), err=True)


def _line(record: Record) -> str:
    """Return an entry as a line: when, who, what, and Sentry's words for it."""
    actor = record["actor"] or {}
    who = actor.get("username") or actor.get("name") or "?"
    time = str(record["dateCreated"])[:19].replace("T", " ")
    # A note can hold anything, control characters of a terminal included.
    line = f"{time}  {str(who)[:_WIDEST_ACTOR]}  {record['event']}  {record['note'] or ''}"
    plain = "".join(character if character.isprintable() else "?" for character in line)
    from tqdm.utils import disp_trim  # noqa: PLC0415  (it takes a tenth of a second)

    return str(disp_trim(plain, console.width()))


def _write(given: Mapping[str, str]) -> None:
    """Write the settings into `.env`, readable by its owner alone; ask before replacing any."""
    path = FILE.resolve()
    values = {config.variable(name): value for name, value in given.items()}
    before = dotenv_values(path)
    replaced = [name for name in values if before.get(name) not in {None, "", values[name]}]
    if replaced:
        question = f"\n{FILE} has other values for {', '.join(replaced)}. Replace them?"
        if not click.confirm(question, default=False, err=True):
            _give_up()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".env.")
    os.close(descriptor)
    new = Path(name)
    try:
        with suppress(FileNotFoundError):
            shutil.copyfile(path, new)
        text = new.read_text("utf-8")
        for variable, value in values.items():
            is_exported = re.search(rf"^\s*export\s+{variable}\s*=", text, re.MULTILINE) is not None
            set_key(new, variable, value, export=is_exported)
        new.chmod(0o600)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _give_up() -> NoReturn:
    _say("Nothing was written.")
    sys.exit(1)


def _say(text: str) -> None:
    click.echo(console.wrap(text) if text else "", err=True)
