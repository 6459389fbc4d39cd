from __future__ import annotations

import os
import random
import time
import uuid

from hypothesis import given
from hypothesis import strategies as st

from flask_archie_keys.domain.ids import first_event_id, new_event_id

moments = st.integers(0, 2**47 * 1_000_000)


@given(moments)
def test_an_event_id_is_a_uuid_of_version_7_with_its_time(ns: int) -> None:
    event_id = new_event_id(ns)
    assert len(event_id) == 32
    parsed = uuid.UUID(event_id)
    assert parsed.version == 7 and parsed.variant == uuid.RFC_4122
    assert parsed.int >> 80 == ns // 1_000_000


@given(moments, st.integers(245, 10**15))
def test_later_events_have_greater_ids(ns: int, later: int) -> None:
    assert new_event_id(ns) < new_event_id(ns + later)


@given(st.integers(0, 2**47 * 1000))
def test_the_first_id_of_a_moment_divides_before_from_after(micros: int) -> None:
    assert first_event_id(micros) <= new_event_id(micros * 1000)
    assert new_event_id(max(micros - 1, 0) * 1000) < first_event_id(micros + 1)


def test_ids_do_not_repeat_when_the_application_seeds_the_shared_generator() -> None:
    now = time.time_ns()
    random.seed(1)
    first = new_event_id(now)
    random.seed(1)
    assert new_event_id(now) != first


def test_a_child_after_a_fork_makes_other_ids() -> None:
    now = time.time_ns()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, new_event_id(now).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 64).decode() != new_event_id(now)
    os.close(reader)
    os.close(writer)
