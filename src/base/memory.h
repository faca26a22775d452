// How much memory the process has, and may have, as the kernel sees it.
#pragma once

#include <stdint.h>

// Resident bytes now; 0 when that cannot be told.
uint64_t memory_resident(void);

// The lowest memory limit of the process' control group and those above it (versions 1 and 2);
// 0 = none. `root` is put before every path ("" outside tests).
uint64_t memory_cgroup_limit(const char *root);
