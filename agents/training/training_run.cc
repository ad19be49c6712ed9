#include "agents/training/training_run.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include "agents/training/return_fit.h"
#include "datasets/atomic_file.h"
#include "datasets/file_error.h"

namespace cosdt::agents {
namespace {

namespace fs = std::filesystem;
using datasets::FileError;

constexpr int64_t kUpdatesPerLine = 100;  // of the metrics

void ExpectAtLeast(const char* name, int64_t least, int64_t found) {
  if (found >= least) return;
  throw std::invalid_argument(std::string(name) + ": expected at least " + std::to_string(least) +
                              ", found " + std::to_string(found));
}

void CopyWeights(const torch::nn::Module& from, torch::nn::Module& to) {
  const torch::NoGradGuard no_grad;
  const auto weights = from.named_parameters();
  for (const auto& weight : to.named_parameters()) weight.value().copy_(weights[weight.key()]);
}

// A sum or a count of losses, which are exact in a double, from a state's metadata.
double LossValue(const std::string& path, const char* name, const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);  // "%a", too
  if (!text.empty() && end == text.c_str() + text.size() && value >= 0 && value < 1e18) {
    return value;
  }
  throw FileError(path, std::string("metadata ") + name, "a number, 0 or more", text);
}

// A limit on the size of files (ulimit -f) that a save would meet is reported before hours of work:
// the state has the weights and AdamW's two moments of each.
void ExpectRoomForState(const torch::nn::Module& module, const std::string& path) {
  rlimit limit = {};
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  size_t bytes = 0;
  for (const torch::Tensor& weight : module.parameters()) bytes += 3 * weight.nbytes();
  for (const torch::Tensor& buffer : module.buffers()) bytes += buffer.nbytes();
  if (bytes <= limit.rlim_cur) return;
  throw FileError(
      path, "", "room for " + std::to_string(bytes) + " bytes",
      "a limit of " + std::to_string(limit.rlim_cur) + " on the size of a file (ulimit -f)");
}

// Throws std::invalid_argument if processes have other weights or moments than rank 0.
void ExpectSameWeights(ProcessGroup& group, const AgentTrainer& trainer) {
  const std::vector<std::string> digests = group.Gather(trainer.Digest());
  for (size_t rank = 1; rank < digests.size(); ++rank) {
    if (digests[rank] == digests[0]) continue;
    throw std::invalid_argument("training: update " + std::to_string(trainer.updates()) +
                                ": expected equal weights in all processes, found others of rank " +
                                std::to_string(rank));
  }
}

}  // namespace

void TrainingRunOptions::Validate() const {
  agent.Validate();
  trainer.Validate();
  ExpectAtLeast("updates", 0, updates);
  ExpectAtLeast("save-every", 1, save_every);
  ExpectAtLeast("eval-every", 0, eval_every);
}

double TrainingRun::Stretch::Rate(int64_t updates) const {
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return static_cast<double>(updates - first) / std::max(seconds, 1e-9);
}

TrainingRun::TrainingRun(const TrainingRunOptions& options, const datasets::Episodes& episodes,
                         CheckpointInfo info, std::string folder, bool resume,
                         const torch::Device& device, const DecisionTransformer& initial,
                         std::shared_ptr<const CriticGuide> critic, ProcessGroup* group)
    : options_((options.Validate(), options)),
      info_(std::move(info)),
      folder_(std::move(folder)),
      group_(group) {
  if (IsFirst()) lock_.emplace(folder_);
  const bool begun = IsFirst() && fs::exists(state());
  if (begun && !resume) {
    throw std::runtime_error(folder_ +
                             ": expected a folder without a run, found one (resume to continue "
                             "it)");
  }
  if (IsFirst()) datasets::RemoveTemporaries(folder_);
  info_.return_scale = options_.trainer.return_scale;
  torch::manual_seed(options_.trainer.seed);
  const std::shared_ptr<Agent> agent = MakeAgent(options_.agent);
  if (initial) CopyWeights(*initial, agent->module());
  agent->module().to(device);
  trainer_ =
      MakeTrainer(agent, episodes, info_.normalizer, options_.trainer, std::move(critic), group_);
  if (begun) Restore();
  if (IsFirst()) ExpectRoomForState(trainer_->agent().module(), state());
  // the same bits whenever the run is resumed; in a group only rank 0's reach checkpoints
  if (IsFirst() && std::ranges::any_of(info_.targets, &Target::is_auto)) {
    info_.return_predictor =
        FitReturnPredictor(episodes, info_.normalizer, info_.return_scale,
                           options_.agent.max_timestep(), options_.trainer.seed);
  }
  if (group_) ShareState();
}

