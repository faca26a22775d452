// The pages of the admin face, and how they write JSON. Internal to the admin.
#pragma once

#include <microhttpd.h>

#include "admin/admin.h"
#include "base/strbuf.h"
#include "json/member.h"

struct page_context {
    const struct admin_config *config;
    struct MHD_Connection *connection;
    struct rand_state *rng;
};

// Each appends its body and returns the status. They run inside an epoch section.
unsigned page_endpoints(struct page_context *context, struct strbuf *out);
unsigned page_routes(struct page_context *context, struct strbuf *out);
unsigned page_explain(struct page_context *context, struct strbuf *out);
unsigned page_decisions(struct page_context *context, struct strbuf *out);
unsigned page_state(struct page_context *context, struct strbuf *out);
unsigned page_log_level(struct page_context *context, struct strbuf *out);
// Changes it.
unsigned put_log_level(struct page_context *context, struct strbuf *out);

// An argument of the query, decoded; `fallback` when it is absent.
struct slice page_argument(struct page_context *context, const char *name, const char *fallback);

// {"error":"…"} and the status.
unsigned page_error(struct strbuf *out, unsigned status, const char *message);

// JSON members, see json/member.h.
static inline void page_open(struct strbuf *out, const char *key, char bracket)
{
    member_open(out, key, bracket);
}
static inline void page_close(struct strbuf *out, char bracket)
{
    member_close(out, bracket);
}
static inline void page_str(struct strbuf *out, const char *key, struct slice value)
{
    member_str(out, key, value);
}
static inline void page_num(struct strbuf *out, const char *key, double value)
{
    member_num(out, key, value);
}
static inline void page_bool(struct strbuf *out, const char *key, bool value)
{
    member_bool(out, key, value);
}

// The member "backends": all that is known of them and their endpoints.
void page_backends(const struct admin_config *config, struct strbuf *out);

// Members of what the snapshot has: a backend of a rule (total_weight 0: without its share), a
// rule.
void page_target(const struct snap_target *target, uint64_t total_weight, struct strbuf *out);
void page_rule(const struct snap_rule *rule, struct strbuf *out);
