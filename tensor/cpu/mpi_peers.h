// What ranks tell each other beside the collectives: that they live, that one failed, that all
// shall stop. For mpi_communicator.cpp; one thread at a time.
//
//   every second   rank r ──beat──> rank r + 1, which takes 6 s of silence for a death
//   a failure      rank r ──failed──> all; root saves what there is and tells ──beat──> all
//                  that it lives, until ──done──> all
#pragma once

#include <mpi.h>

#include <chrono>
#include <list>
#include <optional>
#include <string>

namespace nextgrad {

using Clock = std::chrono::steady_clock;

struct Failure {
  int rank, code;
  std::string what;
  int told_by;  // a rank that is gone is told of by another
};

class Peers {
 public:
  static constexpr std::chrono::seconds kBeat{1}, kSilence{6};

  explicit Peers(MPI_Comm everyone);
  // Sends and receives what there is, never waits. `collectives`: how many this rank has begun.
  void poll(std::int64_t collectives);
  // Tells all that a rank failed; the first that is known counts.
  void fail(int rank, int code, const std::string& what);
  void request_stop(int how);
  void done();  // root has saved, or will not
  // Of the rank before this one: the one that does not come to a collective, if it is behind.
  bool predecessor_is_behind(std::int64_t collectives) const { return before_at_ < collectives; }
  int predecessor() const { return (rank_ + size_ - 1) % size_; }
  // Before MPI ends: no more messages are received.
  void close();

  std::optional<Failure> failure;  // the first that this rank heard of
  int stop = 0;
  bool root_is_done = false;
  bool all_sent() const { return sent_.empty(); }
  bool root_is_silent() const {
    return Clock::now() - root_heard_ > kSilence ||
           (failure && failure->rank == 0 && failure->told_by != 0);
  }

 private:
  enum class Kind { beat, failed, stop, done };
  struct Message {
    Kind kind;
    int code;  // of a failure; how to stop
    int rank;  // that failed
    std::int64_t collectives;
    char text[1000];
  };
  struct Sent {
    Message message;
    MPI_Request request;
  };
  void send(int to, const Message& message);
  void send_all(const Message& message);
  void take(const Message& message, int from);
  void listen();

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 1;
  Message incoming_{};
  MPI_Request receive_ = MPI_REQUEST_NULL;
  std::list<Sent> sent_;
  Clock::time_point beaten_, before_heard_, root_heard_;
  std::int64_t before_at_ = 0;
};

}  // namespace nextgrad
