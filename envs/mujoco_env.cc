#include "envs/mujoco_env.h"

#include <mujoco/mujoco.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace cosdt::envs {
namespace {

// MuJoCo resets a simulation that reached a bad state and continues as if nothing had happened;
// only these counters tell.
bool SawBadState(const mjData* data) {
  return data->warning[mjWARN_BADQPOS].number || data->warning[mjWARN_BADQVEL].number ||
         data->warning[mjWARN_BADQACC].number;
}

// Whether MuJoCo takes it for a bad state at the start of its next step: NaN, infinity, beyond
// 1e10.
bool AnyBad(std::span<const double> state) {
  return std::ranges::any_of(state, [](double x) { return mju_isBad(x); });
}

// A stream of an episode's own.
class StreamNoise : public InitialNoise {
 public:
  explicit StreamNoise(uint64_t seed) : rng_(MakeRng(seed, 0)) {}
  double Uniform(double low, double high) override {
    return std::uniform_real_distribution<double>(low, high)(rng_);
  }
  double Normal() override { return normal_(rng_); }

 private:
  Rng rng_;
  std::normal_distribution<double> normal_;
};

bool AllFinite(std::span<const double> state) {
  return std::ranges::all_of(state, [](double x) { return std::isfinite(x); });
}

}  // namespace

MujocoEnv::MujocoEnv(EnvSpec spec, Physics physics, ModelPtr model, int frame_skip)
    : spec_(std::move(spec)),
      physics_(physics),
      model_(std::move(model)),
      data_(mj_makeData(model_.get()), mj_deleteData),
      frame_skip_(frame_skip),
      qpos_before_(nq()),
      qvel_before_(nv()) {
  if (!data_) throw std::runtime_error("MuJoCo cannot allocate a simulation of " + spec_.name);
  spec_.step_seconds = frame_skip_ * model_->opt.timestep;
  mj_forward(model_.get(), data_.get());
}

MujocoEnv::MujocoEnv(const MujocoEnv& other)
    : spec_(other.spec_),
      physics_(other.physics_),
      model_(other.model_),
      data_(mj_copyData(nullptr, other.model(), other.data()), mj_deleteData),
      frame_skip_(other.frame_skip_),
      steps_(other.steps_),
      diverged_(other.diverged_),
      qpos_before_(other.qpos_before_),
      qvel_before_(other.qvel_before_) {
  if (!data_) throw std::runtime_error("MuJoCo cannot allocate a simulation of " + spec_.name);
}

int MujocoEnv::nq() const { return static_cast<int>(model_->nq); }
int MujocoEnv::nv() const { return static_cast<int>(model_->nv); }

std::span<const double> MujocoEnv::qpos() const {
  return {data_->qpos, static_cast<size_t>(model_->nq)};
}

std::span<const double> MujocoEnv::qvel() const {
  return {data_->qvel, static_cast<size_t>(model_->nv)};
}

void MujocoEnv::CheckStateSizes(size_t qpos, size_t qvel) const {
  if (qpos == this->qpos().size() && qvel == this->qvel().size()) return;
  throw std::invalid_argument(spec_.name + ": state: expected " + std::to_string(nq()) + " and " +
                              std::to_string(nv()) + " values, found " + std::to_string(qpos) +
                              " and " + std::to_string(qvel));
}

void MujocoEnv::Observe(std::span<double> observation) const {
  CheckObservationSize(spec_, observation);
  WriteObservation(observation);
}

void MujocoEnv::SetState(std::span<const double> qpos, std::span<const double> qvel) {
  CheckStateSizes(qpos.size(), qvel.size());
  if (!AllFinite(qpos) || !AllFinite(qvel)) {
    throw std::invalid_argument(spec_.name + ": state: expected finite values, found others");
  }
  // the given state may be this simulation's own, which the reset overwrites
  std::copy(qpos.begin(), qpos.end(), qpos_before_.begin());
  std::copy(qvel.begin(), qvel.end(), qvel_before_.begin());
  mj_resetData(model_.get(), data_.get());
  mju_copy(data_->qpos, qpos_before_.data(), nq());
  mju_copy(data_->qvel, qvel_before_.data(), nv());
  mj_forward(model_.get(), data_.get());
  steps_ = 0;
  diverged_ = false;
}

void MujocoEnv::GetState(std::span<double> qpos, std::span<double> qvel) const {
  CheckStateSizes(qpos.size(), qvel.size());
  std::ranges::copy(this->qpos(), qpos.begin());
  std::ranges::copy(this->qvel(), qvel.begin());
}

void MujocoEnv::Reset(uint64_t seed) {
  StreamNoise noise(seed);
  ResetFrom(noise, seed);
}

void MujocoEnv::ResetFrom(InitialNoise& noise, uint64_t) {
  std::vector<double> qpos(nq()), qvel(nv());
  SampleState(noise, qpos, qvel);
  SetState(qpos, qvel);
}

StepResult MujocoEnv::Step(std::span<const double> action) {
  CheckAction(spec_, action);
  if (diverged_) {
    throw std::logic_error(spec_.name + ": the simulation diverged: Reset starts the next episode");
  }
  double squared_action = 0;
  for (int i = 0; i < spec_.action_size; ++i) {
    double a = action[i];
    // D4RL's wrapper clips before the environment sees the action; gymnasium's control cost is that
    // of the action as given, and only MuJoCo's actuators clip
    if (physics_ == Physics::kD4rl) a = std::clamp(a, -1.0, 1.0);
    squared_action += a * a;
    data_->ctrl[i] = a;
  }
  GetState(qpos_before_, qvel_before_);
  for (int i = 0; i < frame_skip_ && !diverged_; ++i) {
    mj_step(model_.get(), data_.get());
    diverged_ = SawBadState(data_.get());
  }
  // MuJoCo looks at a state before a step, so the last one is still to be looked at
  diverged_ = diverged_ || AnyBad(qpos()) || AnyBad(qvel());
  ++steps_;

  StepResult result;
  result.truncated = steps_ >= spec_.horizon;
  if (diverged_) {
    mju_copy(data_->qpos, qpos_before_.data(), nq());
    mju_copy(data_->qvel, qvel_before_.data(), nv());
    // what is drawn is the state before, too
    mj_kinematics(model_.get(), data_.get());
    mj_comPos(model_.get(), data_.get());
    mj_camlight(model_.get(), data_.get());
    result.terminated = true;
    return result;
  }
  const double velocity = (data_->qpos[0] - qpos_before_[0]) / spec_.step_seconds;
  result.reward = Reward(velocity, squared_action);
  result.terminated = !IsHealthy();
  return result;
}

}  // namespace cosdt::envs
