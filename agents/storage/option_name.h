#pragma once

namespace cosdt::agents {

// The names of an option: Visit of each options struct passes one with every field, and is the only
// table of them.
struct OptionName {
  const char* key;   // in JSON and checkpoints: "learning_rate"
  const char* flag;  // on the command line, without dashes, and in TOML: "lr"
  const char* help;  // one line
};

}  // namespace cosdt::agents
