#pragma once

#include <string>

#include "experiments/report/report_data.h"

namespace cosdt::experiments {

// The report as one HTML page, report.html filled in: figures and the runs' frames (frame*.png) are
// embedded. It is well-formed XML except for its first line. Throws std::runtime_error if gnuplot
// cannot be run.
std::string ReportPage(const Report& report);

}  // namespace cosdt::experiments
