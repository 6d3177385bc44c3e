#include "memory/planned_memory.h"

namespace nibble {

PlannedMemory::PlannedMemory(const Device& device, const MemoryPlan& plan,
                             const std::string& far_folder)
    : host_(!device.is_cuda()),
      reservation_(reserve(device, plan.peak_bytes())),
      outside_(plan.policy.uses_far_memory() ? reserve_far(device, plan.far_bytes(), far_folder)
                                             : Buffer()),
      near_(reservation_.data(), plan.peak_bytes()),
      far_(outside_.data(), plan.far_bytes()),
      ops_(make_ops(device, near_, plan.policy.uses_far_memory() ? &far_ : nullptr)) {}

void PlannedMemory::commit() {
  if (host_) reservation_.commit();
}

}  // namespace nibble
