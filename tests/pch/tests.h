// Precompiled for the tests, as tensor/pch/common.h is for the rest.
#include <doctest/doctest.h>

#include "data/pch/files.h"
