#include "agents/device_update.h"

#include <ATen/record_function.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/library.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <set>

#include "agents/update_check.h"
#include "agents/update_inputs.h"
#include "agents/update_ops.h"
#include "agents/update_recorder.h"
#include "tests/agents/small_training.h"

namespace cosdt::agents {
namespace {

using testing::HasSubstr;
using torch::Tensor;

#define SKIP_WITHOUT_CUDA() \
  if (!torch::cuda::is_available()) GTEST_SKIP() << "needs a CUDA device, of which none is here"

AgentOptions SmallTransformer(const std::string& attention = "cosformer") {
  AgentOptions options = SmallAgent("dt");
  options.dt.heads = 2;
  options.dt.width = 32;
  options.dt.attention.kind = attention;
  return options;
}

std::unique_ptr<Trainer> Make(const AgentOptions& agent_options, const TrainerOptions& options,
                              UpdatePath path, const datasets::Episodes& episodes,
                              const torch::Device& device = torch::kCPU) {
  torch::manual_seed(11);
  Agent agent(agent_options);
  agent.module().to(device);
  datasets::Normalizer normalizer;
  normalizer.mean.assign(episodes.observation_size, 0.1f);
  normalizer.std.assign(episodes.observation_size, 1.1f);
  return std::make_unique<Trainer>(std::move(agent), episodes, normalizer, options, path);
}

double Distance(Trainer& a, Trainer& b) {
  const auto pa = a.agent().module().parameters(), pb = b.agent().module().parameters();
  double most = 0;
  for (size_t i = 0; i < pa.size(); ++i) {
    most = std::max(most, (pa[i].cpu() - pb[i].cpu()).abs().max().item<double>());
  }
  return most;
}

std::string StateOf(const Trainer& trainer) {
  const std::string path = testing::TempDir() + "device_update_" + std::to_string(getpid());
  trainer.Save(path);
  std::ifstream file(path, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(file), {});
  std::filesystem::remove(path);
  return bytes;
}

// The explicit update and autograd's on the same windows with the same dropout.
void ExpectTheSameTraining(const AgentOptions& agent, const TrainerOptions& options, int updates,
                           double tolerance) {
  const datasets::Episodes episodes = MakeEpisodes();
  const auto ours = Make(agent, options, UpdatePath::kExplicit, episodes);
  const auto theirs = Make(agent, options, UpdatePath::kAutograd, episodes);
  for (int i = 0; i < updates; ++i) {
    const UpdateResult a = ours->Update(), b = theirs->Update();
    EXPECT_EQ(a.update, b.update);
    EXPECT_EQ(a.learning_rate, b.learning_rate);
    ASSERT_NEAR(a.loss, b.loss, tolerance * b.loss) << "update " << a.update;
    ASSERT_NEAR(a.gradient_norm, b.gradient_norm, 10 * tolerance * b.gradient_norm)
        << "update " << a.update;
  }
  EXPECT_LT(Distance(*ours, *theirs), 2 * tolerance);
}

class AttentionKindTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Kinds, AttentionKindTest,
                         testing::Values("cosformer", "linear", "softmax", "performer", "local",
                                         "flow", "identity"),
                         [](const auto& test) { return test.param; });

TEST_P(AttentionKindTest, TrainsAsAutogradDoes) {
  for (const std::string activation : {"relu", "gelu"}) {
    AgentOptions agent = SmallTransformer(GetParam());
    agent.dt.activation = activation;
    SCOPED_TRACE(activation);
    ExpectTheSameTraining(agent, FastTraining(), 20, 2e-5);
  }
}

TEST_P(AttentionKindTest, TrainsAsAutogradDoesInBFloat16) {
  TrainerOptions options = FastTraining();
  options.precision = "bf16";
  options.learning_rate = 3e-4;
  ExpectTheSameTraining(SmallTransformer(GetParam()), options, 10, 5e-3);
}

TEST(DeviceUpdateTest, AnyShapeTrainsAsAutogradDoes) {
  struct Shape {
    int64_t layers, context, heads, width, max_timestep;
    double dropout;
  };
  for (const Shape& s : {Shape{1, 5, 1, 16, 30, 0.1}, Shape{3, 7, 4, 64, 8, 0.5},
                         Shape{1, 1, 1, 16, 30, 0}, Shape{3, 5, 2, 20, 12, 0}}) {
    AgentOptions agent = SmallTransformer();
    agent.dt.layers = s.layers;
    agent.dt.context = s.context;
    agent.dt.heads = s.heads;
    agent.dt.width = s.width;
    agent.dt.max_timestep = s.max_timestep;
    agent.dt.dropout = s.dropout;
    SCOPED_TRACE(std::to_string(s.layers) + " layers, width " + std::to_string(s.width));
    ExpectTheSameTraining(agent, FastTraining(), 15, 2e-5);
  }
}

TEST(DeviceUpdateTest, LargeBatchesComputeAgainWhatTheyDoNotKeep) {
  TrainerOptions options = FastTraining();
  options.batch_size = 1100;
  for (const std::string activation : {"relu", "gelu"}) {
    AgentOptions agent = SmallTransformer();
    agent.dt.context = 10;
    agent.dt.width = 16;
    agent.dt.activation = activation;
    ExpectTheSameTraining(agent, options, 3, 5e-5);
  }
}

TEST(DeviceUpdateTest, AHundredUpdatesHaveTheSameLosses) {
  const datasets::Episodes episodes = MakeEpisodes();
  for (const AgentOptions& agent : {SmallTransformer(), SmallAgent("bc")}) {
    const auto ours = Make(agent, FastTraining(), UpdatePath::kExplicit, episodes);
    const auto theirs = Make(agent, FastTraining(), UpdatePath::kAutograd, episodes);
    const auto a = ours->Update(120), b = theirs->Update(120);
    ASSERT_EQ(a.size(), 120u);
    ASSERT_EQ(b.size(), 120u);
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].update, b[i].update);
      EXPECT_NEAR(a[i].loss, b[i].loss, 2e-3 * b[i].loss) << i;
    }
  }
}

