#include "datasets/fetch.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <thread>

#include "datasets/file_error.h"
#include "datasets/sha256.h"

namespace cosdt::datasets {
namespace {

using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Throws;

// How the server below misbehaves.
struct Behaviour {
  size_t cut_after = SIZE_MAX;  // closes the connection after so many bytes of each answer
  bool knows_ranges = true;
  int64_t claims_more = 0;  // Content-Length beyond the body
  int status = 200;
};

// An HTTP server for one client at a time on the loopback address.
class Server {
 public:
  Server(std::string body, Behaviour behaviour)
      : body_(std::move(body)), behaviour_(behaviour), socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(socket_, 8), 0);
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this] { Serve(); });
  }
  ~Server() {
    shutdown(socket_, SHUT_RDWR);
    thread_.join();
    close(socket_);
  }

  const std::string& url() const { return url_; }
  int requests() const { return requests_; }

 private:
  void Serve() {
    for (int client; (client = accept(socket_, nullptr, nullptr)) >= 0; close(client))
      Answer(client);
  }

  void Answer(int client) {
    std::string request;
    char block[1024];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t n = recv(client, block, sizeof block, 0);
      if (n <= 0) return;
      request.append(block, static_cast<size_t>(n));
    }
    ++requests_;
    size_t first = 0;
    const size_t range = request.find("Range: bytes=");
    if (range != std::string::npos && behaviour_.knows_ranges) {
      first = std::stoul(request.substr(range + 13));
    }
    const std::string rest = first < body_.size() ? body_.substr(first) : "";
    const int status = behaviour_.status != 200 ? behaviour_.status : first > 0 ? 206 : 200;
    std::string answer =
        "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Length: " +
        std::to_string(static_cast<int64_t>(rest.size()) + behaviour_.claims_more) +
        "\r\nConnection: close\r\n";
    if (first > 0) {
      answer += "Content-Range: bytes " + std::to_string(first) + "-" +
                std::to_string(body_.size() - 1) + "/" + std::to_string(body_.size()) + "\r\n";
    }
    answer += "\r\n" + rest.substr(0, behaviour_.cut_after);
    for (size_t sent = 0; sent < answer.size();) {
      const ssize_t n = send(client, answer.data() + sent, answer.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return;
      sent += static_cast<size_t>(n);
    }
    shutdown(client, SHUT_WR);
    while (recv(client, block, sizeof block, 0) > 0) {
    }
  }

  std::string body_;
  Behaviour behaviour_;
  int socket_;
  std::string url_;
  std::atomic<int> requests_ = 0;
  std::thread thread_;
};

class FetchTest : public ::testing::Test {
 protected:
  FetchTest() : folder_(::testing::TempDir() + "/cosdt_fetch_" + std::to_string(getpid())) {
    std::filesystem::remove_all(folder_);
    setenv("no_proxy", "127.0.0.1", 1);
    for (size_t i = 0; i < 300000; ++i) body_ += static_cast<char>(i * 31 >> 3);
    Sha256 sha;
    sha.Add(body_);
    hash_ = sha.Finish();
    known_ = {"hopper_test-v2", body_.size(), hash_.c_str(), 1, std::nullopt};
    path_ = folder_ + "/hopper_test-v2.hdf5";
  }
  ~FetchTest() override { std::filesystem::remove_all(folder_); }

  FetchResult Get(const Server& server) {
    FetchOptions options;
    options.folder = folder_;
    options.mirror = server.url();
    options.attempts = 2;
    return Fetch(known_, options);
  }

  void WritePart(const std::string& bytes) {
    std::filesystem::create_directories(folder_);
    std::ofstream(path_ + ".part", std::ios::binary) << bytes;
  }

  void ExpectWhole() {
    std::ifstream file(path_, std::ios::binary);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), body_);
    EXPECT_FALSE(std::filesystem::exists(path_ + ".part"));
  }

  void ExpectNothing() { EXPECT_FALSE(std::filesystem::exists(path_)); }

  std::string folder_, path_, body_, hash_;
  KnownFile known_{};
};

