#include "tests/cuda/emulation/nccl.h"
