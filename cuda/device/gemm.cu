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

std::int64_t or_dense(std::int64_t ld, std::int64_t columns) {
  return ld != 0 ? ld : std::max<std::int64_t>(columns, 1);
}

constexpr int kSide = 16;  // of a tile

// A product as the plain kernel sees it: element (row, column) of op(A) at a[row * a_row + column *
// a_column], of op(B) likewise.
struct Plain {
  std::int64_t m, n, k, batch;
  std::int64_t a_row, a_column, b_row, b_column, ldc;
  std::int64_t stride_a, stride_b, stride_c;
  std::int64_t rows, tiles;  // of tiles, in a matrix
  double beta;
};

// A block a tile of C, a thread an element.
template <class T, class Out>
__global__ void plain_product(Plain p, const T* a, const T* b, const Out* bias, Out* c) {
  using C = Compute<T>;
  __shared__ C of_a[kSide][kSide + 1], of_b[kSide][kSide + 1];
  const int x = static_cast<int>(threadIdx.x) % kSide, y = static_cast<int>(threadIdx.x) / kSide;
  for (std::int64_t i = blockIdx.x; i < p.tiles * p.batch; i += gridDim.x) {
    const std::int64_t image = i / p.tiles, tile = i - image * p.tiles;
    const std::int64_t row = tile % p.rows * kSide + y, column = tile / p.rows * kSide + x;
    C sum = 0;
    for (std::int64_t k = 0; k < p.k; k += kSide) {
      const bool in_a = row < p.m && k + x < p.k, in_b = k + y < p.k && column < p.n;
      of_a[y][x] =
          in_a ? widen(a[image * p.stride_a + row * p.a_row + (k + x) * p.a_column]) : C(0);
      of_b[y][x] =
          in_b ? widen(b[image * p.stride_b + (k + y) * p.b_row + column * p.b_column]) : C(0);
      __syncthreads();
      C part = 0;
#pragma unroll
      for (int j = 0; j < kSide; ++j) part += of_a[y][j] * of_b[j][x];
      sum += part;
      __syncthreads();
    }
    if (row >= p.m || column >= p.n) continue;
    Out& to = c[image * p.stride_c + row * p.ldc + column];
    if (p.beta != 0) sum += static_cast<C>(p.beta) * static_cast<C>(widen(to));
    if (bias != nullptr) sum += static_cast<C>(widen(bias[column]));
    to = narrow<Out>(sum);
  }
}

// c [m, n] += bias [n].
template <class T>
__global__ void add_bias(T* c, const T* bias, std::int64_t m, std::int64_t n, std::int64_t ldc) {
  for (std::int64_t i = global_index(); i < m * n; i += global_threads()) {
    const std::int64_t row = i / n, column = i - row * n;
    T& to = c[row * ldc + column];
    to = narrow<T>(widen(to) + widen(bias[column]));
  }
}

template <class T, class Out>
void run_plain(const Product& p, cudaStream_t stream) {
  const std::int64_t lda = or_dense(p.lda, p.transpose_a ? p.m : p.k);
  const std::int64_t ldb = or_dense(p.ldb, p.transpose_b ? p.k : p.n);
  const std::int64_t rows = (p.m + kSide - 1) / kSide, columns = (p.n + kSide - 1) / kSide;
  const Plain plain{p.m,
                    p.n,
                    p.k,
                    p.batch,
                    p.transpose_a ? 1 : lda,
                    p.transpose_a ? lda : 1,
                    p.transpose_b ? 1 : ldb,
                    p.transpose_b ? ldb : 1,
                    or_dense(p.ldc, p.n),
                    p.stride_a,
                    p.stride_b,
                    p.stride_c,
                    rows,
                    rows * columns,
                    p.beta};
  launch("plain_product", plain_product<T, Out>,
         grid_for(rows * columns * p.batch * kSide * kSide, kSide * kSide), stream, plain,
         static_cast<const T*>(p.a), static_cast<const T*>(p.b), static_cast<const Out*>(p.bias),
         static_cast<Out*>(p.c));
}

void run_plain(const Product& p, cudaStream_t stream) {
  if (p.in == DType::f64) return run_plain<double, double>(p, stream);
  if (p.in == DType::f32) return run_plain<float, float>(p, stream);
  if (p.out == DType::f32) return run_plain<bfloat16, float>(p, stream);
  run_plain<bfloat16, bfloat16>(p, stream);
}

template <class T>
void run_bias(const Product& p, cudaStream_t stream) {
  launch("add_bias", add_bias<T>, grid_for(p.m * p.n), stream, static_cast<T*>(p.c),
         static_cast<const T*>(p.bias), p.m, p.n, or_dense(p.ldc, p.n));
}

}  // namespace

struct Gemm::Plan {
  enum class Share { all, all_but_bias, none };  // what of the product cuBLASLt does
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;  // ours; handed over swapped
  cublasLtMatmulHeuristicResult_t algorithm{};
  Share share = Share::all;

