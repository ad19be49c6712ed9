#pragma once

#include <string>

namespace cosdt::datasets {

// Walks through all structure of an HDF5 file (groups, types, shapes, chunk indices) in a child
// process first. HDF5's library crashes on about one in 700 files with damaged metadata; here such
// a file, too, is a FileError. Call it before the process has other threads: it forks.
void ProbeFile(const std::string& path);

}  // namespace cosdt::datasets