TEST(DeviceUpdateTest, ManyAtOnceAreTheSameBits) {
  const datasets::Episodes episodes = MakeEpisodes();
  for (const std::string precision : {"fp32", "bf16"}) {
    TrainerOptions options = FastTraining();
    options.precision = precision;
    const auto many = Make(SmallTransformer(), options, UpdatePath::kExplicit, episodes);
    const auto single = Make(SmallTransformer(), options, UpdatePath::kExplicit, episodes);
    const auto results = many->Update(9);
    for (const UpdateResult& result : results) {
      const UpdateResult other = single->Update();
      EXPECT_EQ(result.loss, other.loss);
      EXPECT_EQ(result.gradient_norm, other.gradient_norm);
    }
    EXPECT_TRUE(StateOf(*many) == StateOf(*single));
  }
}

TEST(DeviceUpdateTest, GoesOnBitForBit) {
  const datasets::Episodes episodes = MakeEpisodes();
  const std::string path = testing::TempDir() + "device_update_state_" + std::to_string(getpid());
  TrainerOptions options = FastTraining();
  options.precision = "bf16";
  const auto make = [&] {
    return Make(SmallTransformer(), options, UpdatePath::kExplicit, episodes);
  };
  const auto whole = make(), first = make(), second = make();
  whole->Update(12);
  first->Update(7);
  first->Save(path);
  second->Restore(path);
  std::filesystem::remove(path);
  second->Update(5);
  EXPECT_TRUE(StateOf(*whole) == StateOf(*second));
}

class PathTest : public testing::TestWithParam<UpdatePath> {};
INSTANTIATE_TEST_SUITE_P(Paths, PathTest,
                         testing::Values(UpdatePath::kAutograd, UpdatePath::kExplicit),
                         [](const auto& test) {
                           return test.param == UpdatePath::kExplicit ? "Explicit" : "Autograd";
                         });

