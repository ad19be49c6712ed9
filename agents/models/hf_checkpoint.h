// Decision Transformers of Hugging Face Transformers (DecisionTransformerModel 4.57.1) in and out:
// folders with config.json and model.safetensors.
#pragma once

#include <string>

#include "agents/models/decision_transformer.h"

namespace cosdt::agents {

// A model with softmax attention that computes what transformers computes with these weights.
//   - transformers adds the position embedding's first row, wpe[0], to every token behind the
//     embedding's LayerNorm: it goes into that LayerNorm's bias.
//   - max_timestep is max_ep_len, the timestep table's rows (4096 by default).
//   - The heads that predict observations and returns are left out.
//   - Weights in float16 and bfloat16 become the same values in float32.
// Its config does not know a context: `context`, in steps, is the caller's. Throws FileError
// (datasets/file_error.h) if a file is missing, damaged or does something that this model does
// not; for a folder with pytorch_model.bin or shards the error says how to write the one file.
DecisionTransformer ImportHfCheckpoint(const std::string& folder, int64_t context = 20);

// Writes config.json and model.safetensors (float32) into a folder, which is made if it is
// missing. Unused weights (positions, heads that predict observations and returns) are zeros.
// Throws std::invalid_argument if the attention is not softmax or a step is not three tokens,
// std::runtime_error if a file cannot be written.
void ExportHfCheckpoint(const DecisionTransformer& model, const std::string& folder);

}  // namespace cosdt::agents