void TrainingRun::ShareState() {
  trainer_->TakeStateOfFirst();
  const torch::Tensor counts = torch::tensor(
      {loss_sum_, static_cast<double>(loss_count_), static_cast<double>(saved_)}, torch::kFloat64);
  group_->Broadcast(counts);
  loss_sum_ = counts[0].item<double>();
  loss_count_ = static_cast<int64_t>(counts[1].item<double>());
  saved_ = static_cast<int64_t>(counts[2].item<double>());
}

void TrainingRun::Restore() {
  const std::map<std::string, std::string> metadata = trainer_->Restore(state());
  for (const char* name : {"dataset_sha256", "loss_sum", "loss_count"}) {
    if (!metadata.contains(name)) throw FileError(state(), name, "a string", "none");
  }
  const std::string& sha256 = metadata.at("dataset_sha256");
  if (sha256 != info_.dataset_sha256) {
    throw FileError(info_.dataset, "SHA-256 of the run's data", sha256, info_.dataset_sha256);
  }
  const auto critic = metadata.find("critic_sha256");
  const std::string began_with = critic == metadata.end() ? "" : critic->second;
  if (began_with != info_.critic_sha256) {
    const auto text = [](const std::string& s) { return s.empty() ? "no critic" : s; };
    throw FileError(info_.critic.empty() ? state() : info_.critic, "SHA-256 of the run's critic",
                    text(began_with), text(info_.critic_sha256));
  }
  loss_sum_ = LossValue(state(), "loss_sum", metadata.at("loss_sum"));
  loss_count_ = static_cast<int64_t>(LossValue(state(), "loss_count", metadata.at("loss_count")));
  saved_ = updates();
}

void TrainingRun::Save() {
  try {
    if (group_) ExpectSameWeights(*group_, *trainer_);
  } catch (const std::invalid_argument&) {
    saved_ = updates();  // nobody knows which are right: none are saved
    throw;
  }
  if (IsFirst()) Write();
  if (group_) group_->Any(false);  // nobody counts on a save that rank 0 has not written
  saved_ = updates();
}

void TrainingRun::Write() {
  info_.updates = updates();
  WriteCheckpoint(checkpoint(), trainer_->agent(), info_);
  char sum[32];
  std::snprintf(sum, sizeof sum, "%a", loss_sum_);
  std::map<std::string, std::string> metadata = {{"dataset_sha256", info_.dataset_sha256},
                                                 {"loss_sum", sum},
                                                 {"loss_count", std::to_string(loss_count_)}};
  if (!info_.critic.empty()) metadata["critic_sha256"] = info_.critic_sha256;
  trainer_->Save(state(), std::move(metadata));
  saved_ = updates();
}

std::string TrainingRun::LastSave() const {
  const std::string known = IsFirst() ? "" : " known here";  // rank 0 may have saved since
  if (saved_ < 0) return "no save is" + (IsFirst() ? std::string(" there") : known);
  return "the last save" + known + " is of update " + std::to_string(saved_) +
         ", from which --resume continues";
}

