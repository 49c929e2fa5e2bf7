"""What runs a fleet: Dagster, or Airflow with or without its scheduler."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from testing.fleet import airflow
from testing.fleet.proof import ROOT, TOKENS, Proof, named

if TYPE_CHECKING:
    from collections.abc import Iterator

DAGSTER = ROOT / "examples/dagster"
AIRFLOW = ROOT / "examples/airflow"


@dataclass
class InDagster(Proof):
    """Run by commands of Dagster, which has no daemon here."""

    example = DAGSTER

    @property
    def variables(self) -> dict[str, str]:
        return super().variables | {"DAGSTER_HOME": str(self.folder)}

    @contextmanager
    def running(self) -> Iterator[None]:
        with super().running():
            shutil.copy(DAGSTER / "dagster.yaml", self.folder)
            slots = ["dagster", "instance", "concurrency", "set", "backfill"]
            assert self.run(*slots, str(self.size.workers)) == 0
            yield

    def backfill(self) -> int:
        # In the order of the partitions: a range leaves out what stands before or after it.
        slugs = [slug for group in self.groups.values() for slug in group]
        cells = [f"{slug}|{name}" for slug in slugs for name in map(named, self.borders)]
        tags = {
            "dagster/asset_partition_range_start": cells[0],
            "dagster/asset_partition_range_end": cells[-1],
        }
        command = ["dagster", "job", "execute", "-m", "definitions", "-j", "backfill"]
        return self.run(*command, "--tags", json.dumps(tags))

    def steady_pass(self) -> list[int]:
        def one(group: str) -> int:
            token = list(TOKENS)[list(self.groups).index(group) % 2]
            asset = f"audit_log_{token.lower()}"
            command = ["dagster", "asset", "materialize", "-m", "definitions"]
            return self.run(*command, "--select", asset, "--partition", group)

        with ThreadPoolExecutor() as pool:
            return list(pool.map(one, self.groups))


@dataclass
class InAirflow(Proof):
    """Run by `airflow dags test`, one task after another."""

    example = AIRFLOW

    @cached_property
    def airflow(self) -> airflow.Airflow:
        command = AIRFLOW / ".venv/bin/airflow"
        size = self.size.workers
        given = airflow.settings(self.folder, AIRFLOW / "dags", self.server, at_once=size)
        return airflow.Airflow(command, self.variables | given, self.server, self.folder)

    @contextmanager
    def running(self) -> Iterator[None]:
        slots = {**dict.fromkeys(map(str.lower, TOKENS), 1), "sentry_backfill": self.size.workers}
        with super().running():
            assert self.airflow.migrate() == 0
            for pool, count in slots.items():
                assert self.airflow.run("pools", "set", pool, str(count), "of the proof") == 0
            yield

    def backfill(self) -> int:
        return self.airflow.run("dags", "test", "audit_log_backfill")

    def steady_pass(self) -> list[int]:
        return [self.airflow.run("dags", "test", "audit_log")] * len(self.groups)


@dataclass
class UnderScheduler(InAirflow):
    """Run by Airflow's scheduler, its tasks in processes of their own."""

    runs: int = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        with super().running(), self.airflow.running():
            yield

    def backfill(self) -> int:
        return sum(self._codes("audit_log_backfill"))

    def steady_pass(self) -> list[int]:
        return self._codes("audit_log")

    def remarks(self) -> list[str]:
        tries, processes = self.airflow.processes()
        return [
            f"{tries} tries of tasks in {processes} processes",
            f"at once, at the most, in each pool: {self.airflow.at_once()}",
        ]

    def kept_apart(self) -> bool:
        at_once = self.airflow.at_once()
        return all(at_once[token.lower()] == 1 for token in TOKENS)

    def _codes(self, dag: str) -> list[int]:
        self.runs += 1
        states = self.airflow.trigger(dag, f"proof-{self.runs}")
        return [int(state != "success") for each in states.values() for state in each]
