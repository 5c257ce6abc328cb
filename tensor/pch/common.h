// Precompiled: what most files of tensor/ to models/ read anyway. Every file still includes what it
// uses: built with -Db_pch=false it is the same.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>
