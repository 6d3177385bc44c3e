#include "ops/cuda/device.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "ops/cuda/check.h"

namespace nibble::cuda {

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    (void)cudaGetLastError();
    return 0;
  }
  return count;
}

DeviceProperties open_device(int device) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) {
    int driver = 0, runtime = 0;
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    if (driver == 0)
      fail(ErrorKind::no_resources,
           "device cuda: no NVIDIA driver is loaded; install it, or use --device cpu");
    fail(ErrorKind::no_resources,
         "device cuda: the NVIDIA driver supports CUDA {}.{}, this program needs {}.{}; update the "
         "driver, or use --device cpu",
         driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
    fail(ErrorKind::no_resources,
         "device cuda: no NVIDIA GPU is visible (CUDA_VISIBLE_DEVICES may hide it); use --device "
         "cpu");
  check(status, "cudaGetDeviceCount");
  if (device >= count)
    fail(ErrorKind::no_resources, "device cuda:{}: there {} only {} (cuda:0 to cuda:{})", device,
         count == 1 ? "is" : "are", count, count - 1);
  cudaDeviceProp found{};
  check(cudaGetDeviceProperties(&found, device), "cudaGetDeviceProperties");
  if (found.major < 8)
    fail(ErrorKind::no_resources,
         "device cuda:{}: {} has compute capability {}.{}; 8.0 or newer is needed (GeForce 30, "
         "A100); use --device cpu",
         device, found.name, found.major, found.minor);
  check(cudaSetDevice(device), "cudaSetDevice");
  DeviceProperties properties;
  properties.name = found.name;
  properties.major = found.major;
  properties.minor = found.minor;
  properties.multiprocessors = found.multiProcessorCount;
  check(cudaMemGetInfo(&properties.free_memory, &properties.total_memory), "cudaMemGetInfo");
  return properties;
}

Buffer device_memory(size_t bytes) {
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, std::max<size_t>(bytes, 1));
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    size_t available = 0, total = 0;
    check(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
    fail(ErrorKind::no_resources,
         "cannot reserve {} bytes of device memory: {} of {} bytes are free; end other programs on "
         "this GPU, or use a smaller per_device_train_batch_size or max_length",
         bytes, available, total);
  }
  check(status, "cudaMalloc");
  return Buffer::adopt(static_cast<std::byte*>(data), bytes,
                       [](std::byte* memory, size_t) { (void)cudaFree(memory); });
}

// Huge pages, made by all processors at once: several times as fast as cudaHostAlloc.
Buffer pinned_memory(size_t bytes) {
  constexpr size_t huge_page = size_t{2} << 20;
  const size_t size = (std::max<size_t>(bytes, 1) + huge_page - 1) / huge_page * huge_page;
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED)
    fail(ErrorKind::no_resources, "cannot reserve {} bytes of host memory: {}", size,
         std::strerror(errno));
  (void)madvise(data, size, MADV_HUGEPAGE);
  auto* begin = static_cast<std::byte*>(data);
#pragma omp parallel for schedule(static)
  for (size_t page = 0; page < size; page += 4096)
    *reinterpret_cast<volatile std::byte*>(begin + page) = std::byte{0};
  const cudaError_t status = cudaHostRegister(data, size, cudaHostRegisterDefault);
  if (status != cudaSuccess) {
    (void)cudaGetLastError();
    munmap(data, size);
    fail(ErrorKind::no_resources,
         "cannot pin {} bytes of host memory: {}; raise the limit of locked memory (ulimit -l), or "
         "give a larger memory_budget, which needs less of it",
         size, cudaGetErrorString(status));
  }
  return Buffer::adopt(begin, size, [](std::byte* memory, size_t length) {
    (void)cudaHostUnregister(memory);
    munmap(memory, length);
  });
}

Event::Event() {
  check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreateWithFlags");
}
Event::~Event() { (void)cudaEventDestroy(event_); }

Stream::Stream(int device) {
  check(cudaSetDevice(device), "cudaSetDevice");
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
}
Stream::~Stream() { (void)cudaStreamDestroy(stream_); }

Staging::Staging(cudaStream_t stream) : stream_(stream) {
  for (Piece& piece : pieces_) {
    check(cudaMallocHost(reinterpret_cast<void**>(&piece.data), piece_bytes), "cudaMallocHost");
    check(cudaEventCreateWithFlags(&piece.copied, cudaEventDisableTiming), "cudaEventCreate");
  }
}

Staging::~Staging() {
  (void)cudaStreamSynchronize(stream_);
  for (const Piece& piece : pieces_) {
    (void)cudaEventDestroy(piece.copied);
    (void)cudaFreeHost(piece.data);
  }
}

void Staging::next_piece() {
  check(cudaEventRecord(pieces_[current_].copied, stream_), "cudaEventRecord");
  current_ = (current_ + 1) % pieces_.size();
  used_ = 0;
  check(cudaEventSynchronize(pieces_[current_].copied), "cudaEventSynchronize");
}

void Staging::upload(void* to, std::span<const std::byte> from) {
  auto* target = static_cast<std::byte*>(to);
  while (!from.empty()) {
    if (used_ == piece_bytes) next_piece();
    const size_t count = std::min(from.size(), piece_bytes - used_);
    std::byte* place = pieces_[current_].data + used_;
    std::memcpy(place, from.data(), count);
    check(cudaMemcpyAsync(target, place, count, cudaMemcpyHostToDevice, stream_),
          "cudaMemcpyAsync");
    used_ += count;
    target += count;
    from = from.subspan(count);
  }
}

}  // namespace nibble::cuda
