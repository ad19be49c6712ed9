// The module and its exceptions.
#include <c10/util/Exception.h>

#include "datasets/file_error.h"
#include "experiments/program/device.h"
#include "experiments/python/bindings.h"

NB_MODULE(_cosdt, module) {
  using namespace cosdt::python;
  // std::invalid_argument is a ValueError already, all else a RuntimeError
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const cosdt::datasets::FileError& e) {
      PyErr_SetString(PyExc_OSError, e.what());
    } catch (const c10::ValueError& e) {
      PyErr_SetString(PyExc_ValueError,
                      cosdt::experiments::OneLine(e.what_without_backtrace()).c_str());
    } catch (const c10::Error& e) {
      PyErr_SetString(PyExc_RuntimeError,
                      cosdt::experiments::OneLine(e.what_without_backtrace()).c_str());
    }
  });
  BindAgents(module);
  BindCollect(module);
  BindDatasets(module);
  BindEnvs(module);
}
