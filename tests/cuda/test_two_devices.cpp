// Two GPUs in one process, as the emulation has them: each with memory, a stream, captures and
// faults of its own, whichever of them a thread of the host spoke to before.
#include <doctest/doctest.h>

#include <thread>

#include "autograd/attention.h"
#include "autograd/conv.h"
#include "autograd/fused.h"
#include "autograd/loss.h"
#include "autograd/norm.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/launch.h"
#include "models/segmenter.h"
#include "nn/linear.h"
#include "nn/optim.h"
#include "nn/random.h"
#include "tensor/ops.h"

using namespace nextgrad;
using namespace nextgrad::cuda;
using Doubles = std::vector<double>;

namespace {

constexpr Device kFirst{Device::Kind::cuda, 0}, kSecond{Device::Kind::cuda, 1};

struct TwoDevices {
  TwoDevices() { emulation::troubles().devices = 2; }
  ~TwoDevices() { emulation::troubles().devices = 1; }
};

Tensor noise(const Shape& shape, Device device, std::uint64_t seed = 1) {
  return backend_of({}).random_normal(shape, DType::f32, {seed, 0, 0, 0}).to(device);
}

// Steps of a nano SegNeXt.
struct Training {
  Segmenter model{model_config("nano", 4)};
  std::unique_ptr<AdamW> optimizer;
  Variable images;
  Tensor labels;

  explicit Training(Device device)
      : images(noise({2, 32, 32, 3}, device)),
        labels(Tensor::zeros({2, 32, 32}, DType::i32).to(device)) {
    init_parameters(model, 1);
    model.to(device);
    optimizer =
        std::make_unique<AdamW>(model.named_parameters(), AdamWOptions{}, segmenter_rules());
  }
  Tensor submit(std::uint64_t iteration) {
    const RandomScope random(7, iteration);
    model.zero_grad();
    const Variable loss = model.loss(model(images), labels);
    loss.backward();
    optimizer->step(1e-3);
    return loss.value();
  }
  double step(std::uint64_t iteration) { return submit(iteration).item(); }
};

void writes_one(float* to) {
  if (threadIdx.x == 0) *to = 1;
}
struct Holder {
  int other;
  float* to;
};
void writes_held(Holder h) {
  writes_one(h.to);
}

// Of a device, current while it is made.
struct OnDevice {
  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
  float* memory = nullptr;

