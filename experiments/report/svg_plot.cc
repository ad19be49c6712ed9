#include "experiments/report/svg_plot.h"

#include <cmath>

#include "experiments/report/gnuplot.h"

namespace cosdt::experiments {
namespace {

constexpr int kWidth = 420;

// Round tics from `low` to `high`: by itself gnuplot labels only powers of ten.
std::string LogTics(double low, double high) {
  std::ostringstream tics;
  const char* separator = "(";
  std::vector<double> steps = {1, 2, 5};
  if (high < 20 * low) steps = {1, 1.5, 2, 3, 4, 5, 6, 8};
  if (high > 2000 * low) steps = {1};
  for (double power = std::pow(10, std::floor(std::log10(low))); power <= high; power *= 10) {
    for (const double step : steps) {
      if (step * power < low * 0.99 || step * power > high * 1.01) continue;
      tics << separator << "'" << step * power << "' " << step * power;
      separator = ", ";
    }
  }
  return *separator == '(' ? "autofreq" : tics.str() + ")";
}

}  // namespace

Plot::Plot(const std::string& x_label, const std::string& y_label) {
  settings_ << "set border 3\nset tics nomirror out scale 0.5\nset grid\nset bmargin 3.3\n"
               "set key outside top left horizontal Left reverse samplen 3 width 1\n"
            << "set xlabel " << GnuplotString(x_label) << " offset 0,0.4\nset ylabel "
            << GnuplotString(y_label) << "\n";
}

void Plot::Set(const std::string& setting) { settings_ << "set " << setting << "\n"; }

void Plot::SetLogAxis(double low, double high) {
  low /= 1.5;
  high *= 1.5;
  settings_ << "set logscale y\nset ytics " << LogTics(low, high) << "\nset yrange [" << low << ":"
            << high << "]\n";
}

void Plot::Add(const std::vector<std::vector<double>>& rows, const std::string& with,
               const std::string& title) {
  if (rows.empty()) return;
  data_ << "$data" << series_ << " << END\n";
  for (const std::vector<double>& row : rows) {
    for (const double x : row) data_ << x << " ";
    data_ << "\n";
  }
  data_ << "END\n";
  plot_ << (series_ == 0 ? "plot " : ", ") << "$data" << series_ << " with " << with
        << (title.empty() ? " notitle" : " title " + GnuplotString(title));
  ++series_;
}

Figure Plot::Draw(const std::string& caption, int height) const {
  std::ostringstream script;
  script << "set terminal svg size " << kWidth << "," << height
         << " dynamic noenhanced font 'sans-serif,13'\n"
         << settings_.str() << data_.str() << plot_.str() << "\n";
  return {caption, RunGnuplot(script.str())};
}

}  // namespace cosdt::experiments
