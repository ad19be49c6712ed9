"""Makes mujoco210_*.bin: single environment steps of MuJoCo 2.1.0 with the bodies of gym 0.21.

    # Python 3.10 and g++
    pip install setuptools==65.5.0 wheel==0.38.4 numpy==1.23.5 h5py==3.16.0
    python tests/envs/make_mujoco210_golden.py build/release/bin/cosdt

MuJoCo 2.1.0 is the last release before capsules' inertias became exact. Its library and headers are taken
from the wheel of PyPI's free-mujoco-py 2.1.6, the bodies' XML from gym's source package; both stay in a
temporary folder.

Each file holds 600 steps of one body, little-endian: the int32 sizes N, nq, nv and nu, then for each step
    float32  qpos[nq], qvel[nv], action[nu]      the state before, exactly representable
    float64  qpos[nq], qvel[nv]                  after 4 (half cheetah: 5) mj_step of MuJoCo 2.1.0
The first 300 states are visited by a published agent (tests/published); the others are those of bodies
dropped in random poses, on the floor or about to touch it.
"""
import pathlib
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import h5py
import numpy as np

HERE = pathlib.Path(__file__).parent
COUNT = 300  # of each kind
BODIES = {  # cosdt's name: (file, published agent, frame skip, timestep, height at rest)
    "hopper": ("hopper", "sac-Hopper-v3", 4, 0.002, 1.25),
    "halfcheetah": ("half_cheetah", "tqc-HalfCheetah-v3", 5, 0.01, 0.0),
    "walker2d": ("walker2d", "sac-Walker2d-v3", 4, 0.002, 1.25),
}


def download(folder):
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    subprocess.run([*pip, "--only-binary=:all:", "--python-version", "3.10", "free-mujoco-py==2.1.6"], check=True)
    subprocess.run([*pip, "--no-binary=:all:", "--no-build-isolation", "gym==0.21.0"], check=True)
    with zipfile.ZipFile(next(folder.glob("free_mujoco_py-*.whl"))) as wheel:
        wheel.extractall(folder, [n for n in wheel.namelist() if "/linux/mujoco210/" in n])
    with tarfile.open(next(folder.glob("gym-*.tar.gz"))) as package:
        package.extractall(folder, [m for m in package if "/mujoco/assets/" in m.name])


def compile_program(folder):
    mujoco = folder / "mujoco_py/binaries/linux/mujoco210"
    program, library = folder / "step", mujoco / "bin/libmujoco210nogl.so"
    subprocess.run(["g++", "-O1", "-I", mujoco / "include", HERE / "mujoco210_step.cc", library,
                    f"-Wl,-rpath,{mujoco}/bin", "-o", program], check=True)
    return program


class Body:
    """One body in MuJoCo 2.1.0."""

    def __init__(self, program, xml, nq, nv):
        self.command, self.nq, self.nv = [program, xml], nq, nv

    def step(self, steps, qpos, qvel, action):
        """The states, and the numbers of contacts, after `steps` [n] of mj_step."""
        rows = np.concatenate([np.asarray(steps)[:, None], qpos, qvel, action], axis=1).astype("<f8")
        out = subprocess.run(self.command, input=rows.tobytes(), capture_output=True, check=True).stdout
        out = np.frombuffer(out, "<f8").reshape(len(rows), self.nq + self.nv + 1)
        return np.split(out, [self.nq, self.nq + self.nv], axis=1)


def visited(program, env, agent, rng, folder):
    path = folder / f"{env}.hdf5"
    subprocess.run([program, "data", "collect", "--env", env, "--policy", HERE.parent / f"published/{agent}.hdf5",
                    "--transitions", "5000", "--seed", "0", "--out", path], check=True, stdout=subprocess.DEVNULL)
    with h5py.File(path) as file:
        rows = np.sort(rng.choice(len(file["actions"]), COUNT, replace=False))
        return [file[key][rows] for key in ("infos/qpos", "infos/qvel", "actions")]


def fallen(body, nu, timestep, height, rng):
    qpos = np.zeros((COUNT, body.nq))
    qpos[:, 1] = height + rng.uniform(0.2, 0.6, COUNT)
    qpos[:, 2] = rng.uniform(-np.pi, np.pi, COUNT)
    qpos[:, 3:] = rng.normal(0, 0.5, (COUNT, body.nq - 3))
    qvel = rng.normal(0, 2, (COUNT, body.nv))
    seconds = rng.uniform(0.4, 1.2, COUNT)
    qpos, qvel, _ = body.step(seconds // timestep, qpos, qvel, rng.uniform(-1, 1, (COUNT, nu)))
    return qpos, qvel, rng.uniform(-1, 1, (COUNT, nu))


def main():
    cosdt = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        download(folder)
        program = compile_program(folder)
        for env, (file, agent, frame_skip, timestep, height) in BODIES.items():
            rng = np.random.default_rng(7)
            policy = visited(cosdt, env, agent, rng, folder)
            nq, nv, nu = (x.shape[1] for x in policy)
            body = Body(program, next(folder.glob(f"gym-*/gym/envs/mujoco/assets/{file}.xml")), nq, nv)
            floor = fallen(body, nu, timestep, height, rng)
            before = [np.concatenate(pair).astype("<f4") for pair in zip(policy, floor)]
            qpos, qvel, contacts = body.step(np.full(2 * COUNT, frame_skip), *before)
            rows = (b"".join(x.tobytes() for x in row) for row in zip(*before, qpos, qvel))
            header = struct.pack("<4i", 2 * COUNT, nq, nv, nu)
            (HERE / f"mujoco210_{file}.bin").write_bytes(header + b"".join(rows))
            touching = [int((half > 0).sum()) for half in np.split(contacts, 2)]
            print(f"{env}: contacts after {touching[0]} and {touching[1]} of {COUNT} steps, at most {contacts.max():.0f}")


main()
