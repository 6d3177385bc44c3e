// Nothing is allocated on the device within the loop, by anybody, and the host waits for it only to
// read a step's results. CUPTI tells of every call of the driver, those of cuBLASLt and cuDNN
// included. Skips where there is no GPU.
#include <cupti.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/rng.h"
#include "memory/planned_memory.h"
#include "support/data.h"
#include "train/planning.h"
#include "train/step.h"

namespace nibble::test {
namespace {

// Calls of the driver between begin() and end(), by name.
class DriverCalls {
 public:
  DriverCalls() {
    EXPECT_EQ(cuptiSubscribe(&subscriber_, &DriverCalls::called, this), CUPTI_SUCCESS);
    EXPECT_EQ(cuptiEnableDomain(1, subscriber_, CUPTI_CB_DOMAIN_DRIVER_API), CUPTI_SUCCESS);
  }
  ~DriverCalls() { (void)cuptiUnsubscribe(subscriber_); }
  void begin() {
    calls_.clear();
    counting_ = true;
  }
  std::map<std::string, int> end() {
    counting_ = false;
    return calls_;
  }

 private:
  static void CUPTIAPI called(void* self, CUpti_CallbackDomain, CUpti_CallbackId,
                              const void* given) {
    const auto* data = static_cast<const CUpti_CallbackData*>(given);
    auto& calls = *static_cast<DriverCalls*>(self);
    if (calls.counting_ && data->callbackSite == CUPTI_API_ENTER)
      ++calls.calls_[data->functionName];
  }
  CUpti_SubscriberHandle subscriber_{};
  std::atomic<bool> counting_ = false;
  std::map<std::string, int> calls_;
};

bool allocates(const std::string& call) {
  for (const char* part : {"MemAlloc", "MemHostAlloc", "MemHostRegister", "MemCreate", "MemMap",
                           "MemPool", "MemFree", "ArrayCreate", "ModuleLoad", "LibraryLoad"})
    if (call.find(part) != std::string::npos) return true;
  return false;
}
bool waits(const std::string& call) {
  for (const char* part : {"Synchronize", "StreamQuery", "EventQuery"})
    if (call.find(part) != std::string::npos) return true;
  // Without Async it waits; of device memory alone it does not.
  return call.starts_with("cuMemcpy") && call.find("Async") == std::string::npos;
}

class Loop : public testing::TestWithParam<const char*> {};

TEST_P(Loop, AllocatesNothingAndWaitsForResultsOnly) {
  if (gpu_count() == 0) GTEST_SKIP() << "needs a GPU";
  TrainOptions options;
  options.model_name_or_path = "qwen3-0.6b";
  options.device = "cuda";
  options.per_device_train_batch_size = 2;
  options.max_length = 1024;
  options.gradient_accumulation_steps = 2;
  options.memory_budget = GetParam();
  options.host_memory_budget = "16GiB";
  const Device device = resolve_device(options);
  const ModelSource source = ModelSource::synthesize("qwen3-0.6b");
  std::vector<int32_t> tokens;
  DeviceProfile profile;
  profile.cuda = true;
  const MemoryPlan plan = plan_within(source, options, memory_limits(options, device), profile,
                                      [&] { return longest_shape(options, tokens); });
  const RunShape shape = longest_shape(options, tokens);
  RandomSequence random(1, 0);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.below(150'000));

  DriverCalls calls;
  PlannedMemory memory(device, plan, {});
  TrainStep step(source, options, plan.policy, memory.ops());
  const std::vector<MicroBatch> batches(2, shape.train.front());
  for (int64_t i = 1; i <= 2; ++i) step.train(batches, i, 1e-4);  // algorithms, graphs, modules

  constexpr int steps = 3;
  const size_t used = used_memory(device);
  calls.begin();
  for (int64_t i = 3; i < 3 + steps; ++i) step.train(batches, i, 1e-4);
  const auto counted = calls.end();
  EXPECT_EQ(used_memory(device), used);
  int waited = 0, all = 0;
  for (const auto& [name, count] : counted) {
    all += count;
    EXPECT_FALSE(allocates(name)) << name << ": " << count << " calls";
    if (waits(name)) {
      waited += count;
      std::cout << name << ": " << count << " calls in " << steps << " steps\n";
    }
  }
  std::cout << all / steps << " calls of the driver in a step\n";
  EXPECT_GT(all, 10 * steps) << "CUPTI told of nothing";
  EXPECT_LE(waited, 2 * steps) << "the loss and the gradient's norm of each step, and no more";
}

INSTANTIATE_TEST_SUITE_P(Budgets, Loop, testing::Values("", "2GiB", "1400MiB"));

}  // namespace
}  // namespace nibble::test
