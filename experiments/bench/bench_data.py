"""Rates of h5py on a D4RL file: what `cosdt bench data --python PYTHON` compares with.

usage: bench_data.py which | bench_data.py FILE

Prints the seconds that opening the file and reading the keys of training takes, as d4rl's
qlearning_dataset and the Decision Transformer's scripts read them.
"""
import sys
import time

import h5py

KEYS = ("observations", "actions", "rewards", "terminals", "timeouts")

if sys.argv[1] == "which":
    print("h5py", h5py.__version__)
    sys.exit()

start = time.perf_counter()
with h5py.File(sys.argv[1], "r") as f:
    arrays = {key: f[key][:] for key in KEYS if key in f}
print(time.perf_counter() - start)
