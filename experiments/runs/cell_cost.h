// Short cost measurements on untrained agents, for `compare --dry-run` and result.json.
#pragma once

#include <nlohmann/json.hpp>

#include "envs/env.h"
#include "experiments/program/device.h"
#include "experiments/runs/train_run.h"

namespace cosdt::experiments {

// parameters; tokens_per_update (behaviour cloning: steps); ms_per_update and updates_per_second
// over about a second; training_bytes, the memory that training takes beyond data and program;
// device and peak_device_memory (device.h).
// Meant for a process that has not trained before.
nlohmann::json MeasureTraining(const TrainOptions& options, const TrainData& data,
                               const c10::Device& device);

// Milliseconds of one episode's decision behind a full context: {window, recurrent}. recurrent is
// null for behaviour cloning; cosFormer is measured with a reweight_length that allows it.
nlohmann::json MeasureDecisions(const TrainOptions& options, const envs::EnvSpec& spec);

}  // namespace cosdt::experiments
