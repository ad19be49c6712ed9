#pragma once

#include <string>

#include "experiments/report/report_data.h"

namespace cosdt::experiments {

// The report as one HTML page that needs nothing else: figures are drawn into it, frames of runs
// (frame*.png) are copied into it. It is well-formed XML but for its first line. Throws
// std::runtime_error where gnuplot cannot be run.
std::string ReportPage(const Report& report);

}  // namespace cosdt::experiments
