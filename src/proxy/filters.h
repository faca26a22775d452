// What rules do with a request besides choosing an endpoint: CORS, answers of their own, header
// fields, sessions. A rule without any of it costs a look at a pointer.
#pragma once

#include "proxy/request.h"

// The snapshot is held, nothing is routed: a preflight is answered (true: replied), and another
// request from a page learns which policy the answers have that need no rule.
MUST_CHECK bool filters_begin(struct request *request);

// The rule is known. True: it answers itself, and did.
MUST_CHECK bool filters_answer(struct request *request);

// ---- on the way to the server ----

// The fields that come in addition to what the client sent.
void filters_write_request(const struct header_edit *edit, struct strbuf *out);

// A target of the rule: by weight, or the session's own.
const struct snap_target *filters_draw_target(const struct request *request);

// What holds the session on an endpoint of the target; NULL: nothing does. Fills *store.
const struct affinity *filters_session(const struct request *request,
                                       const struct snap_target *target, struct affinity *store);
static inline const struct affinity *filters_affinity(const struct request *request,
                                                      const struct snap_target *target,
                                                      struct affinity *store)
{
    return LIKELY(request->rule->affinity == NULL) ? NULL
                                                   : filters_session(request, target, store);
}

// ---- on the way to the client ----

// Is anything done to the fields of the answer at all? To be asked once, before the others.
static inline bool filters_edit_answer(const struct request *request)
{
    const struct snap_rule *rule = request->rule;
    return request->cors != NULL ||
           (rule != NULL && (rule->response_edit != NULL || rule->affinity != NULL));
}

// A field of an answer, the server's or our own, does not pass. Never of those that frame it.
bool filters_drop_answer(const struct request *request, struct slice name);

// The fields that come in addition. While the endpoint is still reserved, the answer is its own.
void filters_write_answer(const struct request *request, struct strbuf *out);
