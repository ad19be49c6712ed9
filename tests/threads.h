// Work on several of LibTorch's threads.
#pragma once

#include <ATen/Parallel.h>

#include <filesystem>
#include <set>
#include <string>
#include <thread>

namespace cosdt {

// The result of work() with so many of LibTorch's threads.
template <class Work>
auto OnThreads(int threads, const Work& work) {
  struct Restore {
    int before = at::get_num_threads();
    ~Restore() { at::set_num_threads(before); }
  } const restore;
  at::set_num_threads(threads);
  return work();
}

// How many threads work() starts if LibTorch has so many: with OpenMP one less, and none if nothing
// runs in parallel. A new thread calls it, for which OpenMP has none yet.
template <class Work>
size_t ThreadsBegun(int threads, const Work& work) {
  const auto all = [] {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
      names.insert(entry.path());
    }
    return names;
  };
  size_t begun = 0;
  std::thread([&] {
    OnThreads(1, [&] { work(); });  // brings what has nothing to do with their number
    OnThreads(threads, [&] {
      const std::set<std::string> before = all();  // LibTorch may have begun some for other use
      work();
      for (const std::string& name : all()) begun += !before.contains(name);
    });
  }).join();
  return begun;
}

}  // namespace cosdt
