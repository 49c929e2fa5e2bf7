"""The fleet in Dagster: groups on a schedule, shards of a first backfill, and the handover."""

from collections.abc import Iterator

import dagster as dg

from sentry_fleet.handover import hand_over
from sentry_fleet.loads import load_group, load_shard
from sentry_fleet.settings import read_fleet

FLEET = read_fleet()
RETRIES = dg.RetryPolicy(max_retries=4, delay=10, jitter=dg.Jitter.PLUS_MINUS)


def steady_state(token: str) -> dg.AssetsDefinition:
    """Make the asset of all groups with one token: one partition each, one at a time.

    The server's limit counts per token, so the token is the pool; dagster.yaml gives it one slot.
    """
    groups = [group.name for group in FLEET.groups if group.token == token]

    @dg.asset(
        name=f"audit_log_{token.lower()}",
        partitions_def=dg.StaticPartitionsDefinition(groups),
        retry_policy=RETRIES,
        pool=token.lower(),
        group_name="steady_state",
    )
    def audit_log(context: dg.AssetExecutionContext) -> None:
        """Load what is new of one group of organizations."""
        load_group(FLEET, context.partition_key)

    return audit_log


def hourly(asset: dg.AssetsDefinition) -> dg.ScheduleDefinition:
    """Run every partition of an asset once an hour, each as a run of its own."""
    name = asset.key.to_user_string()
    job = dg.define_asset_job(f"{name}_job", [asset])

    @dg.schedule(job=job, cron_schedule="7 * * * *", name=f"{name}_hourly")
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        at = context.scheduled_execution_time.isoformat()
        for group in asset.partitions_def.get_partition_keys():
            yield dg.RunRequest(run_key=f"{group} {at}", partition_key=group)

    return schedule


# The first backfill: a cell for each organization and range. Several cells make one run, with a
# step for each: a step costs a fraction of a run's start.


@dg.op(out=dg.DynamicOut(dg.Nothing))
def shards(context: dg.OpExecutionContext) -> Iterator[dg.DynamicOutput[None]]:
    """Make a step for each cell of this run; its number among them is all that a step is given.

    What a step hands on, Dagster would keep in a file, which another machine does not have.
    """
    for number in range(len(context.partition_keys)):
        yield dg.DynamicOutput(None, mapping_key=f"{number}")


@dg.op(ins={"start": dg.In(dg.Nothing)}, retry_policy=RETRIES, pool="backfill")
def load(context: dg.OpExecutionContext) -> None:
    """Load one cell, unless an earlier run has loaded it."""
    cell = context.partition_keys[int(context.get_mapping_key() or 0)]
    where = CELLS.get_partition_key_from_str(cell).keys_by_dimension
    if not load_shard(FLEET, where["organization"], where["range"]):
        context.log.info("%s was loaded before", cell)


@dg.op(ins={"cells": dg.In(dg.Nothing)})
def all_loaded() -> None:
    """End a run, all of whose cells were loaded."""


CELLS = dg.MultiPartitionsDefinition(
    {
        "organization": dg.StaticPartitionsDefinition(
            [slug for group in FLEET.groups for slug in group.organizations]
        ),
        "range": dg.StaticPartitionsDefinition([each.name for each in FLEET.ranges]),
    }
)


@dg.graph_asset(
    partitions_def=CELLS,
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=200),
    group_name="first_backfill",
)
def first_backfill() -> None:
    """Load the entries of an organization in a range of time."""
    return all_loaded(shards().map(load).collect())


@dg.asset(group_name="first_backfill", deps=[first_backfill])
def handover() -> None:
    """Make the states of the steady state, where every range is loaded."""
    problems = hand_over(FLEET)
    if problems:
        raise dg.Failure("\n".join(problems), allow_retries=False)


STEADY = [steady_state(token) for token in FLEET.tokens]
BACKFILL = [first_backfill, handover] if FLEET.ranges else []

defs = dg.Definitions(
    assets=[*STEADY, *BACKFILL],
    schedules=[hourly(asset) for asset in STEADY],
    jobs=[dg.define_asset_job("backfill", [first_backfill])] if BACKFILL else [],
    # Each step is a process of its own.
    executor=dg.multiprocess_executor.configured(
        {"max_concurrent": FLEET.shards_at_once, "start_method": {"forkserver": {}}}
    ),
)
