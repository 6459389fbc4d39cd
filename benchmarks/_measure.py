"""How time is taken: round-robin over the contenders in many short rounds.

A shared machine has slow seconds. So nothing is measured on its own: a round is some milliseconds
of every contender, in an order shuffled anew for each round, and every number compares contenders
*within* a round before it is summed up over the rounds. A slow second then hits all contenders
alike, and the medians below pass over it.

In a round each request is timed by itself; the round's figure is the median of those times, which
leaves out the scheduler's interruptions. ``mean_us`` keeps them, and with them what a contender
pays only now and then.

The garbage collector is off while a request is timed and runs between the blocks, as in
:mod:`timeit`.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any, Protocol

WARM_UP = 50


class Timed(Protocol):
    """Anything with a name that does one unit of work when called."""

    @property
    def name(self) -> str: ...

    def __call__(self) -> None: ...


class WrongAnswer(RuntimeError):
    """A contender did not answer what all contenders must answer; its time would mean nothing."""


@dataclass
class Samples:
    """One contender's figures, an entry for each round, in microseconds."""

    medians: list[float] = field(default_factory=list)
    means: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Figures:
    """What is reported of one contender.

    :param median_us: the median over the rounds of the round's median, in microseconds a request.
    :param mean_us: the median over the rounds of the round's mean.
    :param added_us: the median over the rounds of (this contender - the baseline in the same
        round).
    :param ratio: the median over the rounds of (this contender / the baseline in the same round).
    :param spread_us: half the distance between the quartiles of the rounds' medians: how restless
        the machine was.
    """

    median_us: float
    mean_us: float
    added_us: float
    ratio: float
    spread_us: float


def timed_block(work: Callable[[], None], times: int) -> list[int]:
    """Call ``work`` so often and give the nanoseconds of each call; the garbage collector waits."""
    clock = time.perf_counter_ns
    taken = [0] * times
    gc.collect()
    gc.disable()
    try:
        for i in range(times):
            start = clock()
            work()
            taken[i] = clock() - start
    finally:
        gc.enable()
    return taken


def round_robin(
    contenders: Sequence[Timed],
    *,
    rounds: int,
    requests: int,
    seed: int = 1,
    on_round: Callable[[int], None] | None = None,
) -> dict[str, Samples]:
    """Measure all contenders in turn, ``rounds`` times.

    :param requests: timed requests of each contender in a round.
    :param seed: of the shuffled order, so that two runs do the same.
    :param on_round: called with the number of the finished round, from 1.
    :returns: the samples by contender's name.
    """
    samples = {c.name: Samples() for c in contenders}
    order = list(contenders)
    shuffle = random.Random(seed).shuffle
    for contender in contenders:
        for _ in range(WARM_UP):
            contender()
    gc.collect()
    gc.freeze()  # what the imports left is not walked again between the blocks
    for number in range(1, rounds + 1):
        shuffle(order)
        for contender in order:
            taken = timed_block(contender, requests)
            samples[contender.name].medians.append(median(taken) / 1000)
            samples[contender.name].means.append(fmean(taken) / 1000)
        if on_round is not None:
            on_round(number)
    gc.unfreeze()
    return samples


def figures(samples: Mapping[str, Samples], baseline: str) -> dict[str, Figures]:
    """Sum the rounds up, each compared with the baseline of its own round."""
    base = samples[baseline].medians
    return {name: _figures(s, base) for name, s in samples.items()}


def _figures(samples: Samples, base: Sequence[float]) -> Figures:
    pairs = list(zip(samples.medians, base, strict=True))
    return Figures(
        median_us=median(samples.medians),
        mean_us=median(samples.means),
        added_us=median(mine - its for mine, its in pairs),
        ratio=median(mine / its for mine, its in pairs),
        spread_us=half_quartile_distance(samples.medians),
    )


def half_quartile_distance(values: Iterable[float]) -> float:
    """Half the distance between the lower and the upper quartile, by nearest rank."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return (ordered[round(0.75 * last)] - ordered[round(0.25 * last)]) / 2


def environment() -> dict[str, Any]:
    """The facts of this run that figures depend on; nothing that names the machine."""
    import os
    import platform
    import sqlite3
    from importlib import metadata

    versions = {}
    for package in (
        "Flask",
        "Werkzeug",
        "SQLAlchemy",
        "Flask-SQLAlchemy",
        "Flask-HTTPAuth",
        "Flask-JWT-Extended",
        "Django",
        "djangorestframework",
        "djangorestframework-api-key",
        "psycopg",
        "gunicorn",
    ):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "cpus": os.cpu_count(),
        "load": [round(x, 2) for x in os.getloadavg()],
        "sqlite": sqlite3.sqlite_version,
        "packages": versions,
    }
