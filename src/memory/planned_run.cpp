#include "memory/planned_run.h"

#include "core/buffer.h"
#include "core/error.h"
#include "memory/plan.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/plan/plan_ops.h"

namespace nibble {
namespace {

constexpr size_t plan_capacity = size_t{1} << 44;  // addresses only; more than any machine has

}  // namespace

size_t dry_peak(int threads, const Work& work) {
  const Buffer addresses = Buffer::addresses_only(plan_capacity);
  Arena arena(addresses.data(), addresses.size());
  DeviceProfile profile;
  profile.threads = threads;
  PlanOps ops(arena, profile);
  work(ops);
  return arena.peak().bytes;
}

void check_host_has(size_t bytes, const std::string& what, const std::string& remedy) {
  const size_t available = available_host_memory();
  if (bytes > available)
    fail(ErrorKind::no_resources, "{} needs {} of memory ({} bytes), and {} are free; {}", what,
         human_bytes(bytes), bytes, human_bytes(available), remedy);
}

size_t run_planned(int threads, const Work& work, const std::string& what,
                   const std::string& remedy) {
  const size_t planned = dry_peak(threads, work);
  check_host_has(planned, what, remedy);
  Buffer reservation = Buffer::host(planned);
  Arena arena(reservation.data(), planned);
  CpuOps ops(arena, threads);
  work(ops);
  return arena.peak().bytes;
}

}  // namespace nibble
