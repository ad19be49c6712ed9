#include "experiments/report/svg_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/experiments/report/xml_fault.h"

namespace cosdt::experiments {
namespace {

using ::testing::HasSubstr;

TEST(PlotTest, NamesAreDrawnAsTheyAre) {
  Plot plot("<b> & 'it'", "100 % of \"x\"");
  plot.Add({{0, 1}, {1, 2}}, "lines", "a_b\n{/Bold c}");
  const Figure figure = plot.Draw("caption");
  EXPECT_EQ(figure.caption, "caption");
  EXPECT_EQ(XmlFault(figure.svg, "<svg"), "");
  EXPECT_THAT(figure.svg, HasSubstr("&lt;b> &amp; 'it'"));
  EXPECT_THAT(figure.svg, HasSubstr("a_b {/Bold c}"));
}

TEST(PlotTest, SeriesWithoutRowsAreNotDrawn) {
  Plot plot("x", "y");
  plot.Add({}, "lines", "none");
  EXPECT_TRUE(plot.empty());
}

}  // namespace
}  // namespace cosdt::experiments
