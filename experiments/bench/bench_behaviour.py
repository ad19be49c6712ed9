"""Updates per second of SAC in other libraries.

usage: bench_behaviour.py which | bench_behaviour.py LIBRARY OBSERVATIONS ACTIONS THREADS SECONDS

Networks of 256-256, two critics, batch 256, on a replay buffer of random transitions from which
batches are drawn as in training. stable-baselines3 and sbx-rl make updates alone, RLtools whole
training steps, which is all that its Python interface offers: an action, a step of an environment
that costs next to nothing, an update. It compiles its networks with the machine's compiler, for
this processor, and takes MKL if the packages mkl and mkl-include are there.
Run by `cosdt bench behaviour --python PYTHON`.
"""
import contextlib
import importlib.metadata
import os
import sys
import time

LIBRARIES = ["stable-baselines3", "sbx-rl", "rltools"]
TRANSITIONS, BATCH, HIDDEN = 20000, 256, 256


def versions():
    """"name version" of the libraries that are installed, "name absent" of the others."""
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} absent")
    return found


if sys.argv[1] == "which":
    print(", ".join(versions()))
    sys.exit()

library = sys.argv[1]
observations, actions, threads, seconds = (int(x) for x in sys.argv[2:6])
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = str(threads)
if library == "sbx-rl":  # XLA has no other setting that all its threads respect
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])

import gymnasium
import numpy as np


class Shape(gymnasium.Env):
    """Random observations."""
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observations,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (actions,), np.float32)
    spec = gymnasium.envs.registration.EnvSpec("Shape-v0", max_episode_steps=1000)
    random = np.random.default_rng(0)

    def reset(self, **_):
        return self.random.standard_normal(observations, np.float32), {}

    def step(self, action):
        return self.random.standard_normal(observations, np.float32), 1.0, False, False, {}


def replay_learner():
    """A function that makes 10 updates of stable-baselines3 or SBX, which share the interface."""
    if library == "sbx-rl":
        import sbx as package
    else:
        import stable_baselines3 as package
        import torch
        torch.set_num_threads(threads)
    from stable_baselines3.common.logger import Logger
    model = package.SAC("MlpPolicy", Shape(), buffer_size=TRANSITIONS, device="cpu", seed=0)
    model.set_logger(Logger(None, []))
    rng = np.random.default_rng(0)
    for _ in range(TRANSITIONS):
        row, after = rng.standard_normal((2, 1, observations), np.float32)
        model.replay_buffer.add(row, after, rng.uniform(-1, 1, (1, actions)),
                                rng.standard_normal(1), np.zeros(1), [{}])
    return lambda: model.train(gradient_steps=10, batch_size=BATCH)


def step_learner():
    """A function that makes 10 training steps of RLtools."""
    import rltools
    module = rltools.SAC(
        Shape, interface_name=f"cosdt_{observations}_{actions}", enable_evaluation=False,
        ACTOR_BATCH_SIZE=BATCH, CRITIC_BATCH_SIZE=BATCH, ACTOR_HIDDEN_DIM=HIDDEN,
        CRITIC_HIDDEN_DIM=HIDDEN, OPTIMIZER_ALPHA=3e-4, ALPHA=1.0, STEP_LIMIT=10_000_000,
        REPLAY_BUFFER_CAP=TRANSITIONS, COLLECT_EPISODE_STATS=False)
    state = module.State(0)
    for _ in range(2 * BATCH):  # no updates before the first batch is there
        state.step()

    def steps():
        for _ in range(10):
            state.step()
    return steps


with contextlib.redirect_stdout(sys.stderr):
    learn = step_learner() if library == "rltools" else replay_learner()
    for _ in range(2):
        learn()
updates = 0
start = time.perf_counter()
while time.perf_counter() - start < seconds:
    learn()
    updates += 10
print(updates / (time.perf_counter() - start))
