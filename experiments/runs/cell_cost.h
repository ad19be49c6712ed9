// Short measurements of what an agent costs, on weights that were just drawn: what a sweep
// estimates its cells with and records of them.
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
// null for behaviour cloning; cosFormer is measured with a reach that allows it, whatever its own
// is.
nlohmann::json MeasureDecisions(const TrainOptions& options, const envs::EnvSpec& spec);

}  // namespace cosdt::experiments
