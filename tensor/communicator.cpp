#include "tensor/communicator.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "tensor/backend.h"
#include "tensor/cpu/mpi_communicator.h"

namespace nextgrad {
namespace {

struct Done final : Communicator::Pending {
  void wait() override {}
};

// Text as bytes, filled up to `length`.
Tensor bytes_of(const std::string& text, std::size_t length) {
  std::vector<std::uint8_t> bytes(text.begin(), text.end());
  bytes.resize(length);
  return Tensor::from(bytes, {static_cast<std::int64_t>(length)});
}
std::string text_of(const Tensor& bytes, std::size_t length) {
  const auto values = bytes.to_vector<std::uint8_t>();
  return {values.begin(), values.begin() + static_cast<std::ptrdiff_t>(length)};
}
Tensor length_of(const std::string& text) {
  return Tensor::from(std::vector<std::int64_t>{std::ssize(text)}, {1});
}

// What launchers say of the number of processes: Open MPI, MPICH and its like, Slurm in a step.
int launched_ranks() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"})
    if (const char* text = std::getenv(name)) return std::max(1, std::atoi(text));
  return 1;
}

std::unique_ptr<Communicator> join_world() {
  const int ranks = launched_ranks();
  if (ranks == 1) return std::make_unique<Alone>();
#ifdef NEXTGRAD_MPI
  return mpi_communicator(ranks);
#else
  fail_input(
      "{} processes were started together, but this build has no MPI; build with -Dmpi=enabled",
      ranks);
#endif
}

}  // namespace

std::string Communicator::broadcast(const std::string& text) {
  Tensor length = length_of(text);
  broadcast(length, 0);
  const auto n = static_cast<std::size_t>(length.item());
  Tensor bytes = bytes_of(text, n);
  broadcast(bytes, 0);
  return text_of(bytes, n);
}

std::vector<std::string> Communicator::gather(const std::string& text) {
  const auto lengths = gather(length_of(text)).to_vector<std::int64_t>();
  const auto most = static_cast<std::size_t>(*std::ranges::max_element(lengths));
  const Tensor all = gather(bytes_of(text, most));
  std::vector<std::string> texts;
  for (std::int64_t r = 0; r < size(); ++r)
    texts.push_back(text_of(all.slice(0, r, r + 1), static_cast<std::size_t>(lengths[r])));
  return texts;
}

std::unique_ptr<Communicator::Pending> Alone::start_sum(Tensor&) {
  return std::make_unique<Done>();
}

std::unique_ptr<Communicator::Pending> ThroughHost::start_sum(Tensor& t) {
  if (t.device().kind == Device::Kind::cpu || size() == 1) return hosts_.start_sum(t);
  Tensor host = t.to(Device{});
  hosts_.sum(host);
  t.copy_(host.to(t.device()));
  return std::make_unique<Done>();
}

void ThroughHost::broadcast(Tensor& t, int root) {
  if (t.device().kind == Device::Kind::cpu || size() == 1) return hosts_.broadcast(t, root);
  Tensor host = t.to(Device{});
  hosts_.broadcast(host, root);
  t.copy_(host.to(t.device()));
}

Tensor ThroughHost::gather(const Tensor& t) {
  return hosts_.gather(t.to(Device{})).to(t.device());
}

Communicator& world() {
  static const std::unique_ptr<Communicator> everyone = join_world();
  return *everyone;
}

LocalRank local_rank(Communicator& everyone) {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  cpu_set_t cores;
  CPU_ZERO(&cores);
  sched_getaffinity(0, sizeof cores, &cores);
  const std::string on_cores =
      std::string(host) + '\0' + std::string(reinterpret_cast<const char*>(&cores), sizeof cores);
  const auto places = everyone.gather(on_cores);
  LocalRank local{0, 0, 0};
  for (int r = 0; r < everyone.size(); ++r) {
    const std::string& place = places[static_cast<std::size_t>(r)];
    if (place.find(std::string(host) + '\0') != 0) continue;
    ++local.size;
    local.rank += r < everyone.rank();
    local.on_cores += place == on_cores;
  }
  return local;
}

}  // namespace nextgrad
