// The communicator of MPI. A sum is made by its own rank for each share of the numbers:
//
//   rank 0  [a0|a1|a2]     exchange     [a0 b0 c0] ─ add ─ [s0]     collect     [s0|s1|s2]
//   rank 1  [b0|b1|b2]   ───────────►   [a1 b1 c1] ─ add ─ [s1]   ───────────►  [s0|s1|s2]
//   rank 2  [c0|c1|c2]   (Ialltoallv)   [a2 b2 c2] ─ add ─ [s2]  (Iallgatherv)  [s0|s1|s2]
//
// which sends no more bytes than the ring of MPI_Allreduce, and adds in the order of the ranks
// whatever MPI, network and placement are (the standard only recommends that sums be repeatable).
// What is small is collected by all and added by each: one message's time instead of two.
//
// Collectives go on whenever somebody drives them: who waits for one, at once and again and again,
// and while all compute a thread that wakes now and then. That thread also sees to it that the
// other ranks live.
#include "tensor/cpu/mpi_communicator.h"

#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "tensor/cpu/mpi_peers.h"

namespace nextgrad {
namespace {

// Up to so many bytes arrive at a rank, a sum is that of something small.
constexpr std::size_t kSmallSum = 1 << 16;
// How long a rank that waits does nothing else; how often failures are looked for.
constexpr std::chrono::microseconds kEager{2000}, kWatch{1000};
// How long a rank has to notice that another failed, before it is ended where it is.
constexpr std::chrono::seconds kNotice{8};
// How long a rank that ends tries to tell the others.
constexpr std::chrono::seconds kFarewell{2};

Clock::duration seconds(double s) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
}

void mpi_check(int status, const char* what) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(status, text, &length);
  fail("MPI, {}: {}", what, text);
}

// A number type of MPI for moving elements of a dtype: adding is done here.
MPI_Datatype type_of(DType dtype) {
  switch (size_of(dtype)) {
    case 1:
      return MPI_UINT8_T;
    case 2:
      return MPI_UINT16_T;
    case 4:
      return MPI_UINT32_T;
    default:
      return MPI_UINT64_T;
  }
}

int count_of(std::int64_t n) {
  check(n <= 2147483647, "a collective of {} numbers; split it: MPI counts to 2147483647", n);
  return static_cast<int>(n);
}

// out[i] = the sum over r of all[r * n + i], r in order.
template <class T>
void add_in_order(const T* all, int ranks, std::int64_t n, T* out) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    for (std::int64_t i = 0; i < n; ++i) {
      float sum = 0;
      for (int r = 0; r < ranks; ++r) sum += static_cast<float>(all[r * n + i]);
      out[i] = bfloat16(sum);
    }
  } else {
    std::copy_n(all, n, out);
    for (int r = 1; r < ranks; ++r)
      for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(out[i] + all[r * n + i]);
  }
}

