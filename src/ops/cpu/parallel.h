// Loops over threads. Every index is done by exactly one thread and writes only what is its own, so
// results do not depend on the number of threads.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace nibble::cpu {

// body(begin, end) over [0, n) in one contiguous piece per thread, cut at multiples of `grain`.
// Pieces smaller than a grain are not worth a thread. body must not throw.
template <typename Body>
void parallel_ranges(int threads, int64_t n, int64_t grain, const Body& body) {
  const int64_t grains = (n + grain - 1) / grain;
  const int64_t pieces = std::min<int64_t>(threads, grains);
  if (pieces <= 1) {
    if (n > 0) body(int64_t{0}, n);
    return;
  }
#pragma omp parallel for num_threads(static_cast <int>(pieces)) schedule(static, 1)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t begin = grains * piece / pieces * grain;
    const int64_t end = std::min(n, grains * (piece + 1) / pieces * grain);
    body(begin, end);
  }
}

// body(task, thread) for tasks of unequal length, the next free thread taking the next task.
template <typename Body>
void parallel_tasks(int threads, int64_t tasks, const Body& body) {
  const int team = static_cast<int>(std::min<int64_t>(threads, tasks));
  if (team <= 1) {
    for (int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
#pragma omp parallel for num_threads(team) schedule(dynamic, 1)
  for (int64_t task = 0; task < tasks; ++task) body(task, omp_get_thread_num());
}

}  // namespace nibble::cpu
