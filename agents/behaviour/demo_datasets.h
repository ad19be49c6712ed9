#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace cosdt::agents {

// Datasets in D4RL's layout that need no download: rolled out with policies that this project
// trained itself (SacTrainer) and carries inside. They resemble D4RL's of the same kinds, and are
// not theirs.

// "demo/hopper-medium" and so on: those of the bodies as they are, and of tasks one example each.
std::vector<std::string> DemoDatasets();

// Whether it can be made: also of any task made of these bodies
// ("demo/halfcheetah-dropped-20-random") and of any T-maze ("demo/tmaze-500")
// and game ("demo/popgym-autoencode-easy").
bool IsDemoDataset(const std::string& name);

struct DemoOptions {
  int64_t transitions = 0;  // 0: 100,000, of medium-expert 200,000, of a T-maze or game 500
                            // times its longest episode
  int threads = 1;
  std::function<void(int64_t done, int64_t total)> progress = nullptr;
};

// Makes a dataset in d4rl physics and writes it to `path`: the same bytes for any number of threads
// on one machine. Kinds that D4RL puts together have their parts one after the other, in equal
// shares of the transitions: medium-expert is expert and medium; medium-replay goes from random
// actions along the training to the medium policy, as a replay buffer does. Tasks are made with
// their body's policies, which see it in full, T-mazes and games with the scripted policy, of which
// a fifth of the actions are random in games. A part's last episode is left out if it is cut, but
// for the dataset's last. Throws std::invalid_argument for another name or fewer transitions than
// parts, std::runtime_error if writing fails.
void MakeDemoDataset(const std::string& name, const std::string& path, const DemoOptions& options);

}  // namespace cosdt::agents
