#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "cli/commands.h"
#include "cli/option_table.h"
#include "core/buffer.h"
#include "core/error.h"
#include "memory/plan.h"
#include "ops/cpu/isa.h"
#include "ops/cpu/kernels/kernels.h"
#include "ops/cpu/threads.h"
#include "ops/device.h"
#include "train/calibration.h"

namespace nibble::cli {
namespace {

using nlohmann::ordered_json;

ordered_json rates(const DeviceProfile& profile) {
  return {{"product_tflops", profile.product_flops / 1e12},
          {"product_ceiling_tflops", profile.product_ceiling / 1e12},
          {"attention_tflops", profile.attention_flops / 1e12},
          {"memory_gb_per_s", profile.memory_bytes / 1e9},
          {"link_gb_per_s", profile.link_bytes / 1e9}};
}

ordered_json look_at_cpu(std::vector<std::string>& problems) {
  const int threads = cpu::thread_count(0);
  const size_t memory = available_host_memory();
  ordered_json json = {
      {"threads", threads}, {"instruction_set", cpu::kernels().name}, {"free_memory", memory}};
  if (memory < (size_t{4} << 30))
    problems.push_back(fmt::format("only {} of host memory are free; loading a model needs some",
                                   human_bytes(memory)));
  json["float32"] = rates(calibrate({Device::Kind::cpu, 0, threads}, DType::f32));
  return json;
}

ordered_json look_at_gpu(int index, std::vector<std::string>& problems) {
  const GpuInfo gpu = gpu_info(index);
  ordered_json json = {{"name", gpu.name},
                       {"compute_capability", fmt::format("{}.{}", gpu.major, gpu.minor)},
                       {"total_memory", gpu.total_memory},
                       {"free_memory", gpu.free_memory}};
  constexpr size_t context = size_t{1} << 30;
  if (gpu.free_memory + context < gpu.total_memory)
    problems.push_back(fmt::format(
        "cuda:{}: {} of {} are taken already; other programs on this GPU leave less for training",
        index, human_bytes(gpu.total_memory - gpu.free_memory), human_bytes(gpu.total_memory)));
  if (gpu.free_memory > (size_t{2} << 30))
    json["bfloat16"] = rates(calibrate({Device::Kind::cuda, index, 1}, DType::bf16));
  else
    problems.push_back(fmt::format("cuda:{}: not measured, that takes 2 GiB", index));
  return json;
}

void print_rates(const ordered_json& r) {
  fmt::print(
      "    products {:.2f} TFLOP/s (large ones {:.2f}), attention {:.2f}, memory {:.0f} GB/s, "
      "outside of it {:.0f} GB/s\n",
      r["product_tflops"].get<double>(), r["product_ceiling_tflops"].get<double>(),
      r["attention_tflops"].get<double>(), r["memory_gb_per_s"].get<double>(),
      r["link_gb_per_s"].get<double>());
}

}  // namespace

int run_doctor(std::vector<std::string> arguments) {
  bool json = false;
  OptionTable table("doctor", "Measures this machine's devices and says what is wrong with them.");
  table.add_flag("json", json, "print JSON");
  if (!table.parse(std::move(arguments))) return 0;

  std::vector<std::string> problems;
  ordered_json report;
  report["cpu"] = look_at_cpu(problems);
  report["built_with_cuda"] = built_with_cuda();
  report["gpus"] = ordered_json::array();
  for (int i = 0; i < gpu_count(); ++i) {
    try {
      report["gpus"].push_back(look_at_gpu(i, problems));
    } catch (const Error& error) {
      problems.emplace_back(error.what());
    }
  }
  if (built_with_cuda() && gpu_count() == 0) {
    try {
      (void)gpu_info(0);
    } catch (const Error& error) {  // says why there is none
      problems.emplace_back(error.what());
    }
  }
  report["problems"] = problems;
  if (json) {
    fmt::print("{}\n", report.dump(2));
    return 0;
  }
  const ordered_json& cpu = report["cpu"];
  fmt::print("cpu: {} threads, {}, {} of memory free\n", cpu["threads"].get<int>(),
             cpu["instruction_set"].get<std::string>(),
             human_bytes(cpu["free_memory"].get<size_t>()));
  print_rates(cpu["float32"]);
  if (!built_with_cuda()) fmt::print("gpu: this program was built without CUDA\n");
  int index = 0;
  for (const ordered_json& gpu : report["gpus"]) {
    fmt::print("cuda:{}: {}, compute capability {}, {} of {} free\n", index++,
               gpu["name"].get<std::string>(), gpu["compute_capability"].get<std::string>(),
               human_bytes(gpu["free_memory"].get<size_t>()),
               human_bytes(gpu["total_memory"].get<size_t>()));
    if (gpu.contains("bfloat16")) print_rates(gpu["bfloat16"]);
  }
  for (const std::string& problem : problems) fmt::print("problem: {}\n", problem);
  if (problems.empty()) fmt::print("no problems found\n");
  return 0;
}

}  // namespace nibble::cli
