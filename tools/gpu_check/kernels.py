"""Sums up what a device and the host did during a step. kernels.c writes the records."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

# How many kernels are listed.
DEAREST = 25


class Record(NamedTuple):
    """One kernel, copy or call; nanoseconds since 1970."""

    kind: str
    start: int
    end: int
    name: str


def read(lines: Iterable[str]) -> list[Record]:
    """The records of a file. A last line that was cut off is left out."""
    records = []
    for line in lines:
        fields = line.rstrip("\n").split("\t", 4)
        if len(fields) == 5:
            kind, start, end, _stream, name = fields
            records.append(Record(kind, int(start), int(end), name))
    return records


def summary(records: list[Record], begun: int, ended: int) -> dict:
    """What happened between two times."""
    inside = [record for record in records if begun <= record.start < ended]
    kernels = [record for record in inside if record.kind == "kernel"]
    if not kernels:
        return {"failed": f"no kernel ran in the measured step; {len(records)} records in all"}
    work = sorted((record for record in inside if record.kind != "call"), key=lambda record: record.start)
    calls = [record for record in inside if record.kind == "call"]
    busy, gaps = occupied(work)
    return {
        "step_ms": milliseconds(ended - begun),
        "busy_ms": milliseconds(busy),
        "gaps": {
            "total_ms": milliseconds(sum(gaps)),
            "longest_us": round(max(gaps, default=0) / 1e3, 1),
            "above_5_us": sum(gap > 5000 for gap in gaps),
        },
        "before_first_kernel_ms": milliseconds(work[0].start - begun),
        "after_last_kernel_ms": milliseconds(max(0, ended - max(record.end for record in work))),
        "kernel_launches": len(kernels),
        "copies": by_name(inside, "copy", busy),
        "host": {
            # Calls of the runtime contain calls of the driver.
            "in_cuda_ms": milliseconds(occupied(sorted(calls, key=lambda record: record.start))[0]),
            "calls": by_name(inside, "call", ended - begun)[:10],
        },
        "kernels": by_name(inside, "kernel", sum(record.end - record.start for record in work))[:DEAREST],
    }


def by_name(records: list[Record], kind: str, whole: int) -> list[dict]:
    """Time, share of `whole` and number by name, those with the most time first."""
    times: dict[str, list[int]] = defaultdict(list)
    for record in records:
        if record.kind == kind:
            times[record.name].append(record.end - record.start)
    dearest = sorted(times.items(), key=lambda item: (-sum(item[1]), item[0]))
    return [
        {
            "name": name,
            "ms": milliseconds(sum(spent)),
            "share": round(sum(spent) / whole, 4) if whole else 0.0,
            "n": len(spent),
        }
        for name, spent in dearest
    ]


def occupied(records: list[Record]) -> tuple[int, list[int]]:
    """The time in which at least one of the records ran, and the gaps between. The records are in order of start."""
    busy, gaps, until = 0, [], None
    for record in records:
        if until is not None and record.start > until:
            gaps.append(record.start - until)
        start = record.start if until is None else max(record.start, until)
        busy += max(0, record.end - start)
        until = record.end if until is None else max(until, record.end)
    return busy, gaps


def milliseconds(nanoseconds: int) -> float:
    return round(nanoseconds / 1e6, 4)
