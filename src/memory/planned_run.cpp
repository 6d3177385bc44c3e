#include "memory/planned_run.h"

#include "core/error.h"
#include "memory/plan.h"
#include "ops/plan/plan_ops.h"

namespace nibble {
namespace {

constexpr size_t plan_capacity = size_t{1} << 44;  // addresses only; more than any machine has
// What libraries (4 MiB) and a recording (400 kernels of 10 to 15 KiB) take of a GPU besides.
constexpr size_t beside_on_gpu = size_t{32} << 20;

}  // namespace

size_t dry_peak(const Device& device, const Work& work) {
  const Buffer addresses = Buffer::addresses_only(plan_capacity);
  Arena arena(addresses.data(), addresses.size());
  DeviceProfile profile;
  profile.cuda = device.is_cuda();
  profile.threads = device.threads;
  PlanOps ops(arena, profile);
  work(ops);
  return arena.peak().bytes;
}

void check_device_has(const Device& device, size_t bytes, const std::string& what,
                      const std::string& remedy) {
  const size_t available = available_memory(device);
  if (bytes > available)
    fail(ErrorKind::no_resources, "{} needs {} of memory ({} bytes), and {} are free on {}; {}",
         what, human_bytes(bytes), bytes, human_bytes(available), device.name(), remedy);
}

size_t run_planned(const Device& device, const Work& work, const std::string& what,
                   const std::string& remedy) {
  const size_t planned = dry_peak(device, work);
  check_device_has(device, planned + (device.is_cuda() ? beside_on_gpu : 0), what, remedy);
  Buffer reservation = reserve(device, planned);
  Arena arena(reservation.data(), planned);
  const auto ops = make_ops(device, arena);
  work(*ops);
  return arena.peak().bytes;
}

}  // namespace nibble
