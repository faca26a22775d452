// What is said about an object in its status: computed here, written by others.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "model/object.h"

enum condition_type {
    CONDITION_ACCEPTED,
    CONDITION_RESOLVED_REFS,
    CONDITION_PROGRAMMED,
    CONDITION_READY,
    CONDITION_STALLED, // only there while the user must edit the object
    CONDITION_COUNT,
};
const char *condition_type_text(enum condition_type type);

enum condition_state { CONDITION_FALSE, CONDITION_TRUE, CONDITION_UNKNOWN };
const char *condition_state_text(enum condition_state state); // "False", "True", "Unknown"

// Every reason that a condition may have, with its text.
#define CONDITION_REASONS(X)                                                                       \
    X(ACCEPTED, "Accepted")                                                                        \
    X(INVALID, "Invalid")                       /* the spec breaks a rule of the schema */         \
    X(INVALID_REGEX, "InvalidRegex")            /* an expression does not compile */               \
    X(DUPLICATE_MODEL, "DuplicateModel")        /* one name for two models of a backend */         \
    X(CONFLICTED, "Conflicted")                 /* an older route has all of its matches */        \
    X(PARTIALLY_CONFLICTED, "PartiallyConflicted") /* an older route has some of them */           \
    X(TOO_MANY_MATCHES, "TooManyMatches")       /* COMPILE_ROUTE_MATCHES_MAX */                    \
    X(RESOLVED_REFS, "ResolvedRefs")                                                               \
    X(BACKEND_NOT_FOUND, "BackendNotFound")                                                        \
    X(BACKEND_INVALID, "BackendInvalid")                                                           \
    X(CERTIFICATE_NOT_FOUND, "CertificateNotFound") /* no such Secret or ConfigMap */              \
    X(INVALID_CERTIFICATE_REF, "InvalidCertificateRef") /* it is not what is needed */             \
    X(SERVICE_NOT_FOUND, "ServiceNotFound")                                                        \
    X(PORT_NOT_FOUND, "PortNotFound")                                                              \
    X(UNSUPPORTED_SERVICE, "UnsupportedService") /* type ExternalName */                           \
    X(ENDPOINT_REFUSED, "EndpointRefused")      /* an address that must not be connected to */     \
    X(PROGRAMMED, "Programmed")                                                                    \
    X(PENDING, "Pending")                       /* not published yet */                            \
    X(NOT_ACCEPTED, "NotAccepted")                                                                 \
    X(READY, "Ready")                                                                              \
    X(NO_READY_ENDPOINTS, "NoReadyEndpoints")

enum condition_reason {
#define CONDITION_REASON_ENUM(name, text) REASON_##name,
    CONDITION_REASONS(CONDITION_REASON_ENUM)
#undef CONDITION_REASON_ENUM
        REASON_COUNT,
};
const char *condition_reason_text(enum condition_reason reason);

enum { CONDITION_MESSAGE_MAX = 1024 };

struct condition {
    bool present;
    enum condition_state state;
    enum condition_reason reason;
    char *message; // owned; NULL = ""
};

// The wanted status of one object. Zero-initialised is empty and valid.
struct object_status {
    enum object_kind kind;     // AIRoute or ModelBackend
    char *namespace;           // owned, as are name, uid and the texts below
    char *name;
    char *uid;
    int64_t generation;        // becomes observedGeneration, here and in each condition
    struct condition conditions[CONDITION_COUNT];
    // ModelBackend only:
    char *engine;              // "" or NULL = not known yet
    uint32_t endpoints_total;
    uint32_t endpoints_ready;
    char *metrics_found;       // comma-separated names; NULL = none
};

void object_status_fini(struct object_status *status);

// For an object: identity and generation filled in. False when out of memory.
MUST_CHECK bool object_status_init(struct object_status *status, const struct object *object);

// Sets a condition; the message is cut at CONDITION_MESSAGE_MAX.
void object_status_set(struct object_status *status, enum condition_type type,
                       enum condition_state state, enum condition_reason reason, const char *fmt,
                       ...) PRINTF_LIKE(5, 6);

// Says the same in every part that is written?
bool object_status_equal(const struct object_status *a, const struct object_status *b);

// Deep copy; false when out of memory (*copy then empty).
MUST_CHECK bool object_status_copy(const struct object_status *from, struct object_status *copy);
