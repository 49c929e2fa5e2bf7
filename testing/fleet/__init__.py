"""A fleet under an orchestrator, which shows that groups and shards lose nothing.

    python -m testing.fleet --help

A stand-in for Sentry and a PostgreSQL of its own; the tap and the target as they are installed;
Dagster or Airflow in the environment of its example. One attempt in eight is killed with SIGKILL:
its tap, its target, or the worker that runs them.
"""
