"""The tap: its streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_sentry_audit import connect
from tap_sentry_audit.streams.audit_logs import AuditLogs
from tap_sentry_audit.streams.base import SentryTap
from tap_sentry_audit.streams.events import Events
from tap_sentry_audit.streams.issues import Issues
from tap_sentry_audit.streams.lists import Members, Organizations, Projects, Releases, Teams

if TYPE_CHECKING:
    import click

STREAMS = (AuditLogs, Organizations, Projects, Teams, Members, Releases, Issues, Events)


class TapSentryAudit(SentryTap):
    """Singer tap for Sentry's organization audit log: every entry, once, in order."""

    stream_types = STREAMS

    @classmethod
    def get_singer_command(cls) -> click.Command:
        """Return the SDK's command, with the options of this tap."""
        command = super().get_singer_command()
        command.params.append(connect.option(cls))
        return command
