#include "compile/judge.h"

#include <stdlib.h>

static void set(struct object_status *status, enum condition_type type,
                const struct verdict *verdict)
{
    object_status_set(status, type, verdict->holds ? CONDITION_TRUE : CONDITION_FALSE,
                      verdict->reason, "%.*s", SLICE_FMT(verdict->message));
}

// Accepted, Programmed and Stalled are the same for both kinds. False: nothing more to say than
// that it is not accepted.
static bool set_common(const struct finding *finding, bool published, struct object_status *status)
{
    set(status, CONDITION_ACCEPTED, &finding->accepted);
    if (!finding->accepted.holds) {
        enum condition_reason reason = finding->accepted.reason;
        struct slice message = finding->accepted.message;
        object_status_set(status, CONDITION_RESOLVED_REFS, CONDITION_UNKNOWN, REASON_NOT_ACCEPTED,
                          "not looked at");
        object_status_set(status, CONDITION_PROGRAMMED, CONDITION_FALSE, REASON_NOT_ACCEPTED,
                          "not served, the rest is");
        object_status_set(status, CONDITION_READY, CONDITION_FALSE, reason, "%.*s",
                          SLICE_FMT(message));
        object_status_set(status, CONDITION_STALLED, CONDITION_TRUE, reason, "%.*s",
                          SLICE_FMT(message));
        return false;
    }
    if (finding->left_out) {
        set(status, CONDITION_RESOLVED_REFS, &finding->resolved);
        object_status_set(status, CONDITION_PROGRAMMED, CONDITION_FALSE, finding->resolved.reason,
                          "not served, the rest is");
        set(status, CONDITION_READY, &finding->resolved);
        return true;
    }
    object_status_set(status, CONDITION_PROGRAMMED, published ? CONDITION_TRUE : CONDITION_FALSE,
                      published ? REASON_PROGRAMMED : REASON_PENDING, "%s", "");
    return true;
}

static bool all_texts(struct object_status *status)
{
    for (size_t i = 0; i < CONDITION_COUNT; i++) {
        if (status->conditions[i].present && status->conditions[i].message == NULL) {
            object_status_fini(status);
            return false;
        }
    }
    return true;
}

// What is wrong with the endpoints, else with certificates; else a warning, if there is one.
static struct verdict backend_references(const struct finding *finding,
                                         const struct resolution *resolution)
{
    struct slice said = slice_of_str(resolution->message);
    bool by_endpoints = !resolution->resolved ||
                        (finding->resolved.holds && finding->resolved.message.len == 0);
    if (by_endpoints && !finding->left_out) {
        return (struct verdict){
            .holds = resolution->resolved, .reason = resolution->reason, .message = said};
    }
    return finding->resolved;
}

bool judge_backend_status(const struct finding *finding, const struct backend_view *view,
                          bool published, struct object_status *ret)
{
    struct object_status status;
    if (!object_status_init(&status, finding->object)) {
        *ret = status;
        return false;
    }
    const struct resolution *resolution = view->resolution;
    if (set_common(finding, published, &status) && resolution != NULL) {
        size_t ready = resolution->endpoints.len;
        status.endpoints_total = resolution->total;
        status.endpoints_ready = (uint32_t)ready;
        status.engine = strdup(view->engine != NULL ? view->engine : "");
        status.metrics_found = strdup(view->metrics_found != NULL ? view->metrics_found : "");
        struct verdict resolved = backend_references(finding, resolution);
        set(&status, CONDITION_RESOLVED_REFS, &resolved);
        // Some addresses that must not be connected to leave the others as they are.
        bool others_serve = resolved.reason == REASON_ENDPOINT_REFUSED && ready != 0;
        if (finding->left_out || (!resolved.holds && !others_serve)) {
            set(&status, CONDITION_READY, &resolved);
        } else if (ready == 0) {
            object_status_set(&status, CONDITION_READY, CONDITION_FALSE, REASON_NO_READY_ENDPOINTS,
                              "none of %u endpoints takes requests", resolution->total);
        } else if (!published) {
            object_status_set(&status, CONDITION_READY, CONDITION_FALSE, REASON_PENDING, "%s", "");
        } else {
            object_status_set(&status, CONDITION_READY, CONDITION_TRUE, REASON_READY,
                              "%zu of %u endpoints take requests%s%s", ready, resolution->total,
                              others_serve ? "; " : "", others_serve ? resolution->message : "");
        }
    }
    bool ok = all_texts(&status);
    *ret = status;
    return ok;
}

// Rules that are served but have no backend with an endpoint, as text.
static void print_idle_rules(const struct finding *finding, judge_ready_fn *ready_count, void *arg,
                             struct strbuf *out)
{
    for (size_t r = 0; r < finding->rule_count; r++) {
        const struct rule_finding *rule = &finding->rules[r];
        size_t ready = 0;
        for (size_t b = 0; b < rule->backend_count; b++) {
            ready += ready_count(arg, rule->backends[b]);
        }
        if (!rule->served || ready > 0 || rule->backend_count == 0) { // none: it answers itself
            continue;
        }
        strbuf_printf(out, "%srule %.*s: no ready endpoint in", out->len > 0 ? "; " : "",
                      SLICE_FMT(rule->name));
        for (size_t b = 0; b < rule->backend_count; b++) {
            strbuf_printf(out, "%s %.*s", b > 0 ? "," : " ModelBackend",
                          SLICE_FMT(rule->backends[b]));
        }
    }
}

bool judge_route_status(const struct finding *finding, bool published, judge_ready_fn *ready_count,
                        void *arg, struct object_status *ret)
{
    struct object_status status;
    if (!object_status_init(&status, finding->object)) {
        *ret = status;
        return false;
    }
    if (set_common(finding, published, &status)) {
        struct strbuf idle;
        strbuf_init(&idle, CONDITION_MESSAGE_MAX - 1);
        print_idle_rules(finding, ready_count, arg, &idle);
        set(&status, CONDITION_RESOLVED_REFS, &finding->resolved);
        if (!finding->resolved.holds) {
            set(&status, CONDITION_READY, &finding->resolved);
        } else if (idle.len > 0) {
            object_status_set(&status, CONDITION_READY, CONDITION_FALSE, REASON_NO_READY_ENDPOINTS,
                              "%s", strbuf_cstr(&idle));
        } else if (!published) {
            object_status_set(&status, CONDITION_READY, CONDITION_FALSE, REASON_PENDING, "%s", "");
        } else {
            // A part that an older route has does not make it fail, but it is said here too.
            // So is a certificate that expired.
            bool both = finding->accepted.message.len > 0 && finding->resolved.message.len > 0;
            object_status_set(&status, CONDITION_READY, CONDITION_TRUE, REASON_READY, "%.*s%s%.*s",
                              SLICE_FMT(finding->accepted.message), both ? "; " : "",
                              SLICE_FMT(finding->resolved.message));
        }
        strbuf_fini(&idle);
    }
    bool ok = all_texts(&status);
    *ret = status;
    return ok;
}
