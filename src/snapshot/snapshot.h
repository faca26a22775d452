// THE MEETING POINT of the two halves: an immutable, compiled picture of routes and backends.
//
// The control half builds one on an arena (compile), finishes it, publishes it; workers read it.
// After snapshot_finish nothing in it changes except the reference count. Live state of endpoints
// is not in here: a backend points to its backend_state.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/map.h"
#include "base/slice.h"
#include "base/vec.h"
#include "endpoint/endpoint.h"
#include "endpoint/retry_budget.h"
#include "http/message.h"
#include "snapshot/filters.h"
#include "tls/config.h"
#include "tls/store.h"

struct match_index;
struct snap_regex; // a compiled pattern, matched against the whole text with bounded effort

struct snap_model {
    struct slice name;          // what clients ask for
    struct slice upstream_name; // what the server calls it; = name unless told otherwise
    struct slice *aliases;
    size_t alias_count;
};

enum snap_protocol { SNAP_PROTOCOL_HTTP1, SNAP_PROTOCOL_HTTP2 };

struct snap_backend {
    struct slice key; // "namespace/name"
    struct slice namespace;
    struct slice name;
    struct backend_state *state; // one reference
    enum pick_policy policy;
    uint32_t connect_timeout_ms;
    uint32_t first_token_timeout_ms;
    uint32_t between_tokens_timeout_ms;
    uint32_t between_tokens_when_leaving_ms; // the same where health_is_leaving
    struct snap_model *models; // empty: takes any model name as it is
    size_t model_count;
    struct scrape_config scrape;
    // Spoken with every endpoint: in the clear from the first byte on ("prior knowledge" for
    // HTTP/2); over TLS it is the only protocol that ALPN offers. HTTP/2 goes on only when the
    // server chose it; HTTP/1.1 also with a server that knows no ALPN.
    enum snap_protocol protocol;
    const struct tls_upstream *tls; // NULL: in the clear
};

enum snap_match_type { SNAP_MATCH_EXACT, SNAP_MATCH_PREFIX, SNAP_MATCH_REGEX };

struct snap_text_match {
    enum snap_match_type type;
    struct slice value;
    struct snap_regex *regex; // type REGEX only
};

struct snap_header_match {
    struct slice name; // lower case
    struct snap_text_match value;
};

// All parts that are present must hold.
struct snap_match {
    struct snap_text_match *models; // any of them; count 0: see snapshot_match
    size_t model_count;
    bool has_path;
    struct snap_text_match path; // EXACT or PREFIX (whole segments: /v1 matches /v1 and /v1/x)
    struct slice method;         // empty = any
    struct snap_header_match *headers; // all of them
    size_t header_count;
};

struct snap_target {
    struct snap_backend *backend; // NULL: the reference does not resolve (weight still counts)
    uint32_t weight;
    struct slice model; // override of the model name; empty = none
};

enum snap_retry_on {
    SNAP_RETRY_CONNECT_FAILURE = 1 << 0,
    SNAP_RETRY_RESET = 1 << 1,
    SNAP_RETRY_OVERLOADED = 1 << 2,   // 503 and 429 from the server
    SNAP_RETRY_SERVER_ERROR = 1 << 3, // any other 5xx
    SNAP_RETRY_TIMEOUT = 1 << 4,      // no first token in time
};

// What a route asks of client certificates on a host; see snapshot_admit, snapshot_tells_client.
struct snap_client_auth {
    struct slice host;             // as in snap_host: wildcards reach all labels below, "" is any
    bool is_required; // else nobody is turned away: servers are told, or a wider one is guarded
    bool is_told;     // who the client is, to the server
    const struct tls_trust *trust; // NULL: what it names is missing; nobody is let in or told of
};

