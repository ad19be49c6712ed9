"""Reads a run's event files with PyPI tensorboard and compares them with its metrics.jsonl.

    pip install tensorboard==2.20.0
    python3 tests/experiments/runs/check_event_file.py RUN
"""
import json
import pathlib
import sys

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main():
    run = pathlib.Path(sys.argv[1])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(run))
    events.Reload()
    assert lines
    for tag in set(lines[0]) - {"update"}:
        found = [(e.step, e.value) for e in events.Scalars(tag)]
        expected = [(line["update"], float(numpy.float32(line[tag]))) for line in lines]
        assert found == expected, (tag, found[:3], expected[:3])
    print(f"{len(lines)} lines: ok")


if __name__ == "__main__":
    main()
