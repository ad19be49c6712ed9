// How many kernels an update is, and what memory it holds, counted without a device.
#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <set>
#include <string>

#include "agents/models/agent.h"
#include "agents/training/transformer_update.h"
#include "agents/training/update_inputs.h"
#include "agents/training/update_ops.h"

namespace cosdt::agents {
namespace {

using torch::Tensor;

// LibTorch's meta device takes the branches that a GPU takes and computes nothing.
class KernelCounter {
 public:
  KernelCounter() {
    current_ = this;
    handle_ = at::addGlobalCallback(
        at::RecordFunctionCallback(Begin, End).scopes({at::RecordScope::FUNCTION}));
  }
  ~KernelCounter() {
    at::removeCallback(handle_);
    current_ = nullptr;
  }

  std::map<std::string, int> counts;
  int total() const {
    int sum = 0;
    for (const auto& [name, count] : counts) sum += count;
    return sum;
  }

 private:
  struct Counted : at::ObserverContext {};

  static std::unique_ptr<at::ObserverContext> Begin(const at::RecordFunction& function) {
    static const std::set<std::string> nothing = {
        "aten::view",   "aten::select",  "aten::narrow",     "aten::slice",      "aten::t",
        "aten::empty",  "aten::detach",  "aten::as_strided", "aten::transpose",  "aten::alias",
        "aten::expand", "aten::numpy_T", "aten::reshape",    "aten::empty_like", "aten::unsqueeze"};
    if (inside_ > 0 || nothing.contains(function.name())) return nullptr;
    ++inside_;
    ++current_->counts[function.name()];
    return std::make_unique<Counted>();
  }
  static void End(const at::RecordFunction&, at::ObserverContext* context) {
    if (context) --inside_;
  }

  inline static KernelCounter* current_ = nullptr;
  inline static thread_local int inside_ = 0;
  at::CallbackHandle handle_;
};

// The parameters of an agent on the meta device, which Module::to refuses.
struct MetaParameters : torch::nn::Module {
  explicit MetaParameters(DecisionTransformer& model) {
    const auto both = [&](auto& layer) {
      Move(layer->weight);
      Move(layer->bias);
    };
    Move(model->embed_timestep->weight);
    both(model->embed_return);
    both(model->embed_observation);
    both(model->embed_action);
    both(model->embed_norm);
    for (TransformerBlock& block : model->blocks) {
      both(block->norm_1);
      both(block->attention_in);
      both(block->attention_out);
      both(block->norm_2);
      both(block->mlp_in);
      both(block->mlp_out);
    }
    both(model->norm);
    both(model->head);
  }

  void Move(Tensor& parameter) {
    const Tensor meta = torch::empty(parameter.sizes(), torch::TensorOptions(torch::kMeta));
    parameter = register_parameter(std::to_string(parameters().size()), meta);
  }
};

std::map<std::string, int> CountKernels(const std::string& precision, int& total, int64_t& bytes,
                                        int64_t batch = 64, int64_t context = 20) {
  AgentOptions options;
  options.SetSizes(11, 3);
  options.dt.context = context;
  DecisionTransformer model(options.dt);
  MetaParameters parameters(model);
  AdamW optimizer(parameters, 1e-4);
  const auto meta = torch::TensorOptions(torch::kMeta);
  const Tensor inputs = torch::empty({101, update_inputs::Width(batch, model->dropout_layers())},
                                     meta.dtype(torch::kInt64)),
               results = torch::empty({100, 2}, meta),
               squares = torch::empty({update_ops::kSquares}, meta);
  TransformerUpdate update(
      model, optimizer,
      {torch::empty({1000}, meta), torch::empty({1000, 11}, meta), torch::empty({1000, 3}, meta)},
      batch, precision == "bf16" ? torch::kBFloat16 : torch::kFloat32, inputs, results);
  bytes = update.bytes();
  const KernelCounter counter;
  update.Run();
  update_ops::Squares(optimizer.gradients(), squares);
  update_ops::AdamWStep(optimizer.parameters(), optimizer.first(), optimizer.second(),
                        optimizer.gradients(), squares, 0.25, inputs, results,
                        update.bfloat16_copy());
  total = counter.total();
  return counter.counts;
}

TEST(KernelCountTest, AnUpdateIsAtMostEightyKernels) {
#ifndef NDEBUG
  GTEST_SKIP() << "LibTorch's observers have another layout with assertions";
#endif
  for (const std::string precision : {"fp32", "bf16"}) {
    int total = 0;
    int64_t bytes = 0;
    const auto counts = CountKernels(precision, total, bytes);
    for (const auto& [name, count] : counts) std::printf("  %-40s %d\n", name.c_str(), count);
    std::printf("%s: %d kernels an update, %.1f MB\n", precision.c_str(), total,
                static_cast<double>(bytes) / 1e6);
    EXPECT_LE(total, 80) << precision;
    EXPECT_GE(total, 60) << "are all operations seen?";
  }
}

TEST(KernelCountTest, ThousandStepsFitInThreeGigabytes) {
  int total = 0;
  int64_t bytes = 0;
  CountKernels("fp32", total, bytes, 64, 1000);
  std::printf("K 1000, batch 64: %.2f GB\n", static_cast<double>(bytes) / 1e9);
  EXPECT_LT(static_cast<double>(bytes), 2.75e9);  // besides: the libraries' workspaces
}

}  // namespace
}  // namespace cosdt::agents
