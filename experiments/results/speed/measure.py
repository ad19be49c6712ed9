"""Measures cosdt's speed on this machine and tabulates all machines that were measured.

    python experiments/results/speed/measure.py xeon-emerald-rapids build/release/bin/cosdt --python PYTHON
    python experiments/results/speed/measure.py                # the tables alone, from the files that are there

PYTHON is a Python with torch, transformers==4.57.1, gymnasium[mujoco], stable-baselines3, sbx-rl and rltools. Nothing else
should run: it takes about 20 minutes on two cores. Writes NAME.json beside this script: what `cosdt bench` prints, and the
processor; then the tables between the markers of README.md here and of the project's README.md.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess

FOLDER = pathlib.Path(__file__).resolve().parent
BENCHES = {
    "train": ["--env", "hopper", "--repeats", "3"],
    "eval": ["--env", "hopper", "--repeats", "3"],
    "attention": ["--attention", "cosformer", "--lengths", "60", "--repeats", "5"],
    "behaviour": ["--env", "hopper", "--repeats", "3"],
}

# label, bench, patterns of the row's case, metric and baseline, what is shown, whether the short table has it.
# "share": the ratio in percent; "inverse": 1 / ratio.
ROWS = [
    ("training, updates/s", "train", r"hopper, cosformer fp32", "updates", "transformers", "value", True),
    ("training, over Hugging Face Transformers", "train", r"hopper, cosformer fp32", "updates", "transformers", "ratio", True),
    ("training with softmax, over Transformers", "train", r"hopper, softmax fp32", "updates", "transformers", "ratio", True),
    ("training, share of the peak", "train", r"cosformer fp32", "MFLOP of", "", "share", True),
    ("training, 2 threads over 1", "train", r"cosformer fp32, 2 threads", "updates", "1 thread", "ratio", True),
    ("training, bf16 over fp32", "train", r"cosformer bf16", "updates", "fp32", "ratio", True),
    ("bfloat16 dot products over fp32 multiply-adds, on registers", "train", r"bfloat16", "", "", "ratio", False),
    ("training, time per token, K = 1000 over K = 100", "train", r"cosformer, K = 1000", "tokens", "", "inverse", True),
    ("the same with softmax", "train", r"softmax, K = 1000", "tokens", "", "inverse", True),
    ("evaluation, window, steps/s", "eval", r"hopper, window fp32", "", "", "value", True),
    ("evaluation, window, over Transformers", "eval", r"hopper, window fp32", "", "transformers", "ratio", True),
    ("evaluation, staggered, steps/s", "eval", r"hopper, staggered fp32", "", "", "value", False),
    ("evaluation, recurrent, steps/s", "eval", r"hopper, recurrent fp32", "", "", "value", True),
    ("evaluation, recurrent, over Transformers", "eval", r"hopper, recurrent fp32", "", "transformers", "ratio", True),
] + [
    (f"attention {way}, L {length}, d {width}, share of the peak", "attention", f"L {length}, d {width}", f"MFLOP {way}", "",
     "share", False)
    for width in (64, 128) for length in (512, 1024, 4096) for way in ("forward", "backward")
] + [
    (f"attention forward + backward over PyTorch's softmax, {shape}", "attention", shape, "", "softmax", "ratio", False)
    for shape in ("B 64, H 1, L 60, d 128", "B 64, H 4, L 60, d 64", "B 1, H 8, L 1024, d 64", "B 1, H 2, L 4096, d 64")
] + [
    ("SAC, updates/s", "behaviour", "hopper", "updates", "stable", "value", True),
    ("SAC, over stable-baselines3", "behaviour", "hopper", "updates", "stable", "ratio", True),
    ("SAC, over SBX", "behaviour", "hopper", "updates", "sbx", "ratio", True),
    ("SAC, over RLtools", "behaviour", "hopper", "updates", "rltools", "ratio", True),
    ("SAC, share of the peak", "behaviour", "hopper", "MFLOP", "", "share", False),
]


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    info = {key.strip(): value.strip() for key, value in (line.split(":", 1) for line in lines if ":" in line)}
    flags = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in info.get("flags", "").split()]
    return {"model": f"{info.get('model name')}, family {info.get('cpu family')}, model {info.get('model')}",
            "flags": flags, "cores": len(os.sched_getaffinity(0))}


def measure(arguments):
    path = FOLDER / f"{arguments.name}.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    result["processor"] = processor()
    for bench in arguments.only or BENCHES:
        command = [arguments.cosdt, "bench", bench, *BENCHES[bench], "--json"]
        if bench != "attention" and arguments.python:
            command += ["--python", arguments.python]
        print(" ".join(command), flush=True)
        result[bench] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        path.write_text(json.dumps(result, indent=1) + "\n")


def cell(result, bench, case, metric, against, shown):
    for row in result.get(bench, {}).get("rows", []):
        if re.match(case, row["case"]) and row["metric"].startswith(metric) and row["against"].startswith(against):
            if shown == "share":
                return f"{100 * row['ratio']:.0f} %"
            number = {"value": row["value"], "ratio": row["ratio"], "inverse": 1 / (row["ratio"] or 1)}[shown]
            return f"{number:,.0f}" if number >= 100 else f"{number:.2f}" if number < 10 else f"{number:.1f}"
    return ""


def peak(result):
    return next((f"{row['against_value'] / 1000:.0f}" for row in result.get("train", {}).get("rows", [])
                 if row["metric"].startswith("MFLOP of")), "")


def table(results, short):
    lines = ["| one thread | " + " | ".join(results) + " |", "|---|" + "---|" * len(results)]
    lines.append("| peak of fp32 multiply-adds, GFLOP/s | " + " | ".join(peak(r) for r in results.values()) + " |")
    for label, *query, in_short in ROWS:
        cells = [cell(result, *query) for result in results.values()]
        if any(cells) and (in_short or not short):
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def fill(path, text):
    begin, end = "<!-- measured -->\n", "<!-- end -->"
    before, rest = path.read_text().split(begin)
    path.write_text(before + begin + text + "\n" + end + rest.split(end)[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", nargs="?")
    parser.add_argument("cosdt", nargs="?", default="build/release/bin/cosdt")
    parser.add_argument("--python")
    parser.add_argument("--only", nargs="*", choices=list(BENCHES))
    arguments = parser.parse_args()
    if arguments.name:
        measure(arguments)
    results = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    for result in results.values():
        print(result["processor"])
    fill(FOLDER / "README.md", table(results, short=False))
    fill(FOLDER.parents[2] / "README.md", table(results, short=True))


main()
