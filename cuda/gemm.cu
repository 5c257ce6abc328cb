// Products by cuBLASLt. It thinks in columns: a row-major matrix is its transpose to cuBLASLt, so
// that C = op(A) op(B) is asked for as C^T = op(B)^T op(A)^T. What is planned for one kind of
// product (descriptors, the algorithm that cuBLASLt's heuristic puts first) is kept.
#include <algorithm>

#include "cuda/gemm.h"
#include "tensor/error.h"

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

}  // namespace

struct Gemm::Plan {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;  // ours; handed over swapped
  cublasLtMatmulHeuristicResult_t algorithm{};

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
  const std::uint32_t align[] = {alignment_of(p.b), alignment_of(p.a), alignment_of(p.c)};
  const std::string key =
      fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", p.m, p.n, p.k,
                  p.transpose_a, p.transpose_b, name_of(p.in), name_of(p.out), p.lda, p.ldb, p.ldc,
                  p.batch, p.stride_a, p.stride_b, p.stride_c, p.beta != 0, p.bias != nullptr,
                  static_cast<int>(f32_products), align[0], align[1], align[2]);
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
  const auto op = [](bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; };
  set(cublasLtMatmulDescSetAttribute, plan->product, CUBLASLT_MATMUL_DESC_TRANSA,
      op(p.transpose_b));
  set(cublasLtMatmulDescSetAttribute, plan->product, CUBLASLT_MATMUL_DESC_TRANSB,
      op(p.transpose_a));
  if (p.bias != nullptr) {
    set(cublasLtMatmulDescSetAttribute, plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE,
        CUBLASLT_EPILOGUE_BIAS);
    set(cublasLtMatmulDescSetAttribute, plan->product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
        data_type(parameter_dtype(p.out)));
    set(cublasLtMatmulDescSetAttribute, plan->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  }
  const std::int64_t a_rows = p.transpose_a ? p.k : p.m, a_cols = p.transpose_a ? p.m : p.k;
  const std::int64_t b_rows = p.transpose_b ? p.n : p.k, b_cols = p.transpose_b ? p.k : p.n;
  plan->a = layout(p.in, a_cols, a_rows, or_dense(p.lda, a_cols), p.batch, p.stride_a);
  plan->b = layout(p.in, b_cols, b_rows, or_dense(p.ldb, b_cols), p.batch, p.stride_b);
  plan->c = layout(p.out, p.n, p.m, or_dense(p.ldc, p.n), p.batch, p.stride_c);

  cublasLtMatmulPreference_t preference = nullptr;
  lt_check(cublasLtMatmulPreferenceCreate(&preference), "choosing an algorithm");
  set(cublasLtMatmulPreferenceSetAttribute, preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
      kWorkspaceBytes);
  set(cublasLtMatmulPreferenceSetAttribute, preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
      align[0]);
  set(cublasLtMatmulPreferenceSetAttribute, preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
      align[1]);
  for (const auto which :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    set(cublasLtMatmulPreferenceSetAttribute, preference, which, align[2]);
  int found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_, plan->product, plan->b, plan->a, plan->c, plan->c,
                                     preference, 1, &plan->algorithm, &found);
  cublasLtMatmulPreferenceDestroy(preference);
  lt_check(status, "choosing an algorithm");
  check(found > 0, "cuBLASLt has no algorithm for a product of {} x {} x {} from {} to {}", p.m,
        p.n, p.k, name_of(p.in), name_of(p.out));
  slot = std::move(plan);
  return *slot;
}

void Gemm::run(const Product& p) {
  Plan& plan = this->plan(p);
  if (p.bias != nullptr)
    set(cublasLtMatmulDescSetAttribute, plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  const double alpha_twice = 1, beta_twice = p.beta;
  const auto alpha = static_cast<float>(alpha_twice), beta = static_cast<float>(beta_twice);
  const bool twice = p.in == DType::f64;
  lt_check(cublasLtMatmul(
               handle_, plan.product, twice ? static_cast<const void*>(&alpha_twice) : &alpha, p.b,
               plan.b, p.a, plan.a, twice ? static_cast<const void*>(&beta_twice) : &beta, p.c,
               plan.c, p.c, plan.c, &plan.algorithm.algo, workspace_, kWorkspaceBytes, stream_),
           "matrix product");
}

}  // namespace nextgrad::cuda
