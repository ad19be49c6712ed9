"""Copies a policy file with weights of 11 significant bits, which compress to about half.

    shrink_policy.py FROM.hdf5 TO.hdf5
"""
import sys

import h5py
import numpy as np

with h5py.File(sys.argv[1], "r") as source, h5py.File(sys.argv[2], "w") as target:

    def copy(name, item):
        if not isinstance(item, h5py.Dataset):
            target.require_group(name)
            return
        values = item[()]
        if getattr(values, "dtype", None) != np.float32 or values.size < 100:
            source.copy(item, target, name)
            return
        bits = values.view(np.uint32)
        rounded = ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)
        target.create_dataset(name, data=rounded, compression="gzip", compression_opts=9, shuffle=True)

    source.visititems(copy)
