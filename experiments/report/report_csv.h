#pragma once

#include <string>

#include "experiments/report/report_data.h"

namespace cosdt::experiments {

// Comma-separated values with a header line; numbers have all their digits, and what a run does not
// have is empty.

// A row per run.
std::string RunsCsv(const Report& report);

// A row per group: statistics of the scores, and means over seeds.
std::string SummaryCsv(const Report& report);

}  // namespace cosdt::experiments
