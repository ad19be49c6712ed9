#include "agents/decoding/cpu_decoders.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace cosdt::agents::decoding {
namespace {

// About as many as keep the activations in the second level of a processor's cache.
constexpr int64_t kTokensAtOnce = 240;

// Rows are an ascending list: elements move towards the front.
template <class T>
void KeepElements(std::span<const int> rows, std::vector<T>& elements) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (static_cast<size_t>(rows[i]) != i) elements[i] = std::move(elements[rows[i]]);
  }
  elements.erase(elements.begin() + static_cast<ptrdiff_t>(rows.size()), elements.end());
}

// Buffers of one thread.
struct Buffers {
  Floats x, qkv, window;
  std::vector<float*> first;
};

// This thread's buffers with the embeddings of a step of `rows` and the first block's projections,
// and room for `tokens` per row in `window`.
Buffers& EmbedStep(const CpuModel& model, const CpuModel::Step& step, int64_t rows,
                   int64_t tokens) {
  static thread_local Buffers b;
  const int64_t added = rows * model.tokens(step);
  b.x.Require(added * model.width());
  b.qkv.Require(added * 3 * model.columns());
  b.window.Require(rows * tokens * model.width());
  b.first.resize(rows);
  model.Embed(step, rows, b.x.data());
  model.Project(b.x.data(), added, b.qkv.data());
  return b;
}

void Expect(const char* name, size_t expected, size_t found) {
  if (expected == found) return;
  throw std::invalid_argument(std::string("decoding: ") + name + ": expected " +
                              std::to_string(expected) + " values, found " + std::to_string(found));
}

}  // namespace

CpuDecoder::CpuDecoder(const CpuModel& model, int rows, envs::ThreadPool& pool)
    : model_(model), pool_(pool), rows_(rows), actions_(rows * model.action_features()) {}

void CpuDecoder::Decide(std::span<const float> returns_to_go, std::span<const float> observations,
                        std::span<float> outputs) {
  const int64_t observation_size = model_.observation_size(), features = model_.action_features();
  Expect("returns_to_go", rows_, returns_to_go.size());
  Expect("observations", rows_ * observation_size, observations.size());
  Expect("outputs", rows_ * features, outputs.size());
  BeginStep();
  // as many pieces as suit the cache, and then some for threads to share evenly
  const int64_t threads = pool_.threads();
  const int64_t most = std::max<int64_t>(1, kTokensAtOnce / tokens());
  const int64_t pieces = ((rows_ + most - 1) / most + threads - 1) / threads * threads;
  const int64_t piece = (rows_ + pieces - 1) / pieces;
  pool_.ForEach(static_cast<int>(pieces), [&](int i) {
    const int64_t begin = i * piece, end = std::min(begin + piece, rows_);
    if (begin >= end) return;
    CpuModel::Step step{.returns_to_go = returns_to_go.data() + begin,
                        .observations = observations.data() + begin * observation_size,
                        .timestep = step_};
    if (step_ > 0) step.actions = actions_.data() + begin * features;
    DecideRows(begin, end, step, outputs.subspan(begin * features, (end - begin) * features));
  });
  ++step_;
}

void CpuDecoder::Act(std::span<const float> actions) {
  const int64_t n = model_.discrete_actions();
  Expect("actions", n > 0 ? rows_ : rows_ * model_.action_features(), actions.size());
  if (n == 0) {
    std::ranges::copy(actions, actions_.begin());
    return;
  }
  std::ranges::fill(actions_, 0.0f);
  for (int64_t row = 0; row < rows_; ++row) {
    const auto action = static_cast<int64_t>(actions[row]);
    if (action < 0 || action >= n) {
      throw std::invalid_argument("decoding: actions: expected 0 to " + std::to_string(n - 1) +
                                  ", found " + std::to_string(action));
    }
    actions_[row * n + action] = 1;
  }
}

void CpuDecoder::Keep(std::span<const int> rows) {
  const int64_t size = model_.action_features();
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(actions_.begin() + rows[i] * size, size,
                actions_.begin() + static_cast<ptrdiff_t>(i) * size);
  }
  rows_ = static_cast<int64_t>(rows.size());
  actions_.resize(rows_ * size);
  KeepRows(rows);
}