struct snap_rule {
    struct slice route_key; // "namespace/name" of the AIRoute
    struct slice name;      // of the rule; may be empty
    const struct snap_answer *answer; // then there are no targets. NULL = none
    struct snap_target *targets;
    size_t target_count;
    uint64_t total_weight;
    struct snap_target *fallbacks; // in order; weight unused
    size_t fallback_count;
    uint32_t request_timeout_ms;     // 0 = none
    uint32_t first_token_timeout_ms; // over all tries; 0 = none
    uint32_t per_try_timeout_ms;     // to the first token of each; 0 = as the backend says
    uint32_t retry_attempts;         // further attempts after the first
    uint32_t retry_on;               // enum snap_retry_on bits
    struct retry_budget retry_budget;
    uint32_t hedge_delay_ms;         // see proxy/hedge.h; 0 = no hedges
    // Each NULL when there is none.
    const struct path_change *path_rewrite;
    const struct header_edit *request_edit;
    const struct header_edit *response_edit;
    const struct cors_policy *cors;
    const struct snap_affinity *affinity;
    const struct snap_target *mirror; // gets copies; weight unused
    uint32_t mirror_percent;
    // Of its route. A request in the clear that the rule takes is answered 308 to the same URL with
    // https and this port (443 is left out of it); 0 = it is served. What snapshot_match_head gives
    // is enough to say so before the body came. Where a trusted proxy ended TLS before us, the
    // request is not in the clear.
    uint16_t https_port;
    // Strict-Transport-Security of answers over TLS, in place of what the server says; empty = its
    // own passes. Never in the clear (RFC 6797 section 7.2).
    struct slice hsts;
    const struct snap_client_auth *client_auth; // 0 entries for nearly all rules
    size_t client_auth_count;
    // The body must be buffered and scanned: a match looks at the model, a target overrides or maps
    // it, or a backend lists its models. Set by snapshot_finish.
    bool needs_body;
};

// One match of one rule; in a host's list the first that holds wins.
struct snap_entry {
    const struct snap_match *match;
    const struct snap_rule *rule;
};

struct snap_host {
    struct slice name; // lower case; "*.example.com" for a wildcard, "" for any host
    struct snap_entry *entries; // in order of precedence
    size_t entry_count;
    struct match_index *index; // over the entries, set by snapshot_finish; NULL: there are few
};

struct snapshot {
    _Atomic uint32_t refs;
    struct arena arena;
    uint64_t generation; // counts up with every publication
    struct snap_backend **backends;
    size_t backend_count;
    struct snap_host *hosts; // filled by the builder, in any order
    size_t host_count;
    struct map host_index; // name → snap_host
    struct tls_host *tls_hosts; // sorted by name
    size_t tls_host_count;
    struct map tls_host_index; // name → tls_host
    VEC(struct tls_store *) tls_stores; // a reference to each, so that workers find them read
    bool has_cors; // some rule has a policy; set by snapshot_finish
    struct snap_regex *regexes; // list, for the end
};

// Empty, with one reference; NULL when out of memory.
struct snapshot *snapshot_new(void);

// Control thread (the last one frees regexes, backend references and the arena).
void snapshot_unref(struct snapshot *snapshot);
void snapshot_ref(struct snapshot *snapshot);

// Compiles a pattern (PCRE2, UTF, anchored at both ends, match and depth limits) into the snapshot.
// NULL: *err says where the pattern is wrong.
struct snap_regex *snapshot_add_regex(struct snapshot *snapshot, struct slice pattern,
                                      struct error *err);

// Indexes hosts and their entries, and derives needs_body. Entries must be in order of precedence
// (see compile).
MUST_CHECK int snapshot_finish(struct snapshot *snapshot);

struct route_query {
    struct slice host; // lower case, without port
    struct slice path;
    struct slice method;
    const struct http_header *headers;
    size_t header_count;
    struct slice model; // ptr NULL: the request names no model
};

enum route_miss {
    ROUTE_MISS_NONE = 0,
    ROUTE_MISS_HOST,   // no route for this host
    ROUTE_MISS_PATH,   // none for this path, method and headers
    ROUTE_MISS_MODEL,  // some, but none that takes this model (or the request names none)
};

// What can be said before the body is read: the rule of the first entry that holds, model aside.
// Its needs_body holds for the request, whoever takes it in the end: entries that look at the model
// need the body, and behind one that takes any nothing is reached. NULL: no rule could take the
// request, whatever its body says; *ret_miss is HOST or PATH.
const struct snap_rule *snapshot_match_head(const struct snapshot *snapshot,
                                            const struct route_query *query,
                                            enum route_miss *ret_miss);

