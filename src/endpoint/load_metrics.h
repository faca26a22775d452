// The `endpoint-load-metrics` response header (ORCA): an engine's queue and KV cache with every
// answer, without a scrape. vLLM and Triton send it when the request asked by
// `endpoint-load-metrics-format: TEXT` or `JSON`. Sources: Envoy's ORCA header formats; vLLM
// entrypoints/serve/utils/orca_metrics.py; Triton server, ORCA response headers.
#pragma once

#include "endpoint/endpoint.h"

struct load_metrics {
    // NAN: not said
    double waiting;
    double running;
    double kv_utilisation;
    double kv_capacity_tokens;
};

enum { LOAD_METRICS_MAX = 8192 }; // a longer header is not read

// Reads "TEXT named_metrics.num_requests_waiting=1.0, …" or "JSON {"named_metrics": {…}}"; what it
// does not know is skipped. 0 or -EINVAL (nothing known in it).
MUST_CHECK int load_metrics_parse(struct slice value, struct load_metrics *ret);

// Takes the header of an answer from this endpoint as a sample. Any thread; what cannot be read is
// ignored. Call while the request's reservation is still held.
void endpoint_load_metrics_apply(struct endpoint *endpoint, struct slice value, uint64_t now_ms);
