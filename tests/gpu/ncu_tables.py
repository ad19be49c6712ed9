"""Tables of what ncu wrote (--csv --page raw).

usage: ncu_tables.py kernels FILE          every launch with its metrics
       ncu_tables.py update FILE UPDATES   launches and time of an update, from a file of that many
"""
import collections
import csv
import sys


def launches(path):
    lines = [line for line in open(path, errors="replace") if line.startswith('"')]
    rows = list(csv.reader(lines))
    names, units = rows[0], rows[1]
    for row in rows[2:]:
        yield dict(zip(names, row)), dict(zip(names, units))


def number(text):
    return float(text.replace(",", "")) if text else 0.0


def short(name):
    return name.replace("void ", "").split("(")[0][:70]


def microseconds(row, unit):
    scale = {"ns": 1e-3, "nsecond": 1e-3, "us": 1, "usecond": 1, "ms": 1e3, "msecond": 1e3}
    return number(row["gpu__time_duration.sum"]) * scale.get(unit["gpu__time_duration.sum"], 1e-3)


def totals(path):
    found = collections.defaultdict(lambda: [0, 0.0])
    for row, unit in launches(path):
        entry = found[short(row["Kernel Name"])]
        entry[0] += 1
        entry[1] += microseconds(row, unit)
    return found


SCALES = {"byte": 1e-6, "Kbyte": 1e-3, "Mbyte": 1, "Gbyte": 1e3}
COLUMNS = [("read MB", "dram__bytes_read.sum"), ("written MB", "dram__bytes_write.sum"),
           ("DRAM %", "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed"),
           ("tensor inst.", "sm__inst_executed_pipe_tensor.sum"),
           ("warps %", "smsp__warps_active.avg.pct_of_peak_sustained_active"),
           ("load stalls", "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio"),
           ("conflicts", "l1tex__data_bank_conflicts_pipe_lsu.sum"), ("registers", "launch__registers_per_thread"),
           ("blocks by reg.", "launch__occupancy_limit_registers"), ("by shared", "launch__occupancy_limit_shared_mem")]

if sys.argv[1] == "kernels":
    print("us, " + ", ".join(name for name, _ in COLUMNS))
    for row, unit in list(launches(sys.argv[2]))[:12]:
        values = [f"{number(row[metric]) * SCALES.get(unit[metric], 1):.4g}" if metric in row else "-" for _, metric in COLUMNS]
        print(f"{microseconds(row, unit):.2f}", *values, short(row["Kernel Name"])[:48], row.get("Grid Size", ""),
              row.get("Block Size", ""))
else:
    updates = int(sys.argv[3])
    per_update = {name: (count / updates, time / updates) for name, (count, time) in totals(sys.argv[2]).items()}
    print(f"an update: {sum(c for c, _ in per_update.values()):.1f} kernels, "
          f"{sum(t for _, t in per_update.values()):.1f} us in kernels (bf16, one at a time)")
    for name, (count, time) in sorted(per_update.items(), key=lambda item: -item[1][1])[:20]:
        print(f"{time:8.2f} us {count:5.1f} x {name}")
