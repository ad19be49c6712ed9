"""Makes gymnasium_*.bin: one-step transitions of gymnasium's own environments.

    pip install gymnasium==1.2.3 mujoco==3.3.5 imageio
    python tests/envs/make_gymnasium_golden.py

Each file holds 1,200 transitions of one body, little-endian: the int32 sizes N, nq, nv, nu and
observation, then for each of the N transitions
    float32  qpos[nq], qvel[nv], action[nu]      the state before, exactly representable
    float64  observation[obs], reward, uint8 terminated     from version 4
    float64  observation[obs], reward, uint8 terminated     from version 5
The states are those of random-policy episodes, of such episodes pushed into the floor (hard contacts)
and of random joint angles at high speed; one action in four is outside [-1, 1].
"""
import pathlib
import struct

import gymnasium
import mujoco
import numpy as np

HERE = pathlib.Path(__file__).parent
COUNT = 1200
BODIES = {"hopper": "Hopper", "half_cheetah": "HalfCheetah", "walker2d": "Walker2d"}


def bad(data):
    kinds = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)
    return any(data.warning[int(k)].number for k in kinds)


def transition(env, qpos, qvel, action):
    env = env.unwrapped
    mujoco.mj_resetData(env.model, env.data)
    env.set_state(qpos.astype(np.float64), qvel.astype(np.float64))
    observation, reward, terminated, _, _ = env.step(action.astype(np.float64))
    return observation, reward, terminated, bad(env.data)


def main():
    assert gymnasium.__version__ == "1.2.3" and mujoco.__version__ == "3.3.5"
    for body, name in BODIES.items():
        rng = np.random.default_rng(7)
        v4, v5, source = (gymnasium.make(f"{name}-v{v}") for v in (4, 5, 4))
        model, data = source.unwrapped.model, source.unwrapped.data
        rows, ends, contacts = [], 0, 0
        done = True
        while len(rows) < COUNT:
            if done:
                source.reset(seed=int(rng.integers(1 << 31)))
                done = False
            _, _, terminated, truncated, _ = source.step(rng.uniform(-1, 1, model.nu))
            done = terminated or truncated
            qpos, qvel = data.qpos.copy(), data.qvel.copy()
            kind = len(rows) % 3
            if kind == 1:
                qpos[1] -= rng.uniform(0, 0.1)
                qvel[1] -= rng.uniform(0, 3)
            elif kind == 2:
                qpos[2:] += rng.normal(0, 0.3, model.nq - 2)
                qvel += rng.normal(0, 4, model.nv)
            action = rng.uniform(-1, 1, model.nu) * (1.5 if rng.random() < 0.25 else 1)
            qpos, qvel, action = (x.astype(np.float32) for x in (qpos, qvel, action))
            results = [transition(env, qpos, qvel, action) for env in (v4, v5)]
            if any(r[3] for r in results):
                continue  # a diverged step has no defined outcome
            ends += results[0][2]
            contacts += v4.unwrapped.data.ncon > 0
            row = qpos.tobytes() + qvel.tobytes() + action.tobytes()
            for observation, reward, terminated, _ in results:
                row += observation.astype("<f8").tobytes() + struct.pack("<dB", reward, terminated)
            rows.append(row)
        sizes = (len(rows), model.nq, model.nv, model.nu, source.observation_space.shape[0])
        (HERE / f"gymnasium_{body}.bin").write_bytes(struct.pack("<5i", *sizes) + b"".join(rows))
        print(f"{body}: {len(rows)} transitions, {ends} terminating, {contacts} in contact")


main()
