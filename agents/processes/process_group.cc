#define USE_C10D_GLOO
#include "agents/processes/process_group.h"

#include <c10/util/Logging.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <array>
#include <optional>
#include <sstream>
#include <thread>

#include "agents/processes/device_backend.h"
#include "agents/processes/process_watch.h"

C10_DECLARE_int(caffe2_log_level);

namespace cosdt::agents {
namespace {

using namespace std::chrono_literals;
using torch::Tensor;

constexpr int kMissedBeats = 40;    // of a process that is stopped or cut off
constexpr int kBeatsOfTheDead = 4;  // once a connection has broken
constexpr int kSilence = 20;        // seconds of the store
constexpr int kSecondsToLeave = 5;

std::string Place(const ProcessPlace& place) {
  return place.address + ":" + std::to_string(place.port);
}

std::string FirstLine(const std::exception& e) {
  const auto* const error = dynamic_cast<const c10::Error*>(&e);
  const std::string text = error ? error->what_without_backtrace() : e.what();
  return text.substr(0, text.find('\n'));
}

// This host's address on the way to another one; that one's, if it is this host.
std::string AddressTowards(const ProcessPlace& place) {
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_DGRAM;
  const std::string port = std::to_string(place.port);
  if (getaddrinfo(place.address.c_str(), port.c_str(), &hints, &found) != 0) return "";
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, freeaddrinfo);
  for (const addrinfo* at = found; at; at = at->ai_next) {
    const int s = socket(at->ai_family, at->ai_socktype, 0);
    if (s < 0) continue;
    // no packet is sent: the kernel chooses the interface
    sockaddr_storage own = {};
    socklen_t size = sizeof own;
    const bool good = connect(s, at->ai_addr, at->ai_addrlen) == 0 &&
                      getsockname(s, reinterpret_cast<sockaddr*>(&own), &size) == 0;
    close(s);
    std::array<char, NI_MAXHOST> text = {};
    if (good && getnameinfo(reinterpret_cast<const sockaddr*>(&own), size, text.data(), text.size(),
                            nullptr, 0, NI_NUMERICHOST) == 0) {
      return text.data();
    }
  }
  return "";
}

c10::intrusive_ptr<c10d::Store> OpenStore(const ProcessPlace& place,
                                          std::chrono::seconds patience) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(place.port);
  options.isServer = place.rank == 0 && !place.has_store;
  options.waitWorkers = false;
  options.timeout = patience;
  if (options.isServer && place.listener >= 0) options.masterListenFd = place.listener;
  try {
    const auto store = c10::make_intrusive<c10d::TCPStore>(place.address, options);
    return c10::make_intrusive<c10d::PrefixStore>("cosdt/" + place.attempt, store);
  } catch (const std::exception& e) {
    const std::string text = FirstLine(e);
    if (options.isServer && text.find("EADDRINUSE") != std::string::npos) {
      throw std::runtime_error("MASTER_PORT: expected a free port, found " +
                               std::to_string(place.port) + " in use");
    }
    throw std::runtime_error(Place(place) + ": expected the store of rank 0 to answer within " +
                             std::to_string(patience.count()) + " s, found none (" + text + ")");
  }
}

// "rank 1 of 2 (process 4711 on node07)", of all, once all are here.
std::vector<std::string> MeetAll(c10d::Store& store, const ProcessPlace& place,
                                 std::chrono::seconds patience) {
  const auto key = [](int rank) { return "name/" + std::to_string(rank); };
  const std::string size = std::to_string(place.size);
  if (const std::string found = store.compareSet("size", "", size); found != size) {
    throw std::runtime_error("WORLD_SIZE: expected " + found + ", as another process has, found " +
                             size + " of rank " + std::to_string(place.rank));
  }
  if (store.add("count/" + std::to_string(place.rank), 1) > 1) {
    throw std::runtime_error("RANK: expected one process of each rank, found two of rank " +
                             std::to_string(place.rank));
  }
  std::array<char, 256> host = {};
  gethostname(host.data(), host.size() - 1);
  store.add(BeatKey(place.rank), 1);
  store.set(key(place.rank), "rank " + std::to_string(place.rank) + " of " + size + " (process " +
                                 std::to_string(getpid()) + " on " + host.data() + ")");
  std::vector<std::string> keys, names;
  for (int rank = 0; rank < place.size; ++rank) keys.push_back(key(rank));
  try {
    store.wait(keys, patience);
  } catch (const std::exception&) {
    std::string missing;
    for (int rank = 0; rank < place.size; ++rank) {
      if (!store.check({key(rank)})) missing += " " + std::to_string(rank);
    }
    throw std::runtime_error(Place(place) + ": expected " + size + " processes within " +
                             std::to_string(patience.count()) + " s, found none of rank" + missing);
  }
  for (const std::vector<uint8_t>& name : store.multiGet(keys)) {
    names.emplace_back(name.begin(), name.end());
  }
  return names;
}

