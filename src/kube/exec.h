// Runs a credential program without blocking the loop.
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/slice.h"
#include "event/loop.h"

struct kube_exec_run;

// rc 0: output is what the program wrote to its standard output (borrowed). Negative: err says why:
// -ETIMEDOUT, -EFBIG (wrote too much), -ECHILD (failed; the status is in the text).
typedef void kube_exec_done(int rc, struct slice output, const struct error *err, void *arg);

// Starts argv[0] (a bare name is looked up in PATH) in a process group of its own, with env added
// to our environment, standard input closed and standard error ours. done comes once, never from
// inside this call; it ends the run. The loop's thread only.
MUST_CHECK int kube_exec_start(struct loop *loop, char *const argv[], char *const env[],
                               uint64_t timeout_ms, kube_exec_done *done, void *arg,
                               struct kube_exec_run **ret_run, struct error *err);

// Kills the program; done does not come. NULL is fine.
void kube_exec_cancel(struct kube_exec_run *run);
