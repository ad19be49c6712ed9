#pragma once

#include <string>

#include "experiments/report/report_data.h"

namespace cosdt::experiments {

// Comma-separated values with a line of names; numbers have all their digits, and what a run does
// not have is empty.

// A row a run.
std::string RunsCsv(const Report& report);

// A row a group: statistics of the scores, and means over seeds.
std::string SummaryCsv(const Report& report);

}  // namespace cosdt::experiments
