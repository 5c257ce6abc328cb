#include "tests/cuda/emulation/runtime.h"
