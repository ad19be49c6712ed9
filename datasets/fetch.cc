#include "datasets/fetch.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>

#include "datasets/atomic_file.h"
#include "datasets/file_descriptor.h"
#include "datasets/file_error.h"
#include "datasets/file_lock.h"

namespace cosdt::datasets {
namespace {

constexpr long kConnectSeconds = 30, kStallSeconds = 60;

// The growing file. The kernel drops its lock when the process ends, however it does.
class PartFile {
 public:
  explicit PartFile(const std::string& path) : path_(path), file_(path, O_RDWR | O_CREAT) {
    if (!file_.is_open()) Fail();
    if (flock(file_, LOCK_EX | LOCK_NB) != 0) {
      if (!HasNoLocks(errno)) {
        throw std::runtime_error(path + ": another process is downloading it");
      }
      WarnWithoutLock(path, errno);
    }
    const off_t size = lseek(file_, 0, SEEK_END);
    if (size < 0) Fail();
    size_ = static_cast<uint64_t>(size);
  }

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }

  bool Append(const char* data, size_t count) {
    const size_t written = file_.WriteAt(size_, data, count);
    size_ += written;
    return written == count;
  }

  void Clear() {
    if (ftruncate(file_, 0) != 0) Fail();
    size_ = 0;
  }

 private:
  [[noreturn]] void Fail() { throw std::runtime_error(path_ + ": " + std::strerror(errno)); }

  std::string path_;
  FileDescriptor file_;
  uint64_t size_ = 0;
};

// The write callback's context.
struct Download {
  PartFile& part;
  uint64_t expected;
  const FetchOptions& options;
  std::string error;  // why the callback refused
};

size_t Receive(char* data, size_t, size_t count, void* context) {
  Download& download = *static_cast<Download*>(context);
  if (count > download.expected - download.part.size()) {
    download.error = "the server sends more than " + std::to_string(download.expected) + " bytes";
    return 0;
  }
  if (!download.part.Append(data, count)) {
    download.error = download.part.path() + ": " + std::strerror(errno);
    return 0;
  }
  if (download.options.progress) download.options.progress(download.part.size());
  return count;
}

// One request for the bytes that are missing.
CURLcode Request(const std::string& url, Download& download, std::string& message) {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  if (started != CURLE_OK || !curl) throw std::runtime_error("libcurl cannot be started");
  char text[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, text);
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_TIME, kStallSeconds);
  curl_easy_setopt(curl.get(), CURLOPT_RESUME_FROM_LARGE,
                   static_cast<curl_off_t>(download.part.size()));
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, Receive);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &download);
  const CURLcode code = curl_easy_perform(curl.get());
  message = *text ? text : curl_easy_strerror(code);
  return code;
}

// Whether trying again may help: the connection broke, or was never made.
bool IsPassing(CURLcode code) {
  return code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING ||
         code == CURLE_SEND_ERROR || code == CURLE_COULDNT_CONNECT ||
         code == CURLE_OPERATION_TIMEDOUT;
}

void DownloadAll(const std::string& url, Download& download) {
  int in_vain = 0;
  while (download.part.size() < download.expected) {
    const uint64_t before = download.part.size();
    std::string message;
    const CURLcode code = Request(url, download, message);
    if (!download.error.empty()) {
      // what came before cannot be trusted either, unless the disk was full
      if (download.part.size() >= download.expected) download.part.Clear();
      throw std::runtime_error(url + ": " + download.error);
    }
    if (code == CURLE_RANGE_ERROR && before > 0) {  // the server knows no ranges: start over
      download.part.Clear();
      continue;
    }
    if (code != CURLE_OK && !IsPassing(code)) throw std::runtime_error(url + ": " + message);
    if (download.part.size() > before) {
      in_vain = 0;
    } else if (++in_vain >= download.options.attempts) {
      throw std::runtime_error(url + ": " +
                               (code == CURLE_OK
                                    ? "the server ends after " + std::to_string(before) + " of " +
                                          std::to_string(download.expected) + " bytes"
                                    : message));
    }
  }
}

// The hash that a file must have: D4RL's, or the one recorded at the first download, or "".
std::string ExpectedHash(const KnownFile& file, const std::string& path) {
  if (*file.sha256) return file.sha256;
  std::string recorded;
  std::ifstream(path + ".sha256") >> recorded;
  return recorded;
}

}  // namespace

FetchResult Fetch(const KnownFile& file, const FetchOptions& options) {
  std::filesystem::create_directories(options.folder);
  FetchResult result;
  result.path = options.folder + "/" + file.name + ".hdf5";
  result.hash_is_known = *file.sha256 != 0;
  const std::string expected_hash = ExpectedHash(file, result.path);
  if (std::filesystem::is_directory(result.path)) {
    throw FileError(result.path, "", "D4RL's file or none yet", "a folder");
  }
  if (std::filesystem::exists(result.path)) {
    result.sha256 = ExpectKnownFile(result.path, file, expected_hash);
    result.was_there = true;
    return result;
  }

  PartFile part(result.path + ".part");
  if (part.size() > file.bytes) part.Clear();
  Download download{part, file.bytes, options, ""};
  DownloadAll(options.mirror + "/" + file.name + ".hdf5", download);
  try {
    result.sha256 = ExpectKnownFile(part.path(), file, expected_hash);
  } catch (const FileError&) {
    std::filesystem::remove(part.path());
    throw;
  }
  if (!result.hash_is_known) {
    WriteFile(result.path + ".sha256", result.sha256 + "  " + file.name + ".hdf5\n");
  }
  RenameSynced(part.path(), result.path);
  return result;
}

}  // namespace cosdt::datasets
