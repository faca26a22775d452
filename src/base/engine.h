// The inference engines that Headrace knows, and what resources, logs and pages call them: the one
// list. What an engine's metrics are called is in scrape/engine_table.c.
#pragma once

// X(identifier, name in resources)
#define ENGINE_TABLE(X)                                                                            \
    X(AUTO, "Auto") /* not known yet: detected from the first exposition */                        \
    X(VLLM, "VLLM")                                                                                \
    X(SGLANG, "SGLang")                                                                            \
    X(TGI, "TGI")                                                                                  \
    X(TENSORRT_LLM, "TensorRTLLM")                                                                 \
    X(TRITON_TRTLLM, "TritonTRTLLM")                                                               \
    X(TRITON, "Triton")                                                                            \
    X(LLAMACPP, "LlamaCpp")                                                                        \
    X(LMDEPLOY, "LMDeploy")                                                                        \
    X(NIM, "NIM")                                                                                  \
    X(OLLAMA, "Ollama")                                                                            \
    X(GENERIC, "Generic")

enum engine {
#define ENGINE_VALUE(id, name) ENGINE_##id,
    ENGINE_TABLE(ENGINE_VALUE)
#undef ENGINE_VALUE
    ENGINE_COUNT,
};

// As in the resource: "VLLM"; "?" for a number that is none.
const char *engine_name(enum engine engine);
