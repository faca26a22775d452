// Health of endpoints: who gets requests is settled by four sources, and by nothing else.
//
//  - outcomes of requests: consecutive errors, and windows in which an endpoint did worse than its
//    siblings. Such an endpoint is ejected for a while, longer each time, never more than a share
//    of the backend at once;
//  - active checks (scrape/check.h), where they are configured;
//  - the engine's own word, refused connections and the control plane: it is leaving;
//  - its age: with slow start a fresh endpoint gets a share that grows.
//
// When too few are left, ejections and checks are ignored (panic): better all than an avalanche.
//
// Threads: reports come from workers, health_watch from the scraper's thread, the flags are read by
// everybody. What the reports count is added up in place; nothing is allocated on that path.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

struct backend_state;
struct endpoint;
struct endpoint_table;

// Bits of endpoint.health_flags. A time that is over counts as if the bit were not set: whoever
// finds one set looks at the time as well (the bit goes at the next health_watch).
enum health_flag {
    HEALTH_EJECTED = 1 << 0,   // until ejected_until_ms
    HEALTH_UNHEALTHY = 1 << 1, // by active checks
    HEALTH_LEAVING = 1 << 2,   // until leaving_until_ms: terminating, or it says so
    HEALTH_REFUSING = 1 << 3,  // until leaving_until_ms: refused a connection
    HEALTH_WARMING = 1 << 4,   // slow start
};

// Why endpoints are ejected. X(enum, label in metrics and pages, text in the log)
#define HEALTH_REASON_TABLE(X)                                               \
    X(ERRORS, "consecutive_errors", "errors without a success in between")   \
    X(ERROR_SHARE, "error_share", "a larger share of errors than its siblings") \
    X(SLOW, "slow", "first tokens come much later than its siblings'")

enum health_reason {
#define X(name, label, text) HEALTH_REASON_##name,
    HEALTH_REASON_TABLE(X)
#undef X
    HEALTH_REASON_COUNT,
};
const char *health_reason_label(enum health_reason reason);
const char *health_reason_text(enum health_reason reason);

// How a backend's endpoints are judged. Compared as bytes: made by memset and members.
struct health_config {
    uint32_t consecutive_errors; // 0 = not judged by this
    uint32_t eject_for_ms;       // the first time; the n-th n times that
    uint32_t max_eject_for_ms;
    uint32_t max_ejected_percent; // of the backend, but at least one; 0 = nobody
    uint32_t interval_ms;         // between two comparisons
    uint32_t min_requests;        // of an endpoint that is compared
    uint32_t error_percent;       // so many points above the siblings' median; 0 = not judged
    uint32_t slow_factor;         // so many times their median TTFT; 0 = not judged
    uint32_t panic_percent;       // 0 = never
    uint32_t slow_start_ms;       // 0 = none
    bool active;                  // the rest is of the active checks
    bool check_connects;          // only whether a connection comes about; nothing is asked
    uint8_t check_scheme;         // enum endpoint_scheme
    uint16_t check_port;          // 0 = the endpoint's own
    uint32_t check_interval_ms;
    uint32_t check_timeout_ms;
    uint32_t healthy_threshold;
    uint32_t unhealthy_threshold;
    char check_path[256]; // "" = the engine's own
};

// What a backend has that nobody configured: the defaults of the resource.
void health_config_default(struct health_config *ret_config);

// Of one endpoint; what picks need lies in the endpoint itself.
struct endpoint_health {
    // Written with each answer, so together.
    CACHE_ALIGNED _Atomic uint64_t answers; // errors included, refusals for want of room not
    _Atomic uint64_t errors;
    _Atomic uint64_t ttft_count;
    _Atomic uint64_t ttft_sum_ms;
    _Atomic uint32_t errors_in_row;
    _Atomic uint32_t overloads_in_row;
    // Rarely.
    CACHE_ALIGNED _Atomic uint64_t ejected_until_ms;
    _Atomic uint64_t leaving_until_ms; // UINT64_MAX: for good, the control plane says so
    _Atomic uint64_t warm_from_ms;
    _Atomic uint32_t warm_for_ms;
    _Atomic uint32_t times; // ejections in a row: the next one lasts longer; sinks in good times
    _Atomic uint32_t reason; // enum health_reason of the last ejection
    _Atomic uint64_t ejections[HEALTH_REASON_COUNT]; // ever
    _Atomic uint64_t leavings;                       // times that it said so itself
    _Atomic uint64_t checks_passed;
    _Atomic uint64_t checks_failed;
    // Of health_watch alone.
    uint32_t told; // flags that were told of
    uint64_t told_until_ms; // the ejection that was told of
    uint64_t good_since_ms;
    uint64_t window_began_ms;
    uint64_t window_answers; // what the counters were when the window began
    uint64_t window_errors;
    uint64_t window_ttft_count;
    uint64_t window_ttft_sum_ms;
};

