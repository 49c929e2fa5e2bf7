from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tap_sentry_audit.api.spool import Spool


@given(st.lists(st.binary(max_size=50)))
def test_pieces_come_back_in_reverse_order(pieces: list[bytes]) -> None:
    with Spool() as spool:
        for piece in pieces:
            spool.put(piece)

        assert list(spool.backwards()) == pieces[::-1]


def test_what_is_much_comes_back_too() -> None:
    pieces = [bytes([number]) * 100_000 for number in range(20)]
    with Spool() as spool:
        for piece in pieces:
            spool.put(piece)

        assert list(spool.backwards()) == pieces[::-1]