WindowDecoder::WindowDecoder(const CpuModel& model, int64_t context, int rows,
                             envs::ThreadPool& pool)
    : CpuDecoder(model, rows, pool), context_(context), rows_(rows) {
  // twice the window: it moves to the front once in K steps
  const int64_t room = 2 * context * model.tokens_per_step();
  for (Row& row : rows_) {
    row.x = Floats(room * model.width());
    row.qkv = Floats(room * 3 * model.columns());
  }
}

void WindowDecoder::BeginStep() {
  if (step() == 0) {
    end_ = model().deciding_tokens();
    return;
  }
  const int64_t added = model().tokens_per_step(), room = 2 * context_ * added;
  end_ += added;
  if (step() >= context_) first_ += added;
  if (end_ <= room) return;
  // the new tokens come behind the old ones; with a context of one step the window has none of
  // those
  const int64_t old = end_ - added, begin = std::min(first_, old);
  const auto move = [&](Floats& buffer, int64_t width) {
    std::copy(buffer.data() + begin * width, buffer.data() + old * width, buffer.data());
  };
  for (Row& row : rows_) {
    move(row.x, model().width());
    move(row.qkv, 3 * model().columns());
  }
  end_ -= begin;
  first_ -= begin;
}

void WindowDecoder::DecideRows(int64_t begin, int64_t end, const CpuModel::Step& step,
                               std::span<float> outputs) {
  const int64_t rows = end - begin, added = model().tokens(step), count = end_ - first_;
  const int64_t width = model().width(), qkv_width = 3 * model().columns();
  Buffers& b = EmbedStep(model(), step, rows, count);
  for (int64_t i = 0; i < rows; ++i) {
    Row& row = rows_[begin + i];
    std::copy_n(b.x.data() + i * added * width, added * width,
                row.x.data() + (end_ - added) * width);
    std::copy_n(b.qkv.data() + i * added * qkv_width, added * qkv_width,
                row.qkv.data() + (end_ - added) * qkv_width);
    std::copy_n(row.x.data() + first_ * width, count * width, b.window.data() + i * count * width);
    b.first[i] = row.qkv.data() + first_ * qkv_width;
  }
  AttentionCache memory(model().form());
  model().Run(
      b.window.data(), rows, count, b.first,
      [&](int64_t, size_t) -> AttentionCache& {
        memory.Clear();
        return memory;
      },
      outputs);
}

void WindowDecoder::KeepRows(std::span<const int> rows) { KeepElements(rows, rows_); }

StreamDecoder::StreamDecoder(const CpuModel& model, const StreamSchedule& schedule, int rows,
                             envs::ThreadPool& pool)
    : CpuDecoder(model, rows, pool), schedule_(schedule), rows_(rows) {
  for (Row& row : rows_) {
    for (int stream = 0; stream < schedule.streams(); ++stream) {
      for (size_t i = 0; i < model.layers(); ++i) row.streams[stream].emplace_back(model.form());
    }
  }
}

void StreamDecoder::DecideRows(int64_t begin, int64_t end, const CpuModel::Step& step,
                               std::span<float> outputs) {
  const int64_t rows = end - begin, added = model().tokens(step);
  const int64_t width = model().width(), qkv_width = 3 * model().columns();
  Buffers& b = EmbedStep(model(), step, rows, added);
  for (int stream = 0; stream < schedule_.streams(); ++stream) {
    const int64_t age = schedule_.Age(stream, step.timestep);
    if (age < 0) continue;
    // a stream begins with a return-to-go: an action's token before it belongs to a step that it
    // forgot
    const int64_t tokens = age == 0 ? model().deciding_tokens() : added, skipped = added - tokens;
    for (int64_t i = 0; i < rows; ++i) {
      std::copy_n(b.x.data() + (i * added + skipped) * width, tokens * width,
                  b.window.data() + i * tokens * width);
      b.first[i] = b.qkv.data() + (i * added + skipped) * qkv_width;
    }
    model().Run(
        b.window.data(), rows, tokens, b.first,
        [&](int64_t i, size_t layer) -> AttentionCache& {
          AttentionCache& memory = rows_[begin + i].streams[stream][layer];
          if (age == 0) memory.Clear();
          return memory;
        },
        schedule_.Answers(stream, step.timestep) ? outputs : std::span<float>());
  }
}

void StreamDecoder::KeepRows(std::span<const int> rows) { KeepElements(rows, rows_); }

}  // namespace cosdt::agents::decoding
