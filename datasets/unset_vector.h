#pragma once

#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace cosdt::datasets {

// Leaves new elements unset, so that the pages of a large array are first touched by the threads
// that fill it.
template <typename T>
class UnsetAllocator : public std::allocator<T> {
 public:
  template <typename U>
  struct rebind {
    using other = UnsetAllocator<U>;
  };
  template <typename U, typename... Arguments>
  void construct(U* at, Arguments&&... arguments) {
    if constexpr (sizeof...(Arguments) == 0 && std::is_trivially_default_constructible_v<U>) {
      ::new (static_cast<void*>(at)) U;
    } else {
      ::new (static_cast<void*>(at)) U(std::forward<Arguments>(arguments)...);
    }
  }
};

// std::vector, except that resize(n) leaves new elements unset.
template <typename T>
using UnsetVector = std::vector<T, UnsetAllocator<T>>;
using FloatVector = UnsetVector<float>;

}  // namespace cosdt::datasets
