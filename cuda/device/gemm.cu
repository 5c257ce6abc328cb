// Products by cuBLASLt. It thinks in columns: a row-major matrix is its transpose to cuBLASLt, so
// that C = op(A) op(B) is asked for as C^T = op(B)^T op(A)^T. What is planned for one kind of
// product (descriptors, the algorithm that cuBLASLt's heuristic puts first) is kept. Where cuBLASLt
// has no algorithm with the bias, a kernel adds that; where it has none at all, as it promises none
// for odd addresses and strides, a plain kernel computes the product.
#include <algorithm>

#include "cuda/device/gemm.h"
#include "cuda/kit/kernel.h"
#include "cuda/kit/launch.h"

namespace nextgrad::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;  // NVIDIA's advice for Hopper

void lt_check(cublasStatus_t status, const char* doing) {
  if (status != CUBLAS_STATUS_SUCCESS)
    fail("cuBLASLt: {}: {}", doing, cublasLtGetStatusString(status));
}

cudaDataType_t data_type(DType d) {
  if (d == DType::f32) return CUDA_R_32F;
  if (d == DType::f64) return CUDA_R_64F;
  check(d == DType::bf16, "matrix product: {} is not computed", name_of(d));
  return CUDA_R_16BF;
}

template <class Descriptor, class Attribute, class Value>
void set(cublasStatus_t (*setter)(Descriptor, Attribute, const void*, std::size_t), Descriptor d,
         std::type_identity_t<Attribute> attribute, const Value& value) {
  lt_check(setter(d, attribute, &value, sizeof value), "setting an attribute");
}

// The largest power of two that divides the address; wider loads need it.
std::uint32_t alignment_of(const void* p) {
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  return static_cast<std::uint32_t>(std::min<std::uintptr_t>(address & (0 - address), 256));
}

cublasLtMatrixLayout_t layout(DType type, std::int64_t rows, std::int64_t cols, std::int64_t ld,
                              std::int64_t batch, std::int64_t stride) {
  cublasLtMatrixLayout_t l = nullptr;
  lt_check(cublasLtMatrixLayoutCreate(&l, data_type(type), static_cast<std::uint64_t>(rows),
                                      static_cast<std::uint64_t>(cols), ld),
           "describing a matrix");
  if (batch > 1) {
    set(cublasLtMatrixLayoutSetAttribute, l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
        static_cast<std::int32_t>(batch));
    set(cublasLtMatrixLayoutSetAttribute, l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride);
  }
  return l;
}

constexpr int kSide = 16;  // of a tile

// A block a tile of C, a thread an element.
template <class T, class Out>
__global__ void plain_product(Product p) {
  using C = Compute<T>;
  __shared__ C of_a[kSide][kSide + 1], of_b[kSide][kSide + 1];
  const T *a = static_cast<const T*>(p.a), *b = static_cast<const T*>(p.b);
  const std::int64_t a_row = p.transpose_a ? 1 : p.lda, a_column = p.transpose_a ? p.lda : 1;
  const std::int64_t b_row = p.transpose_b ? 1 : p.ldb, b_column = p.transpose_b ? p.ldb : 1;
  const std::int64_t rows = parts_of(p.m, kSide), tiles = rows * parts_of(p.n, kSide);
  const int x = static_cast<int>(threadIdx.x) % kSide, y = static_cast<int>(threadIdx.x) / kSide;
  for (std::int64_t i = blockIdx.x; i < tiles * p.batch; i += gridDim.x) {
    const std::int64_t image = i / tiles, tile = i - image * tiles;
    const std::int64_t row = tile % rows * kSide + y, column = tile / rows * kSide + x;
    C sum = 0;
    for (std::int64_t k = 0; k < p.k; k += kSide) {
      const bool in_a = row < p.m && k + x < p.k, in_b = k + y < p.k && column < p.n;
      of_a[y][x] = in_a ? widen(a[image * p.stride_a + row * a_row + (k + x) * a_column]) : C(0);
      of_b[y][x] = in_b ? widen(b[image * p.stride_b + (k + y) * b_row + column * b_column]) : C(0);
      __syncthreads();
      C part = 0;
#pragma unroll
      for (int j = 0; j < kSide; ++j) part += of_a[y][j] * of_b[j][x];
      sum += part;
      __syncthreads();
    }
    if (row >= p.m || column >= p.n) continue;
    Out& to = static_cast<Out*>(p.c)[image * p.stride_c + row * p.ldc + column];
    if (p.bias != nullptr) sum += static_cast<C>(widen(static_cast<const Out*>(p.bias)[column]));
    if (p.add) sum += static_cast<C>(widen(to));
    to = narrow<Out>(sum);
  }
}

