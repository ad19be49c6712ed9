#pragma once

#include <sstream>
#include <string>
#include <vector>

namespace cosdt::experiments {

struct Figure {
  std::string caption;
  std::string svg;  // an SVG file
};

// A figure for gnuplot: settings, and data with the style that each is drawn in.
class Plot {
 public:
  Plot(const std::string& x_label, const std::string& y_label);

  // A setting without gnuplot's `set`.
  void Set(const std::string& setting);

  // A logarithmic vertical axis for positive values from `low` to `high`.
  void SetLogAxis(double low, double high);

  // Rows of values, drawn in gnuplot's style `with`; nothing for no rows. Without a title they are
  // not in the key.
  void Add(const std::vector<std::vector<double>>& rows, const std::string& with,
           const std::string& title = "");

  // Whether nothing was added.
  bool empty() const { return series_ == 0; }

  // `height` in pixels for a width of 420. Throws std::runtime_error if gnuplot cannot be run.
  Figure Draw(const std::string& caption, int height = 310) const;

 private:
  std::ostringstream settings_, data_, plot_;
  int series_ = 0;
};

}  // namespace cosdt::experiments
