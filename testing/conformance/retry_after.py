"""`Retry-After`: seconds, or a date by the clock of the server."""

from __future__ import annotations

import time

import pytest

from testing.conformance.program import EveryProgram

NOW = 1_793_491_200.0
"""Sunday, 1 November 2026, 00:00 UTC."""


class RetryAfter(EveryProgram):
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("0", 0.0),
            ("120", 120.0),
            (" 7 ", 7.0),
            ("9" * 5000, 1e9),
            ("Sun, 01 Nov 2026 00:01:30 GMT", 90.0),
            ("Sun, 01 Nov 2026 01:01:30 +0100", 90.0),
            ("Sun, 01 Nov 2026 00:01:30", 90.0),
            ("Sun Nov  1 00:01:30 2026", 90.0),
            ("Sat, 31 Oct 2026 23:00:00 GMT", 0.0),
            ("", None),
            ("soon", None),
            ("-5", None),
            ("1.5", None),
            ("\u0663", None),
            ("\u00b2", None),
            ("Sun, 99 Nov 2026 00:01:30 GMT", None),
        ],
        ids=lambda text: str(text)[:30],
    )
    @pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
    def test_retry_after_is_seconds_or_a_date(
        self, text: str, seconds: float | None, zone: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            assert self.program.retry_after({"Retry-After": text}, NOW) == seconds
        finally:
            monkeypatch.undo()
            time.tzset()

    def test_a_date_counts_from_the_servers_clock(self) -> None:
        headers = {
            "Retry-After": "Sun, 01 Nov 2026 00:01:30 GMT",
            "Date": "Sun, 01 Nov 2026 00:01:00 GMT",
        }

        assert self.program.retry_after(headers, NOW) == 30.0

    def test_without_the_header_nothing_is_asked_for(self) -> None:
        assert self.program.retry_after({}, NOW) is None
