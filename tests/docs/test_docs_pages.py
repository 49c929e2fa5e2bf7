"""The pages themselves: links that lead somewhere, tested blocks, short READMEs."""

from __future__ import annotations

import re
import subprocess
from itertools import chain
from pathlib import Path
from urllib.parse import unquote

import pytest

from testing.recipes import ROOT, blocks

INDEX = ROOT / "docs" / "README.md"
OWN_PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
PLUGINS = [ROOT / "plugins" / name for name in ("target-otlp", "tap-captivateiq-audit")]
READMES = [ROOT / "README.md", *(plugin / "README.md" for plugin in PLUGINS)]
PAGES = [*OWN_PAGES, *READMES[1:], *(page for each in PLUGINS for page in each.glob("docs/*.md"))]
TESTED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "examples/page/README.md"]
MOST_WORDS = 900
OURS = "tap-sentry-audit|target-otlp|tap-captivateiq-audit"


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def markdown() -> list[Path]:
    """Every Markdown file that git has or would take, but for those of other projects."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    found = subprocess.check_output(command, cwd=ROOT, encoding="utf-8")
    return [ROOT / name for name in sorted(set(found.split("\0"))) if name]


def prose(path: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", lambda code: code[0].replace("]", "").replace("<", ""), text)


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of headings, and those that are written out."""
    found: dict[str, int] = {}
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    made = {
        slug if not n else f"{slug}-{n}" for slug, last in found.items() for n in range(last + 1)
    }
    return made | set(re.findall(r'<a id="([^"]+)"', text))


def links(path: Path) -> list[str]:
    """The relative links of a page, and those to a place in it."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(path))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("path", markdown(), ids=name_of)
def test_every_relative_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    broken = []
    for link in links(path):
        target, _, anchor = unquote(link).partition("#")
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("path", TESTED, ids=name_of)
def test_every_block_has_a_test_or_a_reason_for_having_none(path: Path) -> None:
    found = blocks(path.read_text("utf-8"))
    fences = re.findall(r"^ *```", path.read_text("utf-8"), re.MULTILINE)

    assert len(fences) == 2 * len(found)
    assert [each.text for each in found if not (each.name or each.reason)] == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_named_block_is_used_by_a_test_of_its_page(path: Path) -> None:
    folders = [Path(__file__).parent, ROOT / "detections" / "tests"]
    modules = [file.read_text("utf-8") for each in folders for file in each.glob("test_*.py")]
    page = f'recipes("{name_of(path)}")'
    variables = [re.search(rf"^(\w+) = {re.escape(page)}$", text, re.MULTILINE) for text in modules]
    used = set(
        chain.from_iterable(
            re.findall(rf'\b{variable[1]}\["([^"]+)"\]', text)
            for variable, text in zip(variables, modules, strict=True)
            if variable
        )
    )

    assert {each.name for each in blocks(path.read_text("utf-8")) if each.name} == used


@pytest.mark.parametrize("path", READMES, ids=name_of)
def test_a_readme_can_be_read_in_three_minutes(path: Path) -> None:
    assert len(path.read_text("utf-8").split()) <= MOST_WORDS


@pytest.mark.parametrize("index", [INDEX, *READMES[1:]], ids=name_of)
def test_every_page_is_reached_from_the_index(index: Path) -> None:
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    pages = OWN_PAGES if index == INDEX else sorted(index.parent.glob("docs/*.md"))

    assert len(pages) > 3
    assert [name_of(page) for page in pages if page not in {*listed, index}] == []


@pytest.mark.parametrize("path", TESTED, ids=name_of)
def test_no_block_takes_a_package_of_ours_from_pypi_where_it_is_not_yet(path: Path) -> None:
    found = "".join(each.text for each in blocks(path.read_text("utf-8"))).splitlines()
    installing = [line for line in found if re.search(r"\b(pipx?|uvx?)\b", line)]

    assert [line for line in installing if re.search(OURS, line) and "--from ." not in line] == []


def test_the_example_of_the_environment_has_every_variable_that_the_docs_use() -> None:
    example = (ROOT / ".env.example").read_text("utf-8")
    generated = ROOT / "docs" / "settings.md"
    text = "".join(page.read_text("utf-8") for page in OWN_PAGES if page != generated)
    used = set(re.findall(r"\b(?:TAP_SENTRY_AUDIT|TARGET_[A-Z]+|AUDIT)_[A-Z_]+\b", text))

    # The address of the database as a whole stands in for the variables of its parts.
    used.discard("TARGET_POSTGRES_SQLALCHEMY_URL")
    assert {"AUDIT_SALT", "TARGET_POSTGRES_PASSWORD"} <= used
    assert [name for name in sorted(used) if f"{name}=" not in example] == []
