#include "tests/cuda/emulation/cublaslt.h"

#include <Eigen/Core>

#include "tensor/dtype.h"
#include "tensor/error.h"
#include "tests/cuda/emulation/order.h"

struct cublasLtContext {
  int device;  // the one that was current when it was made
};
struct cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  cudaDataType_t bias_type = CUDA_R_32F;
};
struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType type;
  std::int64_t rows, cols, ld;
  std::int32_t batch = 1;
  std::int64_t stride = 0;
};
struct cublasLtMatmulPreferenceOpaque_t {
  std::size_t workspace = 0;
  std::uint32_t alignment[4] = {256, 256, 256, 256};
};

namespace {

using nextgrad::bfloat16;
using Layout = cublasLtMatrixLayoutOpaque_t;
using Matrix = Eigen::MatrixXd;

template <class Value>
cublasStatus_t get(Value& to, const void* from, std::size_t bytes) {
  if (bytes != sizeof(Value)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}
template <class T, class... Values>
cublasStatus_t create(T** to, const Values&... values) {
  *to = new T{values...};
  return CUBLAS_STATUS_SUCCESS;
}
template <class T>
cublasStatus_t destroy(T* t) {
  delete t;
  return CUBLAS_STATUS_SUCCESS;
}

// Calls fn with a typed pointer to the numbers of matrix `batch`.
template <class Fn>
void typed(const void* data, const Layout& l, std::int64_t batch, Fn&& fn) {
  const std::int64_t at = batch * l.stride;
  if (l.type == CUDA_R_32F) fn(static_cast<const float*>(data) + at);
  if (l.type == CUDA_R_64F) fn(static_cast<const double*>(data) + at);
  if (l.type == CUDA_R_16BF) fn(static_cast<const bfloat16*>(data) + at);
}

double widened(double x) {
  return x;
}
double widened(bfloat16 x) {
  return static_cast<float>(x);
}
Matrix read(const void* data, const Layout& l, std::int64_t batch) {
  Matrix m(l.rows, l.cols);
  typed(data, l, batch, [&](const auto* p) {
    for (std::int64_t c = 0; c < l.cols; ++c) {
      nextgrad::emulation::reads(p + c * l.ld, static_cast<std::size_t>(l.rows) * sizeof *p);
      for (std::int64_t r = 0; r < l.rows; ++r) m(r, c) = widened(p[c * l.ld + r]);
    }
  });
  return m;
}

void write(void* data, const Layout& l, std::int64_t batch, const Matrix& m) {
  typed(data, l, batch, [&](const auto* p) {
    using T = std::remove_cv_t<std::remove_reference_t<decltype(*p)>>;
    // In two steps, as bfloat16 comes from float only.
    using Via = std::conditional_t<std::is_same_v<T, double>, double, float>;
    for (std::int64_t c = 0; c < l.cols; ++c) {
      T* column = const_cast<T*>(p) + c * l.ld;
      nextgrad::emulation::writes(column, static_cast<std::size_t>(l.rows) * sizeof *p);
      for (std::int64_t r = 0; r < l.rows; ++r)
        column[r] = static_cast<T>(static_cast<Via>(m(r, c)));
    }
  });
}

double scalar(const void* p, cudaDataType_t type) {
  return type == CUDA_R_64F ? *static_cast<const double*>(p)
                            : static_cast<double>(*static_cast<const float*>(p));
}

// As TF32 keeps it: 10 bits behind the point.
double tf32(double x) {
  const auto kept = static_cast<float>(x);
  std::uint32_t bits = 0;
  std::memcpy(&bits, &kept, sizeof bits);
  bits = (bits + 0x1000u) & ~0x1fffu;
  float rounded = 0;
  std::memcpy(&rounded, &bits, sizeof rounded);
  return std::isfinite(kept) ? static_cast<double>(rounded) : x;
}

// D = alpha op(A) op(B) + beta C (+ bias on each column), all matrices in columns. Sums in double.
void product(const cublasLtMatmulDescOpaque_t& d, double alpha, const void* a, const Layout& la,
             const void* b, const Layout& lb, double beta, const void* c, const Layout& lc,
             void* out, const Layout& ld) {
  for (std::int64_t i = 0; i < ld.batch; ++i) {
    Matrix x = read(a, la, i), y = read(b, lb, i);
    if (d.a == CUBLAS_OP_T) x = x.transpose().eval();
    if (d.b == CUBLAS_OP_T) y = y.transpose().eval();
    if (d.compute == CUBLAS_COMPUTE_32F_FAST_TF32 && la.type == CUDA_R_32F) {
      x = x.unaryExpr(&tf32).eval();
      y = y.unaryExpr(&tf32).eval();
    }
    Matrix z = alpha * (x * y);
    if (beta != 0) z += beta * read(c, lc, i);  // it may be uninitialised otherwise
    if (d.epilogue == CUBLASLT_EPILOGUE_BIAS) {
      const Layout bias{d.bias_type, ld.rows, 1, ld.rows};
      z.colwise() += read(d.bias, bias, 0).col(0);
    }
    write(out, ld, i, z);
  }
}

bool fits(const cublasLtMatmulDescOpaque_t& d, const Layout& a, const Layout& b, const Layout& c) {
  const auto m = d.a == CUBLAS_OP_N ? a.rows : a.cols, k = d.a == CUBLAS_OP_N ? a.cols : a.rows;
  const auto n = d.b == CUBLAS_OP_N ? b.cols : b.rows, k2 = d.b == CUBLAS_OP_N ? b.rows : b.cols;
  const bool types = a.type == b.type &&
                     (a.type == CUDA_R_64F) == (d.compute == CUBLAS_COMPUTE_64F) &&
                     (d.scale == CUDA_R_64F) == (a.type == CUDA_R_64F) &&
                     (c.type == a.type || (a.type == CUDA_R_16BF && c.type == CUDA_R_32F));
  const bool sizes = m == c.rows && n == c.cols && k == k2 && a.batch == c.batch &&
                     b.batch == c.batch && m > 0 && n > 0 && k > 0;
  const bool leading = a.ld >= a.rows && b.ld >= b.rows && c.ld >= c.rows;
  const bool bias =
      d.epilogue == CUBLASLT_EPILOGUE_DEFAULT || (a.type != CUDA_R_64F && d.bias_type == c.type);
  return types && sizes && leading && bias;
}

// What cuBLASLt need not have an algorithm for, so that the ways round it are tested: bf16 at odd
// addresses, and biases of a single number.
bool has_algorithm(const cublasLtMatmulDescOpaque_t& d, const Layout& a, const Layout& c,
                   const cublasLtMatmulPreferenceOpaque_t& preference) {
  const auto* least = preference.alignment;
  const bool even_a = a.type != CUDA_R_16BF || (least[0] >= 4 && least[1] >= 4);
  const bool even_c = c.type != CUDA_R_16BF || (least[2] >= 4 && least[3] >= 4);
  return even_a && even_c && (d.epilogue == CUBLASLT_EPILOGUE_DEFAULT || c.rows > 1);
}

}  // namespace

const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS            ? "success"
         : status == CUBLAS_STATUS_NOT_SUPPORTED    ? "not supported"
         : status == CUBLAS_STATUS_EXECUTION_FAILED ? "the GPU program failed to execute"
                                                    : "invalid value";
}
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  int device = 0;
  cudaGetDevice(&device);
  return create(handle, device);
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  return destroy(handle);
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  return create(desc, compute, scale);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  return destroy(desc);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, std::size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return get(d->a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return get(d->b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return get(d->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return get(d->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return get(d->bias_type, value, bytes);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          std::uint64_t rows, std::uint64_t cols, std::int64_t ld) {
  return create(layout, type, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(cols), ld);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return destroy(layout);
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void* value, std::size_t bytes) {
  return attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT ? get(l->batch, value, bytes)
                                                         : get(l->stride, value, bytes);
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return create(preference);
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return destroy(preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, std::size_t bytes) {
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) return get(p->workspace, value, bytes);
  return get(p->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t preference, int,
                                              cublasLtMatmulHeuristicResult_t* results,
                                              int* found) {
  *found = 0;
  nextgrad::check(fits(*desc, *a, *b, *c), "emulated cuBLASLt: matrices that do not go together");
  // It calls some INVALID_VALUE.
  if (!has_algorithm(*desc, *a, *c, *preference))
    return c->rows > 1 ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_NOT_SUPPORTED;
  *found = 1;
  results[0] = {};
  return CUBLAS_STATUS_SUCCESS;
}
// The scalars are read now (they are the host's); the descriptors are copied, as a captured graph
// keeps what they said.
cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t la, const void* b,
                              cublasLtMatrixLayout_t lb, const void* beta, const void* c,
                              cublasLtMatrixLayout_t lc, void* d, cublasLtMatrixLayout_t ld,
                              const cublasLtMatmulAlgo_t*, void* workspace, std::size_t,
                              cudaStream_t stream) {
  int device = 0;
  cudaGetDevice(&device);
  if (handle->device != device || !nextgrad::emulation::is_current(stream))
    return CUBLAS_STATUS_EXECUTION_FAILED;
  const void* touched[] = {a, b, c, d, desc->bias, workspace};
  nextgrad::emulation::check_memory("cublasLtMatmul", touched, sizeof touched, stream);
  const double x = scalar(alpha, desc->scale), y = scalar(beta, desc->scale);
  nextgrad::check(fits(*desc, *la, *lb, *lc), "emulated cuBLASLt: not what was planned");
  nextgrad::check(desc->epilogue == CUBLASLT_EPILOGUE_DEFAULT ||
                      reinterpret_cast<std::uintptr_t>(desc->bias) % 16 == 0,
                  "emulated cuBLASLt: a bias at a misaligned address");
  if (int& refused = nextgrad::emulation::troubles().refused_products; refused > 0)
    return --refused, CUBLAS_STATUS_NOT_SUPPORTED;
  nextgrad::emulation::submit(stream, [=, desc = *desc, la = *la, lb = *lb, lc = *lc, ld = *ld] {
    product(desc, x, a, la, b, lb, y, c, lc, d, ld);
  });
  return CUBLAS_STATUS_SUCCESS;
}