// C += bias.
template <class T>
__global__ void add_bias(Product p) {
  for (std::int64_t i = global_index(); i < p.m * p.n; i += global_threads()) {
    const std::int64_t row = i / p.n, column = i - row * p.n;
    T& to = static_cast<T*>(p.c)[row * p.ldc + column];
    to = narrow<T>(widen(to) + widen(static_cast<const T*>(p.bias)[column]));
  }
}

void run_plain(const Product& p, cudaStream_t stream) {
  const auto kernel = p.in == DType::f64    ? plain_product<double, double>
                      : p.in == DType::f32  ? plain_product<float, float>
                      : p.out == DType::f32 ? plain_product<bfloat16, float>
                                            : plain_product<bfloat16, bfloat16>;
  const std::int64_t tiles = parts_of(p.m, kSide) * parts_of(p.n, kSide) * p.batch;
  launch("plain_product", kernel, grid_for(tiles * kSide * kSide, kSide * kSide), stream, p);
}

}  // namespace

struct Gemm::Plan {
  enum class Share { all, all_but_bias, none };  // what of the product cuBLASLt does
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;  // ours; handed over swapped
  cublasLtMatmulHeuristicResult_t algorithm{};
  Share share = Share::all;

  // False if there is no algorithm.
  bool find_algorithm(cublasLtHandle_t handle, const Key& key) {
    cublasLtMatmulPreference_t preference = nullptr;
    lt_check(cublasLtMatmulPreferenceCreate(&preference), "choosing an algorithm");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, const auto& value) {
      set(cublasLtMatmulPreferenceSetAttribute, preference, which, value);
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.alignments[1]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.alignments[0]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.alignments[2]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.alignments[2]);
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, product, b, a, c, c,
                                                                 preference, 1, &algorithm, &found);
    cublasLtMatmulPreferenceDestroy(preference);
    // It answers NOT_SUPPORTED, or INVALID_VALUE for some strides and alignments.
    return status == CUBLAS_STATUS_SUCCESS && found > 0 && algorithm.state == CUBLAS_STATUS_SUCCESS;
  }
  ~Plan() {
    for (cublasLtMatrixLayout_t l : {a, b, c})
      if (l != nullptr) cublasLtMatrixLayoutDestroy(l);
    if (product != nullptr) cublasLtMatmulDescDestroy(product);
  }
};

Gemm::Gemm(cudaStream_t stream) : stream_(stream) {
  lt_check(cublasLtCreate(&handle_), "starting");
  cuda_check(cudaMalloc(&workspace_, kWorkspaceBytes), "allocating cuBLASLt's workspace");
}

Gemm::~Gemm() {
  plans_.clear();
  cublasLtDestroy(handle_);
  cudaFree(workspace_);
}

