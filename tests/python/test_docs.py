"""The code blocks of experiments/python/README.md run as they are written, in their order, in one folder."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

PAGE = pathlib.Path(__file__).parents[2] / "experiments/python/README.md"


@pytest.mark.filterwarnings("ignore")
def test_every_block_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", block],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "COSDT_DATA": str(tmp_path), "MINARI_DATASETS_PATH": str(tmp_path)},
        )
        assert done.returncode == 0, block + done.stderr
