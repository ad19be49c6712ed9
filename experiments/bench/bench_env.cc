// cosdt bench env: environment steps per second against a bare loop of mj_step, against one thread,
// and against envpool or gymnasium.
#include <mujoco/mujoco.h>

#include <array>
#include <memory>
#include <numeric>

#include "envs/mujoco_env.h"
#include "envs/registry.h"
#include "envs/vector_env.h"
#include "experiments/bench/bench.h"
#include "experiments/bench/python_baseline.h"
#include "experiments/embedded.h"
#include "experiments/program/timing.h"

namespace cosdt::experiments {
namespace {

constexpr int kBodies = 64;          // stepped in lock step, as many as in envpool
constexpr double kEnvSeconds = 1.0;  // of one measurement
constexpr int kRecordedSteps = 20000;

struct BenchEnvCommand {
  std::vector<std::string> envs = envs::BodyNames();
  BenchOptions options = {.threads = 2};
};

// Episodes of a random policy, so that two loops visit the same states.
struct Recording {
  struct Episode {
    std::vector<double> qpos, qvel;
    int length = 0;
  };
  std::vector<Episode> episodes;
  std::vector<std::vector<double>> actions;  // of each step
};

Recording Record(envs::MujocoEnv& env) {
  Recording recording;
  envs::Rng rng = envs::MakeRng(0, 0);
  std::uniform_real_distribution<double> uniform(-1, 1);
  while (static_cast<int>(recording.actions.size()) < kRecordedSteps) {
    env.Reset(rng());
    Recording::Episode& episode = recording.episodes.emplace_back();
    episode.qpos.assign(env.qpos().begin(), env.qpos().end());
    episode.qvel.assign(env.qvel().begin(), env.qvel().end());
    for (envs::StepResult step; !step.terminated && !step.truncated; ++episode.length) {
      std::vector<double>& action = recording.actions.emplace_back(env.spec().action_size);
      for (double& a : action) a = uniform(rng);
      step = env.Step(action);
    }
  }
  return recording;
}

// One pass over the recording through the environment.
long StepEnv(envs::MujocoEnv& env, const Recording& recording) {
  std::vector<double> observation(env.spec().observation_size);
  size_t step = 0;
  for (const Recording::Episode& episode : recording.episodes) {
    env.SetState(episode.qpos, episode.qvel);
    for (int t = 0; t < episode.length; ++t) {
      env.Step(recording.actions[step++]);
      env.Observe(observation);
    }
  }
  return static_cast<long>(step);
}

// The same pass with only MuJoCo's own calls.
long StepBare(const mjModel* model, mjData* data, int frame_skip, const Recording& recording) {
  size_t step = 0;
  for (const Recording::Episode& episode : recording.episodes) {
    mj_resetData(model, data);
    mju_copy(data->qpos, episode.qpos.data(), static_cast<int>(model->nq));
    mju_copy(data->qvel, episode.qvel.data(), static_cast<int>(model->nv));
    mj_forward(model, data);
    for (int t = 0; t < episode.length; ++t) {
      mju_copy(data->ctrl, recording.actions[step++].data(), static_cast<int>(model->nu));
      for (int i = 0; i < frame_skip; ++i) mj_step(model, data);
    }
  }
  return static_cast<long>(step);
}

BenchRow AgainstBareLoop(const std::string& name, int repeats) {
  const std::unique_ptr<envs::Env> owner = envs::MakeEnv(name);
  auto& env = dynamic_cast<envs::MujocoEnv&>(*owner);
  const Recording recording = Record(env);
  const std::unique_ptr<mjData, void (*)(mjData*)> data(mj_makeData(env.model()), mj_deleteData);
  const int frame_skip =
      static_cast<int>(env.spec().step_seconds / env.model()->opt.timestep + 0.5);
  return CompareRates(
      name + ", 1 body", "environment steps", "bare mj_step, same states",
      [&] { return Rate(kEnvSeconds, [&] { return StepEnv(env, recording); }); },
      [&] {
        return Rate(kEnvSeconds,
                    [&] { return StepBare(env.model(), data.get(), frame_skip, recording); });
      },
      repeats);
}

// A vector of bodies under random actions; a body whose episode ends starts the next one.
class RandomVector {
 public:
  RandomVector(const envs::Env& prototype, int threads)
      : pool_(threads), env_(prototype, kBodies, pool_), rows_(kBodies), rng_(envs::MakeRng(0, 1)) {
    std::iota(rows_.begin(), rows_.end(), 0);
    for (const int row : rows_) env_.Reset(row, rng_());
    // drawn once: random numbers are not measured
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (std::vector<float>& actions : actions_) {
      actions.resize(kBodies * prototype.spec().action_size);
      for (float& a : actions) a = uniform(rng_);
    }
  }

  double StepsPerSecond() {
    return Rate(kEnvSeconds, [this] {
      env_.Step(rows_, actions_[next_++ % actions_.size()]);
      for (const int row : rows_) {
        if (env_.result(row).terminated || env_.result(row).truncated) env_.Reset(row, rng_());
      }
      return static_cast<long>(kBodies);
    });
  }

 private:
  envs::ThreadPool pool_;
  envs::VectorEnv env_;
  std::vector<int> rows_;
  envs::Rng rng_;
  std::array<std::vector<float>, 37> actions_;
  size_t next_ = 0;
};

double StepsPerSecond(const PythonBaseline& baseline, const std::string& env, int threads) {
  return std::stod(baseline.Ask(env + " " + std::to_string(threads) + " " +
                                std::to_string(kBodies) + " " + std::to_string(kEnvSeconds)));
}

void Run(const BenchEnvCommand& command) {
  std::vector<BenchRow> rows;
  std::unique_ptr<PythonBaseline> baseline;
  if (!command.options.python.empty()) {
    baseline = std::make_unique<PythonBaseline>(command.options.python, kBenchEnvPy,
                                                "envpool or gymnasium");
  } else {
    std::fprintf(stderr, "no comparison with envpool without --python\n");
  }
  for (const std::string& name : command.envs) {
    rows.push_back(AgainstBareLoop(name, command.options.repeats));
    RandomVector one(*envs::MakeEnv(name), 1);
    RandomVector many(*envs::MakeEnv(name), command.options.threads);
    const std::string threads = ", " + std::to_string(command.options.threads) + " threads";
    rows.push_back(CompareRates(
        name + threads, "environment steps", "1 thread", [&] { return many.StepsPerSecond(); },
        [&] { return one.StepsPerSecond(); }, command.options.repeats));
    if (!baseline) continue;
    // the body that the baseline has: gymnasium's
    RandomVector same(*envs::MakeEnv(name, envs::Physics::kGymnasiumV4), command.options.threads);
    rows.push_back(CompareRates(
        name + threads, "environment steps",
        baseline->library() + ", " + std::to_string(command.options.threads) + " threads",
        [&] { return same.StepsPerSecond(); },
        [&] { return StepsPerSecond(*baseline, name, command.options.threads); },
        command.options.repeats));
  }
  PrintRows(rows, command.options.json);
}

}  // namespace

void AddBenchEnv(CLI::App& bench) {
  auto command = std::make_shared<BenchEnvCommand>();
  CLI::App* app = bench.add_subcommand("env", "measure environment steps per second");
  app->add_option("--env", command->envs, "environments")->check(CLI::IsMember(envs::BodyNames()));
  AddBenchOptions(*app, command->options, "threads to compare with one thread",
                  "Python interpreter with envpool (or gymnasium) to compare with");
  app->callback([command] { Run(*command); });
}

}  // namespace cosdt::experiments
