#include "tensor/cpu/mpi_peers.h"

#include <algorithm>
#include <cstring>

#include "tensor/error.h"

namespace nextgrad {
namespace {

constexpr int kTag = 1;

}  // namespace

Peers::Peers(MPI_Comm everyone) {
  MPI_Comm_dup(everyone, &comm_);
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &size_);
  beaten_ = before_heard_ = root_heard_ = Clock::now();
  listen();
}

void Peers::listen() {
  MPI_Irecv(&incoming_, sizeof incoming_, MPI_BYTE, MPI_ANY_SOURCE, kTag, comm_, &receive_);
}

void Peers::send(int to, const Message& message) {
  Sent& sent = sent_.emplace_back(Sent{message, MPI_REQUEST_NULL});
  MPI_Isend(&sent.message, sizeof(Message), MPI_BYTE, to, kTag, comm_, &sent.request);
}

void Peers::send_all(const Message& message) {
  for (int to = 0; to < size_; ++to)
    if (to != rank_) send(to, message);
}

void Peers::take(const Message& message, int from) {
  if (from == predecessor()) {
    before_heard_ = Clock::now();
    before_at_ = std::max(before_at_, message.collectives);
  }
  if (from == 0) root_heard_ = Clock::now();
  switch (message.kind) {
    case Kind::beat:
      return;
    case Kind::failed:
      if (!failure) failure = {message.rank, message.code, message.text, from};
      root_heard_ = Clock::now();  // until now it told its successor alone that it lives
      return;
    case Kind::stop:
      stop = std::max(stop, message.code);
      return;
    case Kind::done:
      root_is_done = true;
  }
}

void Peers::poll(std::int64_t collectives) {
  for (int arrived = 1; arrived != 0;) {
    MPI_Status status;
    if (MPI_Test(&receive_, &arrived, &status) != MPI_SUCCESS) arrived = 0;
    if (arrived == 0) break;
    take(incoming_, status.MPI_SOURCE);
    listen();
  }
  std::erase_if(sent_, [](Sent& sent) {
    int gone = 0;
    return MPI_Test(&sent.request, &gone, MPI_STATUS_IGNORE) != MPI_SUCCESS || gone != 0;
  });
  const auto now = Clock::now();
  if (now - beaten_ >= kBeat) {
    // A machine that slept has heard nothing because it did not listen.
    if (now - beaten_ > kSilence / 2) before_heard_ = root_heard_ = now;
    beaten_ = now;
    const Message beat{Kind::beat, 0, 0, collectives, {}};
    if (failure && rank_ == 0)
      send_all(beat);
    else
      send((rank_ + 1) % size_, beat);
  }
  if (!failure && now - before_heard_ > kSilence)
    fail(predecessor(), 1,
         fmt::format("no sign of life for {} s: it was killed, or its host or the network is gone",
                     kSilence.count()));
}

void Peers::fail(int rank, int code, const std::string& what) {
  if (failure) return;
  failure = {rank, code, what, rank_};
  Message message{Kind::failed, code, rank, 0, {}};
  std::memcpy(message.text, what.data(), std::min(what.size(), sizeof message.text - 1));
  send_all(message);
  root_heard_ = Clock::now();
}

void Peers::request_stop(int how) {
  if (how <= stop) return;
  stop = how;
  send_all({Kind::stop, how, 0, 0, {}});
}

void Peers::done() {
  root_is_done = true;
  send_all({Kind::done, 0, 0, 0, {}});
}

void Peers::close() {
  MPI_Cancel(&receive_);
  MPI_Wait(&receive_, MPI_STATUS_IGNORE);
  for (Sent& sent : sent_) MPI_Wait(&sent.request, MPI_STATUS_IGNORE);
}

}  // namespace nextgrad
