#include "experiments/report/report_csv.h"

#include <charconv>
#include <cmath>
#include <concepts>
#include <string_view>

namespace cosdt::experiments {
namespace {

// Appends cells to a row; `End` closes it.
class Csv {
 public:
  Csv& operator<<(std::string_view text) {
    Separate();
    if (text.find_first_of(",\"\r\n") == std::string_view::npos) {
      text_ += text;
      return *this;
    }
    text_ += '"';
    for (const char c : text) text_ += c == '"' ? "\"\"" : std::string(1, c);
    text_ += '"';
    return *this;
  }
  template <typename T>
    requires std::integral<T> || std::floating_point<T>
  Csv& operator<<(T number) {
    if constexpr (std::floating_point<T>) {
      if (std::isnan(number)) return *this << "";  // not measured
    }
    char digits[64];
    const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
    return *this << std::string_view(digits, end);
  }
  void End() {
    text_ += '\n';
    fresh_ = true;
  }
  const std::string& text() const { return text_; }

 private:
  void Separate() {
    if (!fresh_) text_ += ',';
    fresh_ = false;
  }

  std::string text_;
  bool fresh_ = true;
};

}  // namespace

std::string RunsCsv(const Report& report) {
  Csv csv;
  for (const char* name : {"folder",
                           "dataset",
                           "dataset_sha256",
                           "env",
                           "physics",
                           "mujoco_version",
                           "torch_version",
                           "algorithm",
                           "context",
                           "seed",
                           "updates",
                           "batch_size",
                           "parameters",
                           "updates_per_second",
                           "ms_per_update",
                           "tokens_per_update",
                           "training_bytes",
                           "rollout_bytes",
                           "ms_per_decision_window",
                           "ms_per_decision_recurrent",
                           "score_name",
                           "score"}) {
    csv << name;
  }
  csv.End();
  for (const Group& group : report.groups) {
    for (const RunResult* run : group.runs) {
      csv << run->folder << run->dataset << run->dataset_sha256 << run->env << run->physics
          << run->mujoco_version << run->torch_version << run->algorithm << run->context
          << run->seed << run->updates << run->batch_size << run->parameters
          << run->updates_per_second << run->ms_per_update << run->tokens_per_update
          << run->training_bytes << run->rollout_bytes << run->window_ms;
      run->recurrent_ms ? csv << *run->recurrent_ms : csv << "";
      csv << run->score_name << run->score;
      csv.End();
    }
  }
  return csv.text();
}

std::string SummaryCsv(const Report& report) {
  Csv csv;
  for (const char* name :
       {"dataset", "env", "algorithm", "context", "seeds", "score_name", "mean", "std", "iqm",
        "iqm_low", "iqm_high", "updates_per_second", "ms_per_update", "tokens_per_update",
        "training_bytes", "rollout_bytes", "ms_per_decision_window"}) {
    csv << name;
  }
  csv.End();
  for (const Group& group : report.groups) {
    const Task& task = report.tasks[group.task];
    csv << task.dataset << task.env << report.algorithms[group.algorithm] << group.context
        << group.runs.size() << task.score_name << group.mean << group.std << group.iqm
        << group.iqm_interval.low << group.iqm_interval.high;
    for (const auto number :
         {&RunResult::updates_per_second, &RunResult::ms_per_update, &RunResult::tokens_per_update,
          &RunResult::training_bytes, &RunResult::rollout_bytes, &RunResult::window_ms}) {
      csv << group.Mean(number);
    }
    csv.End();
  }
  return csv.text();
}

}  // namespace cosdt::experiments
