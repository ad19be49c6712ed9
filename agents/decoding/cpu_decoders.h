// Decoders on CpuModel (decoder.h says what the modes are).
#pragma once

#include <memory>
#include <vector>

#include "agents/decoding/cpu_model.h"
#include "agents/decoding/decoder.h"
#include "agents/decoding/stream_schedule.h"
#include "envs/thread_pool.h"

namespace cosdt::agents::decoding {

// Cuts the rows into pieces for threads and caches, and keeps the last actions.
class CpuDecoder : public Decoder {
 public:
  CpuDecoder(const CpuModel& model, int rows, envs::ThreadPool& pool);
  void Decide(std::span<const float> returns_to_go, std::span<const float> observations,
              std::span<float> outputs) final;
  void Act(std::span<const float> actions) final;
  void Keep(std::span<const int> rows) final;

 protected:
  const CpuModel& model() const { return model_; }
  int64_t step() const { return step_; }

  // Tokens of a row that go through the blocks in this step.
  virtual int64_t tokens() const = 0;
  // Called once per step, before the pieces.
  virtual void BeginStep() {}
  // Decides for rows [begin, end); `step` begins at row `begin`, `outputs` likewise.
  virtual void DecideRows(int64_t begin, int64_t end, const CpuModel::Step& step,
                          std::span<float> outputs) = 0;
  virtual void KeepRows(std::span<const int> rows) = 0;

 private:
  const CpuModel& model_;
  envs::ThreadPool& pool_;
  int64_t rows_, step_ = 0;
  std::vector<float> actions_;  // of the last step, as the model takes them
};

// window. Embeddings and the first block's projections are kept, since no context enters them.
class WindowDecoder : public CpuDecoder {
 public:
  WindowDecoder(const CpuModel& model, int64_t context, int rows, envs::ThreadPool& pool);

 private:
  struct Row {
    Floats x, qkv;  // of the window's tokens, from first_ on
  };
  int64_t tokens() const override { return end_ - first_; }
  void BeginStep() override;
  void DecideRows(int64_t begin, int64_t end, const CpuModel::Step& step,
                  std::span<float> outputs) override;
  void KeepRows(std::span<const int> rows) override;

  int64_t context_;
  int64_t first_ = 0, end_ = 0;  // the window's place in the rows' buffers, the same in all
  std::vector<Row> rows_;
};

// recurrent and staggered: one or two streams of all tokens.
class StreamDecoder : public CpuDecoder {
 public:
  StreamDecoder(const CpuModel& model, const StreamSchedule& schedule, int rows,
                envs::ThreadPool& pool);

 private:
  struct Row {
    std::vector<AttentionCache> streams[2];  // [layers]
  };
  int64_t tokens() const override { return model().tokens_per_step(); }
  void DecideRows(int64_t begin, int64_t end, const CpuModel::Step& step,
                  std::span<float> outputs) override;
  void KeepRows(std::span<const int> rows) override;

  StreamSchedule schedule_;
  std::vector<Row> rows_;
};

}  // namespace cosdt::agents::decoding
