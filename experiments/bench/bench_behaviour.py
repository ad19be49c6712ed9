"""Updates per second of stable-baselines3's SAC.

usage: bench_behaviour.py which | bench_behaviour.py OBSERVATIONS ACTIONS THREADS SECONDS

The default networks (256-256, two critics) at batch 256, on a replay buffer of random transitions;
the environment is not stepped. Run by `cosdt bench behaviour --python PYTHON`.
"""
import sys
import time

import gymnasium
import numpy as np
import stable_baselines3
import torch

if sys.argv[1] == "which":
    print("stable-baselines3", stable_baselines3.__version__)
    sys.exit()

observations, actions, threads, seconds = (int(x) for x in sys.argv[1:5])
torch.set_num_threads(threads)


class Shape(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observations,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (actions,), np.float32)


TRANSITIONS = 20000
model = stable_baselines3.SAC("MlpPolicy", Shape(), buffer_size=TRANSITIONS, device="cpu", seed=0)
model.set_logger(stable_baselines3.common.logger.Logger(None, []))
rng = np.random.default_rng(0)
for _ in range(TRANSITIONS):
    row, after = rng.standard_normal((2, 1, observations), np.float32)
    model.replay_buffer.add(row, after, rng.uniform(-1, 1, (1, actions)), rng.standard_normal(1),
                            np.zeros(1), [{}])
model.train(gradient_steps=20, batch_size=256)
updates = 0
start = time.perf_counter()
while time.perf_counter() - start < seconds:
    model.train(gradient_steps=10, batch_size=256)
    updates += 10
print(updates / (time.perf_counter() - start))
