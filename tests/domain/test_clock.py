from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_archie_keys.domain.clock import from_micros, isoformat, to_micros


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_are_exact_there_and_back(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment


def test_a_naive_datetime_has_no_microseconds() -> None:
    with pytest.raises(ValueError, match="without a time zone"):
        to_micros(datetime(2030, 1, 1))


def test_the_wire_form_is_utc_with_milliseconds_and_z() -> None:
    moment = datetime(2030, 1, 31, 14, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    assert isoformat(moment) == "2030-01-31T12:00:00.123Z"
