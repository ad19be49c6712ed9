#include "agents/behaviour/sac_trainer.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mujoco/mujoco.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include "datasets/hdf5_file.h"
#include "envs/half_cheetah.h"
#include "envs/hopper.h"

namespace cosdt::agents {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Throws;

class SacTrainerTest : public ::testing::Test {
 protected:
  SacTrainerTest() {
    at::set_num_threads(1);  // a forked child has none of OpenMP's threads, and would wait for them
    char path[] = "/tmp/cosdt_sac_XXXXXX";
    root_ = mkdtemp(path);
    options_.steps = 130;
    options_.random_steps = 30;
    options_.evaluate_every = 40;
    options_.evaluation_episodes = 1;
    options_.save_steps = {50};
    options_.sac.hidden = 16;
    options_.sac.batch_size = 8;
  }
  ~SacTrainerTest() override { std::filesystem::remove_all(root_); }

  std::string Folder(const std::string& name) const { return root_ + "/" + name; }

  // Trains in `folder` until `step`, or as far as the options say.
  void Train(const std::string& folder, int64_t until = std::numeric_limits<int64_t>::max()) {
    SacTrainer trainer(hopper_, options_, Folder(folder), true);
    trainer.Run(nullptr, [&] { return trainer.step() >= until; });
  }

