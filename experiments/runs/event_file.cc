#include "experiments/runs/event_file.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <protozero/pbf_writer.hpp>
#include <stdexcept>

namespace cosdt::experiments {
namespace {

// Field numbers of Event, Summary, Summary.Value and SessionLog.
enum : uint32_t { kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7 };
enum : uint32_t { kValue = 1, kTag = 1, kSimpleValue = 2, kStatus = 1 };
constexpr int kStart = 1;  // SessionLog.START

uint32_t Masked(std::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

template <class T>
std::string_view BytesOf(const T& number) {
  return {reinterpret_cast<const char*>(&number), sizeof number};
}

double Now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

uint32_t Crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
      t[i] = crc;
    }
    return t;
  }();
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = (crc >> 8) ^ table[(crc ^ static_cast<uint8_t>(c)) & 0xff];
  return ~crc;
}

EventFile::EventFile(const std::string& folder, int64_t first_step) {
  char host[256] = "host";
  gethostname(host, sizeof host - 1);
  // names sort by time; the process tells files of the same second apart
  path_ = folder + "/events.out.tfevents." + std::to_string(static_cast<int64_t>(Now())) + "." +
          host + "." + std::to_string(getpid());
  file_.open(path_, std::ios::binary);
  std::string version;
  protozero::pbf_writer writer(version);
  writer.add_double(kWallTime, Now());
  writer.add_string(kFileVersion, "brain.Event:2");
  WriteRecord(version);
  std::string start;
  protozero::pbf_writer event(start);
  event.add_double(kWallTime, Now());
  event.add_int64(kStep, first_step);
  {
    protozero::pbf_writer log(event, kSessionLog);
    log.add_enum(kStatus, kStart);
  }
  WriteRecord(start);
}

void EventFile::Write(int64_t step, const std::map<std::string, double>& scalars) {
  std::string data;
  protozero::pbf_writer event(data);
  event.add_double(kWallTime, Now());
  event.add_int64(kStep, step);
  {
    protozero::pbf_writer summary(event, kSummary);
    for (const auto& [tag, number] : scalars) {
      protozero::pbf_writer value(summary, kValue);
      value.add_string(kTag, tag);
      value.add_float(kSimpleValue, static_cast<float>(number));
    }
  }
  WriteRecord(data);
}

void EventFile::WriteRecord(std::string_view data) {
  const uint64_t length = data.size();
  const uint32_t length_crc = Masked(BytesOf(length)), data_crc = Masked(data);
  file_ << BytesOf(length) << BytesOf(length_crc) << data << BytesOf(data_crc) << std::flush;
  if (!file_) throw std::runtime_error(path_ + ": writing failed");
}

}  // namespace cosdt::experiments
