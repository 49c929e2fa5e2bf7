"""The command `sentry-audit-detections`."""

from sentry_audit_detections.command import main

if __name__ == "__main__":
    main()
