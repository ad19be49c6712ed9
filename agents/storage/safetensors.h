// Tensors in safetensors files (https://huggingface.co/docs/safetensors): eight bytes with the
// header's length, a JSON header with every tensor's type, shape and place, the values in little
// endian. Nothing in such a file is ever executed.
#pragma once

#include <torch/torch.h>

#include <map>
#include <string>

namespace cosdt::agents {

struct Safetensors {
  std::map<std::string, torch::Tensor> tensors;  // on the CPU, contiguous
  std::map<std::string, std::string> metadata;   // the header's __metadata__

  // The tensor of that name. Throws FileError (datasets/file_error.h) with `file` if there is none,
  // or if it has another shape or type.
  torch::Tensor Get(const std::string& file, const std::string& name, torch::IntArrayRef shape,
                    torch::ScalarType type) const;

  // Throws FileError if all tensors together have fewer elements than `count`: for options that
  // come from a file, before memory is taken for a model of as many weights. `key` names the
  // options.
  void ExpectElements(const std::string& file, const std::string& key, double count) const;
};

// Reads a whole file. Types: float64, float32, float16, bfloat16, signed integers, uint8, bool.
// Throws FileError if the file cannot be read or is damaged: header, types, shapes and places are
// checked against the bytes that are there.
Safetensors ReadSafetensors(const std::string& path);

// Replaces the file as a whole (datasets/atomic_file.h). Equal contents give equal bytes. Tensors
// may be on any device. Throws std::runtime_error with the system's reason.
void WriteSafetensors(const std::string& path, const Safetensors& contents);

}  // namespace cosdt::agents