Gemm::Plan& Gemm::plan(const Product& p) {
  Key key{p, tf32, {alignment_of(p.a), alignment_of(p.b), alignment_of(p.c), alignment_of(p.bias)}};
  key.product.a = key.product.b = key.product.bias = key.product.c = nullptr;
  std::unique_ptr<Plan>& slot = plans_[key];
  if (slot) return *slot;
  auto plan = std::make_unique<Plan>();
  const bool twice = p.in == DType::f64;
  const auto compute = twice                        ? CUBLAS_COMPUTE_64F
                       : p.in == DType::f32 && tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                    : CUBLAS_COMPUTE_32F;
  lt_check(cublasLtMatmulDescCreate(&plan->product, compute, twice ? CUDA_R_64F : CUDA_R_32F),
           "describing a product");
  const auto describe = [&](cublasLtMatmulDescAttributes_t which, const auto& value) {
    set(cublasLtMatmulDescSetAttribute, plan->product, which, value);
  };
  const auto op = [](bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; };
  describe(CUBLASLT_MATMUL_DESC_TRANSA, op(p.transpose_b));
  describe(CUBLASLT_MATMUL_DESC_TRANSB, op(p.transpose_a));
  // It adds none to f64. Algorithms may read 16 bytes of the bias at once, and no preference says
  // that they must not.
  const bool adds = p.bias != nullptr && !twice && key.alignments[3] >= 16;
  if (p.bias != nullptr && !adds) plan->share = Plan::Share::all_but_bias;
  if (adds) {
    describe(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    describe(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, data_type(p.out));
    describe(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  }
  const std::int64_t a_rows = p.transpose_a ? p.k : p.m, a_cols = p.transpose_a ? p.m : p.k;
  const std::int64_t b_rows = p.transpose_b ? p.n : p.k, b_cols = p.transpose_b ? p.k : p.n;
  plan->a = layout(p.in, a_cols, a_rows, p.lda, p.batch, p.stride_a);
  plan->b = layout(p.in, b_cols, b_rows, p.ldb, p.batch, p.stride_b);
  plan->c = layout(p.out, p.n, p.m, p.ldc, p.batch, p.stride_c);
  bool found = plan->find_algorithm(handle_, key);
  if (!found && adds) {
    describe(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DEFAULT);
    plan->share = Plan::Share::all_but_bias;
    found = plan->find_algorithm(handle_, key);
  }
  if (!found) plan->share = Plan::Share::none;
  slot = std::move(plan);
  return *slot;
}

void Gemm::run(Product p) {
  check(p.bias == nullptr || p.batch == 1, "a bias goes with a single product");
  if (p.lda == 0) p.lda = p.transpose_a ? p.m : p.k;
  if (p.ldb == 0) p.ldb = p.transpose_b ? p.k : p.n;
  if (p.ldc == 0) p.ldc = p.n;
  Plan& plan = this->plan(p);
  if (plan.share == Plan::Share::none) return run_plain(p, stream_);
  if (p.bias != nullptr && plan.share == Plan::Share::all)
    set(cublasLtMatmulDescSetAttribute, plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  const bool twice = p.in == DType::f64;
  const double one_twice = 1, zero = 0;  // all bits 0: of either width
  const float one_once = 1;
  const void* one = twice ? static_cast<const void*>(&one_twice) : &one_once;
  note_launch();
  const cublasStatus_t status = cublasLtMatmul(
      handle_, plan.product, one, p.b, plan.b, p.a, plan.a, p.add ? one : &zero, p.c, plan.c, p.c,
      plan.c, &plan.algorithm.algo, workspace_, kWorkspaceBytes, stream_);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) {
    // What its heuristic promised is not there: nothing was computed.
    plan.share = Plan::Share::none;
    return run_plain(p, stream_);
  }
  lt_check(status, "matrix product");
  if (p.bias == nullptr || plan.share == Plan::Share::all) return;
  const auto kernel = p.out == DType::f64   ? add_bias<double>
                      : p.out == DType::f32 ? add_bias<float>
                                            : add_bias<bfloat16>;
  launch("add_bias", kernel, grid_for(p.m * p.n), stream_, p);
}

}  // namespace nextgrad::cuda
