// The Open Inference Protocol over gRPC (inference.GRPCInferenceService): finds the model's name in
// the first message of a request without a protobuf library, and replaces it. Field numbers are
// those of KServe's open_inference_grpc.proto and Triton's grpc_service.proto.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ai/oip.h"
#include "base/macros.h"
#include "base/slice.h"

enum oip_method {
    OIP_METHOD_NONE = 0,     // another service, or about no model
    OIP_METHOD_INFER,        // ModelInfer
    OIP_METHOD_STREAM_INFER, // ModelStreamInfer: many messages, each names a model
    OIP_METHOD_READY,        // ModelReady
    OIP_METHOD_METADATA,     // ModelMetadata, ModelConfig, ModelStatistics
};

// "/inference.GRPCInferenceService/ModelInfer".
enum oip_method oip_method_of(struct slice path);

// X(name, text)
#define OIP_ERROR_TABLE(X)                                                                        \
    X(NONE, "")                                                                                   \
    X(COMPRESSED, "the message is compressed: its model cannot be read")                          \
    X(FLAG, "malformed gRPC message")                                                             \
    X(SYNTAX, "malformed protobuf message")                                                       \
    X(TWICE, "the model's name, version or the id stands in the message twice")                   \
    X(NAME, "the model's name or version is empty, too long or not acceptable")                   \
    X(MISSING, "the message names no model")                                                      \
    X(EXTRA, "more than one message in a call that takes one")                                    \
    X(OTHER_MODEL, "a later message of the stream names another model")                           \
    X(CUT, "the request ends within a message")

enum oip_error {
#define X(name, text) OIP_ERROR_##name,
    OIP_ERROR_TABLE(X)
#undef X
    OIP_ERROR_COUNT,
};

const char *oip_error_text(enum oip_error error);

enum { OIP_VERSION_MAX = 64, OIP_ID_MAX = 128 };

// One string field of the first message, and where it stands in the stream of bytes.
struct oip_field {
    uint64_t length_at; // the first byte of its length
    uint64_t start;     // of its text
    uint16_t len;
    bool found;
};

// Bounded state; whatever the size of a message (tensors are skipped). Embedded; see
// oip_scan_init.
struct oip_scan {
    uint64_t offset;       // of the stream
    uint64_t message_left; // bytes of the current message
    uint64_t field_left;   // bytes of the current value
    uint64_t varint;
    uint64_t messages;     // that began
    uint32_t message_len;  // of the first
    uint8_t state;
    uint8_t shift;
    uint8_t wire;
    uint8_t target;        // which of `fields` takes the value
    uint8_t seen;          // which were seen in the current message
    uint16_t later_len;    // of the current message's model name
    bool streaming;
    bool has_id;
    enum oip_error error;
    struct oip_field model;
    struct oip_field version;
    struct oip_field id;
    char model_text[OIP_NAME_MAX];
    char version_text[OIP_VERSION_MAX];
    char id_text[OIP_ID_MAX];
};

void oip_scan_init(struct oip_scan *scan, enum oip_method method);

// Reads on. Protobuf's rule is that the last of two values counts; a reader that takes the first,
// or rejects, would disagree: two are refused. So routing may begin as soon as oip_scan_has_model,
// but every later piece is still to be fed, and an error then ends the request before its last byte
// went out. Messages after the first: an error, or in a stream they must name the same model.
// Returns OIP_ERROR_NONE, or the same error ever after.
MUST_CHECK enum oip_error oip_scan_feed(struct oip_scan *scan, struct slice piece);

// The request ended.
MUST_CHECK enum oip_error oip_scan_finish(struct oip_scan *scan);

// The name is there, whole and sound.
bool oip_scan_has_model(const struct oip_scan *scan);
struct slice oip_scan_model(const struct oip_scan *scan);
struct slice oip_scan_version(const struct oip_scan *scan); // ptr NULL: none
struct slice oip_scan_id(const struct oip_scan *scan);      // ptr NULL: none, or too long

// How the first message names another model: bytes [0, 5) become `prefix`, bytes
// [cut_start, cut_end) become `length` and then the new name. Everything else stays. `delta` is
// what is added to the length of the whole.
struct oip_splice {
    char prefix[5];
    char length[2];
    size_t length_len;
    uint64_t cut_start;
    uint64_t cut_end;
    int64_t delta;
};

// `name` is sound. 0; -ENOENT: no model yet; -E2BIG: the message would be too long for its prefix;
// -EINVAL: a stream, whose later messages name the model, too.
MUST_CHECK int oip_splice_make(const struct oip_scan *scan, struct slice name,
                               struct oip_splice *ret_splice);
