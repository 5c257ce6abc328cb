#include "tests/cuda/emulation/cublaslt.h"