// One collective in up to two stages, each begun in the same order on all ranks (on a communicator
// of its own: which of two collectives ends its first stage first may differ between ranks).
struct Operation {
  const char* name;
  std::function<int(MPI_Request*)> first;  // MPI's status
  std::function<void()> between = [] {};
  std::function<int(MPI_Request*)> second;  // may be empty
  Tensor result, scratch;                   // kept until the end
  Clock::time_point begun;
  MPI_Request request = MPI_REQUEST_NULL;
  enum State { waiting, in_first, between_stages, in_second, done };
  std::atomic<State> state = waiting;
};

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(int processes) : processes_(processes) {
    thread_ = std::thread([this] { run(); });
    Lock lock(mutex_);
    changed_.wait(lock, [&] { return joined_; });
    if (!trouble_.empty()) {
      lock.unlock();
      thread_.join();
      fail_input("{}", trouble_);
    }
  }
  ~MpiCommunicator() override {
    if (thread_.joinable()) thread_.detach();  // a process that did not leave() ends as it is
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  std::unique_ptr<Pending> start_sum(Tensor& t) override {
    const auto op = operation("a sum", t);
    dispatch_all(t.dtype(), [&]<class T>(T) { plan_sum<T>(*op); });
    t.bump_version();
    return begin(op);
  }
  void broadcast(Tensor& t, int root) override {
    const auto op = operation("a broadcast", t);
    op->first = [this, t, root](MPI_Request* request) {
      return MPI_Ibcast(t.raw(), count_of(t.numel()), type_of(t.dtype()), root, first_, request);
    };
    t.bump_version();
    begin(op)->wait();
  }
  using Communicator::broadcast;
  Tensor gather(const Tensor& t) override {
    Shape shape{size_};
    for (const std::int64_t extent : t.shape()) shape.push_back(extent);
    const auto op = operation("a gathering", Tensor::empty(shape, t.dtype()));
    op->scratch = t.contiguous();
    op->first = [this, &op = *op](MPI_Request* request) {
      const int n = count_of(op.scratch.numel());
      const MPI_Datatype type = type_of(op.scratch.dtype());
      return MPI_Iallgather(op.scratch.raw(), n, type, op.result.raw(), n, type, first_, request);
    };
    begin(op)->wait();
    return op->result;
  }
  using Communicator::gather;
  void barrier() override {
    const auto op = std::make_shared<Operation>();
    op->name = "a barrier";
    op->first = [this](MPI_Request* request) { return MPI_Ibarrier(first_, request); };
    begin(op)->wait();
  }

  double waited() const override { return waited_; }
  void set_time_limit(double seconds) override { time_limit_ = seconds; }
  void check_peers() override {
    if (failed_) throw_failure();
  }
  void request_stop(int how) override { stop_wanted_ = std::max(stop_wanted_.load(), how); }
  int stop_requested() const override { return std::max(stop_wanted_.load(), stop_heard_.load()); }
  void on_failure(std::function<void()> call) override {
    const Lock lock(mutex_);
    on_failure_ = std::move(call);
  }
  void set_saving(bool yes) override { saving_ = yes; }
  bool report_failure(int code, const std::string& what) override;
  void leave(int code) override;
  void finish(int code) override;

 private:
  using Lock = std::unique_lock<std::mutex>;

  class Wait final : public Pending {
   public:
    Wait(MpiCommunicator& owner, std::shared_ptr<Operation> op)
        : owner_(owner), op_(std::move(op)) {}
    void wait() override { owner_.wait_for(*op_); }

   private:
    MpiCommunicator& owner_;
    std::shared_ptr<Operation> op_;
  };

  static std::shared_ptr<Operation> operation(const char* name, const Tensor& t) {
    check(t.device().kind == Device::Kind::cpu && t.is_contiguous(),
          "{}: wants a contiguous tensor of the host, got {} {}", name, t.device(), t.shape());
    const auto op = std::make_shared<Operation>();
    op->name = name;
    op->result = t;
    return op;
  }
  template <class T>
  void plan_sum(Operation& op);
  std::unique_ptr<Pending> begin(std::shared_ptr<Operation> op) {
    op->begun = Clock::now();
    {
      const Lock lock(mutex_);
      fresh_.push_back(op);
    }
    drive();
    return std::make_unique<Wait>(*this, std::move(op));
  }
  void wait_for(const Operation& op) {
    const auto since = Clock::now();
    while (op.state != Operation::done && !failed_) {
      drive();
      // After some time the others are not just about to come, and may want this core.
      if (Clock::now() - since < kEager)
        std::this_thread::yield();
      else
        std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    waited_ = waited_ + std::chrono::duration<double>(Clock::now() - since).count();
    if (op.state != Operation::done) throw_failure();
  }
  [[noreturn]] void throw_failure() {
    noticed_ = true;
    throw PeerFailure(failure_text(), failure_.code);
  }
  std::string failure_text() const {
    return fmt::format("rank {} of {} on {}: {}", failure_.rank, size_,
                       hosts_[static_cast<std::size_t>(failure_.rank)], failure_.what);
  }

  void run();    // the thread
  bool drive();  // false: nothing is under way
  // --- whoever drives ---
  void join();
  void advance();
  void advance(Operation& op);
  void watch();
  void limit_wait(const Operation& op);
  void take_failure();
  [[noreturn]] void end_here();
  bool tells() const;
  void close();

  int rank_ = 0, size_ = 1, processes_;
  std::vector<std::string> hosts_;
  MPI_Comm first_ = MPI_COMM_NULL, second_ = MPI_COMM_NULL;
  std::mutex driving_;  // of all calls of MPI, and of what follows
  std::unique_ptr<Peers> peers_;
  std::deque<std::shared_ptr<Operation>> under_way_;
  std::int64_t collectives_ = 0;
  Clock::time_point failed_since_, watched_;

  std::mutex mutex_;  // of what follows
  std::condition_variable wake_, changed_;
  std::deque<std::shared_ptr<Operation>> fresh_;
  bool joined_ = false, closing_ = false, closed_ = false, root_leaves_ = false, all_told_ = false;
  std::string trouble_;
  std::optional<std::pair<int, std::string>> own_failure_;  // code, why
  Failure failure_;                                         // before failed_
  std::function<void()> on_failure_;
  std::atomic<bool> failed_ = false, noticed_ = false, saving_ = false;
  std::atomic<bool> root_done_ = false, root_silent_ = false;
  std::atomic<int> stop_wanted_ = 0, stop_heard_ = 0;
  std::atomic<double> waited_ = 0, time_limit_ = 3600;
  std::thread thread_;
};

template <class T>
void MpiCommunicator::plan_sum(Operation& op) {
  const std::int64_t n = op.result.numel();
  T* const numbers = op.result.data<T>();
  const MPI_Datatype type = type_of(dtype_of<T>);
  if (static_cast<std::size_t>(n * size_) * sizeof(T) <= kSmallSum) {
    op.scratch = Tensor::empty({size_, n}, dtype_of<T>);
    op.first = [=, this, all = op.scratch.data<T>()](MPI_Request* request) {
      return MPI_Iallgather(numbers, count_of(n), type, all, count_of(n), type, first_, request);
    };
    op.between = [=, this, all = op.scratch.data<T>()] { add_in_order(all, size_, n, numbers); };
    return;
  }
  count_of(n);
  struct Plan {
    std::vector<int> counts, at, mine, mine_at;
  };
  const auto plan = std::make_shared<Plan>();
  const auto begin_of = [=, this](std::int64_t r) { return static_cast<int>(n * r / size_); };
  const int own = begin_of(rank_ + 1) - begin_of(rank_);
  for (int r = 0; r < size_; ++r) {
    plan->counts.push_back(begin_of(r + 1) - begin_of(r));
    plan->at.push_back(begin_of(r));
    plan->mine.push_back(own);
    plan->mine_at.push_back(r * own);
  }
  op.scratch = Tensor::empty({size_, own}, dtype_of<T>);
  T* const all = op.scratch.data<T>();
  op.first = [=, this](MPI_Request* request) {
    return MPI_Ialltoallv(numbers, plan->counts.data(), plan->at.data(), type, all,
                          plan->mine.data(), plan->mine_at.data(), type, first_, request);
  };
  op.between = [=, this] { add_in_order(all, size_, own, numbers + begin_of(rank_)); };
  op.second = [=, this](MPI_Request* request) {
    return MPI_Iallgatherv(MPI_IN_PLACE, own, type, numbers, plan->counts.data(), plan->at.data(),
                           type, second_, request);
  };
}

void MpiCommunicator::join() {
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS ||
      provided < MPI_THREAD_SERIALIZED)
    fail_input("MPI could not start for a program of several threads");
  for (MPI_Comm* comm : {&first_, &second_}) {
    MPI_Comm_dup(MPI_COMM_WORLD, comm);
    MPI_Comm_set_errhandler(*comm, MPI_ERRORS_RETURN);
  }
  MPI_Comm_rank(first_, &rank_);
  MPI_Comm_size(first_, &size_);
  if (size_ != processes_)
    fail_input(
        "{} processes were started together, but MPI knows of {}; start them with the mpirun of "
        "the MPI this was built with, or srun --mpi=pmix",
        processes_, size_);
  char host[64] = "";
  gethostname(host, sizeof host - 1);
  std::vector<char> all(static_cast<std::size_t>(size_) * sizeof host);
  MPI_Allgather(host, sizeof host, MPI_BYTE, all.data(), sizeof host, MPI_BYTE, first_);
  for (int r = 0; r < size_; ++r) hosts_.emplace_back(all.data() + r * sizeof host);
  peers_ = std::make_unique<Peers>(MPI_COMM_WORLD);
}

