// The report of a training run, from its log.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "apps/checkpoint.h"
#include "apps/config.h"
#include "apps/evaluator.h"
#include "apps/report.h"

namespace nextgrad {

Report run_report(const TrainConfig& config, const ModelInfo& info,
                  const std::vector<nlohmann::json>& log,
                  const std::vector<EvalResult::Picture>& pictures, std::int64_t best_iteration);

}  // namespace nextgrad
