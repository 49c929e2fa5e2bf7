"""The tap: its streams."""

from __future__ import annotations

from tap_sentry_audit.streams.audit_logs import AuditLogs
from tap_sentry_audit.streams.base import SentryTap
from tap_sentry_audit.streams.events import Events
from tap_sentry_audit.streams.issues import Issues
from tap_sentry_audit.streams.lists import Members, Organizations, Projects, Releases, Teams

STREAMS = (AuditLogs, Organizations, Projects, Teams, Members, Releases, Issues, Events)


class TapSentryAudit(SentryTap):
    """Singer tap for Sentry's organization audit log: every entry, once, in order."""

    stream_types = STREAMS