c10::intrusive_ptr<c10d::Backend> OpenGloo(const c10::intrusive_ptr<c10d::Store>& store,
                                           const ProcessPlace& place,
                                           std::chrono::seconds patience) {
  auto options = c10d::ProcessGroupGloo::Options::create(patience);
  options->threads = 1;
  const std::string interface = ProcessEnvironment("GLOO_SOCKET_IFNAME").value_or("");
  options->devices.push_back(
      interface.empty() ? c10d::ProcessGroupGloo::createDeviceForHostname(AddressTowards(place))
                        : c10d::ProcessGroupGloo::createDeviceForInterface(interface));
  try {
    auto gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(store, place.rank, place.size, options);
    gloo->setTimeout(24h);  // whoever stands still is found by its missing beats
    // one that failed now would break the connections that others are still making
    std::vector<std::string> connected;
    for (int rank = 0; rank < place.size; ++rank) {
      connected.push_back("connected/" + std::to_string(rank));
    }
    store->set(connected[static_cast<size_t>(place.rank)], "1");
    store->wait(connected, patience);
    return gloo;
  } catch (const std::exception& e) {
    throw std::runtime_error("gloo: expected connections between all processes within " +
                             std::to_string(patience.count()) + " s, found: " + FirstLine(e) +
                             " (GLOO_SOCKET_IFNAME names the network's interface)");
  }
}

// Whether a sum on a device is done after at most a second.
bool IsDoneOnDevice(c10d::Work& work) {
  const auto start = std::chrono::steady_clock::now();
  while (!work.isCompleted()) {
    const auto waited = std::chrono::steady_clock::now() - start;
    if (waited > 1s) return false;
    if (waited > 10ms) {
      std::this_thread::sleep_for(100us);
    } else {
      std::this_thread::yield();
    }
  }
  return true;
}

}  // namespace

class ProcessGroup::Connection {
 public:
  Connection(const ProcessPlace& place, std::chrono::seconds patience,
             std::chrono::seconds allowance)
      : place_(place), store_(OpenStore(place, patience)) {
    try {
      names_ = MeetAll(*store_, place, patience);
    } catch (const c10::Error& e) {  // the store's connection broke
      throw std::runtime_error(Place(place) +
                               ": expected the store of rank 0 to answer, found: " + FirstLine(e));
    }
    backend_ = OpenGloo(store_, place, patience);
    watch_.emplace(store_, place.rank, names_, allowance);
  }

  // An operation under way keeps the group: the process is about to end.
  ~Connection() {
    if (is_stuck_) backend_.release();
    EndOnDevice();
  }

  c10d::Backend& backend() {
    if (!backend_) throw ProcessLost("the process group has ended");
    return *backend_;
  }
  ProcessWatch& watch() { return *watch_; }
  const std::string& name() const { return names_[static_cast<size_t>(place_.rank)]; }
  const std::string& name(int rank) const { return names_[static_cast<size_t>(rank)]; }

  void UseDevice(const torch::Device& device) {
    if (device_backend_) return;
    try {
      device_backend_ = OpenDeviceBackend(c10::make_intrusive<c10d::PrefixStore>("device", store_),
                                          place_.rank, place_.size, device);
    } catch (const c10::Error& e) {
      throw std::runtime_error(device.str() +
                               ": expected a sum over all processes, found: " + FirstLine(e));
    }
    device_ = device;
  }

  void Sum(std::vector<Tensor> tensors) {
    const bool on_device = device_ == tensors[0].device();
    Wait((on_device ? *device_backend_ : backend()).allreduce(tensors), on_device);
  }

  void Wait(const c10::intrusive_ptr<c10d::Work>& work, bool on_device = false) {
    watch_->Progress();
    try {
      WaitForOthers(*work, on_device);
    } catch (const ProcessLost&) {
      EndOnDevice();  // what it waits for would never end
      throw;
    }
    watch_->Progress();
  }

  bool Fail(const std::string& message, bool is_lost) {
    const bool first = watch_->Report(message, is_lost && place_.rank > 0);
    EndOnDevice();
    if (!is_stuck_) backend_.reset();  // the others notice
    if (watch_->CallsSinceAnswer() < kBeatsOfTheDead) {
      const int left = place_.size - (is_lost ? 1 : 0);
      watch_->WaitFor(left, "left", place_.rank == 0 ? kSecondsToLeave : 0);
    }
    return first;
  }

 private:
  // After at most a second; `broken` if it has failed.
  static bool IsDone(c10d::Work& work, bool on_device, std::string& broken) {
    try {
      if (on_device && !IsDoneOnDevice(work)) return false;
      if (on_device && work.exception()) std::rethrow_exception(work.exception());
      work.wait(1s);
      return true;
    } catch (const std::exception& e) {
      if (!work.isCompleted()) return false;
      if (work.isSuccess()) return true;  // just after its time was up
      broken = FirstLine(e);
      return false;
    }
  }

