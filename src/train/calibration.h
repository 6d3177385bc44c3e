// How fast a device is at what a step does, measured in a moment, for predicted times.
#pragma once

#include "ops/plan/plan_ops.h"
#include "train/options.h"

namespace nibble {

DeviceProfile calibrate(const Device& device, DType compute);

}  // namespace nibble
