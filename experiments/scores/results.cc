#include "experiments/scores/results.h"

namespace cosdt::experiments {

using nlohmann::json;

void to_json(json& to, const TargetEvaluation& from) {
  to_json(to, static_cast<const EpisodeStatistics&>(from));
  to["target"] = from.target;
  to["decode"] = from.decode;
  to["precision"] = from.precision;
  to["context"] = from.context;
}

void from_json(const json& from, TargetEvaluation& to) {
  from_json(from, static_cast<EpisodeStatistics&>(to));
  from.at("target").get_to(to.target);
  from.at("decode").get_to(to.decode);
  to.precision = from.value("precision", to.precision);  // older files have none
  from.at("context").get_to(to.context);
}

void to_json(json& to, const EvaluationResult& from) {
  to = from.device;
  to.update({{"env", from.env},
             {"physics", from.physics},
             {"mujoco_version", from.mujoco_version},
             {"torch_version", from.torch_version},
             {"seed", from.seed},
             {"seeding", envs::SeedingName(from.seeding)},
             {"episodes", from.episodes},
             {"dataset", from.dataset},
             {"checkpoint", from.checkpoint},
             {"targets", from.targets}});
  if (from.critic) to.update({{"critic", *from.critic}, {"candidates", from.candidates}});
}

void to_json(json& to, const EvaluationSummary& from) {
  to_json(to, static_cast<const ReturnStatistics&>(from));
  to["target"] = from.target;
  to["run_means"] = from.run_means;
}

void to_json(json& to, const TrainingEvaluation& from) {
  to = {{"checkpoint", from.checkpoint}, {"targets", from.targets}};
  if (from.update) to["update"] = *from.update;
}

void to_json(json& to, const TrainReport& from) {
  to = from.device;
  to.update({{"env", from.env},
             {"physics", from.physics},
             {"torch_version", from.torch_version},
             {"seed", from.seed},
             {"updates", from.updates},
             {"loss", from.loss},
             {"updates_per_second", from.updates_per_second},
             {"dataset", from.dataset},
             {"checkpoint", from.checkpoint},
             {"last", from.last},
             {"best", from.best},
             {"validation_loss", from.validation_loss},
             {"update_path", from.update_path},
             {"attention_path", from.attention_path}});
}

void to_json(json& to, const TrainingCost& from) {
  to = from.device;
  to.update({{"parameters", from.parameters},
             {"tokens_per_update", from.tokens_per_update},
             {"ms_per_update", from.ms_per_update},
             {"updates_per_second", from.updates_per_second},
             {"training_bytes", from.training_bytes}});
}

void from_json(const json& from, TrainingCost& to) {
  from.get_to(to.device);
  from.at("parameters").get_to(to.parameters);
  from.at("tokens_per_update").get_to(to.tokens_per_update);
  from.at("ms_per_update").get_to(to.ms_per_update);
  from.at("updates_per_second").get_to(to.updates_per_second);
  from.at("training_bytes").get_to(to.training_bytes);
}

void to_json(json& to, const CellEstimate& from) {
  to = from.cost;
  to["training_seconds"] = from.training_seconds;
  to["evaluation_seconds"] = from.evaluation_seconds;
}

void from_json(const json& from, CellEstimate& to) {
  from.get_to(to.cost);
  from.at("training_seconds").get_to(to.training_seconds);
  from.at("evaluation_seconds").get_to(to.evaluation_seconds);
}

void to_json(json& to, const CellResult& from) {
  json dataset = from.dataset;
  dataset["name"] = from.dataset_name;
  to = {{"context", from.context},
        {"attention", from.attention},
        {"feature_map", from.feature_map},
        {"half_life", from.half_life},
        {"agent", from.agent},
        {"top", from.top},
        {"dataset", dataset},
        {"env", from.env},
        {"physics", from.physics},
        {"mujoco_version", from.mujoco_version},
        {"torch_version", from.torch_version},
        {"seed", from.seed},
        {"updates", from.updates},
        {"batch_size", from.batch_size},
        {"checkpoint", from.checkpoint}};
  if (from.critic) to["critic"] = *from.critic;
  to.update(json(from.cost));
  to.update(json(from.evaluation));
}

}  // namespace cosdt::experiments