// The first entry that holds, the host's own before wildcards before any-host. A match without
// models takes a request that names a model only if one of the rule's backends takes any model or
// lists this one (or as an alias); so a route may leave the models to its backends. Targets of
// weight 0, with a model of their own, or that do not resolve have no say in this; when there are
// no others, any model is taken.
// NULL: *ret_miss says what was missing.
const struct snap_rule *snapshot_match(const struct snapshot *snapshot,
                                       const struct route_query *query, enum route_miss *ret_miss);

// How a connection for this server name (of SNI, lower case; "" when there was none) is to be
// terminated: the host's own entry, else that of the wildcard one label up, else the one of routes
// that serve any host. NULL: no certificate is for it; refuse the handshake (unrecognized_name).
const struct tls_host *snapshot_tls_host(const struct snapshot *snapshot, struct slice server_name);

// What is known of the client of a connection, for as long as the connection lasts.
struct snap_client {
    bool is_tls;
    bool is_verified; // it showed a certificate, and that was good by these authorities:
    uint8_t trust_digest[TLS_DIGEST_LEN]; // of the tls_host's client_trust in the handshake
};

enum snap_admission {
    SNAP_ADMIT_YES,
    SNAP_ADMIT_NEEDS_TLS,   // it came in the clear: 403 (a redirect, where the rule has one)
    SNAP_ADMIT_MISDIRECTED, // its connection was made for something else: 421 (RFC 9110 15.5.20)
};

// May this client have what the rule gives, as this host (lower case, without port)? To be asked
// for every request after the match: the name in the request need not be that of the handshake,
// and another route may terminate the host without asking for a certificate.
enum snap_admission snapshot_admit(const struct snap_rule *rule, struct slice host,
                                   const struct snap_client *client);

// Are servers of the rule told who this client is, by the certificate that it showed? Only of one
// that was verified by the authorities that the route names for this host.
bool snapshot_tells_client(const struct snap_rule *rule, struct slice host,
                           const struct snap_client *client);

// The policy for a preflight, which has neither the model nor the header fields of the request that
// it asks about: `query` has that request's method. Of the rules that could take it, in the order
// of precedence and up to one that takes all of them, the first whose policy allows the origin;
// else the first that has a policy. NULL: none has.
const struct cors_policy *snapshot_match_cors(const struct snapshot *snapshot,
                                              const struct route_query *query,
                                              struct slice origin);

// Draws a target by weight; `draw` is uniform 64-bit. NULL when all weights are 0.
const struct snap_target *snapshot_draw_target(const struct snap_rule *rule, uint64_t draw);

// The name to send upstream: the target's override, else the requested one; then mapped through the
// backend's models (name or alias → upstreamName).
struct slice snapshot_upstream_model(const struct snap_target *target, struct slice requested);

// Calls fn for every model name that this client of this host may ask for (names and aliases, each
// once): exact values of matches, and the models of backends behind matches that leave it to them;
// not those of rules that do not let the client in (snapshot_admit). client NULL: of all rules. 0,
// or -ENOMEM: some were left out.
typedef void snapshot_model_fn(struct slice model, void *arg);
MUST_CHECK int snapshot_each_model(const struct snapshot *snapshot, struct slice host,
                                   const struct snap_client *client, snapshot_model_fn *fn,
                                   void *arg);

// The rule that says by which way (TLS or not) what we answer ourselves is to be asked for: the one
// that could take the request, else the first of the host. NULL: the host has none.
const struct snap_rule *snapshot_match_way(const struct snapshot *snapshot,
                                           const struct route_query *query);

// Does what a target says about models count? One that takes no requests, that renames whatever
// comes, or that does not resolve says nothing.
static inline bool snap_target_declares(const struct snap_target *target)
{
    return target->backend != NULL && target->weight > 0 && target->model.len == 0;
}

bool snap_text_matches(const struct snap_text_match *match, struct slice text);

// Path prefix by whole segments.
bool snap_path_matches(const struct snap_text_match *match, struct slice path);
