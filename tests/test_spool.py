from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tap_sentry_audit.api.spool import Spool


@given(pieces=st.lists(st.binary(max_size=50)), is_large=st.booleans())
def test_pieces_come_back_in_reverse_order(pieces: list[bytes], *, is_large: bool) -> None:
    # More than is kept in memory.
    pieces = [*pieces, bytes(300_000)] if is_large else pieces
    with Spool() as spool:
        for piece in pieces:
            spool.put(piece)

        assert list(spool.backwards()) == pieces[::-1]
