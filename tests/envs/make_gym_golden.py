"""Makes gym_*.bin: initial states of gym 0.21 after env.seed(seed).

    # Python 3.10
    pip install setuptools==65.5.0 wheel==0.38.4 numpy==1.23.5
    pip install --no-build-isolation gym==0.21.0
    python tests/envs/make_gym_golden.py

What runs is gym's own MujocoEnv.seed, and reset_model of its hopper_v3, half_cheetah_v3 and walker2d_v3;
only the simulator is left out: set_state records what it is given. Each file holds, little-endian, the
int32 sizes of qpos, qvel and resets, then for each of SEEDS its uint64 and, reset by reset,
float64 qpos and qvel.
"""
import inspect
import pathlib
import struct
import sys
import types

import gym
import numpy as np

sys.modules["mujoco_py"] = types.ModuleType("mujoco_py")
from gym.envs.mujoco import half_cheetah_v3, hopper_v3, walker2d_v3  # noqa: E402

HERE = pathlib.Path(__file__).parent
SEEDS = [0, 1, 4294967296, 18446744073709551615]
RESETS = 30  # the generator's 624 words are used up by 26 resets of hopper
BODIES = {  # file: (class, size of qpos and of qvel, height)
    "hopper": (hopper_v3.HopperEnv, 6, 1.25),
    "half_cheetah": (half_cheetah_v3.HalfCheetahEnv, 9, 0.0),
    "walker2d": (walker2d_v3.Walker2dEnv, 9, 1.25),
}


def initial_states(kind, size, height, seed):
    env = object.__new__(kind)
    env.model = types.SimpleNamespace(nq=size, nv=size)
    env.init_qpos, env.init_qvel = np.zeros(size), np.zeros(size)
    env.init_qpos[1] = height
    env._reset_noise_scale = inspect.signature(kind.__init__).parameters["reset_noise_scale"].default
    states = []
    env.set_state = lambda qpos, qvel: states.append(np.concatenate([qpos, qvel]))
    env._get_obs = lambda: None
    env.seed(seed)
    for _ in range(RESETS):
        env.reset_model()
    return np.array(states)


def main():
    assert gym.__version__ == "0.21.0"
    for file, (kind, size, height) in BODIES.items():
        data = struct.pack("<3i", size, size, RESETS)
        for seed in SEEDS:
            data += struct.pack("<Q", seed) + initial_states(kind, size, height, seed).astype("<f8").tobytes()
        (HERE / f"gym_{file}.bin").write_bytes(data)


main()
