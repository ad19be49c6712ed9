"""compare_weights.py LABEL A B: the largest difference of two safetensors files' float32 values."""
import array
import json
import struct
import sys


def read(path):
    data = open(path, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: array.array("f", data[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]])
            for name, entry in header.items() if entry["dtype"] == "F32"}


label, first, second = sys.argv[1], read(sys.argv[2]), read(sys.argv[3])
worst, where = max((max((abs(a - b) for a, b in zip(first[name], second[name])), default=0), name) for name in first)
print(f"{label}: " + ("the same bits" if all(first[n].tobytes() == second[n].tobytes() for n in first)
                      else f"largest difference {worst:.3g} ({where})"))