  // Alignments of cuBLASLt's A, B and C. False if there is no algorithm.
  bool find_algorithm(cublasLtHandle_t handle, const std::uint32_t* align) {
    cublasLtMatmulPreference_t preference = nullptr;
    lt_check(cublasLtMatmulPreferenceCreate(&preference), "choosing an algorithm");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, const auto& value) {
      set(cublasLtMatmulPreferenceSetAttribute, preference, which, value);
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, align[0]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, align[1]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, align[2]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, align[2]);
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, product, b, a, c, c,
                                                                 preference, 1, &algorithm, &found);
    cublasLtMatmulPreferenceDestroy(preference);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) return false;
    lt_check(status, "choosing an algorithm");
    return found > 0 && algorithm.state == CUBLAS_STATUS_SUCCESS;
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
  const std::uint32_t align[] = {alignment_of(p.b), alignment_of(p.a), alignment_of(p.c),
                                 alignment_of(p.bias)};
  const std::string key =
      fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", p.m, p.n, p.k,
                  p.transpose_a, p.transpose_b, name_of(p.in), name_of(p.out), p.lda, p.ldb, p.ldc,
                  p.batch, p.stride_a, p.stride_b, p.stride_c, p.beta != 0,
                  static_cast<int>(f32_products), align[0], align[1], align[2], align[3]);
  std::unique_ptr<Plan>& slot = plans_[key];
  if (slot) return *slot;
  auto plan = std::make_unique<Plan>();
  const bool twice = p.in == DType::f64;
  const auto compute = twice ? CUBLAS_COMPUTE_64F
                       : p.in == DType::f32 && f32_products == F32Products::tf32
                           ? CUBLAS_COMPUTE_32F_FAST_TF32
                           : CUBLAS_COMPUTE_32F;
  lt_check(cublasLtMatmulDescCreate(&plan->product, compute, twice ? CUDA_R_64F : CUDA_R_32F),
           "describing a product");
  const auto describe = [&](cublasLtMatmulDescAttributes_t which, const auto& value) {
    set(cublasLtMatmulDescSetAttribute, plan->product, which, value);
  };
  const auto op = [](bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; };
  describe(CUBLASLT_MATMUL_DESC_TRANSA, op(p.transpose_b));
  describe(CUBLASLT_MATMUL_DESC_TRANSB, op(p.transpose_a));
  // Algorithms may read 16 bytes of the bias at once, and no preference says that they must not.
  const bool adds = p.bias != nullptr && align[3] >= 16;
  if (p.bias != nullptr && !adds) plan->share = Plan::Share::all_but_bias;
  if (adds) {
    describe(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    describe(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, data_type(p.out));
    describe(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  }
  const std::int64_t a_rows = p.transpose_a ? p.k : p.m, a_cols = p.transpose_a ? p.m : p.k;
  const std::int64_t b_rows = p.transpose_b ? p.n : p.k, b_cols = p.transpose_b ? p.k : p.n;
  plan->a = layout(p.in, a_cols, a_rows, or_dense(p.lda, a_cols), p.batch, p.stride_a);
  plan->b = layout(p.in, b_cols, b_rows, or_dense(p.ldb, b_cols), p.batch, p.stride_b);
  plan->c = layout(p.out, p.n, p.m, or_dense(p.ldc, p.n), p.batch, p.stride_c);
  bool found = plan->find_algorithm(handle_, align);
  if (!found && adds) {
    describe(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_DEFAULT);
    plan->share = Plan::Share::all_but_bias;
    found = plan->find_algorithm(handle_, align);
  }
  if (!found) plan->share = Plan::Share::none;
  slot = std::move(plan);
  return *slot;
}

void Gemm::run(const Product& p) {
  check(p.bias == nullptr || p.batch == 1, "a bias goes with a single product");
  Plan& plan = this->plan(p);
  if (plan.share == Plan::Share::none) return run_plain(p, stream_);
  if (p.bias != nullptr && plan.share == Plan::Share::all)
    set(cublasLtMatmulDescSetAttribute, plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  const double alpha_twice = 1, beta_twice = p.beta;
  const auto alpha = static_cast<float>(alpha_twice), beta = static_cast<float>(beta_twice);
  const bool twice = p.in == DType::f64;
  lt_check(cublasLtMatmul(
               handle_, plan.product, twice ? static_cast<const void*>(&alpha_twice) : &alpha, p.b,
               plan.b, p.a, plan.a, twice ? static_cast<const void*>(&beta_twice) : &beta, p.c,
               plan.c, p.c, plan.c, &plan.algorithm.algo, workspace_, kWorkspaceBytes, stream_),
           "matrix product");
  if (p.bias == nullptr || plan.share == Plan::Share::all) return;
  if (p.out == DType::f64) return run_bias<double>(p, stream_);
  if (p.out == DType::f32) return run_bias<float>(p, stream_);
  run_bias<bfloat16>(p, stream_);
}

}  // namespace nextgrad::cuda
