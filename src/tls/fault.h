// Why a TLS connection came to nothing: one row gives enum, metric label and text.
#pragma once

#include "base/slice.h"

// X(name, label, text)
#define TLS_FAULT_TABLE(X)                                                                       \
    X(NONE, "none", "")                                                                          \
    X(CLOSED, "closed", "the peer closed the connection in the handshake")                       \
    X(TIMEOUT, "timeout", "the handshake took too long")                                         \
    X(NOT_TLS, "not_tls", "what the peer sent is not TLS")                                       \
    X(UNKNOWN_NAME, "unknown_name", "no certificate for the server name")                        \
    X(VERSION, "version", "no TLS version in common")                                            \
    X(CIPHER, "cipher", "no cipher, group or signature algorithm in common")                     \
    X(ALPN, "alpn", "no application protocol in common")                                         \
    X(CERTIFICATE_MISSING, "certificate_missing", "the peer showed no certificate")              \
    X(CERTIFICATE_BAD, "certificate_bad", "the peer's certificate does not verify")              \
    X(CERTIFICATE_EXPIRED, "certificate_expired",                                                \
      "the peer's certificate is expired or not yet valid")                                      \
    X(CERTIFICATE_NAME, "certificate_name", "the peer's certificate is for another name")        \
    X(ALERT, "alert", "the peer refused with an alert")                                          \
    X(FLOOD, "flood", "too much that carries no data")                                           \
    X(PROTOCOL, "protocol", "the peer broke the protocol")                                       \
    X(TRUNCATED, "truncated", "the connection ended without close_notify")                       \
    X(SOCKET, "socket", "the socket failed")                                                     \
    X(CONFIGURATION, "configuration", "a certificate, key or authority cannot be used")          \
    X(INTERNAL, "internal", "out of memory, or a fault of the TLS library")

enum tls_fault {
#define X(name, label, text) TLS_FAULT_##name,
    TLS_FAULT_TABLE(X)
#undef X
        TLS_FAULT_COUNT
};

// For metrics; never NULL.
const char *tls_fault_label(enum tls_fault fault);
// For people.
const char *tls_fault_text(enum tls_fault fault);
