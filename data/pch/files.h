// Precompiled for data/ and apps/, as tensor/pch/common.h is for the rest.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tensor/pch/common.h"
