#pragma once

namespace cosdt::agents {

// The names of an option: Visit of each options struct passes one with every field, and is the only
// table of them.
struct OptionName {
  const char* key = nullptr;   // in JSON and checkpoints: "learning_rate"; null: not kept there
  const char* flag = nullptr;  // on the command line, without dashes, and in TOML: "lr"; null: no
                               // option of the user's, such as a size that the data has
  const char* help = nullptr;  // one line
  bool config_only = false;    // in TOML, not on the command line
  bool added_later = false;    // older checkpoints do not have it: they mean its default
};

}  // namespace cosdt::agents
