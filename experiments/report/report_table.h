#pragma once

#include "experiments/report/report_data.h"

namespace cosdt::experiments {

// Scores by task, algorithm and context, on standard output.
void PrintTable(const Report& report);

}  // namespace cosdt::experiments
