// Precompiled for the commands, as tensor/pch/common.h is for the rest.
#include <CLI/CLI.hpp>

#include "data/pch/files.h"
