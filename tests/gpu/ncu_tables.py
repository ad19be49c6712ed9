"""Tables of what ncu wrote (--csv --page raw).

usage: ncu_tables.py kernels FILE          every launch with its metrics
       ncu_tables.py update FEW MANY       launches and time of an update, from runs of 4 and of 14 updates
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


if sys.argv[1] == "kernels":
    shown = 0
    for row, unit in launches(sys.argv[2]):
        print(short(row["Kernel Name"]), row.get("Grid Size", ""), row.get("Block Size", ""))
        print("   ", ", ".join(f"{name.split('.')[0].split('__', 1)[1]} {value} {unit[name]}".strip()
                               for name, value in row.items() if "__" in name)[:700])
        shown += 1
        if shown == 8:
            break
else:
    few, many = totals(sys.argv[2]), totals(sys.argv[3])
    per_update = {name: ((count - few[name][0]) / 10, (time - few[name][1]) / 10) for name, (count, time) in many.items()}
    print(f"an update: {sum(c for c, _ in per_update.values()):.1f} kernels, "
          f"{sum(t for _, t in per_update.values()):.1f} us in kernels (bf16, one at a time)")
    for name, (count, time) in sorted(per_update.items(), key=lambda item: -item[1][1])[:20]:
        if count > 0:
            print(f"{time:8.2f} us {count:5.1f} x {name}")