TEST_P(PathTest, ANotFiniteUpdateLeavesTheStateBeforeIt) {
  datasets::Episodes episodes = MakeEpisodes();
  episodes.actions[2 * 37] = 1e30f;  // whose square is not finite
  for (const AgentOptions& agent : {SmallTransformer(), SmallAgent("bc")}) {
    TrainerOptions options = FastTraining();
    options.batch_size = 2;
    options.seed = 3;
    const auto trainer = Make(agent, options, GetParam(), episodes);
    size_t done = 0;
    try {
      trainer->Update(500);
      FAIL();
    } catch (const NotFiniteError& e) {
      done = e.done().size();
      EXPECT_THAT(e.what(), HasSubstr("training: update " + std::to_string(done + 1) +
                                      ": expected a finite loss, found"));
    }
    ASSERT_GT(done, 0u);
    EXPECT_EQ(trainer->updates(), static_cast<int64_t>(done));
    const std::string after = StateOf(*trainer);
    const auto other = Make(agent, options, GetParam(), episodes);
    other->Update(static_cast<int64_t>(done));
    EXPECT_TRUE(StateOf(*other) == after);
    EXPECT_THROW(trainer->Update(), NotFiniteError);
    EXPECT_TRUE(StateOf(*trainer) == after);
  }
}

TEST_P(PathTest, ANotFiniteGradientLeavesTheStateBeforeIt) {
  const datasets::Episodes episodes = MakeEpisodes();
  AgentOptions agent = SmallTransformer();
  agent.dt.activation = "gelu";
  const auto trainer = Make(agent, FastTraining(), GetParam(), episodes);
  trainer->Update(2);
  {
    // hidden numbers of 0 hide the weights behind them from the loss, not from the gradient
    const torch::NoGradGuard no_grad;
    TransformerBlock& block = trainer->agent().dt()->blocks.front();
    block->mlp_in->weight.zero_();
    block->mlp_in->bias.zero_();
    block->mlp_out->weight.fill_(1e30f);
  }
  const std::string before = StateOf(*trainer);
  try {
    trainer->Update(3);
    FAIL();
  } catch (const NotFiniteError& e) {
    EXPECT_THAT(e.what(), HasSubstr("training: update 3: expected a finite gradient, found inf"));
    EXPECT_TRUE(e.done().empty());
  }
  EXPECT_TRUE(StateOf(*trainer) == before);
}

int g_squares_left = 0;

// Nothing as often as it may, then an error.
void EndOfSquares(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  TORCH_CHECK(g_squares_left-- > 0, "no more");
  torch::jit::drop(*stack, op.schema().arguments().size());
}

TEST(DeviceUpdateTest, AnErrorLeavesTheStateOfTheUpdatesBeforeIt) {
  torch::Library library(torch::Library::IMPL, "cosdt", c10::DispatchKey::CPU, __FILE__, __LINE__);
  library.impl("squares", torch::CppFunction::makeFromBoxedFunction<EndOfSquares>());
  const datasets::Episodes episodes = MakeEpisodes();
  const auto make = [&] {
    return Make(SmallTransformer(), FastTraining(), UpdatePath::kExplicit, episodes);
  };
  const auto stopped = make(), whole = make();
  g_squares_left = 3;
  EXPECT_THROW(stopped->Update(5), c10::Error);
  EXPECT_EQ(stopped->updates(), 3);
  g_squares_left = 3;
  whole->Update(3);
  EXPECT_TRUE(StateOf(*stopped) == StateOf(*whole));
}

TEST(DeviceUpdateTest, StatesWithTheFormerOptionAreRead) {
  const datasets::Episodes episodes = MakeEpisodes();
  const std::string path = testing::TempDir() + "device_update_old_" + std::to_string(getpid());
  const auto trainer = Make(SmallTransformer(), FastTraining(), UpdatePath::kAutograd, episodes);
  trainer->Update(2);
  trainer->Save(path);
  Safetensors file = ReadSafetensors(path);
  std::string& options = file.metadata["trainer"];
  options = R"({"cuda_graph":true,)" + options.substr(1);
  WriteSafetensors(path, file);
  const auto other = Make(SmallTransformer(), FastTraining(), UpdatePath::kAutograd, episodes);
  other->Restore(path);
  std::filesystem::remove(path);
  EXPECT_EQ(other->updates(), 2);
}

