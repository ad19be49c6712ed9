#!/usr/bin/env python3
"""The Python package's speed beside what a user would pick instead, on two cores.

    python3 experiments/results/python/speed.py DATASET.hdf5 [PART..]

Parts: environments, loading, attention. Every case is timed in turn with the others, seven times; a figure is the median,
a ratio the median of the turns' ratios. What is not installed is left out (envpool).
"""

import statistics
import sys
import tempfile
import time
import warnings

import gymnasium
import numpy as np
import torch

import cosdt

TURNS = 7
ENVS, THREADS, STEPS = 16, 2, 500


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def report(title, cases, unit, amount):
    """Times {name: work}, of which the first is cosdt's, and prints rates and cosdt's time over each."""
    times = {name: [] for name in cases}
    for work in cases.values():
        work()
    for _ in range(TURNS):
        for name, work in cases.items():
            times[name].append(seconds(work))
    ours = times[next(iter(cases))]
    print(title)
    for name, of_name in times.items():
        ratio = statistics.median(theirs / mine for theirs, mine in zip(of_name, ours))
        print(f"  {name:28} {amount / statistics.median(of_name):12,.4g} {unit}   cosdt is {ratio:.2f} times as fast")


def stepper(envs, actions):
    envs.reset(seed=0)

    def run():
        for action in actions:
            envs.step(action)

    return run


def environments(_):
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, ENVS, 3)).astype(np.float32)
    theirs = [lambda: gymnasium.make("Hopper-v4")] * ENVS
    envs = {
        f"cosdt make_vec, {THREADS} threads": gymnasium.make_vec(
            "cosdt/Hopper-d4rl", num_envs=ENVS, threads=THREADS
        ),
        "cosdt make_vec, 1 thread": gymnasium.make_vec("cosdt/Hopper-d4rl", num_envs=ENVS),
        "cosdt make, SyncVectorEnv": gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make("cosdt/Hopper-d4rl")] * ENVS),
        "gymnasium SyncVectorEnv": gymnasium.vector.SyncVectorEnv(theirs),
        "gymnasium AsyncVectorEnv": gymnasium.vector.AsyncVectorEnv(theirs),
    }
    try:
        import envpool

        envs[f"envpool, {THREADS} threads"] = envpool.make_gymnasium("Hopper-v4", num_envs=ENVS, num_threads=THREADS)
    except ImportError:
        pass
    cases = {}
    for name, env in envs.items():
        if name.startswith("envpool"):
            env.reset()
            cases[name] = lambda env=env: [env.step(action) for action in actions]
        else:
            cases[name] = stepper(env, actions)
    report(f"Hopper, {ENVS} environments, random actions", cases, "environment steps/s", STEPS * ENVS)
    for name, env in envs.items():
        if "Async" in name:
            env.close()


def loading(path):
    import h5py
    import minari

    def with_h5py():
        with h5py.File(path) as file:
            rewards, ends = file["rewards"][:], file["terminals"][:] | file["timeouts"][:]
            file["observations"][:], file["actions"][:]
        offsets = np.concatenate([[0], np.flatnonzero(ends) + 1])
        to_go = np.empty_like(rewards)
        for begin, end in zip(offsets[:-1], offsets[1:]):
            to_go[begin:end] = np.cumsum(rewards[begin:end][::-1], dtype=np.float64)[::-1]

    rows = len(cosdt.load(path).rewards)
    cases = {"cosdt.load": lambda: cosdt.load(path), "h5py, NumPy": with_h5py}
    report(f"{path.split('/')[-1]}, {rows:,} steps", cases, "steps/s", rows)
    with tempfile.TemporaryDirectory() as folder:
        import os

        os.environ["MINARI_DATASETS_PATH"] = folder
        dataset = cosdt.to_minari(path, "speed-v0")
        file = os.path.join(folder, "speed-v0/data/main_data.hdf5")
        cases = {
            "cosdt.load of Minari's file": lambda: cosdt.load(file, env="hopper"),
            "minari.iterate_episodes": lambda: [e.rewards for e in dataset.iterate_episodes()],
        }
        report("the same as a Minari dataset", cases, "steps/s", rows)


def attention(_):
    torch.set_num_threads(1)
    for batch, heads, length, width in ((64, 1, 60, 128), (2, 8, 1024, 64), (1, 2, 4096, 64)):
        q, k, v = (torch.randn(batch, heads, length, width, requires_grad=True) for _ in range(3))
        grad = torch.randn(batch, heads, length, width)

        def ours():
            torch.autograd.grad(cosdt.attention.cosformer(q, k, v, reweight_length=2 * length), (q, k, v), grad)

        def theirs():
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            torch.autograd.grad(out, (q, k, v), grad)

        report(f"forward and backward, B {batch} H {heads} L {length} d {width}, float32, 1 thread",
               {"cosformer": ours, "scaled_dot_product_attention": theirs}, "calls/s", 1)


def main():
    warnings.simplefilter("ignore")
    parts = {"environments": environments, "loading": loading, "attention": attention}
    for name in sys.argv[2:] or parts:
        parts[name](sys.argv[1])


if __name__ == "__main__":
    main()
