#!/usr/bin/env python3
"""Checks that includes follow the layout: a folder or room includes only itself and those listed for it here, and
no chain of includes between rooms leads back to where it began.

    python3 tests/layout/check_includes.py [REPOSITORY]
"""
import graphlib
import pathlib
import re
import sys

# What each folder and room may include besides itself: the layout that README.md draws.
BASE = {"attention": [], "datasets": [], "envs": []}
AGENTS = {
    "storage": [],
    "processes": [],
    "kernels": [],
    "mlp": ["kernels"],
    "models": ["storage", "kernels", "mlp"],
    "critics": ["kernels", "mlp", "models", "processes", "storage"],
    "decoding": ["kernels", "models"],
    "training": ["storage", "processes", "kernels", "mlp", "models", "critics"],
    "policies": [],
    "rollout": ["processes", "models", "decoding", "policies"],
    "behaviour": ["storage", "kernels", "mlp", "policies", "rollout"],
}
EXPERIMENTS = {
    "program": [],
    "scores": ["program"],
    "report": ["program", "scores"],
    "bench": ["program", "scores", "report"],
    "runs": ["program", "scores"],
    "commands": ["program", "scores", "report", "bench", "runs"],
    "python": ["program", "scores"],
}


def allowed():
    """{room: the rooms that its files may include}; "." is what lies in a folder outside its rooms."""
    rules = {room: set(names) | {room} for room, names in BASE.items()}
    for room, names in AGENTS.items():
        rules[f"agents/{room}"] = {f"agents/{name}" for name in [*names, room]} | set(BASE)
    everything = set(BASE) | {f"agents/{room}" for room in AGENTS}
    for room, names in EXPERIMENTS.items():
        rules[f"experiments/{room}"] = {f"experiments/{name}" for name in [*names, room]} | everything
    rules["experiments"] = everything | {f"experiments/{room}" for room in EXPERIMENTS}  # main.cc
    return rules


def room_of(path):
    parts = pathlib.PurePosixPath(path).parts
    deep = parts[0] in ("agents", "experiments") and len(parts) > 2
    return "/".join(parts[:2]) if deep else parts[0]


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    rules = allowed()
    files = wrong = 0
    arrows = {}
    for folder in ("attention", "datasets", "envs", "agents", "experiments"):
        for file in sorted((root / folder).rglob("*")):
            if file.suffix not in (".h", ".cc", ".cu", ".cuh"):
                continue
            files += 1
            path = file.relative_to(root).as_posix()
            for included in re.findall(r'^#include "([^"]+)"', file.read_text(), re.MULTILINE):
                if included.endswith("/embedded.h"):  # generated: a folder's embedded text files
                    continue
                if room_of(included) != room_of(path):
                    arrows.setdefault(room_of(path), set()).add(room_of(included))
                if room_of(included) not in rules.get(room_of(path), set()):
                    wrong += 1
                    print(f"{path}: includes {included}: {room_of(path)} may not know {room_of(included)}")
    if files == 0:
        sys.exit(f"{root}: expected the project's folders, found no source file")
    circles = 0
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        circles = 1
        print("a circle of includes: " + " -> ".join(error.args[1]))
    print(f"{files} files, {wrong} wrong includes, {sum(map(len, arrows.values()))} arrows between rooms, "
          f"{'a circle' if circles else 'no circle'}")
    sys.exit(wrong + circles != 0)


main()
