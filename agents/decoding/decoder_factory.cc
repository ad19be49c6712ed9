#include "agents/decoding/decoder_factory.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>

#include "agents/decoding/cpu_decoders.h"
#include "agents/decoding/torch_decoder.h"
#include "agents/kernels/gemm.h"

namespace cosdt::agents {
namespace {

// The modes that carry something from step to step.
void CheckMode(const Agent& agent, DecodeMode mode, int horizon) {
  if (mode == DecodeMode::kWindow || agent.options().context() == 1) return;
  const DecisionTransformer model = agent.transformer();
  if (!model) {
    throw std::invalid_argument("decode: expected window for " + agent.options().name() +
                                ", found " + DecodeModeName(mode));
  }
  const attention::AttentionOptions& attention = model->options().attention;
  const std::vector<std::string> kinds = model->options().attention_kinds();
  const int64_t tokens = model->options().tokens * horizon, reach = attention.reweight_length;
  // with decay, what lies beyond M has almost no weight
  if (mode == DecodeMode::kRecurrent && std::ranges::count(kinds, "cosformer") > 0 &&
      attention.reweight && attention.half_life == 0 && reach <= tokens) {
    throw std::invalid_argument(
        "decode: recurrent needs an agent trained with a reweight_length above " +
        std::to_string(tokens) + ", the tokens of an episode, found " + std::to_string(reach) +
        "; staggered works with this one");
  }
  if (mode == DecodeMode::kStaggered && model->options().context % 2 != 0) {
    throw std::invalid_argument("decode: staggered needs an even context, found " +
                                std::to_string(model->options().context));
  }
}

bool HasKernels(const Agent& agent) {
  const DecisionTransformer model = agent.transformer();
  return model && agent.device().is_cpu() && decoding::CpuModel::Supports(model->options());
}

}  // namespace

void CheckComputeType(const Agent& agent, torch::ScalarType type) {
  if (type == torch::kFloat32 || (type == torch::kBFloat16 && HasKernels(agent))) return;
  if (type != torch::kBFloat16) {
    throw std::invalid_argument(std::string("precision: expected Float or BFloat16, found ") +
                                c10::toString(type));
  }
  if (!agent.device().is_cpu()) {
    throw std::invalid_argument("precision: bf16 acts on the CPU only, found device " +
                                agent.device().str());
  }
  const attention::AttentionOptions* const attention = agent.options().attention();
  throw std::invalid_argument(
      "precision: bf16 needs an agent with cosformer, linear or softmax attention, found " +
      (attention ? attention->kind : agent.options().name()));
}

struct DecoderFactory::Parts {
  std::shared_ptr<Agent> agent;
  DecodeMode mode;
  std::optional<decoding::CpuModel> model;
};

DecoderFactory::DecoderFactory(std::shared_ptr<Agent> agent, DecodeMode mode, int horizon,
                               torch::ScalarType compute_type) {
  CheckMode(*agent, mode, horizon);
  CheckComputeType(*agent, compute_type);
  if (compute_type == torch::kBFloat16 && !kernels::ProcessorHasBFloat16()) {
    throw std::invalid_argument("precision: bf16: expected a processor with AVX-512 BF16");
  }
  const bool has_kernels = HasKernels(*agent);
  const DecisionTransformer model = agent->transformer();
  auto parts = std::make_unique<Parts>(Parts{std::move(agent), mode, {}});
  if (has_kernels) parts->model.emplace(model, compute_type);
  parts_ = std::move(parts);
}

DecoderFactory::~DecoderFactory() = default;

std::unique_ptr<Decoder> DecoderFactory::Make(int rows, envs::ThreadPool& pool) const {
  if (!parts_->model) return std::make_unique<TorchDecoder>(parts_->agent, parts_->mode, rows);
  const int64_t context = parts_->agent->options().context();
  if (parts_->mode == DecodeMode::kWindow) {
    return std::make_unique<decoding::WindowDecoder>(*parts_->model, context, rows, pool);
  }
  return std::make_unique<decoding::StreamDecoder>(
      *parts_->model, decoding::MakeSchedule(parts_->mode, context), rows, pool);
}

int DecoderFactory::RowsAtOnce(int threads) const {
  constexpr int kMax = TorchDecoder::kMaxRows;  // bounds memory
  return parts_->model ? std::min(kMax, 12 * threads) : kMax;
}

}  // namespace cosdt::agents
