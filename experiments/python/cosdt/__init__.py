"""Offline reinforcement learning with causal cosFormer attention and D4RL's physics.

The same library as the program `cosdt`, seen from Python: environments (`cosdt.gymnasium`), datasets, agents, training
and the attention operator (`cosdt.attention`).
"""

import os as _os

import mujoco as _mujoco
import torch as _torch

from . import _versions as _versions


def _expect_version(name: str, built: str, found: str, file: str) -> None:
    if found.split("+")[0] != built:
        raise ImportError(
            f"cosdt {_versions.COSDT}: expected {name} {built}, with which it was built, found {name} {found} in "
            f"{_os.path.dirname(file)}; install {name}=={built}, or build cosdt again with {name} {found}"
        )


# before the binding is loaded, whose symbols another version may lack
_expect_version("torch", _versions.TORCH, _torch.__version__, str(_torch.__file__))
_expect_version("mujoco", _versions.MUJOCO, _mujoco.__version__, str(_mujoco.__file__))

from . import attention, gymnasium  # noqa: E402
from .agent import Agent, evaluate  # noqa: E402
from .data import Dataset, check, collect, load, to_minari  # noqa: E402
from .gymnasium import model_xml, normalized_score  # noqa: E402
from .training import train  # noqa: E402

__version__ = _versions.COSDT
__all__ = [
    "Agent",
    "Dataset",
    "attention",
    "check",
    "collect",
    "evaluate",
    "gymnasium",
    "load",
    "model_xml",
    "normalized_score",
    "to_minari",
    "train",
]
