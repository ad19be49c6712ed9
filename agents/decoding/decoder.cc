#include "agents/decoding/decoder.h"

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "agents/decoding/cpu_decoders.h"
#include "agents/decoding/torch_decoder.h"

namespace cosdt::agents {

std::string DecodeModeName(DecodeMode mode) {
  switch (mode) {
    case DecodeMode::kWindow:
      return "window";
    case DecodeMode::kRecurrent:
      return "recurrent";
    case DecodeMode::kStaggered:
      break;
  }
  return "staggered";
}

DecodeMode ParseDecodeMode(const std::string& name) {
  for (const DecodeMode mode : kAllDecodeModes) {
    if (DecodeModeName(mode) == name) return mode;
  }
  throw std::invalid_argument("decode: expected window, recurrent or staggered, found " + name);
}

struct DecoderFactory::Parts {
  Agent agent;
  DecodeMode mode;
  std::optional<decoding::CpuModel> model;
};

DecoderFactory::DecoderFactory(const Agent& agent, DecodeMode mode, int horizon,
                               torch::ScalarType compute_type) {
  const DecisionTransformerOptions& options = agent.options().dt;
  if (agent.dt() && mode == DecodeMode::kRecurrent && options.attention.kind == "cosformer" &&
      options.attention.reweight) {
    const int64_t reach = options.ResolvedAttention().reweight_length;
    const int64_t tokens = kTokensPerStep * horizon;
    if (reach <= tokens) {
      throw std::invalid_argument(
          "decode: recurrent needs an agent trained with a reweight_length above " +
          std::to_string(tokens) + ", the tokens of an episode, found " + std::to_string(reach) +
          "; staggered works with this one");
    }
  }
  if (agent.dt() && mode == DecodeMode::kStaggered && options.context % 2 != 0) {
    throw std::invalid_argument("decode: staggered needs an even context, found " +
                                std::to_string(options.context));
  }
  if (compute_type != torch::kFloat32 && compute_type != torch::kBFloat16) {
    throw std::invalid_argument(std::string("precision: expected Float or BFloat16, found ") +
                                c10::toString(compute_type));
  }
  auto parts = std::make_unique<Parts>(Parts{agent, mode, {}});
  if (agent.dt() && agent.device().is_cpu() && decoding::CpuModel::Supports(options)) {
    parts->model.emplace(agent.dt(), compute_type);
  } else if (compute_type != torch::kFloat32 && !agent.device().is_cpu()) {
    throw std::invalid_argument("precision: bf16 acts on the CPU only, found device " +
                                agent.device().str());
  } else if (compute_type != torch::kFloat32) {
    throw std::invalid_argument(
        "precision: bf16 needs an agent with cosformer, linear or softmax attention, found " +
        (agent.dt() ? options.attention.kind : std::string("behaviour cloning")));
  }
  parts_ = std::move(parts);
}

DecoderFactory::~DecoderFactory() = default;

std::unique_ptr<Decoder> DecoderFactory::Make(int rows, envs::ThreadPool& pool) const {
  if (!parts_->model) return std::make_unique<TorchDecoder>(parts_->agent, parts_->mode, rows);
  const int64_t context = parts_->agent.options().dt.context;
  if (parts_->mode == DecodeMode::kWindow) {
    return std::make_unique<decoding::WindowDecoder>(*parts_->model, context, rows, pool);
  }
  return std::make_unique<decoding::StreamDecoder>(
      *parts_->model, parts_->mode == DecodeMode::kStaggered ? context : 0, rows, pool);
}

int DecoderFactory::RowsAtOnce(int threads) const {
  constexpr int kMax = TorchDecoder::kMaxRows;  // bounds memory
  return parts_->model ? std::min(kMax, 12 * threads) : kMax;
}

}  // namespace cosdt::agents