TEST_F(FetchTest, DownloadsOnceAndChecksWhatIsThere) {
  const Server server(body_, {});
  const FetchResult first = Get(server);
  EXPECT_FALSE(first.was_there);
  EXPECT_EQ(first.path, path_);
  EXPECT_EQ(first.sha256, hash_);
  ExpectWhole();
  EXPECT_TRUE(Get(server).was_there);
  EXPECT_EQ(server.requests(), 1);
  std::ofstream(path_, std::ios::app) << "x";
  EXPECT_THAT([&] { Get(server); },
              Throws<FileError>(Property(&FileError::what, HasSubstr("expected 300000 bytes of"))));
}

TEST_F(FetchTest, ContinuesWhereConnectionsAreCut) {
  const Server server(body_, {.cut_after = 70000});
  Get(server);
  ExpectWhole();
  EXPECT_EQ(server.requests(), 5);
}

TEST_F(FetchTest, ContinuesAnEarlierDownload) {
  WritePart(body_.substr(0, 299990));
  const Server server(body_, {.cut_after = 10});
  Get(server);
  ExpectWhole();
  EXPECT_EQ(server.requests(), 1);
}

TEST_F(FetchTest, StartsOverWhereTheServerKnowsNoRanges) {
  WritePart("something else");
  const Server server(body_, {.knows_ranges = false});
  Get(server);
  ExpectWhole();
}

TEST_F(FetchTest, TakesAPartThatIsWhole) {
  WritePart(body_);
  const Server server(body_, {});
  Get(server);
  ExpectWhole();
  EXPECT_EQ(server.requests(), 0);
}

TEST_F(FetchTest, RefusesWrongBytesAndForgetsThem) {
  std::string wrong = body_;
  wrong[1234] ^= 1;
  const Server server(wrong, {});
  EXPECT_THAT([&] { Get(server); }, Throws<FileError>(Property(
                                        &FileError::what, HasSubstr("expected SHA-256 " + hash_))));
  ExpectNothing();
  EXPECT_FALSE(std::filesystem::exists(path_ + ".part"));
}

TEST_F(FetchTest, RefusesMoreBytesThanTheFileHas) {
  const Server server(body_ + "and more", {});
  EXPECT_THAT([&] { Get(server); }, Throws<std::runtime_error>(Property(
                                        &std::runtime_error::what,
                                        HasSubstr("the server sends more than 300000 bytes"))));
  ExpectNothing();
}

TEST_F(FetchTest, RefusesAServerThatEndsTooSoon) {
  const Server server(body_.substr(0, 1000), {});
  EXPECT_THAT([&] { Get(server); }, Throws<std::runtime_error>());
  ExpectNothing();
  EXPECT_EQ(std::filesystem::file_size(path_ + ".part"), 1000u);
}

TEST_F(FetchTest, RefusesAServerThatClaimsASizeItDoesNotSend) {
  const Server server(body_.substr(0, 1000), {.claims_more = 299000});
  EXPECT_THAT([&] { Get(server); }, Throws<std::runtime_error>());
  ExpectNothing();
}

TEST_F(FetchTest, NamesTheServersError) {
  const Server server(body_, {.status = 404});
  EXPECT_THAT([&] { Get(server); },
              Throws<std::runtime_error>(Property(&std::runtime_error::what, HasSubstr("404"))));
  ExpectNothing();
}

TEST_F(FetchTest, RecordsAHashThatNobodyKnows) {
  known_.sha256 = "";
  {
    const Server server(body_, {});
    EXPECT_FALSE(Get(server).hash_is_known);
    ExpectWhole();
  }
  // from now on it is known
  std::filesystem::remove(path_);
  std::string wrong = body_;
  wrong[0] ^= 1;
  const Server server(wrong, {});
  EXPECT_THAT([&] { Get(server); }, Throws<FileError>());
  ExpectNothing();
}

}  // namespace
}  // namespace cosdt::datasets
