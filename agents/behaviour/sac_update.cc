#include "agents/behaviour/sac_update.h"

#include <algorithm>
#include <cmath>

#include "agents/kernels/mlp_kernels.h"

namespace cosdt::agents {
namespace {

using kernels::Floats;
using kernels::kMaxLogStd;
using kernels::kMinLogStd;

// Copies x [rows, n] to rows that are `stride` elements apart.
void CopyRows(const torch::Tensor& x, float* to, int64_t stride) {
  const torch::Tensor rows = x.stride(1) == 1 ? x : x.contiguous();
  const auto* const from = rows.const_data_ptr<float>();
  for (int64_t i = 0; i < x.size(0); ++i) {
    std::copy_n(from + i * rows.stride(0), x.size(1), to + i * stride);
  }
}

}  // namespace

void SampledActions::Sample(kernels::Rows outputs, const float* noise, int64_t rows, int64_t size) {
  size_ = size;
  const int64_t count = kernels::Padded(rows * size);
  for (Floats* values : {&mean_, &log_std_, &noise_, &std_, &action_, &log_prob_}) {
    values->Require(count);
  }
  for (int64_t row = 0; row < rows; ++row) {
    const float* const from = outputs.data + row * outputs.stride;
    std::copy_n(from, size, mean_.data() + row * size);
    std::copy_n(from + size, size, log_std_.data() + row * size);
  }
  std::copy_n(noise, rows * size, noise_.data());
  kernels::SampleTanhGaussian(count, {mean_.data(), log_std_.data(), noise_.data(), std_.data(),
                                      action_.data(), log_prob_.data()});
}

float SampledActions::LogProb(int64_t row) const {
  float sum = 0;
  for (int64_t i = 0; i < size_; ++i) sum += log_prob_.data()[row * size_ + i];
  return sum;
}

SacUpdate::SacUpdate(int64_t observation_size, int64_t action_size, double gamma)
    : observation_size_(observation_size),
      action_size_(action_size),
      gamma_(static_cast<float>(gamma)) {}

double SacUpdate::Flops(int64_t observation_size, int64_t action_size, int64_t hidden,
                        int64_t rows) {
  const auto o = static_cast<double>(observation_size), a = static_cast<double>(action_size),
             h = static_cast<double>(hidden);
  // multiply-adds per row and hidden unit: forward, and backward to parameters and hidden layers
  const double policy = 2 * (o + h + 2 * a) + (o + h + 2 * a) + (h + 2 * a);
  const double targets = 2 * (o + a + h + 1);
  const double critics = 4 * (o + a + h + 1) + 2 * ((o + a + h + 1) + (h + 1));
  const double policy_values = 1 + h + a;  // backward through the smaller critic
  return 2 * static_cast<double>(rows) * h * (policy + targets + critics + policy_values);
}

kernels::Rows SacUpdate::Pairs(Floats& pairs, int64_t row) {
  const int64_t width = observation_size_ + action_size_;
  return {pairs.data() + row * width, width};
}

void SacUpdate::Load(const SacBatch& batch) {
  rows_ = batch.observations.size(0);
  const int64_t pair = observation_size_ + action_size_;
  policy_inputs_.Require(2 * rows_ * observation_size_);
  policy_outputs_.Require(2 * rows_ * 2 * action_size_);
  policy_gradients_.Require(rows_ * 2 * action_size_);
  action_gradients_.Require(rows_ * action_size_);
  for (Floats* pairs : {&batch_pairs_, &policy_pairs_, &next_pairs_}) pairs->Require(rows_ * pair);
  for (Floats* row : {&rewards_, &discounts_, &returns_, &values_}) row->Require(rows_);
  passes_.Begin(rows_);

  CopyRows(batch.observations, policy_inputs_.data(), observation_size_);
  CopyRows(batch.next_observations, policy_inputs_.data() + rows_ * observation_size_,
           observation_size_);
  CopyRows(batch.observations, batch_pairs_.data(), pair);
  CopyRows(batch.actions, batch_pairs_.data() + observation_size_, pair);
  CopyRows(batch.observations, policy_pairs_.data(), pair);
  CopyRows(batch.next_observations, next_pairs_.data(), pair);
  CopyRows(batch.rewards.unsqueeze(1), rewards_.data(), 1);
  CopyRows(batch.terminals.unsqueeze(1), discounts_.data(), 1);
  for (int64_t i = 0; i < rows_; ++i) {
    discounts_.data()[i] = gamma_ * (1 - discounts_.data()[i]);
  }
}

// The policy's actions for the observations and the next ones, beside them in the critics' inputs.
void SacUpdate::Act(const MlpStack& policy, const torch::Tensor& noise) {
  const int64_t outputs = 2 * action_size_;
  const MlpStack::Hidden kept = policy.HiddenIn(policy_memory_, rows_);
  const auto forward = [&](int64_t row, int64_t count, const MlpStack::Hidden& hidden) {
    policy.Forward(0, {policy_inputs_.data() + row * observation_size_, observation_size_}, count,
                   hidden, {policy_outputs_.data() + row * outputs, outputs});
  };
  passes_.ForBlocks([&](int64_t begin, int64_t count, MlpPasses::Lane& lane) {
    forward(begin, count, kept.From(begin));
    forward(rows_ + begin, count, policy.HiddenIn(lane.hidden[0], count));
  });
  const torch::Tensor dense = noise.contiguous();
  sampled_.Sample({policy_outputs_.data(), outputs}, dense.const_data_ptr<float>(), 2 * rows_,
                  action_size_);
  for (int64_t i = 0; i < rows_; ++i) {
    std::copy_n(sampled_.action(i), action_size_, Pairs(policy_pairs_, i).data + observation_size_);
    std::copy_n(sampled_.action(rows_ + i), action_size_,
                Pairs(next_pairs_, i).data + observation_size_);
  }
}

void SacUpdate::ComputeReturns(const MlpStack& targets, float alpha) {
  passes_.SmallestOutputs(targets, Pairs(next_pairs_), values_.data());
  for (int64_t i = 0; i < rows_; ++i) {
    const float value = values_.data()[i] - alpha * sampled_.LogProb(rows_ + i);
    returns_.data()[i] = rewards_.data()[i] + discounts_.data()[i] * value;
  }
}

void SacUpdate::UpdateCritics(MlpStack& critics) {
  squared_errors_ = {};
  passes_.Fit(critics, Pairs(batch_pairs_),
              [&](int64_t member, int64_t begin, int64_t count, kernels::Rows errors) {
                float& squares = squared_errors_[static_cast<size_t>(member)];
                for (int64_t i = 0; i < count; ++i) {
                  const float error = errors.data[i] - returns_.data()[begin + i];
                  squares += error * error;
                  errors.data[i] = error * (2 / static_cast<float>(rows_));
                }
              });
}

void SacUpdate::UpdatePolicy(MlpStack& policy, float alpha) {
  const float share = alpha / static_cast<float>(rows_);
  for (int64_t row = 0; row < rows_; ++row) {
    float* const of_mean = policy_gradients_.data() + row * 2 * action_size_;
    for (int64_t i = 0; i < action_size_; ++i) {
      // d log pi / du = 2 tanh(u); d log pi / d log std = -1 besides its way through u
      const float action = sampled_.action(row)[i], log_std = sampled_.log_std(row)[i];
      const float u = action_gradients_.data()[row * action_size_ + i] * (1 - action * action) +
                      2 * share * action;
      of_mean[i] = u;
      of_mean[action_size_ + i] = log_std >= kMinLogStd && log_std <= kMaxLogStd
                                      ? u * sampled_.std(row)[i] * sampled_.noise(row)[i] - share
                                      : 0;
    }
  }
  policy.ZeroGradients(0);
  policy.AddGradients(0, {policy_inputs_.data(), observation_size_}, rows_,
                      policy.HiddenIn(policy_memory_, rows_),
                      {policy_gradients_.data(), 2 * action_size_});
}

SacLosses SacUpdate::ComputeGradients(const SacBatch& batch, const torch::Tensor& noise,
                                      float alpha, const SacNetworks& networks) {
  Load(batch);
  networks.policy.PrepareBackward();
  networks.critics.PrepareBackward();
  Act(networks.policy, noise);
  ComputeReturns(networks.targets, alpha);
  // those of the policy's actions, through the smaller critic
  passes_.InputGradients(networks.critics, MlpPasses::Through::kSmaller, Pairs(policy_pairs_),
                         -1 / static_cast<float>(rows_), observation_size_, action_size_,
                         values_.data(), {action_gradients_.data(), action_size_});
  UpdateCritics(networks.critics);
  UpdatePolicy(networks.policy, alpha);

  double log_prob = 0, value = 0;
  for (int64_t i = 0; i < rows_; ++i) {
    log_prob += sampled_.LogProb(i);
    value += values_.data()[i];
  }
  const auto mean = [&](double sum) {
    return static_cast<float>(sum / static_cast<double>(rows_));
  };
  SacLosses losses;
  losses.critic = mean(double{squared_errors_[0]} + squared_errors_[1]);
  losses.policy = alpha * mean(log_prob) - mean(value);
  losses.entropy = -mean(log_prob);
  losses.temperature = std::log(alpha) * (static_cast<float>(action_size_) + losses.entropy);
  losses.alpha = alpha;
  return losses;
}

}  // namespace cosdt::agents
