"""Detections for Sentry's organization audit log, on DuckDB and PostgreSQL."""
