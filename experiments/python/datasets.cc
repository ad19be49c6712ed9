// Datasets as NumPy arrays, which are the library's own memory.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <memory>

#include "datasets/data_folder.h"
#include "datasets/episodes.h"
#include "datasets/probe.h"
#include "experiments/program/dataset_lookup.h"
#include "experiments/program/default_threads.h"
#include "experiments/python/bindings.h"

namespace cosdt::python {
namespace {

using datasets::Episodes;

// A view of the values as an array of so many rows, which keeps `owner` alive; `width` 0 is one
// value per row without a dimension of its own.
template <typename T>
nb::ndarray<nb::numpy, T> View(nb::handle owner, T* values, size_t rows, size_t width = 0) {
  const size_t shape[] = {rows, width};
  return nb::ndarray<nb::numpy, T>(values, width > 0 ? 2 : 1, shape, owner);
}

Episodes& Self(nb::handle self) { return nb::cast<Episodes&>(self); }

std::unique_ptr<Episodes> Load(const std::string& path, const std::string& env,
                               bool next_observations, std::optional<int> threads) {
  const nb::gil_scoped_release release;
  datasets::ProbeFile(path);
  return std::make_unique<Episodes>(
      datasets::ReadEpisodes(path, {.env = env,
                                    .next_observations = next_observations,
                                    .threads = threads.value_or(experiments::DefaultThreads())}));
}

}  // namespace

void BindDatasets(nb::module_& module) {
  nb::class_<Episodes>(module, "Episodes")
      .def_ro("env", &Episodes::env)
      .def_ro("discrete_actions", &Episodes::discrete_actions)
      .def_prop_ro("observations",
                   [](nb::handle self) {
                     Episodes& e = Self(self);
                     return View(self, e.observations.data(), e.rows(), e.observation_size);
                   })
      .def_prop_ro("next_observations",
                   [](nb::handle self) {
                     Episodes& e = Self(self);
                     const size_t rows = e.next_observations.empty() ? 0 : e.rows();
                     return View(self, e.next_observations.data(), rows, e.observation_size);
                   })
      .def_prop_ro("actions",
                   [](nb::handle self) {
                     Episodes& e = Self(self);
                     return View(self, e.actions.data(), e.rows(), e.action_size);
                   })
      .def_prop_ro(
          "rewards",
          [](nb::handle self) { return View(self, Self(self).rewards.data(), Self(self).rows()); })
      .def_prop_ro("returns_to_go",
                   [](nb::handle self) {
                     return View(self, Self(self).returns_to_go.data(), Self(self).rows());
                   })
      .def_prop_ro("offsets",
                   [](nb::handle self) {  // below 2^63, and NumPy's indices are signed
                     auto* const offsets = reinterpret_cast<int64_t*>(Self(self).offsets.data());
                     return View(self, offsets, Self(self).offsets.size());
                   })
      .def_prop_ro("endings",
                   [](nb::handle self) {
                     auto* const endings = reinterpret_cast<uint8_t*>(Self(self).endings.data());
                     return View(self, endings, Self(self).size());
                   })
      .def_prop_ro("returns", [](nb::handle self) {
        return View(self, Self(self).returns.data(), Self(self).size());
      });
  module.def("load", &Load);
  module.def("dataset_path", &experiments::DatasetPath);
  module.def("is_file", &datasets::IsFile);
}

}  // namespace cosdt::python
