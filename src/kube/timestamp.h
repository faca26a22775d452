// RFC 3339 as Kubernetes writes it.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/slice.h"

enum { KUBE_TIME_SIZE = 24 };

// "2026-01-02T03:04:05Z", with or without a fraction, or with an offset. Seconds since 1970.
// 0 or -EINVAL.
MUST_CHECK int kube_time_parse(struct slice text, int64_t *ret_seconds);

// Whole seconds in UTC, as metav1.Time; size >= KUBE_TIME_SIZE.
void kube_time_format(int64_t seconds, char *buf, size_t size);
