"""A rehearsal of releases against a package index on this machine.

It is pypiserver, which like PyPI takes each file once. What it does not have it redirects to PyPI.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

from release.check import check
from release.packages import Package, ReleaseError, packages
from release.programs import TOOLS, UV, run
from testing.fake_receiver import FakeReceiver
from testing.fake_sentry import FakeSentry, Log, entries

if TYPE_CHECKING:
    from collections.abc import Iterator

PYPI = "https://pypi.org/simple"
KINDS = {"tap": "extractor", "target": "loader", "mapper": "mapper"}
"""What Meltano calls a plugin, by the first part of its name."""
RELEASED_AGAIN = "target-otlp"
ENTRIES = 300
SECONDS_TO_START = 20

_SETTINGS = ("MAPPER_", "MELTANO", "OTEL", "TAP_", "TARGET_", "VIRTUAL_ENV", "XDG_")


def rehearse(root: Path) -> None:
    """Release every package to an index of its own, use them, and release one of them again.

    Raises:
        ReleaseError: A step failed; the text says which and why.

    """
    with tempfile.TemporaryDirectory() as name, _index(Path(name, "index")) as index:
        work = Path(name)
        released = packages(root)
        for package in released:
            check(package.tag, root, work / package.tag)
            _upload(work / package.tag, index)
            _say(f"{package.tag}: built, checked and uploaded")
        for package in released:
            _install(package, work / "environments", index)
        _say("pip installs each of them into an empty environment")
        _run_with_meltano(released, work, index)

        [first] = [package for package in released if package.name == RELEASED_AGAIN]
        before = _files(work / "index")
        copy = _copy(root, work / "copy")
        second = check(_bump(first, root, copy), copy, work / "second")
        _upload(work / "second", index)
        _expect_only(second, before, _files(work / "index"))
        for package in [second if each is first else each for each in released]:
            _install(package, work / "environments", index)
        _expect_refusal(work / first.tag, index)
        _say(f"{second.tag}: released after it; the other packages stay as they are")


@contextmanager
def _index(folder: Path) -> Iterator[str]:
    """Serve a package index from a folder, and yield its URL."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server: list[str | Path] = [TOOLS / "pypi-server", "run", "-i", "127.0.0.1", "-p", str(port)]
    server += ["--fallback-url", os.environ.get("PIP_INDEX_URL", PYPI)]
    server += ["-P", ".", "-a", ".", folder]  # anybody may upload
    with subprocess.Popen(  # noqa: S603  (the command is ours)
        server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(url)
            yield url
        finally:
            process.terminate()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            urlopen(url).close()  # noqa: S310  (an address of this machine)
        except URLError as error:
            if time.monotonic() > deadline:
                message = f"the package index at {url} does not start"
                raise ReleaseError(message) from error
            time.sleep(0.1)
        else:
            return


def _upload(folder: Path, index: str) -> None:
    archives = sorted(folder.glob("packages/*.[wt]*"))
    login = [
        "--username",
        "rehearsal",
        "--password",
        "rehearsal",
        "--non-interactive",
        "--disable-progress-bar",
    ]
    run(TOOLS / "twine", "upload", *login, "--repository-url", index, *archives)


def _expect_refusal(folder: Path, index: str) -> None:
    """Show that a release which brings along what is there already would fail."""
    try:
        _upload(folder, index)
    except ReleaseError as error:
        # The status that PyPI also answers with for a file that exists.
        if "400 Bad Request" in str(error):
            return
        raise
    message = "the index took the same files twice"
    raise ReleaseError(message)


def _install(package: Package, folder: Path, index: str) -> None:
    """Let pip install or upgrade a package by its name in an environment of its own."""
    python = folder / package.name / "bin" / "python"
    if not python.exists():
        run(UV, "venv", "--quiet", "--python", sys.executable, folder / package.name)
    install = ["install", "--quiet", "--no-compile", "--upgrade", "--index-url", f"{index}/simple"]
    run(TOOLS / "pip", "--python", python, *install, package.name)
    _expect_version(package, python)


def _expect_version(package: Package, python: Path) -> None:
    show = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    installed = run(python, "-c", show, package.name).strip()
    if installed != package.version:
        message = f"{package.tag} was released, but {installed} was installed"
        raise ReleaseError(message)


def _run_with_meltano(released: list[Package], work: Path, index: str) -> None:
    """Add each plugin from its definition to a new Meltano project, and move a log with them."""
    project = work / "project"
    plugins = [package for package in released if package.definition]
    environment = _environment(work, index)
    program = Path(sys.executable).with_name("meltano")

    def meltano(*arguments: str, **settings: str) -> None:
        run(program, *arguments, folder=project, environment=environment | settings)

    run(program, "init", project, folder=work, environment=environment)
    for plugin in plugins:
        kind = KINDS[plugin.name.partition("-")[0]]
        meltano("add", "--plugin-type", kind, "--from-ref", str(plugin.definition), plugin.name)
        [python] = project.glob(f".meltano/*/{plugin.name}/venv/bin/python")
        _expect_version(plugin, python)
    # As the README says: `meltano add --from-ref` ignores the `select` of a definition.
    meltano("select", "tap-sentry-audit", "audit_logs", "*")
    _say(f"meltano adds {', '.join(plugin.name for plugin in plugins)} from their definitions")
    log = Log(entries.even(ENTRIES))
    with FakeSentry({"acme": log}) as sentry, FakeReceiver() as receiver:
        settings = {
            "TAP_SENTRY_AUDIT_HOST": sentry.host,
            "TAP_SENTRY_AUDIT_AUTH_TOKEN": "token",
            "TAP_SENTRY_AUDIT_ORGANIZATION": "acme",
            "TARGET_OTLP_ENDPOINT": receiver.url,
            "TARGET_OTLP_MAPPING": '{"*": {"id": "$.id"}}',
        }
        meltano("run", "tap-sentry-audit", "target-otlp", **settings)
        if receiver.ids != [row["id"] for row in log.rows() if row]:
            message = f"of {ENTRIES} entries {len(receiver.ids)} came, or in another order"
            raise ReleaseError(message)
    _say(f"meltano run tap-sentry-audit target-otlp: {ENTRIES} entries")


def _environment(work: Path, index: str) -> dict[str, str]:
    """Return an environment with an empty HOME, in which uv asks the index on this machine."""
    home = work / "home"
    home.mkdir()
    given = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    return given | {
        "HOME": str(home),
        "MELTANO_HUB_URL": "http://127.0.0.1:9",
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
        "UV_DEFAULT_INDEX": f"{index}/simple",
    }


def _copy(root: Path, copy: Path) -> Path:
    """Copy what is or would be in Git."""
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder=root)
    for name in filter(None, names.split("\0")):
        if (root / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, copy / name)
    return copy