// How an attempt ended.
enum health_report {
    HEALTH_REPORT_OK,         // an answer that is not one of these
    HEALTH_REPORT_ERROR,      // a 5xx that is not a refusal, as a status or in a stream
    HEALTH_REPORT_RESET,      // the connection broke, or nonsense came
    HEALTH_REPORT_TIMEOUT,    // no token in time
    HEALTH_REPORT_UNREACHED,  // no connection
    HEALTH_REPORT_REFUSED,    // no connection, because nobody listens
    HEALTH_REPORT_OVERLOADED, // want of room: the pod is well
    HEALTH_REPORT_LEAVING,    // it said that it takes nothing any more
};

// Counts it, and draws the consequences: short avoidance (endpoint_report_*), ejection, leaving.
// `endpoint` was picked from `backend`. In an epoch section, with the reservation.
void health_report(struct backend_state *backend, struct endpoint *endpoint,
                   enum health_report report, uint64_t now_ms);

// The time from send to first token of a stream.
void health_report_ttft(struct endpoint *endpoint, uint64_t ttft_ms);

// May its streams be waited for as long as usual? False once it is terminating, says that it goes,
// or refuses connections. Any thread that may use the endpoint; one load in the usual case.
bool health_is_leaving(const struct endpoint *endpoint, uint64_t now_ms);

// The control plane says that the pod is (not) terminating. Control thread.
void health_set_terminating(struct endpoint *endpoint, bool terminating);

// Forgets ejections, checks and leaving: the endpoint came back to the set. Control thread.
void health_forget(struct endpoint *endpoint);

// Slow start from now on; 0 = none.
void health_warm(struct endpoint *endpoint, uint32_t slow_start_ms, uint64_t now_ms);

// Of an endpoint with HEALTH_WARMING: the share of a fair share that it gets, above 0 up to 1.
double health_warmth(const struct endpoint *endpoint, uint64_t now_ms);

// The verdict of active checks; slow start (0 = none) for who is healthy again. The scraper's
// thread.
void health_set_checked(struct endpoint *endpoint, bool healthy, uint32_t slow_start_ms,
                        uint64_t now_ms);

// The worst that holds now, for pages: "ok", "warming", "refusing", "leaving", "unhealthy" or
// "ejected".
const char *health_state_name(const struct endpoint *endpoint, uint64_t now_ms);

enum health_change {
    HEALTH_CHANGE_EJECTED,
    HEALTH_CHANGE_RETURNED,
    HEALTH_CHANGE_LEAVING,
    HEALTH_CHANGE_UNHEALTHY,
    HEALTH_CHANGE_HEALTHY,
    HEALTH_CHANGE_PANIC, // of the backend: no endpoint
    HEALTH_CHANGE_CALM,
};
struct health_event {
    enum health_change change;
    const struct backend_state *backend;
    const struct endpoint *endpoint;
    enum health_reason reason; // EJECTED
    uint64_t for_ms;           // EJECTED: all of it
    uint32_t times;            // EJECTED: in a row
};
typedef void health_event_fn(void *arg, const struct health_event *event);

// Ends what is over, compares siblings, and tells what changed since the last call. About ten times
// a second, from the scraper's thread; takes the table's lock.
void health_watch(struct endpoint_table *table, uint64_t now_ms, health_event_fn *tell, void *arg);

// ---- for the parts of this module ----

// Ejects it, unless too many are already. True: it is out now.
bool health_eject(struct backend_state *backend, struct endpoint *endpoint,
                  enum health_reason reason, uint64_t now_ms);
// How long an ejection is that is the n-th in a row.
uint64_t health_eject_ms(const struct health_config *config, uint32_t times);
// Recounts who is available. With the backend's `judging` held.
void health_judge_panic(struct backend_state *backend, uint64_t now_ms);
