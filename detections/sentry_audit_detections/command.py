"""The command: options, a table for people, JSON lines for machines, exit codes."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from io import TextIOWrapper
from itertools import groupby
from typing import TYPE_CHECKING

import click

from sentry_audit_detections import findings
from sentry_audit_detections.catalog import SEVERITIES, chosen, detections
from sentry_audit_detections.database import opened
from sentry_audit_detections.drift import SEVERITY, TITLE, Drift
from sentry_audit_detections.drift import drift as find_drift
from sentry_audit_detections.exceptions import DetectionsError
from sentry_audit_detections.findings import LIMITS, Finding, Period

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sentry_audit_detections.database import Database

FOUND = 3
"""The exit code when something severe enough was found."""

_AGO = re.compile(r"^(\d{1,5})([mhd])$")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def moment(text: str | datetime) -> datetime:
    """Parse a date or a date-time, in UTC unless it names a zone, or an age: 90m, 24h, 7d.

    Raises:
        click.BadParameter: It is none of them.

    """
    if isinstance(text, datetime):
        return text
    if ago := _AGO.match(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        when = datetime.fromisoformat(text)
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        message = f"'{text}' is neither a date, such as 2026-11-22, nor an age, such as 24h"
        raise click.BadParameter(message) from error


def _list(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001  (click's signature)
    if value:
        click.echo(LIMITS)
        click.echo()
        for each in detections():
            click.echo(f"{each.number}  {each.severity:8}  {each.title}")
        ctx.exit()


@click.command(context_settings={"auto_envvar_prefix": "SENTRY_AUDIT_DETECTIONS"})
@click.argument("database", envvar="SENTRY_AUDIT_DETECTIONS_DATABASE")
@click.option("--schema", default="sentry", show_default=True, help="Schema of the tables.")
@click.option(
    "--since", type=moment, default="24h", show_default=True, help="Start: a date, or an age."
)
@click.option("--until", type=moment, help="End, exclusive. Default: now.")
@click.option("--only", help="Numbers or names of detections, such as 03,14. Default: all.")
@click.option("--drift", is_flag=True, help="Also compare organizations and members with the log.")
@click.option("--before", help="The database as it was after an earlier run; implies --drift.")
@click.option(
    "--before-schema",
    help="Schema of its tables, in DATABASE unless --before names another. Default: --schema.",
)
@click.option(
    "--fail-on",
    type=click.Choice(SEVERITIES),
    help="Exit with 3 if something of at least this severity is found.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A table for people, or a JSON object on each line.",
)
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="List them all."
)
@click.version_option(package_name="sentry-audit-detections")
def command(  # noqa: PLR0913  (one for each option)
    *,
    database: str,
    schema: str,
    since: datetime,
    until: datetime | None,
    only: str | None,
    drift: bool,
    before: str | None,
    before_schema: str | None,
    fail_on: str | None,
    form: str,
) -> None:
    """Look for incidents in Sentry's audit log, as tap-sentry-audit has loaded it.

    DATABASE is a DuckDB file, a URL such as postgresql://user@host/database, or an
    audit_logs.jsonl; or SENTRY_AUDIT_DETECTIONS_DATABASE names it. It is only read.

    Exits with 0; with 3, see --fail-on; with 1 or 2 if it could not look.
    """
    period = Period(since, until or datetime.now(UTC))
    if period.since >= period.until:
        message = "--since has to be before --until"
        raise click.UsageError(message)
    try:
        wanted = chosen((only or "").replace(" ", "").split(","))
        with opened(database, schema) as source:
            entries = findings.count(source, period)
            found = list(findings.find(source, wanted, period))
            former = before or (database if before_schema else None)
            drifts = list(_drift(source, drift, former, before_schema or schema))
    except DetectionsError as error:
        raise click.ClickException(str(error)) from error
    if form == "json":
        _write_json(found, drifts, entries)
    else:
        _write_table(found, drifts, entries, period, len(wanted))
    severities = {each.detection.severity for each in found} | ({SEVERITY} if drifts else set())
    if fail_on and severities & set(SEVERITIES[SEVERITIES.index(fail_on) :]):
        raise SystemExit(FOUND)


def _drift(source: Database, wanted: bool, before: str | None, schema: str) -> Iterator[Drift]:  # noqa: FBT001  (an option)
    if before:
        with opened(before, schema) as former:
            yield from find_drift(source, former)
    elif wanted:
        yield from find_drift(source, None)


def main() -> None:
    """Run the command; what the system refuses it is an error."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal may not have the letters of all names.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        command()
    except OSError as error:
        click.echo(f"Error: {error.filename or 'cannot write'}: {error.strerror}", err=True)
        # What is left in the buffer would be written once more at the end.
        os._exit(1)


def _write_json(found: Sequence[Finding], drifts: Sequence[Drift], entries: int) -> None:
    click.echo(LIMITS, err=True)
    if not entries:
        click.echo(_NOTHING, err=True)
    for each in found:
        row = {
            "detection": each.detection.number,
            "title": each.detection.title,
            "severity": each.detection.severity,
            "organization": each.organization,
            "id": each.id,
            "dateCreated": each.at.isoformat().replace("+00:00", "Z"),
            "event": each.event,
            "actor": each.actor,
            "ipAddress": each.address,
            "detail": each.detail,
        }
        click.echo(json.dumps(row))
    for drift in drifts:
        head = {"detection": "drift", "title": TITLE, "severity": SEVERITY}
        click.echo(json.dumps(head | asdict(drift)))


_NOTHING = "The period has no entries at all: does the tap run, and into this database?"


def _write_table(
    found: Sequence[Finding], drifts: Sequence[Drift], entries: int, period: Period, looked: int
) -> None:
    click.echo(LIMITS)
    click.echo()
    click.echo(f"{_day(period.since)} to {_day(period.until)} UTC: {entries:,} entries")
    if not entries:
        click.echo(_NOTHING)
    worst_first = sorted(found, key=lambda each: (-_rank(each), each.detection.number))
    for detection, group in groupby(worst_first, key=lambda each: each.detection):
        click.echo()
        click.echo(f"{detection.severity.upper()}  {detection.number} {detection.title}")
        for each in group:
            words = (_second(each.at), each.organization, each.actor, each.address, each.detail)
            click.echo(f"  {'  '.join(_printable(word) for word in words if word)}")
    if drifts:
        click.echo()
        click.echo(f"{SEVERITY.upper()}  {TITLE}")
    for drift in drifts:
        line = f"{drift.organization}  {drift.subject}  {drift.detail}"
        click.echo(f"  {_printable(line)}")
    hit = len({each.detection.number for each in found})
    click.echo()
    click.echo(f"{hit} of {looked} detections found {len(found):,} entries.")


def _rank(finding: Finding) -> int:
    return SEVERITIES.index(finding.detection.severity)


def _day(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M}"


def _second(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S}"


def _printable(text: str) -> str:
    """Names in the log are anybody's, and must not steer the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
