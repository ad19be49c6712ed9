"""Checks that h5py reads a file written by `cosdt data collect` as it reads D4RL's own.

usage: python check_with_h5py.py FILE [REFERENCE]   (h5py 3.16, numpy 2)

REFERENCE is a file of the same body in D4RL's layout made by h5py, such as those of
../shared/d4rl_samples: keys, types, ranks, chunks as h5py would choose them, compression and the
absence of attributes are compared with it.
"""
import sys

import h5py
import numpy as np
from h5py._hl.filters import guess_chunk

ROW_KEYS = {"observations": "<f4", "actions": "<f4", "rewards": "<f4", "next_observations": "<f4",
            "infos/action_log_probs": "<f4", "infos/qpos": "<f8", "infos/qvel": "<f8",
            "terminals": "|b1", "timeouts": "|b1"}


def walk(f):
    found = {}
    f.visititems(lambda name, item: found.__setitem__(name, item))
    return found


def check(path, reference=None):
    with h5py.File(path, "r") as f:
        items = walk(f)
        assert not f.attrs and not any(len(item.attrs) for item in items.values()), "attributes"
        rows = f["observations"].shape[0]
        for key, dtype in ROW_KEYS.items():
            d = f[key]
            assert d.dtype == np.dtype(dtype), (key, d.dtype)
            assert d.shape[0] == rows and d.ndim == (1 if f[key].shape[1:] == () else 2), key
            assert d.compression == "gzip" and d.compression_opts == 4 and not d.shuffle, key
            assert d.chunks == guess_chunk(d.shape, None, d.dtype.itemsize), (key, d.chunks)
            assert np.isfinite(d[:].astype(float)).all(), key
        o, n = f["observations"][:], f["next_observations"][:]
        ends = f["terminals"][:] | f["timeouts"][:]
        assert (n[:-1][~ends[:-1]] == o[1:][~ends[:-1]]).all(), "next_observations"
        q, v = f["infos/qpos"][:], f["infos/qvel"][:]
        width = q.shape[1] - 1
        assert (o[:, :width] == q[:, 1:].astype(np.float32)).all(), "qpos"
        unclipped = np.abs(v) < 10
        assert (o[:, width:][unclipped] == v.astype(np.float32)[unclipped]).all(), "qvel"
        for key, item in items.items():
            if isinstance(item, h5py.Dataset) and item.shape == () and item.dtype.kind == "S":
                assert isinstance(item[()], bytes), key
        if reference:
            with h5py.File(reference, "r") as r:
                expected = walk(r)
                assert sorted(items) == sorted(expected), set(items) ^ set(expected)
                for key, item in expected.items():
                    if isinstance(item, h5py.Group):
                        continue
                    mine = items[key]
                    assert mine.shape[1:] == item.shape[1:], key
                    if item.dtype.kind != "S":
                        assert mine.dtype == item.dtype, (key, mine.dtype, item.dtype)
                    assert mine.compression == item.compression, key
                    assert mine.compression_opts == item.compression_opts, key
                    if mine.shape == item.shape:
                        assert mine.chunks == item.chunks, (key, mine.chunks, item.chunks)
                    if key.startswith("metadata/policy"):
                        assert np.array_equal(mine[()], item[()]), key
    print(f"{path}: {rows} transitions, {len(items)} objects, as h5py would have written them")


if __name__ == "__main__":
    check(*sys.argv[1:])
