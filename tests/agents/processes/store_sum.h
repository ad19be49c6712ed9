// Sums by way of the store, as a device does them: started, asked for, broken off.
#pragma once

#include <atomic>
#include <cstring>
#include <string>
#include <vector>

#include "agents/processes/device_backend.h"

namespace cosdt::agents {

class StoreSum : public c10d::Backend {
 public:
  static inline std::atomic<int> sums = 0, aborts = 0;

  StoreSum(c10::intrusive_ptr<c10d::Store> store, int rank, int size)
      : Backend(rank, size), store_(std::move(store)) {}

  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<torch::Tensor>& tensors,
                                           const c10d::AllreduceOptions& = {}) override {
    ++sums;
    const std::string name = "sum/" + std::to_string(count_++) + "/";
    std::vector<std::string> keys;
    for (int rank = 0; rank < getSize(); ++rank) keys.push_back(name + std::to_string(rank));
    const auto* const bytes = static_cast<const uint8_t*>(tensors[0].const_data_ptr());
    store_->set(keys[static_cast<size_t>(getRank())],
                std::vector<uint8_t>(bytes, bytes + tensors[0].nbytes()));
    return c10::make_intrusive<Sum>(store_, keys, tensors[0]);
  }

  void abort() override { ++aborts; }

 private:
  class Sum : public c10d::Work {
   public:
    Sum(c10::intrusive_ptr<c10d::Store> store, std::vector<std::string> keys, torch::Tensor tensor)
        : store_(std::move(store)), keys_(std::move(keys)), tensor_(std::move(tensor)) {}

    bool isCompleted() override { return store_->check(keys_); }
    bool wait(std::chrono::milliseconds = kNoTimeout) override {
      const torch::NoGradGuard no_grad;
      tensor_.zero_();
      for (const std::string& key : keys_) {
        const std::vector<uint8_t> bytes = store_->get(key);
        const torch::Tensor part = torch::empty_like(tensor_);
        std::memcpy(part.data_ptr(), bytes.data(), bytes.size());
        tensor_.add_(part);
      }
      return true;
    }

   private:
    c10::intrusive_ptr<c10d::Store> store_;
    std::vector<std::string> keys_;
    torch::Tensor tensor_;
  };

  c10::intrusive_ptr<c10d::Store> store_;
  int count_ = 0;
};

// Makes it what sums on any device, for as long as it lives.
struct WithStoreSum {
  DeviceBackendFactory before =
      SetDeviceBackendFactory([](const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                 const torch::Device&) -> c10::intrusive_ptr<c10d::Backend> {
        return c10::make_intrusive<StoreSum>(store, rank, size);
      });
  ~WithStoreSum() { SetDeviceBackendFactory(before); }
};

}  // namespace cosdt::agents
