#pragma once

#include <sstream>
#include <string>
#include <vector>

namespace cosdt::experiments {

// A figure of an HTML page.
struct Figure {
  std::string caption;
  std::string svg;  // an <svg> element that takes the text's colour from the page
};

// What points of all figures refer to: an <svg> element to be put into the page once, before them.
// Throws std::runtime_error where gnuplot cannot be run.
std::string PointShapes();

// A figure as it is put together for gnuplot: settings, and data with how they are drawn.
class Plot {
 public:
  Plot(const std::string& x_label, const std::string& y_label);

  // What follows gnuplot's `set`.
  void Set(const std::string& setting);

  // A logarithmic vertical axis for positive values from `low` to `high`.
  void SetLogAxis(double low, double high);

  // Rows of numbers, drawn as `with` says; nothing where there are none. Without a title they are
  // not in the key.
  void Add(const std::vector<std::vector<double>>& rows, const std::string& with,
           const std::string& title = "");

  // Nothing was added.
  bool empty() const { return series_ == 0; }

  // `height` in units of which the width has 420. Throws std::runtime_error where gnuplot cannot be
  // run.
  Figure Draw(const std::string& caption, int height = 310) const;

 private:
  std::ostringstream settings_, data_, plot_;
  int series_ = 0;
};

}  // namespace cosdt::experiments
