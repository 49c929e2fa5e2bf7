"""The moving picture of the terminal: `make picture`."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from demo.picture import PICTURE, draw


def test_each_frame_is_a_group_and_each_line_a_text() -> None:
    root = ET.fromstring(draw([["$ one", "<&>"], ["$ one", "", "two"]]))  # noqa: S314  (our own)
    groups = [node for node in root if node.tag.endswith("}g")]

    assert [[text.text for text in group] for group in groups] == [
        ["$ one", "<&>"],
        ["$ one", "two"],
    ]


def test_the_picture_shows_the_bar_the_last_line_and_what_the_demo_found() -> None:
    root = ET.fromstring(PICTURE.read_text("utf-8"))  # noqa: S314  (our own)
    told = "\n".join(root.itertext())

    assert re.search(r"acme audit_logs \|.*\| \d+%, [\d,]+ entries, [\d,]+/s, \d+ s left", told)
    assert re.search(r"acme audit_logs: [\d,]+ new entries in \d+ s, up to ", told)
    assert "entries on the server none are missing in the file" in told
