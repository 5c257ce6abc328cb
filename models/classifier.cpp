#include "models/classifier.h"

#include "autograd/reduce.h"
#include "autograd/shape_ops.h"

namespace nextgrad {

MSCANClassifier::MSCANClassifier(const MSCANConfig& config, int num_classes)
    : MSCAN(config), head_(child<Linear>("head", config.channels.back(), num_classes)) {}

Variable MSCANClassifier::forward(Variable x) const {
  const Variable logits = head_(mean(features(x).back(), {1, 2}));
  return cast(logits, parameter_dtype(logits.dtype()));
}

}  // namespace nextgrad
