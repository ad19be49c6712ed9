"""Makes the files of this folder from the repositories that published them.

    git clone https://github.com/DLR-RM/rl-trained-agents     # agents, commit cd35bde
    git clone https://github.com/DLR-RM/rl-baselines3-zoo     # evaluations, commit 22e3ff2
    pip install numpy==1.23.5 h5py==3.16.0
    python tests/published/make_published.py rl-trained-agents rl-baselines3-zoo

The actor's four layers of each agent are kept, float32 as they are, in the layout of D4RL's
metadata/policy; of each evaluation its Monitor file, byte by byte.
"""
import collections
import io
import pathlib
import pickle
import subprocess
import sys
import zipfile

import h5py
import numpy as np

HERE = pathlib.Path(__file__).parent
AGENTS_COMMIT = "cd35bde610f4045bf2e0731c8f4c88d22df8fc85"
ZOO_COMMIT = "22e3ff2450fd92033f7f032915e1f64894a09584"
AGENTS = ["sac-Hopper-v3", "sac-Walker2d-v3", "tqc-Hopper-v3", "tqc-HalfCheetah-v3"]
LAYERS = {"fc0": "latent_pi.0", "fc1": "latent_pi.2", "last_fc": "mu", "last_fc_log_std": "log_std"}


def git_file(repository, commit, path):
    return subprocess.run(["git", "-C", repository, "show", f"{commit}:{path}"], check=True, capture_output=True).stdout


class StateDict(pickle.Unpickler):
    """Reads the tensors of a PyTorch archive with NumPy, and nothing else."""

    def __init__(self, archive):
        super().__init__(archive.open("archive/data.pkl"))
        self.archive = archive

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self.tensor
        if (module, name) == ("torch", "FloatStorage"):
            return np.float32
        raise pickle.UnpicklingError(f"expected tensors of float32, found {module}.{name}")

    def persistent_load(self, pid):
        _, dtype, key, _, _ = pid
        return np.frombuffer(self.archive.read(f"archive/data/{key}"), dtype)

    @staticmethod
    def tensor(storage, offset, size, stride, *_):
        strides = [s * storage.itemsize for s in stride]
        return np.lib.stride_tricks.as_strided(storage[offset:], size, strides).copy()


def convert(agent_zip, path):
    weights = zipfile.ZipFile(io.BytesIO(zipfile.ZipFile(io.BytesIO(agent_zip)).read("policy.pth")))
    state = StateDict(weights).load()
    with h5py.File(path, "w") as file:
        policy = file.create_group("metadata/policy")
        for ours, theirs in LAYERS.items():
            for part in ("weight", "bias"):
                array = state[f"actor.{theirs}.{part}"]
                packed = {"compression": "gzip", "shuffle": True} if array.ndim == 2 else {}
                policy.create_dataset(f"{ours}/{part}", data=array, track_times=False, **packed)
        policy.create_dataset("nonlinearity", data=np.bytes_("relu"), track_times=False)
        policy.create_dataset("output_distribution", data=np.bytes_("tanh_gaussian"), track_times=False)


def main():
    agents, zoo = sys.argv[1:]
    for name in AGENTS:
        algorithm, env = name.split("-", 1)
        convert(git_file(agents, AGENTS_COMMIT, f"{algorithm}/{env}_1/{env}.zip"), HERE / f"{name}.hdf5")
        monitor = git_file(zoo, ZOO_COMMIT, f"logs/benchmark/{name}/0.monitor.csv")
        (HERE / f"{name}.monitor.csv").write_bytes(monitor)
    (HERE / "LICENSE.rl-trained-agents").write_bytes(git_file(agents, AGENTS_COMMIT, "LICENSE"))
    (HERE / "LICENSE.rl-baselines3-zoo").write_bytes(git_file(zoo, ZOO_COMMIT, "LICENSE"))


main()
