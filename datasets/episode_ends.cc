#include "datasets/episode_ends.h"

#include <algorithm>
#include <cstdio>
#include <initializer_list>

#include "datasets/array_reader.h"

namespace cosdt::datasets {
namespace {

using Flags = std::vector<uint8_t>;

Flags Read(const D4rlFile& file, const std::string& key) {
  return ReadFlags(file.hdf5(), key, file.rows(), file.threads());
}

void ExpectSame(const D4rlFile& file, const std::string& key, const Flags& found,
                const std::string& other, const Flags& expected) {
  const auto [here, there] = std::ranges::mismatch(found, expected);
  if (here == found.end()) return;
  throw FlagError(file.path(), key, here - found.begin(),
                  std::to_string(*there) + ", as in " + other, std::to_string(*here));
}

// The flags that have one of these names, all of which mean the same; empty if none is there.
Flags ReadAnyOf(const D4rlFile& file, std::initializer_list<const char*> names) {
  Flags flags;
  const char* first = nullptr;
  for (const char* const name : names) {
    if (!file.Has(name)) continue;
    Flags found = Read(file, name);
    if (first) {
      ExpectSame(file, name, found, first, flags);
    } else {
      flags = std::move(found);
      first = name;
    }
  }
  return flags;
}

// Terminals and timeouts.
Flags AllEnds(const EpisodeEnds& ends) {
  Flags all = ends.terminals;
  for (size_t row = 0; row < ends.timeouts.size(); ++row) all[row] |= ends.timeouts[row];
  return all;
}

void AddEpisodeTerminals(const D4rlFile& file, EpisodeEnds& ends) {
  constexpr char kKey[] = "episode_terminals";
  if (!file.Has(kKey)) return;
  const Flags last = Read(file, kKey);
  if (!ends.timeouts.empty()) {
    return ExpectSame(file, kKey, last, "terminals and timeouts", AllEnds(ends));
  }
  ends.timeouts = last;
  for (size_t row = 0; row < last.size(); ++row) {
    if (!ends.terminals[row]) continue;
    if (!last[row]) throw FlagError(file.path(), kKey, row, "1, as in terminals", "0");
    ends.timeouts[row] = 0;
  }
}

void ExpectDonesSayNothingElse(const D4rlFile& file, const EpisodeEnds& ends) {
  for (const char* const name : {"dones", "done"}) {
    if (!file.Has(name)) continue;
    if (ends.terminals.empty()) {
      throw FileError(file.path(), name,
                      "terminals besides it, for some projects mark terminals with it and others "
                      "every end of an episode",
                      "none");
    }
    const Flags dones = Read(file, name);
    if (dones != ends.terminals) {
      ExpectSame(file, name, dones, ends.timeouts.empty() ? "terminals" : "terminals and timeouts",
                 AllEnds(ends));
    }
  }
}

}  // namespace

std::vector<uint8_t> ReadFlags(const Hdf5File& file, const std::string& key, uint64_t rows,
                               int threads) {
  std::vector<double> values(rows);
  ReadArray<double>(file, key, rows, 1, values, threads);
  Flags flags(rows);
  for (size_t row = 0; row < rows; ++row) {
    const double x = values[row];
    if (x != 0 && x != 1) {
      char text[32];
      std::snprintf(text, sizeof text, "%.9g", x);
      throw FlagError(file.path(), key, row, "0 or 1", text);
    }
    flags[row] = x == 1;
  }
  return flags;
}

EpisodeEnds ReadEpisodeEnds(const D4rlFile& file) {
  EpisodeEnds ends;
  ends.terminals = ReadAnyOf(file, {"terminals", "terminations", "terminated"});
  ends.timeouts = ReadAnyOf(file, {"timeouts", "truncations", "truncated"});
  if (!ends.terminals.empty()) AddEpisodeTerminals(file, ends);
  ExpectDonesSayNothingElse(file, ends);
  if (ends.terminals.empty()) throw FileError(file.path(), "terminals", "a dataset", "none");
  return ends;
}

}  // namespace cosdt::datasets
