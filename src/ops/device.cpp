#include "ops/device.h"

#include <charconv>
#include <chrono>
#include <vector>

#include "core/error.h"
#include "ops/cpu/cpu_ops.h"
#ifdef NIBBLE_CUDA
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/device.h"
#include "ops/cuda/event_probe.h"
#endif

namespace nibble {
namespace {

#ifdef NIBBLE_CUDA
constexpr bool with_cuda = true;
int count_gpus() { return cuda::device_count(); }
GpuInfo open_gpu(int index) {
  const cuda::DeviceProperties gpu = cuda::open_device(index);
  return {gpu.name, gpu.major, gpu.minor, gpu.total_memory, gpu.free_memory};
}
Buffer reserve_on_gpu(int index, size_t bytes) {
  cuda::open_device(index);
  return cuda::device_memory(bytes);
}
Buffer reserve_pinned(int index, size_t bytes) {
  cuda::open_device(index);
  return cuda::pinned_memory(bytes);
}
std::unique_ptr<Ops> gpu_ops(Arena& arena, int index, Arena* far) {
  return std::make_unique<CudaOps>(arena, index, far);
}
std::map<std::string, double> profile_gpu(Ops& ops, const std::function<void()>& work) {
  cuda::EventProbe probe(dynamic_cast<CudaOps&>(ops).stream());
  ops.set_probe(&probe);
  work();
  ops.set_probe(nullptr);
  return probe.milliseconds();
}
#else
constexpr bool with_cuda = false;
int count_gpus() { return 0; }
[[noreturn]] void no_gpu() { fail(ErrorKind::internal, "a GPU in a program without CUDA"); }
GpuInfo open_gpu(int) { no_gpu(); }
Buffer reserve_on_gpu(int, size_t) { no_gpu(); }
Buffer reserve_pinned(int, size_t) { no_gpu(); }
std::unique_ptr<Ops> gpu_ops(Arena&, int, Arena*) { no_gpu(); }
std::map<std::string, double> profile_gpu(Ops&, const std::function<void()>&) { no_gpu(); }
#endif

class ClockProbe final : public Probe {
 public:
  void begin(const char* name) override {
    const std::string path = open_.empty() ? name : open_.back().path + "/" + name;
    open_.push_back({path, Clock::now()});
  }
  void end() override {
    const std::chrono::duration<double, std::milli> taken = Clock::now() - open_.back().begin;
    milliseconds[open_.back().path] += taken.count();
    open_.pop_back();
  }
  std::map<std::string, double> milliseconds;

 private:
  using Clock = std::chrono::steady_clock;
  struct Open {
    std::string path;
    Clock::time_point begin;
  };
  std::vector<Open> open_;
};

}  // namespace

bool built_with_cuda() { return with_cuda; }
int gpu_count() { return count_gpus(); }
GpuInfo gpu_info(int index) { return open_gpu(index); }

std::string Device::name() const { return is_cuda() ? fmt::format("cuda:{}", index) : "cpu"; }

Device choose_device(const std::string& text, int threads) {
  Device device;
  device.threads = threads;
  if (text == "cpu") return device;
  const bool automatic = text == "auto";
  if (automatic && gpu_count() == 0) return device;
  device.kind = Device::Kind::cuda;
  if (!automatic && text != "cuda") {
    const size_t prefix = std::string_view("cuda:").size();
    const char* begin = text.data() + std::min(prefix, text.size());
    const char* end = text.data() + text.size();
    const auto [rest, status] = std::from_chars(begin, end, device.index);
    if (!text.starts_with("cuda:") || status != std::errc() || rest != end || device.index < 0)
      fail(ErrorKind::usage, "device: got '{}', expected auto, cpu, cuda, or cuda:N", text);
  }
  if (!with_cuda)
    fail(ErrorKind::usage,
         "device {}: this program was built without CUDA; build it where the CUDA toolkit and "
         "cuDNN are installed, or use --device cpu",
         text);
  (void)open_gpu(device.index);  // or says what is wrong with it
  return device;
}

size_t available_memory(const Device& device) {
  return device.is_cuda() ? open_gpu(device.index).free_memory : available_host_memory();
}

Buffer reserve(const Device& device, size_t bytes) {
  if (device.is_cuda()) return reserve_on_gpu(device.index, bytes);
  return Buffer::host(bytes);
}

Buffer reserve_far(const Device& device, size_t bytes, const std::string& folder) {
  if (device.is_cuda()) return reserve_pinned(device.index, bytes);
  return Buffer::file(folder, bytes);
}

std::unique_ptr<Ops> make_ops(const Device& device, Arena& arena, Arena* far) {
  if (device.is_cuda()) return gpu_ops(arena, device.index, far);
  return std::make_unique<CpuOps>(arena, device.threads, far);
}

size_t used_memory(const Device& device) {
  if (!device.is_cuda()) return 0;
  const GpuInfo gpu = open_gpu(device.index);
  return gpu.total_memory - gpu.free_memory;
}

std::map<std::string, double> profile(Ops& ops, const std::function<void()>& work) {
  if (ops.name() == "cuda") return profile_gpu(ops, work);
  ClockProbe probe;
  ops.set_probe(&probe);
  work();
  ops.set_probe(nullptr);
  return probe.milliseconds;
}

}  // namespace nibble
