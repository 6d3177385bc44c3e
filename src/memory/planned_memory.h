// The memory of a run, as large as its plan says, and the operations that work in it.
#pragma once

#include <memory>
#include <string>

#include "memory/plan.h"
#include "ops/device.h"

namespace nibble {

class PlannedMemory {
 public:
  // far_folder: for what lies outside of the CPU's memory. Throws as reserve and reserve_far.
  PlannedMemory(const Device& device, const MemoryPlan& plan, const std::string& far_folder);
  PlannedMemory(const PlannedMemory&) = delete;
  PlannedMemory& operator=(const PlannedMemory&) = delete;

  Ops& ops() { return *ops_; }
  const Arena& near() const { return near_; }
  const Arena& far() const { return far_; }

  // On the CPU: makes every page present, so that nobody takes it from a run that has begun.
  void commit();

 private:
  const bool host_;
  Buffer reservation_, outside_;
  Arena near_, far_;
  std::unique_ptr<Ops> ops_;
};

}  // namespace nibble