  // Trains in a child process until `kill_at` says that a signal is due, which no handler sees.
  void TrainAndKill(const std::string& folder, const std::function<bool(int64_t)>& kill_at) {
    const pid_t child = fork();
    if (child == 0) {
      SacTrainer trainer(hopper_, options_, Folder(folder), true);
      trainer.Run([&](const SacProgress& p) {
        if (kill_at(p.step)) raise(SIGKILL);
      });
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
  }

  std::string Bytes(const std::string& path) const {
    std::ifstream file(Folder(path), std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  void ExpectSameRuns(const std::string& a, const std::string& b) const {
    for (const char* file : {"/state.hdf5", "/transitions.f32", "/curve.csv", "/policy-50.hdf5",
                             "/policy-best.hdf5", "/policy-last.hdf5"}) {
      EXPECT_FALSE(Bytes(a + file).empty()) << file;
      EXPECT_TRUE(Bytes(a + file) == Bytes(b + file)) << file;
    }
  }

  static auto ThrowsWith(const std::string& one, const std::string& two = "") {
    return Throws<std::runtime_error>(
        Property(&std::exception::what, AllOf(HasSubstr(one), HasSubstr(two))));
  }

  std::string root_;
  envs::Hopper hopper_{envs::Physics::kD4rl};
  SacTrainingOptions options_;
};

TEST_F(SacTrainerTest, ContinuesBitForBitAfterStoppingAnywhere) {
  Train("whole");
  for (const int64_t stop : {1, 29, 31, 40, 77, 129}) {
    const std::string folder = "stopped" + std::to_string(stop);
    Train(folder, stop);
    Train(folder);
    ExpectSameRuns("whole", folder);
  }
}

TEST_F(SacTrainerTest, ContinuesBitForBitAfterAKillAnywhere) {
  Train("whole");
  for (const int64_t kill : {1, 39, 40, 41, 99, 130}) {
    TrainAndKill("killed", [&](int64_t step) { return step == kill; });
  }
  Train("killed");
  ExpectSameRuns("whole", "killed");
}

// A kill while rows are added leaves more of them than the state counts.
TEST_F(SacTrainerTest, LeavesOutStepsThatNoStateCounts) {
  Train("whole");
  Train("more", 60);
  std::ofstream(Folder("more/transitions.f32"), std::ios::app | std::ios::binary) << "half a row";
  Train("more");
  ExpectSameRuns("whole", "more");
}

TEST_F(SacTrainerTest, ContinuesIfStepsAreAdded) {
  Train("whole");
  options_.steps = 70;
  Train("short");
  options_.steps = 130;
  Train("short");
  ExpectSameRuns("whole", "short");
}

TEST_F(SacTrainerTest, TellsWhichPoliciesItKeeps) {
  options_.save_returns = {-1000, 1e6};
  SacTrainer trainer(hopper_, options_, Folder("run"), false);
  trainer.Run();
  std::vector<std::string> names;
  for (const SavedPolicy& p : trainer.policies()) {
    EXPECT_NO_THROW(datasets::ReadPolicy(datasets::Hdf5File(p.path)));
    names.push_back(std::filesystem::path(p.path).filename());
  }
  EXPECT_THAT(names, ::testing::ElementsAre("policy-40.hdf5", "policy-50.hdf5", "policy-best.hdf5",
                                            "policy-last.hdf5"));
  EXPECT_EQ(datasets::ReadPolicyOrigin(datasets::Hdf5File(Folder("run/policy-50.hdf5"))).iteration,
            50);
  EXPECT_EQ(datasets::ReadPolicyOrigin(datasets::Hdf5File(Folder("run/policy-50.hdf5"))).algorithm,
            "SAC");
}

TEST_F(SacTrainerTest, ReplayHoldsEveryStepWithItsSimulatorState) {
  SacTrainer trainer(hopper_, options_, Folder("run"), false);
  trainer.Run();
  const datasets::Transitions replay = trainer.Replay();
  ASSERT_EQ(replay.rows(), 130u);
  for (size_t i = 0; i < replay.rows(); ++i) {
    for (int j = 0; j < 5; ++j) {
      EXPECT_EQ(replay.observations[i * 11 + j], static_cast<float>(replay.qpos[i * 6 + 1 + j]));
    }
    EXPECT_TRUE(std::isfinite(replay.log_probs[i]));
    const bool ended = replay.terminals[i] || replay.timeouts[i];
    if (i + 1 == replay.rows()) break;
    const bool continues =
        std::equal(&replay.next_observations[i * 11], &replay.next_observations[i * 11] + 11,
                   &replay.observations[(i + 1) * 11]);
    EXPECT_EQ(continues, !ended) << i;
  }
}

TEST_F(SacTrainerTest, ATimeoutIsNoTerminal) {
  const envs::HalfCheetah half_cheetah(envs::Physics::kD4rl);
  options_.steps = 1001;
  options_.random_steps = 1001;
  options_.evaluate_every = 2000;
  SacTrainer trainer(half_cheetah, options_, Folder("run"), false);
  trainer.Run();
  const datasets::Transitions replay = trainer.Replay();
  EXPECT_EQ(std::ranges::count(replay.terminals, 1), 0);
  EXPECT_EQ(std::ranges::count(replay.timeouts, 1), 1);
  EXPECT_EQ(replay.timeouts[999], 1);
}

TEST_F(SacTrainerTest, StopsAtALossThatIsNotFiniteAndKeepsTheLastSave) {
  Train("run", 60);
  const std::string before = Bytes("run/state.hdf5");
  SacTrainer trainer(hopper_, options_, Folder("run"), true);
  trainer.sac().critics().layers()[0].weight.fill_(NAN);
  EXPECT_THAT([&] { trainer.Run(); },
              ThrowsWith("step 61: expected finite losses", "the last save is of step 60"));
  EXPECT_EQ(Bytes("run/state.hdf5"), before);
}

// RLIMIT_FSIZE stands for a disk that fills up: write fails with EFBIG as it would with ENOSPC.
TEST_F(SacTrainerTest, AFullDiskLeavesTheLastSave) {
  Train("whole");
  Train("run", 60);
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {4096, 4096};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      Train("run");
    } catch (const std::runtime_error& e) {
      _exit(std::string(e.what()).find("writing") == std::string::npos ? 2 : 0);
    }
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  Train("run");
  ExpectSameRuns("whole", "run");
}

TEST_F(SacTrainerTest, NamesWhatIsWrongWithADamagedRun) {
  Train("run", 60);
  const auto resume = [&] { SacTrainer(hopper_, options_, Folder("run"), true); };
  const auto damage = [&](const char* file, uintmax_t bytes) {
    std::filesystem::copy(Folder("run"), Folder("good"));
    std::filesystem::resize_file(Folder("run/") + file, bytes);
    EXPECT_THAT(resume, ThrowsWith(file, "expected"));
    std::filesystem::remove_all(Folder("run"));
    std::filesystem::rename(Folder("good"), Folder("run"));
  };
  damage("transitions.f32", 100);
  damage("state.hdf5", 1000);
  damage("state.hdf5", 0);
  {
    std::fstream file(Folder("run/transitions.f32"),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-100, std::ios::end);
    file << "other numbers";
  }
  EXPECT_THAT(resume, ThrowsWith("transitions.f32: expected checksum", "found"));
}

// Another processor or library can step otherwise in the last bits.
TEST_F(SacTrainerTest, ContinuesOnlyIfStepsRepeat) {
  options_.steps = 20;
  SacTrainer(envs::HalfCheetah(envs::Physics::kD4rl), options_, Folder("run"), false).Run();
  const envs::HalfCheetah other(envs::Physics::kD4rl);
  const_cast<mjModel*>(other.model())->opt.gravity[2] *= 1.001;
  EXPECT_THAT([&] { SacTrainer(other, options_, Folder("run"), true); },
              ThrowsWith("transitions.f32: step 0", "the observation that its action gives again"));
}

TEST_F(SacTrainerTest, IsResumedWithTheOptionsItBeganWith) {
  Train("run", 60);
  options_.seed = 1;
  EXPECT_THAT([&] { Train("run"); }, ThrowsWith("options/seed: expected 1, found 0"));
  options_.seed = 0;
  EXPECT_THAT(
      [&] { SacTrainer(envs::Hopper(envs::Physics::kGymnasiumV5), options_, Folder("run"), true); },
      ThrowsWith("options/physics: expected gymnasium-v5, found d4rl"));
  options_.steps = 50;
  EXPECT_THAT([&] { Train("run"); }, ThrowsWith("steps: expected a value from 0 to 50, found 60"));
}

TEST_F(SacTrainerTest, KeepsARunThatIsThereUnlessToldToResume) {
  Train("run", 10);
  EXPECT_THAT([&] { SacTrainer(hopper_, options_, Folder("run"), false); },
              ThrowsWith("expected a folder without a run"));
}

TEST_F(SacTrainerTest, KeepsOtherProcessesOutOfItsFolder) {
  const SacTrainer trainer(hopper_, options_, Folder("run"), false);
  const pid_t child = fork();
  if (child == 0) {
    try {
      SacTrainer(hopper_, options_, Folder("run"), true);
    } catch (const std::runtime_error& e) {
      const std::string parent = std::to_string(getppid());
      _exit(std::string(e.what()).find("in use by process " + parent) == std::string::npos ? 2 : 0);
    }
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(SacTrainerTest, SaysWhichFolderCannotBeWritten) {
  EXPECT_THAT([&] { SacTrainer(hopper_, options_, "/proc/cosdt", false); },
              ThrowsWith("/proc/cosdt: cannot be made"));
}

TEST_F(SacTrainerTest, NamesTheOptionThatIsWrong) {
  options_.steps = 0;
  EXPECT_THAT([&] { SacTrainer(hopper_, options_, Folder("run"), false); },
              Throws<std::invalid_argument>(Property(
                  &std::exception::what, HasSubstr("steps: expected at least 1, found 0"))));
}

}  // namespace
}  // namespace cosdt::agents