void MpiCommunicator::run() {
  try {
    join();
  } catch (const std::exception& e) {
    trouble_ = e.what();
  }
  {
    const Lock lock(mutex_);
    joined_ = true;
  }
  changed_.notify_all();
  while (trouble_.empty()) {
    const bool busy = drive();
    Lock lock(mutex_);
    if (closing_) {
      lock.unlock();
      return close();
    }
    wake_.wait_for(lock, std::chrono::microseconds(busy ? 500 : 10'000));
  }
}

bool MpiCommunicator::drive() {
  const std::scoped_lock lock(driving_);
  try {
    if (!failed_) advance();
  } catch (const std::exception& e) {
    peers_->fail(rank_, 1, e.what());
  }
  if (Clock::now() - watched_ > kWatch) watch();
  return !under_way_.empty();
}

void MpiCommunicator::advance() {
  {
    const Lock lock(mutex_);
    for (; !fresh_.empty(); fresh_.pop_front()) under_way_.push_back(fresh_.front());
  }
  bool seconds_in_order = true;
  for (const auto& op : under_way_) {
    if (op->state == Operation::waiting) {
      ++collectives_;
      mpi_check(op->first(&op->request), op->name);
      op->state = Operation::in_first;
    }
    // Second stages begin in the order of their collectives.
    if (op->state == Operation::between_stages && seconds_in_order) {
      mpi_check(op->second(&op->request), op->name);
      op->state = Operation::in_second;
    }
    advance(*op);
    if (op->second && op->state < Operation::in_second) seconds_in_order = false;
  }
  std::erase_if(under_way_, [](const auto& op) { return op->state == Operation::done; });
}

void MpiCommunicator::advance(Operation& op) {
  if (op.state != Operation::in_first && op.state != Operation::in_second) return;
  int arrived = 0;
  mpi_check(MPI_Test(&op.request, &arrived, MPI_STATUS_IGNORE), op.name);
  if (arrived == 0) return;
  if (op.state == Operation::in_first) op.between();
  const bool ends = op.state == Operation::in_second || !op.second;
  op.state = ends ? Operation::done : Operation::between_stages;
}

// Failures: those of others, silence, and a collective that takes too long.
void MpiCommunicator::watch() {
  watched_ = Clock::now();
  {
    const Lock lock(mutex_);
    if (own_failure_) peers_->fail(rank_, own_failure_->first, own_failure_->second);
    if (root_leaves_ && !peers_->root_is_done) peers_->done();
  }
  if (stop_wanted_ > peers_->stop) peers_->request_stop(stop_wanted_);
  peers_->poll(collectives_);
  stop_heard_ = peers_->stop;
  if (!under_way_.empty()) limit_wait(*under_way_.front());
  if (!peers_->failure) return;
  if (!failed_) take_failure();
  {
    const Lock lock(mutex_);
    all_told_ = peers_->all_sent();
    root_done_ = peers_->root_is_done;
    root_silent_ = rank_ != 0 && peers_->root_is_silent();
  }
  changed_.notify_all();
  const auto since = Clock::now() - failed_since_;
  const bool unnoticed = !noticed_ && !saving_ && since > kNotice;
  const bool root_waits_for_nothing = rank_ == 0 || root_done_ || root_silent_;
  if ((unnoticed && root_waits_for_nothing) || since > seconds(time_limit_)) end_here();
}

// A rank whose predecessor is behind knows who is late.
void MpiCommunicator::limit_wait(const Operation& op) {
  const auto late = Clock::now() - op.begun - seconds(time_limit_);
  if (late > Clock::duration::zero() && peers_->predecessor_is_behind(collectives_))
    peers_->fail(
        peers_->predecessor(), 1,
        fmt::format("did not come to {} for {} s (--wait-limit)", op.name, time_limit_.load()));
  else if (late > std::chrono::seconds(3))
    peers_->fail(
        rank_, 1,
        fmt::format("{} did not end for {} s (--wait-limit)", op.name, time_limit_.load()));
}

void MpiCommunicator::take_failure() {
  std::function<void()> call;
  {
    const Lock lock(mutex_);
    failure_ = *peers_->failure;
    failed_ = true;
    call = on_failure_;
  }
  failed_since_ = Clock::now();
  const bool by_itself = failure_.rank == rank_ && failure_.told_by == rank_;
  if (call && !by_itself) call();
}

// Where the rank is stuck in something else.
void MpiCommunicator::end_here() {
  if (tells()) {
    const std::string line = failure_text() + "\n";
    if (write(STDERR_FILENO, line.data(), line.size()) < 0) _exit(failure_.code);
  }
  if (rank_ == 0) peers_->done();
  for (const auto begin = Clock::now(); !peers_->all_sent() && Clock::now() - begin < kFarewell;)
    peers_->poll(collectives_);
  _exit(failure_.code);
}

// One rank prints a failure: root, or where it is lost who found that out.
bool MpiCommunicator::tells() const {
  if (rank_ == 0) return true;
  return !root_done_ && (failure_.rank != 0 || failure_.told_by == rank_);
}

bool MpiCommunicator::report_failure(int code, const std::string& what) {
  noticed_ = true;
  Lock lock(mutex_);
  if (!failed_ && !own_failure_) own_failure_.emplace(code, what);
  if (rank_ == 0) return true;
  changed_.wait(lock, [&] { return root_done_ || root_silent_; });
  return tells();
}

void MpiCommunicator::leave(int code) {
  if (rank_ == 0) {
    Lock lock(mutex_);
    root_leaves_ = true;
    changed_.wait_for(lock, kFarewell, [&] { return root_done_ && all_told_; });
  }
  _exit(code);
}

void MpiCommunicator::finish(int code) {
  barrier();
  Lock lock(mutex_);
  closing_ = true;
  wake_.notify_one();
  if (!changed_.wait_for(lock, kNotice, [&] { return closed_; })) _exit(code);
  lock.unlock();
  thread_.join();
}

void MpiCommunicator::close() {
  {
    const std::scoped_lock lock(driving_);
    peers_->close();
    MPI_Finalize();
  }
  const Lock lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

}  // namespace

std::unique_ptr<Communicator> mpi_communicator(int processes) {
  return std::make_unique<MpiCommunicator>(processes);
}

}  // namespace nextgrad
