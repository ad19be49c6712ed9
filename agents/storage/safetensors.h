// Tensors in safetensors files (https://huggingface.co/docs/safetensors): eight bytes with the
// header's length, a JSON header with every tensor's type, shape and place, the numbers in little
// endian. Nothing in such a file is ever executed.
#pragma once

#include <torch/torch.h>

#include <map>
#include <string>

namespace cosdt::agents {

struct Safetensors {
  std::map<std::string, torch::Tensor> tensors;  // on the CPU, contiguous
  std::map<std::string, std::string> metadata;   // the header's __metadata__

  // The tensor of that name. Throws FileError (datasets/hdf5_file.h) with `file` where there is
  // none, or where it has another shape or type.
  torch::Tensor Get(const std::string& file, const std::string& name, torch::IntArrayRef shape,
                    torch::ScalarType type) const;

  // Throws FileError where all tensors together have fewer elements than `count`: for options that
  // come from a file, before memory is taken for a model of as many weights. `key` says where the
  // options stand.
  void ExpectElements(const std::string& file, const std::string& key, double count) const;
};

// Reads a whole file. Types: float64, float32, float16, bfloat16, signed integers, uint8, bool.
// Throws FileError where the file cannot be read or is damaged: header, types, shapes and places
// are checked against the bytes that are there.
Safetensors ReadSafetensors(const std::string& path);

// Writes under a temporary name (PATH.PID.tmp), syncs, and renames: a file of that name is always
// whole. Equal contents give equal bytes. Tensors may be on any device. Throws std::runtime_error
// with the system's reason.
void WriteSafetensors(const std::string& path, const Safetensors& contents);

}  // namespace cosdt::agents
