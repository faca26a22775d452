// The rows of the dialect table, one file each. To add an engine: a file with its row, a line here
// and one in dialect.c.
#pragma once

#include "sim/dialect.h"

extern const struct sim_events sim_vllm_responses; // also of engines that were not seen
extern const struct sim_dialect sim_dialect_vllm;
extern const struct sim_dialect sim_dialect_vllm_old;
extern const struct sim_dialect sim_dialect_sglang;
extern const struct sim_dialect sim_dialect_tgi;
extern const struct sim_dialect sim_dialect_tensorrt_llm;
extern const struct sim_dialect sim_dialect_triton_trtllm;
extern const struct sim_dialect sim_dialect_triton;
extern const struct sim_dialect sim_dialect_llamacpp;
extern const struct sim_dialect sim_dialect_lmdeploy;
extern const struct sim_dialect sim_dialect_nim;
extern const struct sim_dialect sim_dialect_ollama;
