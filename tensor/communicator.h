// Communicator: processes that compute one thing together, each of them a rank. Started alone, a
// process is rank 0 of 1, and nothing is sent. All ranks call the same collectives in the same
// order. A rank that fails ends the others: their collectives throw PeerFailure.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace nextgrad {

// Another rank failed or gives no sign of life. `code`: what the program ends with.
class PeerFailure : public Error {
 public:
  PeerFailure(const std::string& what, int code) : Error(what), code_(code) {}
  int code() const { return code_; }

 private:
  int code_;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  bool is_root() const { return rank() == 0; }  // who writes files and talks

  // --- collectives, on contiguous tensors of any dtype and of the same shape on all ranks ---
  class Pending {
   public:
    virtual ~Pending() = default;
    virtual void wait() = 0;  // for what is submitted afterwards the result is there; throws
  };
  // t becomes the sum over all ranks, term by term in the order of the ranks (on GPUs in NCCL's
  // own): the same bits on all of them, and at every run of one size. Other work may be done before
  // wait().
  virtual std::unique_ptr<Pending> start_sum(Tensor& t) = 0;
  void sum(Tensor& t) { start_sum(t)->wait(); }
  virtual void broadcast(Tensor& t, int root = 0) = 0;  // t becomes that of `root`
  virtual Tensor gather(const Tensor& t) = 0;           // of all ranks: [size, ...]
  virtual void barrier() = 0;
  // Text of any length: root's; that of each rank.
  std::string broadcast(const std::string& text);
  std::vector<std::string> gather(const std::string& text);

  // Whether a Backend::capture() may hold collectives.
  virtual bool capturable() const { return true; }
  // Seconds that collectives have kept this rank waiting, in all.
  virtual double waited() const { return 0; }

  // --- the end ---
  // How long a collective may wait for a rank that lives but does not come.
  virtual void set_time_limit(double) {}
  // Throws PeerFailure if another rank failed: for work that calls no collective for seconds.
  virtual void check_peers() {}
  // Asks all ranks to stop where they can be continued, and the highest `how` that one has asked
  // with (0: none has). The ranks learn of it at different times.
  virtual void request_stop(int how) = 0;
  virtual int stop_requested() const = 0;
  // Called at once when another rank fails, by a thread of its own: frees who waits elsewhere.
  virtual void on_failure(std::function<void()>) {}
  // Whether this rank does what must not be cut off, though others have failed: it saves.
  virtual void set_saving(bool) {}
  // Tells the others that this rank ends with `code` (not 0), and why; waits for root, which may
  // have to save. Whether this is the rank that should print that.
  virtual bool report_failure(int, const std::string&) { return true; }
  // After a failure: ends the process if there are others.
  virtual void leave(int) {}
  // When all is done: waits for all ranks. Throws PeerFailure. If one is lost behind that, the
  // process ends with `code`.
  virtual void finish(int) {}
};

// The process by itself: collectives leave everything as it is.
class Alone final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::unique_ptr<Pending> start_sum(Tensor&) override;
  void broadcast(Tensor&, int) override {}
  using Communicator::broadcast;
  Tensor gather(const Tensor& t) override { return t.unsqueeze(0); }
  using Communicator::gather;
  void barrier() override {}
  void request_stop(int how) override { stop_ = std::max(stop_, how); }
  int stop_requested() const override { return stop_; }

 private:
  int stop_ = 0;
};

// For tensors of any device through the host's memory. `hosts` must outlive it.
class ThroughHost : public Communicator {
 public:
  explicit ThroughHost(Communicator& hosts) : hosts_(hosts) {}
  int rank() const override { return hosts_.rank(); }
  int size() const override { return hosts_.size(); }
  std::unique_ptr<Pending> start_sum(Tensor& t) override;
  void broadcast(Tensor& t, int root) override;
  using Communicator::broadcast;
  Tensor gather(const Tensor& t) override;
  using Communicator::gather;
  void barrier() override { hosts_.barrier(); }
  bool capturable() const override { return size() == 1; }
  double waited() const override { return hosts_.waited(); }
  void check_peers() override { hosts_.check_peers(); }
  void request_stop(int how) override { hosts_.request_stop(how); }
  int stop_requested() const override { return hosts_.stop_requested(); }

 protected:
  Communicator& hosts_;
};

// All processes that were started together by mpirun, srun and their like, of host tensors. The
// first call joins them; throws InputError if that cannot be.
Communicator& world();
// Which of the ranks on this machine this one is, how many there are, and how many of them may use
// the same cores as this one.
struct LocalRank {
  int rank = 0, size = 1, on_cores = 1;
};
LocalRank local_rank(Communicator& everyone);

}  // namespace nextgrad
