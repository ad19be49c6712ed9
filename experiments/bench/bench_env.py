"""Environment steps per second of envpool, or of gymnasium if envpool is missing.

usage: bench_env.py which | bench_env.py ENV THREADS BODIES SECONDS

Random actions drawn beforehand; environment steps, not simulation frames, are counted. Run by
`cosdt bench env --python PYTHON`.
"""
import sys
import time

import numpy as np

IDS = {"hopper": "Hopper-v4", "halfcheetah": "HalfCheetah-v4", "walker2d": "Walker2d-v4"}

try:
    import envpool
except ImportError:
    envpool = None
    import gymnasium

if sys.argv[1] == "which":
    library = envpool or gymnasium
    print(library.__name__, library.__version__)
    sys.exit()

name, threads, bodies, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
if envpool:
    env = envpool.make_gymnasium(IDS[name], num_envs=bodies, num_threads=threads, seed=0)
else:
    bodies = threads  # gymnasium runs a process for each body
    env = gymnasium.make_vec(IDS[name], num_envs=bodies, vectorization_mode="async")
env.reset()
rng = np.random.default_rng(0)
actions = rng.uniform(-1, 1, (37, bodies, env.action_space.shape[-1])).astype(np.float64)
for i in range(20):
    env.step(actions[i % 37])
steps = 0
start = time.perf_counter()
while time.perf_counter() - start < seconds:
    env.step(actions[steps // bodies % 37])
    steps += bodies
print(steps / (time.perf_counter() - start))