  void WaitForOthers(c10d::Work& work, bool on_device) {
    std::string broken;
    if (IsDone(work, on_device, broken)) return;
    watch_->Look(true);
    while (broken.empty()) {
      watch_->Progress();
      const std::string missing = Missing(kMissedBeats);
      if (!missing.empty()) {
        is_stuck_ = true;
        throw ProcessLost(missing);
      }
      if (IsDone(work, on_device, broken)) return watch_->Look(false);
    }
    // whoever has ended beats no more
    for (int i = 0; i < kSilence + kBeatsOfTheDead; ++i) {
      watch_->Progress();
      const std::string missing = Missing(kBeatsOfTheDead);
      if (!missing.empty()) throw ProcessLost(missing);
      std::this_thread::sleep_for(1s);
    }
    throw ProcessLost("a connection between processes broke: " + broken);
  }

  void EndOnDevice() {
    if (device_backend_) device_backend_->abort();
    device_backend_.reset();
    device_.reset();
  }

  std::string Missing(int beats) {
    const std::string missing = watch_->Missing(beats);
    if (!missing.empty() || watch_->CallsSinceAnswer() < kSilence) return missing;
    return (place_.has_store ? "the store at " + Place(place_) : names_[0]) +
           " ended or does not answer";
  }

  ProcessPlace place_;
  c10::intrusive_ptr<c10d::Store> store_;
  std::vector<std::string> names_;
  c10::intrusive_ptr<c10d::Backend> backend_, device_backend_;
  std::optional<torch::Device> device_;
  std::optional<ProcessWatch> watch_;
  bool is_stuck_ = false;
};

ProcessGroup::ProcessGroup(const ProcessPlace& place, std::chrono::seconds patience,
                           std::chrono::seconds allowance)
    : rank_(place.rank), size_(place.size), local_rank_(place.local_rank) {
  FLAGS_caffe2_log_level = 3;  // c10d's warnings with their stacks; errors are thrown, too
  connection_ = std::make_unique<Connection>(place, patience, allowance);
}

ProcessGroup::~ProcessGroup() = default;

const std::string& ProcessGroup::Name() const { return connection_->name(); }

ProcessGroup::Computation::Computation(ProcessGroup* group) : group_(group) {
  if (group_) group_->connection_->watch().Compute(true);
}

ProcessGroup::Computation::~Computation() {
  if (group_) group_->connection_->watch().Compute(false);
}

void ProcessGroup::Progress() { connection_->watch().Progress(); }

void ProcessGroup::UseDevice(const torch::Device& device) { connection_->UseDevice(device); }

void ProcessGroup::Sum(Tensor tensor) { connection_->Sum({std::move(tensor)}); }

void ProcessGroup::Broadcast(Tensor tensor) {
  std::vector<Tensor> tensors = {std::move(tensor)};
  connection_->Wait(connection_->backend().broadcast(tensors));
}

std::string ProcessGroup::Broadcast(const std::string& bytes) {
  Tensor size = torch::full({1}, static_cast<int64_t>(bytes.size()));
  Broadcast(size);
  Tensor all = torch::zeros({size.item<int64_t>()}, torch::kUInt8);
  if (is_first()) std::copy(bytes.begin(), bytes.end(), all.data_ptr<uint8_t>());
  if (all.numel() > 0) Broadcast(all);
  return {all.data_ptr<uint8_t>(), all.data_ptr<uint8_t>() + all.numel()};
}

std::vector<std::string> ProcessGroup::Gather(const std::string& bytes) {
  Tensor sizes = torch::zeros({size_}, torch::kInt64);
  sizes[rank_] = static_cast<int64_t>(bytes.size());
  Sum(sizes);
  Tensor all = torch::zeros({sizes.sum().item<int64_t>()}, torch::kUInt8);
  const Tensor ends = sizes.cumsum(0);
  const auto end = [&](int rank) { return ends[rank].item<int64_t>(); };
  uint8_t* const data = all.data_ptr<uint8_t>();
  std::copy(bytes.begin(), bytes.end(), data + end(rank_) - static_cast<int64_t>(bytes.size()));
  if (all.numel() > 0) Sum(all);
  std::vector<std::string> parts;
  for (int rank = 0; rank < size_; ++rank) {
    parts.emplace_back(data + (rank == 0 ? 0 : end(rank - 1)), data + end(rank));
  }
  return parts;
}

bool ProcessGroup::Any(bool here) {
  const Tensor count = torch::full({1}, here ? 1.0f : 0.0f);
  Sum(count);
  return count.item<float>() > 0;
}

void ProcessGroup::ExpectSame(const std::string& what, const std::string& value) {
  const std::vector<std::string> values = Gather(value);
  for (int rank = 1; rank < size_; ++rank) {
    std::istringstream expected(values[0]), found(values[static_cast<size_t>(rank)]);
    while (expected || found) {
      std::string line, other;
      std::getline(expected, line);
      std::getline(found, other);
      if (line == other) continue;
      throw std::runtime_error(what + ": expected '" + line + "', as " + connection_->name(0) +
                               " has, found '" + other + "' of " + connection_->name(rank));
    }
  }
}

void ProcessGroup::Finish() {
  Any(false);
  connection_->watch().WaitFor(size_, "done", kSecondsToLeave);
}

bool ProcessGroup::Fail(const std::string& message, bool is_lost) {
  return connection_->Fail(message, is_lost);
}

}  // namespace cosdt::agents