TEST(DeviceUpdateTest, Tf32IsRefusedOnTheCpu) {
  const datasets::Episodes episodes = MakeEpisodes();
  TrainerOptions options = FastTraining();
  options.precision = "tf32";
  options.Validate();
  try {
    Make(SmallTransformer(), options, UpdatePath::kOfDevice, episodes);
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_THAT(e.what(), HasSubstr("precision: expected fp32 or bf16 on the CPU, found tf32"));
  }
}

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
    parameter = register_parameter("p" + std::to_string(parameters().size()), meta);
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
                        optimizer.gradients(), squares, 0.25, inputs, results, update.half());
  total = counter.total();
  return counter.counts;
}

TEST(DeviceUpdateTest, AnUpdateIsAtMostEightyKernels) {
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

TEST(DeviceUpdateTest, ThousandStepsFitInThreeGigabytes) {
  int total = 0;
  int64_t bytes = 0;
  CountKernels("fp32", total, bytes, 64, 1000);
  std::printf("K 1000, batch 64: %.2f GB\n", static_cast<double>(bytes) / 1e9);
  EXPECT_LT(static_cast<double>(bytes), 2.75e9);  // beside it: the libraries' workspaces
}

TEST(UpdateCheckTest, TheCpuAgreesWithItself) { EXPECT_EQ(CheckUpdateOps(torch::kCPU), ""); }

// A schema's arguments taken, and nothing done.
void DoNothing(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  torch::jit::drop(*stack, op.schema().arguments().size());
}

TEST(UpdateCheckTest, NamesTheOperationThatIsWrong) {
  const auto expected = RunUpdateOps(torch::kCPU);
  for (const auto& [op, name] : {std::pair{"embed_forward", "embedding"},
                                 {"embed_backward", "embedding, backward"},
                                 {"embed_gradients", "embedding, gradients"},
                                 {"add_norm_forward", "LayerNorm"},
                                 {"normalize", "LayerNorm again"},
                                 {"add_norm_backward", "LayerNorm, backward"},
                                 {"drop_rows", "dropout"},
                                 {"column_sums", "column sums"},
                                 {"weight_gradient", "weight gradient"},
                                 {"head_loss", "head"},
                                 {"sum_parts", "AdamW"},
                                 {"squares", "AdamW"},
                                 {"adamw_step", "AdamW"}}) {
    torch::Library library(torch::Library::IMPL, "cosdt", c10::DispatchKey::CPU, __FILE__,
                           __LINE__);
    library.impl(op, torch::CppFunction::makeFromBoxedFunction<DoNothing>());
    EXPECT_THAT(CompareUpdateOps(RunUpdateOps(torch::kCPU), expected),
                testing::StartsWith(std::string(name) + ", fp32, width 20, result "))
        << op;
  }
}

TEST(UpdateCheckTest, KernelsAgreeWithTheCpu_CUDA) {
  SKIP_WITHOUT_CUDA();
  at::globalContext().setFloat32MatmulPrecision("highest");
  EXPECT_EQ(CheckUpdateOps({torch::kCUDA, 0}), "");
}

TEST(DeviceUpdateTest, ADeviceTrainsAsTheCpuDoes_CUDA) {
  SKIP_WITHOUT_CUDA();
  const datasets::Episodes episodes = MakeEpisodes();
  for (const std::string kind : {"cosformer", "softmax", "bc"}) {
    for (const std::string precision : {"fp32", "bf16"}) {
      TrainerOptions options = FastTraining();
      options.precision = precision;
      options.learning_rate = 3e-4;
      const AgentOptions agent = kind == "bc" ? SmallAgent("bc") : SmallTransformer(kind);
      const auto gpu =
          Make(agent, options, UpdatePath::kOfDevice, episodes, torch::Device(torch::kCUDA, 0));
      EXPECT_EQ(gpu->update_path(), "kernels");
      const auto cpu = Make(agent, options, UpdatePath::kExplicit, episodes);
      const double tolerance = precision == "bf16" ? 2e-2 : 1e-4;
      const auto a = gpu->Update(30), b = cpu->Update(30);
      for (size_t i = 0; i < a.size(); ++i) {
        EXPECT_NEAR(a[i].loss, b[i].loss, tolerance * b[i].loss) << kind << precision << i;
        EXPECT_NEAR(a[i].gradient_norm, b[i].gradient_norm, 10 * tolerance * b[i].gradient_norm)
            << kind << precision << i;
      }
    }
  }
}

TEST(DeviceUpdateTest, TheCompositionTrainsAsTheKernelsDo_CUDA) {
  SKIP_WITHOUT_CUDA();
  const datasets::Episodes episodes = MakeEpisodes();
  const torch::Device device(torch::kCUDA, 0);
  const auto a = Make(SmallTransformer(), FastTraining(), UpdatePath::kOfDevice, episodes, device);
  const auto b = Make(SmallTransformer(), FastTraining(), UpdatePath::kAutograd, episodes, device);
  EXPECT_EQ(b->update_path(), "composition");
  for (int i = 0; i < 10; ++i) {
    const double loss = b->Update().loss;
    EXPECT_NEAR(a->Update().loss, loss, 1e-4 * loss) << i;
  }
}

TEST(DeviceUpdateTest, RecordedAndNotAreTheSameBits_CUDA) {
  SKIP_WITHOUT_CUDA();
  const datasets::Episodes episodes = MakeEpisodes();
  const std::string path = testing::TempDir() + "device_update_gpu_" + std::to_string(getpid());
  for (const std::string precision : {"fp32", "tf32", "bf16"}) {
    TrainerOptions options = FastTraining();
    options.precision = precision;
    const auto make = [&] {
      return Make(SmallTransformer(), options, UpdatePath::kOfDevice, episodes,
                  torch::Device(torch::kCUDA, 0));
    };
    const auto whole = make(), again = make();
    whole->Update(30);
    again->Update(30);
    EXPECT_TRUE(StateOf(*whole) == StateOf(*again)) << precision;
    // the first updates of a trainer are not recorded
    const auto first = make();
    first->Update(27);
    first->Save(path);
    const auto second = make();
    second->Restore(path);
    second->Update(3);
    EXPECT_TRUE(StateOf(*whole) == StateOf(*second)) << precision;
  }
  std::filesystem::remove(path);
}

TEST(UpdateRecorderTest, AnErrorEndsTheRecordingAndTheNextRunRecordsAgain_CUDA) {
  SKIP_WITHOUT_CUDA();
  const torch::Device device(torch::kCUDA, 0);
  const auto recorder = MakeUpdateRecorder(device);
  Tensor x = torch::zeros({4}, device);
  bool fails = false;
  const auto update = [&] {
    x.add_(1);
    TORCH_CHECK(!fails, "planted");
  };
  recorder->InOrder([&] {
    for (int i = 0; i < 3; ++i) recorder->Run(update);  // unrecorded
    fails = true;
    EXPECT_THROW(recorder->Run(update), c10::Error);
    fails = false;
    for (int i = 0; i < 4; ++i) recorder->Run(update);
    EXPECT_EQ(x.min().item<float>(), 7);
    EXPECT_EQ(x.max().item<float>(), 7);
  });
}

TEST(DeviceUpdateTest, ANotFiniteUpdateLeavesTheStateBeforeIt_CUDA) {
  SKIP_WITHOUT_CUDA();
  datasets::Episodes episodes = MakeEpisodes();
  episodes.actions[2 * 37] = 1e30f;
  TrainerOptions options = FastTraining();
  options.batch_size = 2;
  options.seed = 3;
  const auto make = [&] {
    return Make(SmallTransformer(), options, UpdatePath::kOfDevice, episodes,
                torch::Device(torch::kCUDA, 0));
  };
  const auto trainer = make();
  size_t done = 0;
  try {
    trainer->Update(100);
    FAIL();
  } catch (const NotFiniteError& e) {
    done = e.done().size();
  }
  const auto other = make();
  other->Update(static_cast<int64_t>(done));
  EXPECT_TRUE(StateOf(*other) == StateOf(*trainer));
}

}  // namespace
}  // namespace cosdt::agents