  explicit OnDevice(int device) {
    use_device(device);
    void* block = nullptr;
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    cudaMalloc(&block, 64);
    memory = static_cast<float*>(block);
    emulation::unpoison(block, 64);
  }
  ~OnDevice() {
    cudaFree(memory);
    cudaEventDestroy(event);
    cudaStreamDestroy(stream);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
};

}  // namespace

TEST_CASE("two devices: the emulation sees what goes to the wrong one") {
  const TwoDevices two;
  const OnDevice a(0), b(1);
  const Grid grid{dim3(1), dim3(32)};
  CHECK_NOTHROW(launch("own", writes_one, grid, b.stream, b.memory));
  CHECK_THROWS_WITH_AS(launch("other stream", writes_one, grid, a.stream, a.memory),
                       doctest::Contains("other stream: invalid resource handle"), Error);
  CHECK_THROWS_WITH_AS(launch("other memory", writes_one, grid, b.stream, a.memory),
                       doctest::Contains("other memory: runs on device 1"), Error);
  CHECK_THROWS_WITH_AS(launch("held memory", writes_held, grid, b.stream, Holder{0, a.memory + 3}),
                       doctest::Contains("held memory: runs on device 1"), Error);
  float host = 0;
  CHECK(cudaMemcpyAsync(&host, b.memory, 4, cudaMemcpyDeviceToHost, b.stream) == cudaSuccess);
  CHECK(host == 1);
  CHECK(cudaMemcpyAsync(&host, a.memory, 4, cudaMemcpyDeviceToHost, b.stream) != cudaSuccess);
  CHECK(cudaMemcpyAsync(a.memory, b.memory, 4, cudaMemcpyDeviceToDevice, b.stream) != cudaSuccess);
  CHECK(cudaMemsetAsync(a.memory, 0, 4, a.stream) != cudaSuccess);
  CHECK(cudaEventRecord(a.event, b.stream) != cudaSuccess);
  CHECK(cudaEventRecord(b.event, b.stream) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(a.stream, b.event, 0) == cudaSuccess);
  CHECK(cudaSetDevice(2) != cudaSuccess);
}

TEST_CASE("two devices: ops give the same on both, and tensors go from one to the other") {
  const TwoDevices two;
  const Tensor a = noise({3, 40, 24}, kFirst), b = a.to(kSecond);
  CHECK(b.device() == kSecond);
  CHECK(b.to(kFirst).device() == kFirst);
  CHECK(b.to_vector<double>() == a.to_vector<double>());
  for (const auto& op : {+[](const Tensor& x) { return matmul(x, x, false, true); },
                         +[](const Tensor& x) {
                           return sum(softmax(x), {0, 2});
                         },
                         +[](const Tensor& x) {
                           return x.backend().random_normal(x.shape(), DType::f32, {3, 2});
                         },
                         +[](const Tensor& x) { return x.to(DType::bf16) * 3.0; }})
    CHECK(op(b).to_vector<double>() == op(a).to_vector<double>());
  Tensor copy = Tensor::empty(a.shape(), a.dtype(), kSecond);
  copy.copy_(a);
  CHECK(copy.to_vector<double>() == a.to_vector<double>());
}

TEST_CASE("two devices: one thread works on both in turn, two threads at once") {
  const TwoDevices two;
  Doubles alone;
  {
    Training training(kFirst);
    for (int i = 0; i < 3; ++i) alone.push_back(training.step(i));
  }
  Training first(kFirst), second(kSecond);
  Doubles of_first, of_second;
  for (int i = 0; i < 3; ++i) {
    const Tensor a = first.submit(i), b = second.submit(i);
    of_first.push_back(a.item());
    of_second.push_back(b.item());
  }
  CHECK(of_first == alone);
  CHECK(of_second == alone);
  for (const Buffer& b : second.model.named_buffers()) {
    CAPTURE(b.name);
    CHECK(b.value->device() == kSecond);
    if (!is_floating(b.value->dtype())) CHECK(b.value->item() == 3);  // counted on the device
  }
  // Again, from other threads, by what this one has made.
  const auto more = [](Training& t, Doubles& losses) {
    losses.clear();
    for (int i = 3; i < 6; ++i) losses.push_back(t.step(i));
  };
  std::thread beside([&] { more(second, of_second); });
  more(first, of_first);
  beside.join();
  CHECK(of_first == of_second);
  CHECK(of_first.back() < alone.front());
}

TEST_CASE("two devices: captures of both are replayed in turn") {
  const TwoDevices two;
  Training plain(kFirst), first(kFirst), second(kSecond);
  for (Training* t : {&plain, &first, &second}) t->step(0);
  Tensor a, b;
  // Each while the other is the one spoken to last.
  const auto of_first = backend_of(kFirst).capture([&] { a = first.submit(1); });
  const auto of_second = backend_of(kSecond).capture([&] { b = second.submit(1); });
  for (std::uint64_t i = 0; i < 3; ++i) {
    const double want = plain.step(1 + i);
    of_first->replay(i);
    of_second->replay(i);
    CHECK(a.item() == want);
    CHECK(b.item() == want);
  }
}

TEST_CASE("two devices: work for one while the other is captured is done at once") {
  const TwoDevices two;
  const Tensor a = noise({8, 8}, kFirst), b = noise({8, 8}, kSecond);
  Tensor c, d;
  const auto capture = backend_of(kFirst).capture([&] {
    c = matmul(a, a);
    d = matmul(b, b);
    CHECK_NOTHROW(backend_of(kSecond).synchronize());
  });
  const Doubles want = d.to_vector<double>();
  capture->replay();
  CHECK(c.to_vector<double>() == want);
}

TEST_CASE("two devices: each has its own arithmetic, memory and peak") {
  const TwoDevices two;
  const Tensor a = noise({1, 32, 32}, kFirst), b = a.to(kSecond);
  const Doubles exact = matmul(a, a).to_vector<double>();
  backend_of(kSecond).allow_tf32(true);
  CHECK(matmul(a, a).to_vector<double>() == exact);
  CHECK(matmul(b, b).to_vector<double>() != exact);
  backend_of(kSecond).allow_tf32(false);
  CHECK(matmul(b, b).to_vector<double>() == exact);

  for (const Device d : {kFirst, kSecond}) {
    const Device other = d == kFirst ? kSecond : kFirst;
    backend_of(other).synchronize();
    backend_of(other).reset_peak();
    const MemoryStats before = backend_of(other).memory(), own = backend_of(d).memory();
    const Tensor large = Tensor::full({1 << 20}, 1, DType::f32, d);
    CHECK(backend_of(d).memory().live >= own.live + (4 << 20));
    CHECK(backend_of(other).memory().live == before.live);
    CHECK(backend_of(other).memory().peak == before.live);
    CHECK(backend_of(other).memory().reserved == before.reserved);
  }
  backend_of(kFirst).empty_cache();
  CHECK(backend_of(kSecond).roofline().flops > 0);
  CHECK(backend_of(kFirst).roofline().bytes > 0);
}

TEST_CASE("two devices: what is on both is refused, and told") {
  const TwoDevices two;
  const Tensor a = noise({4, 4}, kFirst), b = noise({4, 4}, kSecond);
  CHECK_THROWS_WITH_AS(a + b, doctest::Contains("on cuda:0 and f32 on cuda:1"), Error);
  CHECK_THROWS_WITH_AS(matmul(b, a), doctest::Contains("on cuda:1 and f32 on cuda:0"), Error);
  Linear layer(4, 2);
  init_parameters(layer, 1);
  layer.to(kSecond);
  CHECK_THROWS_WITH_AS(layer(Variable(a)), doctest::Contains("inputs are on cuda:0 and cuda:1"),
                       Error);
  CHECK_NOTHROW(layer(Variable(b)));
  // Whatever reads numbers of both, a message names the other device, not CUDA.
  const auto refuses = [](const std::string& what, const auto& call) {
    CAPTURE(what);
    CHECK_THROWS_WITH_AS(call(), doctest::Contains("cuda:1"), Error);
  };
  Training training(kSecond);
  const Variable x(a), y(b);
  const Variable q(noise({1, 4, 8}, kFirst)), k(noise({1, 4, 8}, kSecond));
  const Variable image(noise({1, 4, 4, 4}, kFirst)), taps(noise({4, 3, 3, 4}, kSecond));
  const Variable vector(noise({4}, kSecond));
  const Tensor index = Tensor::zeros({4, 1}, DType::i64).to(kSecond);
  refuses("add_", [&] { Tensor(a).add_(b, 1); });
  refuses("gather", [&] { gather(x, 1, index).value(); });
  refuses("concat", [&] { concat({x, y}, 1).value(); });
  refuses("conv2d", [&] { conv2d(image, taps).value(); });
  refuses("layer_norm", [&] { layer_norm(x, vector, vector, 1e-5).value(); });
  refuses("attention", [&] { attention(q, k, k, 2, 1).value(); });
  refuses("residual", [&] { residual(x, y).value(); });
  refuses("scale_images", [&] { scale_images(x, vector.value()).value(); });
  refuses("apply_mask", [&] { apply_mask(x, b).value(); });
  refuses("soft_cross_entropy", [&] { soft_cross_entropy(x, b).value(); });
  CHECK_THROWS_WITH_AS(training.model(Variable(noise({1, 32, 32, 3}, kFirst))),
                       doctest::Contains("cuda:1"), Error);
  CHECK_THROWS_WITH_AS(CudaBackend(2), doctest::Contains("this machine has 2 GPUs"), InputError);
}

TEST_CASE("two devices: transfers go to the one that was asked") {
  const TwoDevices two;
  const Tensor one = noise({1000}, {}, 1), other = noise({1000}, {}, 2);
  Tensor a = Tensor::empty({1000}, DType::f32, kFirst);
  Tensor b = Tensor::empty({1000}, DType::f32, kSecond);
  for (int i = 0; i < 3; ++i) {
    const auto to_first = backend_of(kFirst).send(one), to_second = backend_of(kSecond).send(other);
    to_first->receive(a);
    to_second->receive(b);
  }
  CHECK(a.to_vector<double>() == one.to_vector<double>());
  CHECK(b.to_vector<double>() == other.to_vector<double>());
  const auto to_first = backend_of(kFirst).send(one);
  CHECK_THROWS_WITH_AS(to_first->receive(b), doctest::Contains("cuda:1"), Error);
}

TEST_CASE("two devices: a fault is told by the one that made it") {
  const TwoDevices two;
  const Tensor x = noise({4}, kSecond);
  const Tensor wrong = Tensor::from(std::vector<std::int64_t>{9}, {1}, kSecond);
  const Tensor y = backend_of(kSecond).gather(x, 0, wrong);
  CHECK(noise({1}, kFirst).numel() == 1);  // the other was spoken to last
  CHECK_NOTHROW(backend_of(kFirst).synchronize());
  CHECK_THROWS_WITH_AS(backend_of(kSecond).synchronize(), doctest::Contains("index 9"), Error);
  CHECK_NOTHROW(backend_of(kSecond).synchronize());
}
