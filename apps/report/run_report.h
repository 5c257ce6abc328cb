// Reports of training runs, from their logs.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "apps/inference/checkpoint.h"
#include "apps/inference/evaluator.h"
#include "apps/report/report.h"
#include "apps/settings/run_config.h"

namespace nextgrad {

// Of `segnext train`; `iterations` in all.
Report run_report(const TrainConfig& config, const ModelInfo& info,
                  const std::vector<nlohmann::json>& log,
                  const std::vector<EvalResult::Picture>& pictures, std::int64_t iterations,
                  std::int64_t best_iteration);

// Of `segnext pretrain`.
Report run_report(const PretrainConfig& config, const ModelInfo& info,
                  const std::vector<nlohmann::json>& log, const std::vector<ClassExample>& examples,
                  std::int64_t iterations, std::int64_t best_iteration);

}  // namespace nextgrad
