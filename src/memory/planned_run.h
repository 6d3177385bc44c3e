// Work that is planned before it runs: once dry on ops/plan, then on the device inside one
// reservation of exactly the bytes that the dry run took.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "ops/device.h"

namespace nibble {

using Work = std::function<void(Ops&)>;

// Peak of `work` in bytes; runs it on ops/plan.
size_t dry_peak(const Device& device, const Work& work);

// Throws no_resources, naming `what` and `remedy`, when the device has less than `bytes` free.
void check_device_has(const Device& device, size_t bytes, const std::string& what,
                      const std::string& remedy);

// Runs `work` twice, dry and for real, and returns its peak in bytes. `work` must take the arena
// the same way both times, and may ask ops.has_data().
size_t run_planned(const Device& device, const Work& work, const std::string& what,
                   const std::string& remedy);

}  // namespace nibble
