// How a request can end badly: one row gives enum, HTTP status, metric and log label, the error
// type and code of OpenAI's error format, and a text that says what to do.
#pragma once

// X(name, status, label, type, text)
#define FAULT_TABLE(X)                                                                            \
    X(NONE, 0, "ok", "", "")                                                                      \
    X(BAD_REQUEST, 400, "bad_request", "invalid_request_error", "malformed HTTP request")         \
    X(INVALID_JSON, 400, "invalid_json", "invalid_request_error",                                 \
      "the request body is not valid JSON")                                                       \
    X(INVALID_FORM, 400, "invalid_form", "invalid_request_error",                                 \
      "the multipart form cannot be read")                                                        \
    X(INVALID_MESSAGE, 400, "invalid_message", "invalid_request_error",                           \
      "the model cannot be read from the gRPC message")                                           \
    X(DUPLICATE_KEY, 400, "duplicate_key", "invalid_request_error",                               \
      "the request body has a member twice")                                                      \
    X(MODEL_MISSING, 400, "model_missing", "invalid_request_error",                               \
      "the request names no model: give the member \"model\"")                                    \
    X(MODEL_INVALID, 400, "model_invalid", "invalid_request_error",                               \
      "\"model\" must be a non-empty string of at most 256 bytes")                                \
    X(MODEL_NOT_FOUND, 404, "model_not_found", "invalid_request_error", "unknown model")          \
    X(NO_HOST, 404, "no_route", "invalid_request_error", "no route for this host")                \
    X(NO_PATH, 404, "no_route", "invalid_request_error",                                          \
      "no route for this method and path")                                                        \
    X(TLS_REQUIRED, 403, "tls_required", "invalid_request_error",                                 \
      "this can be had with TLS and a client certificate only")                                   \
    X(MISDIRECTED, 421, "misdirected", "invalid_request_error",                                   \
      "this connection was made for another host: connect for this one, with a certificate")      \
    X(WEBSOCKET_KEY, 400, "websocket_key", "invalid_request_error",                               \
      "Sec-WebSocket-Key must be there once, with 16 bytes in base64")                            \
    X(BODY_TOO_LARGE, 413, "body_too_large", "invalid_request_error",                             \
      "the request body is larger than this gateway accepts")                                     \
    X(HEADER_TIMEOUT, 408, "header_timeout", "invalid_request_error",                             \
      "the request header did not arrive in time")                                                \
    X(BODY_TIMEOUT, 408, "body_timeout", "invalid_request_error",                                 \
      "the request body did not arrive in time")                                                  \
    X(NOT_READY, 503, "not_ready", "service_unavailable",                                         \
      "the gateway has no configuration yet; try again shortly")                                  \
    X(BACKEND_UNRESOLVED, 503, "backend_unresolved", "service_unavailable",                       \
      "the route names a backend that does not exist")                                            \
    X(NO_ENDPOINT, 503, "no_ready_endpoint", "service_unavailable",                               \
      "no endpoint of this model is ready; try again shortly")                                    \
    X(OVERLOADED, 503, "overloaded", "service_unavailable",                                       \
      "every endpoint of this model is overloaded; try again shortly")                            \
    X(CONNECT_FAILED, 502, "connect_failed", "upstream_error",                                    \
      "could not connect to the inference server")                                                \
    X(ENDPOINT_FORBIDDEN, 502, "endpoint_forbidden", "upstream_error",                            \
      "the address of the inference server is one that this gateway must not connect to")         \
    X(UPSTREAM_TLS, 502, "upstream_tls", "upstream_error",                                        \
      "no TLS connection to the inference server could be made; the gateway's log says why")      \
    X(UPSTREAM_RESET, 502, "upstream_reset", "upstream_error",                                    \
      "the inference server closed the connection before the answer was complete")                \
    X(UPSTREAM_PROTOCOL, 502, "upstream_protocol", "upstream_error",                              \
      "the inference server sent a malformed answer")                                             \
    X(UPSTREAM_ERROR, 502, "upstream_error", "upstream_error",                                    \
      "the inference server answered with an error")                                              \
    X(UPGRADE_DECLINED, 502, "upgrade_declined", "upstream_error",                                \
      "what answers here opens no WebSocket; a server of HTTP/2 must announce RFC 8441 for that") \
    X(CONNECT_TIMEOUT, 504, "connect_timeout", "timeout_error",                                   \
      "the inference server did not accept the connection in time")                               \
    X(FIRST_TOKEN_TIMEOUT, 504, "first_token_timeout", "timeout_error",                           \
      "the inference server sent no token in time")                                               \
    X(BETWEEN_TOKENS_TIMEOUT, 504, "between_tokens_timeout", "timeout_error",                     \
      "the inference server stopped sending in mid-answer")                                       \
    X(SERVER_LEFT, 502, "server_left", "upstream_error",                                          \
      "the inference server is shutting down and stopped sending in mid-answer")                  \
    X(REQUEST_TIMEOUT, 504, "request_timeout", "timeout_error",                                   \
      "the time limit of the route for a whole request was reached")                              \
    X(TUNNEL_IDLE, 504, "tunnel_idle", "timeout_error",                                           \
      "nothing moved on the upgraded connection")                                                 \
    X(STREAM_IDLE, 504, "stream_idle", "timeout_error",                                           \
      "nothing moved on the call, in either direction")                                           \
    X(CLIENT_ABORT, 499, "client_abort", "", "the client went away")                              \
    X(CLIENT_STALLED, 499, "client_stalled", "", "the client stopped reading")                    \
    X(BUFFERS_FULL, 503, "buffers_full", "service_unavailable",                                   \
      "the gateway holds as many bytes of requests as it may; try again shortly")                 \
    X(MEMORY_LIMIT, 503, "memory_limit", "service_unavailable",                                   \
      "the gateway is short of memory; try again shortly")                                        \
    X(SHUTDOWN, 503, "shutdown", "service_unavailable", "the gateway is shutting down")           \
    X(INTERNAL, 500, "internal", "server_error", "the gateway ran out of memory or files")

enum fault {
#define X(name, status, label, type, text) FAULT_##name,
    FAULT_TABLE(X)
#undef X
    FAULT_COUNT,
};

// What an answer of a server with this status counts as: FAULT_NONE below 500.
enum fault fault_of_answer(unsigned status);
unsigned fault_status(enum fault fault);
const char *fault_label(enum fault fault);
const char *fault_type(enum fault fault);
const char *fault_text(enum fault fault);
