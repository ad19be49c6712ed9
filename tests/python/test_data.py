"""Loading against h5py, Minari, the doctor, and collecting with a Python policy."""

import gc
import shutil

import h5py
import numpy as np
import pytest

import cosdt


def test_arrays_are_h5pys(dataset):
    data = cosdt.load(dataset)
    with h5py.File(dataset) as file:
        ends = np.flatnonzero(file["terminals"][:] | file["timeouts"][:]) + 1
        rows = ends[-1]
        for name in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(data, name), file[name][:rows])
        np.testing.assert_array_equal(data.offsets, [0, *ends])
        np.testing.assert_array_equal(data.terminated, file["terminals"][:][ends - 1])
        rewards = file["rewards"][:].astype(np.float64)
    for i, (begin, end) in enumerate(zip(data.offsets[:-1], data.offsets[1:])):
        to_go = np.cumsum(rewards[begin:end][::-1])[::-1]
        np.testing.assert_allclose(data.returns_to_go[begin:end], to_go, rtol=1e-6)
        assert data.returns[i] == pytest.approx(to_go[0])
    assert (data.env, data.discrete_actions, len(data)) == ("hopper", 0, len(data.returns))


def test_arrays_are_not_copied_and_outlive_the_dataset(dataset):
    data = cosdt.load(dataset)
    assert not data.observations.flags.owndata
    assert data.observations.dtype == data.returns_to_go.dtype == np.float32
    expected, kept = data.observations.copy(), data.observations
    del data
    gc.collect()
    np.testing.assert_array_equal(kept, expected)


def test_demos_are_made_on_first_use(tmp_path):
    data = cosdt.load("demo/popgym-repeat-first-easy", data_dir=tmp_path)
    assert (data.env, data.discrete_actions) == ("popgym-repeat-first-easy", 4)
    assert data.actions.shape == (len(data.rewards), 1)
    assert cosdt.load("demo/popgym-repeat-first-easy", data_dir=tmp_path).path == data.path


def test_what_cannot_be_read_says_why(tmp_path, dataset):
    with pytest.raises(OSError, match="nothing.hdf5: expected"):
        cosdt.load(tmp_path / "nothing.hdf5")
    broken = tmp_path / "broken.hdf5"
    shutil.copy(dataset, broken)
    with h5py.File(broken, "a") as file:
        del file["actions"]
    with pytest.raises(OSError, match="broken.hdf5: actions: expected"):
        cosdt.load(broken)
    with pytest.raises(ValueError, match="ant"):
        cosdt.load(dataset, env="ant")
    (tmp_path / "text.hdf5").write_text("no HDF5")
    with pytest.raises(OSError, match="text.hdf5"):
        cosdt.load(tmp_path / "text.hdf5")


@pytest.mark.filterwarnings("ignore")
def test_minari_gets_the_same_episodes(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    ours = cosdt.load(dataset)
    theirs = cosdt.to_minari(dataset, "test/hopper-v0")
    assert theirs.total_episodes == len(ours)
    for i, episode in enumerate(theirs.iterate_episodes()):
        rows = slice(ours.offsets[i], ours.offsets[i + 1])
        np.testing.assert_array_equal(episode.observations[:-1], ours.observations[rows])
        np.testing.assert_array_equal(episode.actions, ours.actions[rows])
        np.testing.assert_array_equal(episode.rewards, ours.rewards[rows])
        assert episode.terminations[-1] == ours.terminated[i]
        assert episode.truncations[-1] != ours.terminated[i]
    # and back
    again = cosdt.load(tmp_path / "test/hopper-v0/data/main_data.hdf5", env="hopper")
    np.testing.assert_array_equal(again.observations, ours.observations)
    np.testing.assert_array_equal(again.offsets, ours.offsets)


def test_the_doctor(dataset, tmp_path):
    report = cosdt.check(dataset, policy=False)
    assert (report["findings"], report["env"], report["verdict"]) == ([], "hopper", "d4rl")
    broken = tmp_path / "hopper.hdf5"
    shutil.copy(dataset, broken)
    with h5py.File(broken, "a") as file:
        file["observations"][5, 0] = np.nan
    findings = cosdt.check(broken, policy=False)["findings"]
    assert ("not_finite", "observations", 5) in [(f["code"], f["key"], f["row"]) for f in findings]
    with pytest.raises(RuntimeError, match="nothing.hdf5"):
        cosdt.check(tmp_path / "nothing.hdf5")


def test_collects_with_a_python_policy(tmp_path):
    seen = []

    def policy(observations):
        seen.append(observations.shape)
        return 0.1 * observations[:, :3]

    for name, threads in (("a", 1), ("b", 2)):
        assert cosdt.collect("hopper", policy, 200, tmp_path / name, seed=3, threads=threads) == 200
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert {width for _, width in seen} == {11}
    with h5py.File(tmp_path / "a") as file:
        assert "infos/action_log_probs" not in file
        np.testing.assert_allclose(file["actions"][:], 0.1 * file["observations"][:, :3], rtol=1e-6)
    assert cosdt.check(tmp_path / "a", env="hopper")["findings"] == []


def test_collects_discrete_actions(tmp_path):
    cosdt.collect("popgym-repeat-first-easy", lambda x: np.full(len(x), 2), 100, tmp_path / "game.hdf5")
    data = cosdt.load(tmp_path / "game.hdf5")
    assert data.discrete_actions == 4 and (data.actions == 2).all()


def test_what_a_policy_raises_ends_collecting(tmp_path):
    class Mine(Exception):
        pass

    def fails(observations):
        raise Mine("after reset")

    out = tmp_path / "out.hdf5"
    with pytest.raises(Mine, match="after reset"):
        cosdt.collect("hopper", fails, 100, out)
    for actions, message in (
        (lambda x: np.zeros((len(x), 2)), "policy: expected numbers of shape"),
        (lambda x: ["a"] * len(x), "policy: expected numbers"),
        (lambda x: np.full((len(x), 3), np.nan), "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            cosdt.collect("hopper", actions, 100, out)
    with pytest.raises(ValueError, match="transitions: expected at least 1"):
        cosdt.collect("hopper", fails, 0, out)
    assert list(tmp_path.iterdir()) == []
