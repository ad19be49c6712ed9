"""Writes vintages/*.hdf5: small files in the layouts that D4RL and Minari have used, by h5py.

The numbers follow formulas that episodes_test.cc repeats, so the files are read without Python.

usage: python make_vintages.py   (h5py 3.16, numpy 2)
"""
import os

import h5py
import numpy as np

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vintages")
GZIP = dict(compression="gzip", compression_opts=4)


def columns(rows, obs=11, act=3):
    i = np.arange(rows)[:, None]
    return {
        "observations": ((i * 7 + np.arange(obs) * 3) % 64) / 8.0,
        "actions": ((i * 5 + np.arange(act) * 11) % 32) / 16.0 - 1.0,
        "rewards": ((np.arange(rows) * 3) % 16) / 4.0,
    }


def flags(rows, at):
    out = np.zeros(rows, dtype=bool)
    out[at] = True
    return out


def save(name, arrays, libver="earliest", **options):
    with h5py.File(os.path.join(FOLDER, name), "w", libver=libver) as f:
        for key, value in arrays.items():
            f.create_dataset(key, data=value, **options)


def main():
    os.makedirs(FOLDER, exist_ok=True)
    f4 = lambda c: {k: v.astype(np.float32) for k, v in c.items()}

    # v0: no timeouts, (N, 1) rewards, contiguous; terminals in the first and third thousand
    c = f4(columns(2500))
    c["rewards"] = c["rewards"][:, None]
    save("hopper_medium-v0.hdf5", c | {"terminals": flags(2500, [99, 2150])})

    # v1 replay: everything float64, flags too; zlib level 9 and shuffle
    c = columns(300)
    nxt = np.roll(c["observations"], -1, axis=0)
    c |= {"next_observations": nxt, "terminals": flags(300, [49]).astype(np.float64),
          "timeouts": flags(300, [120, 249]).astype(np.float64)}
    save("hopper_medium_replay-v1.hdf5", c, compression="gzip", compression_opts=9, shuffle=True)

    # v2: h5py's own chunks, bool enums, infos, metadata
    c = f4(columns(20000))
    c |= {"terminals": flags(20000, [499, 1500, 19000]), "timeouts": flags(20000, [1499, 18999]),
          "next_observations": np.roll(c["observations"], -1, axis=0),
          "infos/qpos": np.zeros((20000, 6)), "infos/qvel": np.zeros((20000, 6)),
          "infos/action_log_probs": np.zeros(20000, np.float32)}
    save("hopper_medium-v2.hdf5", c, **GZIP)
    with h5py.File(os.path.join(FOLDER, "hopper_medium-v2.hdf5"), "a") as f:
        f["metadata/algorithm"] = np.bytes_("SAC")
        f["metadata/iteration"] = np.int32(7)

    # a filter and types that are left to HDF5's own library
    c = columns(300)
    c = {"observations": c["observations"].astype(">f4"), "actions": c["actions"].astype(np.float16),
         "rewards": (c["rewards"] * 4).astype(np.int16),
         "terminals": flags(300, [49]).astype(np.uint8), "timeouts": flags(300, [299]).astype(np.int64)}
    save("hopper_other-types.hdf5", c, fletcher32=True, **GZIP)

    # what cosdt refuses: h5py's own filter, and flags in a type version of HDF5 1.12
    c = f4(columns(20)) | {"terminals": flags(20, []), "timeouts": flags(20, [9, 19])}
    save("hopper_lzf.hdf5", c, compression="lzf")
    save("hopper_v112.hdf5", c, libver=("v112", "v112"))

    # Minari: episode i has i + 1 steps; odd ones are truncated, even ones terminated
    with h5py.File(os.path.join(FOLDER, "minari.hdf5"), "w") as f:
        for e in range(12):
            steps = e + 1
            g = f.create_group(f"episode_{e}")
            g.attrs["id"] = e
            g.attrs["total_steps"] = steps
            g["observations"] = np.arange((steps + 1) * 11, dtype=np.float64).reshape(-1, 11) + e
            g["actions"] = np.full((steps, 3), e / 16.0, dtype=np.float32)
            g["rewards"] = np.full(steps, float(e))
            g["terminations"] = flags(steps, steps - 1 if e % 2 == 0 else [])
            g["truncations"] = flags(steps, steps - 1 if e % 2 == 1 else [])


if __name__ == "__main__":
    main()
