#include "experiments/report/fill_template.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace cosdt::experiments {
namespace {

using nlohmann::json;

TEST(FillTemplateTest, EscapesValuesForHtmlUnlessToldNotTo) {
  const json values = {{"name", "<a href=\"x\">'&'</a>"}};
  EXPECT_EQ(FillTemplate("{{name}}", values),
            "&lt;a href=&quot;x&quot;&gt;&apos;&amp;&apos;&lt;/a&gt;");
  EXPECT_EQ(FillTemplate("{{{name}}}", values), "<a href=\"x\">'&'</a>");
}

TEST(FillTemplateTest, BracesInAValueAreNotATemplate) {
  EXPECT_EQ(FillTemplate("{{a}}{{{a}}}", {{"a", "{{b}}"}, {"b", "x"}}), "{{b}}{{b}}");
}

TEST(FillTemplateTest, ASectionRepeatsForEachElement) {
  const json values = {{"rows", {{{"name", "a"}, {"count", 1}}, {{"name", "b"}, {"count", 2}}}},
                       {"words", {"x", "y"}}};
  EXPECT_EQ(FillTemplate("{{#rows}}{{name}} {{count}};{{/rows}}{{#words}}{{.}}{{/words}}", values),
            "a 1;b 2;xy");
}

TEST(FillTemplateTest, NothingIsShownForNullFalseAndAnEmptyList) {
  for (const json& nothing : {json(), json(false), json::array()}) {
    EXPECT_EQ(FillTemplate("{{#a}}yes{{/a}}{{^a}}no{{/a}}", {{"a", nothing}}), "no")
        << nothing.dump();
  }
}

TEST(FillTemplateTest, InsertsATemplateForEachSection) {
  const json values = {
      {"cell", "<td>{{text}}</td>"}, {"a", {{"text", "1 & 2"}}}, {"b", {{"text", "3"}}}};
  EXPECT_EQ(FillTemplate("{{#a}}{{>cell}}{{/a}}{{#b}}{{>cell}}{{/b}}", values),
            "<td>1 &amp; 2</td><td>3</td>");
}

TEST(FillTemplateTest, WhatIsNotUtf8IsReplaced) {
  EXPECT_EQ(FillTemplate("{{a}}", {{"a", "x\xff"}}), "x\xef\xbf\xbd");
}

TEST(FillTemplateTest, RefusesAMalformedTemplate) {
  EXPECT_THROW(FillTemplate("{{#a}}", {{"a", true}}), std::runtime_error);
  EXPECT_THROW(FillTemplate("{{a", {{"a", "x"}}), std::runtime_error);
}

}  // namespace
}  // namespace cosdt::experiments
