// Ranks that are threads of one process, for tests: the same interface as between processes, and
// every sanitizer sees all of it.
#pragma once

#include <barrier>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "tensor/communicator.h"
#include "tensor/ops.h"

namespace nextgrad {

class ThreadRanks {
 public:
  // Calls work(rank) in a thread for each rank; rethrows the error of the lowest one that threw.
  // They must all throw or none, as those that do not would wait for the others.
  static void run(int size, const std::function<void(Communicator&)>& work) {
    ThreadRanks all(size);
    std::vector<std::thread> threads;
    std::vector<std::exception_ptr> errors(static_cast<std::size_t>(size));
    for (int r = 0; r < size; ++r)
      threads.emplace_back([&, r] {
        Rank rank(all, r);
        try {
          work(rank);
        } catch (...) {
          errors[static_cast<std::size_t>(r)] = std::current_exception();
        }
      });
    for (std::thread& thread : threads) thread.join();
    for (const std::exception_ptr& error : errors)
      if (error) std::rethrow_exception(error);
  }

 private:
  explicit ThreadRanks(int size)
      : size_(size), meet_(size), given_(static_cast<std::size_t>(size)) {}

  class Rank final : public Communicator {
   public:
    Rank(ThreadRanks& all, int rank) : all_(all), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return all_.size_; }
    std::unique_ptr<Pending> start_sum(Tensor& t) override {
      const std::vector<Tensor> given = exchange(t);
      Tensor sum = given[0];
      for (std::size_t r = 1; r < given.size(); ++r) {
        if (is_floating(t.dtype()) && t.dtype() != DType::bf16) {
          sum = sum + given[r];
          continue;
        }
        const auto a = sum.to_vector<double>(), b = given[r].to_vector<double>();
        std::vector<double> both;
        for (std::size_t i = 0; i < a.size(); ++i) both.push_back(a[i] + b[i]);
        sum = Tensor::from(both, t.shape()).to(t.dtype());
      }
      t.copy_(sum);
      struct Done final : Pending {
        void wait() override {}
      };
      return std::make_unique<Done>();
    }
    void broadcast(Tensor& t, int root) override {
      t.copy_(exchange(t)[static_cast<std::size_t>(root)]);
    }
    using Communicator::broadcast;
    Tensor gather(const Tensor& t) override {
      Shape shape{size()};
      for (const std::int64_t extent : t.shape()) shape.push_back(extent);
      Tensor all = Tensor::empty(shape, t.dtype());
      const std::vector<Tensor> given = exchange(t);
      for (int r = 0; r < size(); ++r)
        all.slice(0, r, r + 1).copy_(given[static_cast<std::size_t>(r)].unsqueeze(0));
      return all;
    }
    using Communicator::gather;
    void barrier() override { all_.meet_.arrive_and_wait(); }
    void request_stop(int how) override { stop_ = how; }
    int stop_requested() const override { return stop_; }

   private:
    // What all ranks gave.
    std::vector<Tensor> exchange(const Tensor& t) {
      all_.given_[static_cast<std::size_t>(rank_)] = t.clone();
      barrier();
      std::vector<Tensor> given;
      for (const Tensor& other : all_.given_) given.push_back(other.clone());
      barrier();
      return given;
    }
    ThreadRanks& all_;
    int rank_, stop_ = 0;
  };

  int size_;
  std::barrier<> meet_;
  std::vector<Tensor> given_;
};

}  // namespace nextgrad
