// The program `cosdt`. Exit codes: 0 done, 1 an error in data or while running, 2 wrong usage.
#include <c10/util/Exception.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>

#include "experiments/commands/commands.h"
#include "experiments/program/device.h"
#include "experiments/program/version.h"

namespace {

// Prints one line, whatever names and strings of files the message shows.
int Fail(std::string message) {
  std::ranges::replace_if(message, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  std::fprintf(stderr, "cosdt: error: %s\n", message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace cosdt::experiments;
  CLI::App program{
      "Trains and evaluates offline reinforcement learning agents with causal cosFormer "
      "attention."};
  program.name("cosdt");
  program.set_version_flag("--version", VersionText());
  program.require_subcommand(1);
  AddRolloutCommand(program);
  AddDataCommand(program);
  AddBehaviourCommand(program);
  AddTrainCommand(program);
  AddEvalCommand(program);
  AddCompareCommand(program);
  AddModelCommand(program);
  AddReportCommand(program);
  AddBenchCommand(program);
  std::signal(SIGXFSZ, SIG_IGN);  // beyond `ulimit -f`, writes fail and are reported
  try {
    program.parse(argc, argv);
  } catch (const CLI::RuntimeError& e) {  // a command that has printed everything
    return e.get_exit_code();
  } catch (const CLI::ParseError& e) {
    if (program.exit(e) != 0) return 2;  // not help or --version
  } catch (const c10::Error& e) {
    return Fail(OneLine(e.what_without_backtrace()));
  } catch (const std::exception& e) {
    return Fail(e.what());
  }
  // a result that nobody got is no success (a full disk, a closed pipe)
  std::cout.flush();
  if (std::fflush(stdout) != 0 || std::ferror(stdout) || !std::cout) {
    return Fail("standard output: expected to write the result, found it closed or full");
  }
  return 0;
}
