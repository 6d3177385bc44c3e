#include "ops/cpu/threads.h"

#include <omp.h>

#include "core/error.h"

namespace nibble::cpu {

int thread_count(int requested) {
  if (requested < 0 || requested > 1024)
    fail(ErrorKind::usage, "threads: got {}, expected 0 (all processors) to 1024", requested);
  return requested > 0 ? requested : omp_get_num_procs();
}

}  // namespace nibble::cpu
