"""Sentry's HTTP API: knows no Singer and no audit log."""
