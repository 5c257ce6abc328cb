// The threads of the CPU backend.
#pragma once

namespace nextgrad {

// How many there are; 0 means all cores this process may use (OMP_NUM_THREADS if that is set), or
// where so many processes use them, its part. Throws Error beyond 0 to 1024.
void set_num_threads(int threads, int processes = 1);
int num_threads();

}  // namespace nextgrad
