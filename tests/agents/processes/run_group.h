// Groups of processes in tests: each is a thread of this one.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "agents/processes/process_group.h"

namespace cosdt::agents {

// A socket that listens on a free port of this host.
struct Listener {
  Listener() : socket(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    bind(socket, reinterpret_cast<sockaddr*>(&address), size);
    listen(socket, 100);
    getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
  }

  int socket, port = 0;
};

// What each rank's work throws, "" for nothing; ranks are threads, each with a group of its own.
inline std::vector<std::string> RunGroup(
    int size, const std::function<void(ProcessGroup&)>& work,
    const std::function<void(ProcessPlace&)>& change = nullptr,
    std::chrono::seconds allowance = std::chrono::seconds(30)) {
  const Listener listener;
  std::vector<std::string> errors(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      ProcessPlace place{.rank = rank,
                         .size = size,
                         .local_rank = rank,
                         .address = "127.0.0.1",
                         .port = listener.port};
      if (rank == 0) place.listener = listener.socket;
      if (change) change(place);
      try {
        ProcessGroup group(place, std::chrono::seconds(3), allowance);
        work(group);
      } catch (const std::exception& e) {
        errors[static_cast<size_t>(rank)] = e.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

}  // namespace cosdt::agents
