"""`--connect`: from nothing to the first entries, by a few questions on a terminal."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from dotenv import dotenv_values

from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.forked import run_in
from testing.sentry_tap import command
from testing.terminal import run_on_a_terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from testing.terminal import Seen

TOKEN = "sntryu_0123456789abcdef"  # noqa: S105  (the stand-in's)
ASKED = ("Address of your Sentry", "Slug of your organization", "Token")


def serving() -> FakeSentry:
    inventories = {"acme": Inventory.made()}
    return FakeSentry(
        {"acme": Log(entries.even(30))}, inventories=inventories, tokens={TOKEN: "ok"}
    )


def connect(folder: Path, *given: str, more: tuple[tuple[str, str], ...] = ()) -> Seen:
    answers = [*zip(ASKED, given, strict=False), *more]
    return run_on_a_terminal(command("--connect"), 80, answers=answers, folder=folder)


def test_three_answers_lead_to_the_newest_entries_and_a_file_for_the_owner_alone(
    tmp_path: Path,
) -> None:
    with serving() as sentry:
        seen = connect(tmp_path, sentry.url, "acme", TOKEN)
        run = run_in(tmp_path, "tap_sentry_audit", ["--config=ENV"], os.environ)

    assert (seen.returncode, seen.stdout) == (0, "")
    told = "\n".join(seen.lines)
    assert "acme: the connection works: audit_logs can be read" in told
    newest = [record["dateCreated"][:19].replace("T", " ") for record in run.records[-5:]]
    assert [line[:19] for line in seen.lines if line[:2] == "20"] == newest[::-1]
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert len(run.records) == 30


@pytest.mark.parametrize(
    ("files", "next_command"),
    [
        ([], "tap-sentry-audit --config=ENV | target-jsonl"),
        (["meltano.yml"], "meltano run tap-sentry-audit TARGET, such as target-duckdb"),
    ],
)
def test_the_last_line_is_the_command_that_reads_everything_from_this_folder(
    tmp_path: Path, files: list[str], next_command: str
) -> None:
    for name in files:
        (tmp_path / name).touch()
    with serving() as sentry:
        seen = connect(tmp_path, sentry.url, "acme", TOKEN)

    assert seen.lines[-1] == f"To read everything: {next_command}"


@pytest.mark.slow
def test_the_token_is_never_shown(tmp_path: Path) -> None:
    with serving() as sentry:
        seen = connect(tmp_path, sentry.url, "acme", TOKEN)

    assert not [line for lines in seen.screens for line in lines if "0123456789abcdef" in line]


def test_each_scope_is_tried_and_nothing_is_written_if_the_log_cannot_be_read(
    tmp_path: Path,
) -> None:
    with serving() as sentry:
        sentry.scopes = {TOKEN: {"org:read"}}
        seen = connect(tmp_path, sentry.url, "acme", TOKEN)

    assert seen.returncode == 1
    told = " ".join(seen.lines)
    assert "acme: can be read: organizations, projects, teams" in told
    assert "member:read for members" in told
    assert "Error: acme: the token lacks the scope org:write, which audit_logs needs" in told
    assert seen.lines[-1] == "Nothing was written."
    assert not (tmp_path / ".env").exists()


@pytest.mark.slow
def test_an_answer_that_cannot_be_used_is_asked_for_again(tmp_path: Path) -> None:
    with serving() as sentry:
        again = [
            ("Address", "ftp://sentry"),
            ("Address of your Sentry [https://sentry.io]:", sentry.url),
            ("Slug", "Acme Inc."),
            ("Slug of your organization", "acme"),
            ("Token", TOKEN),
        ]
        seen = run_on_a_terminal(command("--connect"), 80, answers=again, folder=tmp_path)

    assert seen.returncode == 0
    assert any("which is not a slug" in line for line in seen.lines)


@pytest.mark.parametrize("answer", ["y", "n"])
def test_other_values_are_replaced_only_if_one_says_so_and_other_lines_stay(
    answer: str, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    before = "# ours\nOTHER=1\nTAP_SENTRY_AUDIT_ORGANIZATION=beta\n"
    file.write_text(before)
    with serving() as sentry:
        seen = connect(tmp_path, sentry.url, "acme", TOKEN, more=(("Replace them?", answer),))

    assert any("TAP_SENTRY_AUDIT_ORGANIZATION. Replace them?" in line for line in seen.lines)
    if answer == "n":
        assert (seen.returncode, file.read_text()) == (1, before)
    else:
        assert seen.returncode == 0
        assert file.read_text().startswith("# ours\nOTHER=1\n")
        assert dotenv_values(file)["TAP_SENTRY_AUDIT_ORGANIZATION"] == "acme"


def test_without_a_terminal_it_refuses_and_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        command("--connect"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        cwd=tmp_path,
        text=True,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert "needs a terminal. Without one, write TAP_SENTRY_AUDIT_AUTH_TOKEN and" in done.stderr
    assert list(tmp_path.iterdir()) == []


def a_folder(path: Path) -> None:
    path.mkdir()


def a_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere/.env")


def not_utf_8(path: Path) -> None:
    path.write_bytes(b"NAME=caf\xe9\n")


@pytest.mark.parametrize("make", [a_folder, a_dangling_link, not_utf_8])
def test_a_file_that_cannot_be_used_is_told_before_the_first_question(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / ".env")
    seen = connect(tmp_path)

    assert seen.returncode == 1
    assert seen.lines[0].startswith("Error:")
    assert seen.lines[-1] == "Nothing was written."


@pytest.mark.slow
def test_it_can_be_left_at_any_question(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("TAP_SENTRY_AUDIT_ORGANIZATION=beta\n")
    with serving() as sentry:
        answers = [*zip(ASKED, (sentry.url, "acme", TOKEN), strict=True)]
        seen = run_on_a_terminal(
            command("--connect"), 80, answers=answers, folder=tmp_path, interrupt_at="Replace them?"
        )

    assert seen.returncode == 1
    assert seen.lines[-1] == "Nothing was written."
    assert file.read_text() == "TAP_SENTRY_AUDIT_ORGANIZATION=beta\n"


@pytest.mark.slow
def test_spaces_around_what_was_pasted_do_not_matter(tmp_path: Path) -> None:
    with serving() as sentry:
        seen = connect(tmp_path, f" {sentry.url} ", "acme ", f" {TOKEN} ")

    assert seen.returncode == 0
    assert dotenv_values(tmp_path / ".env")["TAP_SENTRY_AUDIT_ORGANIZATION"] == "acme"
