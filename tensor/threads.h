// The threads of the CPU backend.
#pragma once

namespace nextgrad {

// How many there are; 0 means all cores this process may use, or where so many processes use them,
// its part. Throws Error beyond 0 to 1024.
void set_num_threads(int threads, int processes = 1);
int num_threads();

// Threads of OpenMP spin for milliseconds at the end of every parallel loop, in case the next one
// comes at once. When anything else wants the cores (a loader's workers, another program), that
// makes a training step up to ten times slower: this lets them sleep instead. libgomp reads its
// environment before main(), so the program is started once more in its place, unless the
// environment already says how threads wait. To be called first in main(), with its argv.
void let_idle_threads_sleep(char** argv);

}  // namespace nextgrad