def _bump(package: Package, root: Path, copy: Path) -> str:
    """Write the next version of a package and its section of the changelog; return its tag."""
    *start, last = package.version.split(".")
    version = ".".join([*start, str(int(last) + 1)])
    folder = copy / package.folder.relative_to(root)
    _replace(folder / "pyproject.toml", f'version = "{package.version}"', f'version = "{version}"')
    heading = f"## {package.version} - "
    section = f"## {version} - {datetime.now(UTC).date()}\n\n### Fixed\n\n- Rehearsed.\n\n"
    _replace(folder / "CHANGELOG.md", heading, section + heading)
    return f"{package.name}-v{version}"


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    if text.count(old) != 1:
        message = f"{path.name} has not one '{old}'"
        raise ReleaseError(message)
    path.write_text(text.replace(old, new), encoding="utf-8")


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def _expect_only(package: Package, before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """Make sure that a package's files came and that those of the others are as they were."""
    added = sorted(after.keys() - before.keys())
    stem = f"{package.name.replace('-', '_')}-{package.version}"
    if added != [f"{stem}-py3-none-any.whl", f"{stem}.tar.gz"] or before.items() - after.items():
        message = f"{package.tag} brought {', '.join(added) or 'nothing'} into the index"
        raise ReleaseError(message)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
