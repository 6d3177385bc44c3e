// How many threads the CPU backend uses.
#pragma once

namespace nibble::cpu {

// `requested`, or all processors this process may run on when it is 0. Throws usage when negative
// or absurd.
int thread_count(int requested);

}  // namespace nibble::cpu