void TrainingRun::Train(TrainingRunObserver& observer, const std::function<bool()>& stop) {
  all_ = line_ = {updates(), Clock::now()};
  const auto stops_here = [&] { return stop && stop(); };
  const auto stops = [&] { return group_ ? group_->Any(stops_here()) : stops_here(); };
  try {
    EvaluateIfDue(observer);
    bool stopped = false, asks = true;  // in a group an update tells, too
    while (updates() < options_.updates) {
      if (asks ? stops() : stopped) break;
      if (group_) trainer_->AskToStop(stops_here());
      const std::vector<UpdateResult> results = Update();
      CountLosses(results);
      asks = AfterUpdate(results.back(), observer) || !group_;
      stopped = trainer_->is_asked_to_stop();
    }
    if (updates() != saved_) Save();
  } catch (const std::exception& e) {
    if (const auto* error = dynamic_cast<const NotFiniteError*>(&e)) CountLosses(error->done());
    if (IsFirst() && updates() > std::max<int64_t>(saved_, 0)) Write();
    if (dynamic_cast<const ProcessLost*>(&e)) {
      throw ProcessLost(e.what() + ("; " + LastSave()));
    }
    throw;
  }
  updates_per_second_ = all_.Rate(updates());
}

// A GPU of one process does as many updates at once as lie before the next save, evaluation or line
// of metrics, and take no longer than a stop may wait.
int64_t TrainingRun::NextCount() const {
  if (group_ || trainer_->agent().device().is_cpu()) return 1;
  int64_t count = std::min(at_once_, options_.updates - updates());
  for (const int64_t every : {kUpdatesPerLine, options_.save_every, options_.eval_every}) {
    if (every > 0) count = std::min(count, every - updates() % every);
  }
  return count;
}

std::vector<UpdateResult> TrainingRun::Update() {
  const int64_t count = NextCount();
  const Clock::time_point start = Clock::now();
  std::vector<UpdateResult> results = trainer_->Update(count);
  const std::chrono::duration<double> took = Clock::now() - start;
  if (count == at_once_) {
    if (took.count() < 0.25) {
      at_once_ = std::min(2 * at_once_, kUpdatesPerLine);
    } else if (took.count() > 0.5) {
      at_once_ = std::max<int64_t>(at_once_ / 2, 1);
    }
  }
  return results;
}

void TrainingRun::CountLosses(const std::vector<UpdateResult>& results) {
  for (const UpdateResult& result : results) loss_sum_ += result.loss;
  loss_count_ += static_cast<int64_t>(results.size());
}

// Whether there was an evaluation.
bool TrainingRun::AfterUpdate(const UpdateResult& last, TrainingRunObserver& observer) {
  if (last.update % kUpdatesPerLine == 0 || last.update == options_.updates) {
    std::map<std::string, double> values = {{"loss", loss_sum_ / static_cast<double>(loss_count_)},
                                            {"gradient_norm", last.gradient_norm},
                                            {"learning_rate", last.learning_rate},
                                            {"updates_per_second", line_.Rate(last.update)}};
    if (last.actor_loss) values["actor_loss"] = *last.actor_loss;
    if (last.value_loss) values["value_loss"] = *last.value_loss;
    if (last.q) values["q"] = *last.q;
    observer.OnMetrics(last.update, values);
    loss_sum_ = 0;
    loss_count_ = 0;
    line_ = {last.update, Clock::now()};
  }
  const bool save = last.update % options_.save_every == 0;
  if (save || last.update == options_.updates) {
    info_.updates = last.update;
    observer.OnSave(last.update, trainer_->agent(), info_);
  }
  if (save) Save();
  const bool evaluated = EvaluateIfDue(observer);
  observer.OnUpdate(last);
  return evaluated;
}

// Evaluations are of saved agents, so that a resumed run evaluates the same one.
bool TrainingRun::EvaluateIfDue(TrainingRunObserver& observer) {
  const int64_t update = updates();
  const bool due = options_.eval_every > 0 && update > 0 &&
                   (update % options_.eval_every == 0 || update == options_.updates);
  if (!due) return false;
  bool needed = IsFirst() && observer.NeedsEvaluation(update);
  if (group_) needed = group_->Any(needed);
  if (!needed) return false;
  if (saved_ != update) Save();
  const Clock::time_point start = Clock::now();
  observer.Evaluate(update, checkpoint());
  // rates are those of updates alone
  const Clock::duration took = Clock::now() - start;
  all_.start += took;
  line_.start += took;
  return true;
}

}  // namespace cosdt::agents
