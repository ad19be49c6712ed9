"""Training from Python is the program's, with a callback, Ctrl-C and errors."""

import os
import signal
import threading

import numpy as np
import pytest
from conftest import SMALL, run_program

import cosdt


def test_trains_as_the_program(dataset, run, tmp_path):
    flags = [text for name, value in SMALL.items() for text in ("--" + name.replace("_", "-"), value)]
    run_program("train", "--dataset", dataset, "--updates", 100, "--out", tmp_path / "run", *flags)
    ours, theirs = ((folder / "last.safetensors").read_bytes() for folder in (run, tmp_path / "run"))
    assert ours == theirs


def test_progress_gets_every_line_of_metrics_and_the_report_comes_back(dataset, tmp_path):
    lines = []
    report = cosdt.train(tmp_path, dataset=dataset, updates=250, targets=[1800, 3600], progress=lines.append, **SMALL)
    assert [line["update"] for line in lines] == [100, 200, 250]
    assert lines[-1]["loss"] == pytest.approx(report["loss"])
    assert report["updates"] == 250
    assert cosdt.Agent(tmp_path).info["targets"] == [1800, 3600]
    lines.clear()
    cosdt.train(tmp_path, dataset=dataset, updates=300, resume=True, progress=lines.append, **SMALL, targets=[1800, 3600])
    assert [line["update"] for line in lines] == [300]


def test_what_the_callback_raises_saves_and_stops(dataset, tmp_path):
    def fails(line):
        raise LookupError(line["update"])

    with pytest.raises(LookupError):
        cosdt.train(tmp_path, dataset=dataset, updates=10**6, progress=fails, **SMALL)
    saved = cosdt.Agent(tmp_path).info["updates"]
    assert 100 <= saved < 10**6
    report = cosdt.train(tmp_path, dataset=dataset, updates=saved + 10, resume=True, **SMALL)
    assert report["updates"] == saved + 10


def test_ctrl_c_saves_and_stops(dataset, tmp_path):
    # a shell's job in the background begins with SIGINT ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))

    def interrupt(line):
        if line["update"] == 100:
            timer.start()

    with pytest.raises(KeyboardInterrupt):
        cosdt.train(tmp_path, dataset=dataset, updates=10**6, progress=interrupt, **SMALL)
    signal.signal(signal.SIGINT, before)
    assert cosdt.Agent(tmp_path).info["updates"] >= 100


def test_errors_are_the_programs(dataset, tmp_path):
    with pytest.raises(ValueError, match="bach-size"):
        cosdt.train(tmp_path / "a", dataset=dataset, bach_size=4)
    with pytest.raises(RuntimeError, match="nothing.hdf5"):
        cosdt.train(tmp_path / "b", dataset=tmp_path / "nothing.hdf5")
    with pytest.raises(RuntimeError, match="batch"):
        cosdt.train(tmp_path / "c", dataset=dataset, batch_size=-1)


def test_validation_loss_is_the_error_on_the_held_out_episodes(dataset, tmp_path):
    report = cosdt.train(tmp_path, dataset=dataset, agent="bc", width=16, threads=1, updates=50, validation="20%", batch_size=8)
    data, agent = cosdt.load(dataset), cosdt.Agent(tmp_path)
    held = [i for i in range(len(data)) if (i + 1) * 20 // 100 > i * 20 // 100]
    errors = []
    for i in held:
        agent.reset()
        for row in range(data.offsets[i], data.offsets[i + 1]):
            errors.append((agent.act(data.observations[row]) - data.actions[row]) ** 2)
    assert report["validation_loss"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert report["best"]["checkpoint"] == str(tmp_path / "best.safetensors")


@pytest.mark.filterwarnings("ignore")
def test_minaris_data_are_evaluated_in_the_body_that_made_them(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    cosdt.collect("hopper", lambda x: -0.1 * x[:, :3], 200, tmp_path / "hopper.hdf5", physics="gymnasium-v5")
    cosdt.to_minari(tmp_path / "hopper.hdf5", "mujoco/hopper/tiny-v0", env="Hopper-v5")
    report = cosdt.train(
        tmp_path / "run", data_dir=tmp_path / "minari", dataset="mujoco/hopper/tiny-v0", updates=10, targets=[100], **SMALL
    )
    assert (report["env"], report["physics"]) == ("hopper", "gymnasium-v5")
    printed = run_program("eval", tmp_path / "run", "--episodes", 2)
    assert "hopper, gymnasium-v5 physics" in printed and "on D4RL's scale" in printed
