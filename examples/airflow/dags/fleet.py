"""The fleet in Airflow: groups on a schedule, shards of a first backfill, and the handover.

A task is mapped over what it is to load, and is given names alone. Pools keep the groups of one
token apart: `airflow pools set TOKEN 1 "groups with this token"`, and `airflow pools set
sentry_backfill 4 "shards at once"`.
"""

from datetime import datetime, timedelta

from airflow.sdk import dag, task

from sentry_fleet.handover import hand_over
from sentry_fleet.loads import load_group, load_shard
from sentry_fleet.settings import FleetError, read_fleet

FLEET = read_fleet()
RETRIES = {"retries": 4, "retry_delay": timedelta(seconds=10)}
SINCE = datetime(2026, 1, 1)  # noqa: DTZ001  (Airflow takes it for UTC)


@dag(schedule="7 * * * *", start_date=SINCE, catchup=False, max_active_runs=1)
def audit_log() -> None:
    """Load what is new of each group of organizations."""
    for token in FLEET.tokens:

        @task(task_id=f"load_{token.lower()}", pool=token.lower(), **RETRIES)
        def load(group: str) -> None:
            load_group(FLEET, group)

        load.expand(group=[group.name for group in FLEET.groups if group.token == token])


@dag(schedule=None, start_date=SINCE)
def audit_log_backfill() -> None:
    """Load each range of each organization, then make the states of the groups."""

    @task(pool="sentry_backfill", **RETRIES)
    def load(organization: str, end: str) -> None:
        load_shard(FLEET, organization, end)

    @task(retries=0)
    def handover() -> None:
        problems = hand_over(FLEET)
        if problems:
            raise FleetError("\n".join(problems))

    organizations = [slug for group in FLEET.groups for slug in group.organizations]
    shards = load.expand(organization=organizations, end=[each.name for each in FLEET.ranges])
    shards >> handover()


audit_log()
if FLEET.ranges:
    audit_log_backfill()
