#include "compile/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *condition_type_text(enum condition_type type)
{
    static const char *const texts[CONDITION_COUNT] = {"Accepted", "ResolvedRefs", "Programmed",
                                                       "Ready", "Stalled"};
    return type < CONDITION_COUNT ? texts[type] : "";
}

const char *condition_state_text(enum condition_state state)
{
    static const char *const texts[] = {"False", "True", "Unknown"};
    return state < ARRAY_LEN(texts) ? texts[state] : "";
}

const char *condition_reason_text(enum condition_reason reason)
{
    static const char *const texts[REASON_COUNT] = {
#define CONDITION_REASON_TEXT(name, text) text,
        CONDITION_REASONS(CONDITION_REASON_TEXT)
#undef CONDITION_REASON_TEXT
    };
    return reason < REASON_COUNT ? texts[reason] : "";
}

void object_status_fini(struct object_status *status)
{
    free(status->namespace);
    free(status->name);
    free(status->uid);
    free(status->engine);
    free(status->metrics_found);
    for (size_t i = 0; i < CONDITION_COUNT; i++) {
        free(status->conditions[i].message);
    }
    *status = (struct object_status){0};
}

bool object_status_init(struct object_status *status, const struct object *object)
{
    *status = (struct object_status){
        .kind = object->kind,
        .generation = object->generation,
        .namespace = slice_dup(object->namespace),
        .name = slice_dup(object->name),
        .uid = slice_dup(object->uid),
    };
    if (status->namespace == NULL || status->name == NULL || status->uid == NULL) {
        object_status_fini(status);
        return false;
    }
    return true;
}

void object_status_set(struct object_status *status, enum condition_type type,
                       enum condition_state state, enum condition_reason reason, const char *fmt,
                       ...)
{
    char message[CONDITION_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    struct condition *condition = &status->conditions[type];
    free(condition->message);
    *condition = (struct condition){
        .present = true, .state = state, .reason = reason, .message = strdup(message)};
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

bool object_status_equal(const struct object_status *a, const struct object_status *b)
{
    for (size_t i = 0; i < CONDITION_COUNT; i++) {
        const struct condition *x = &a->conditions[i];
        const struct condition *y = &b->conditions[i];
        if (x->present != y->present ||
            (x->present && (x->state != y->state || x->reason != y->reason ||
                            !same_text(x->message, y->message)))) {
            return false;
        }
    }
    return a->kind == b->kind && same_text(a->namespace, b->namespace) &&
           same_text(a->name, b->name) && same_text(a->uid, b->uid) &&
           a->generation == b->generation && same_text(a->engine, b->engine) &&
           a->endpoints_total == b->endpoints_total && a->endpoints_ready == b->endpoints_ready &&
           same_text(a->metrics_found, b->metrics_found);
}

// True when the copy succeeded or there was nothing to copy.
static bool copy_text(const char *from, char **to)
{
    *to = from != NULL ? strdup(from) : NULL;
    return from == NULL || *to != NULL;
}

bool object_status_copy(const struct object_status *from, struct object_status *copy)
{
    struct object_status made = *from;
    bool ok = copy_text(from->namespace, &made.namespace);
    ok = copy_text(from->name, &made.name) && ok;
    ok = copy_text(from->uid, &made.uid) && ok;
    ok = copy_text(from->engine, &made.engine) && ok;
    ok = copy_text(from->metrics_found, &made.metrics_found) && ok;
    for (size_t i = 0; i < CONDITION_COUNT; i++) {
        ok = copy_text(from->conditions[i].message, &made.conditions[i].message) && ok;
    }
    if (!ok) {
        object_status_fini(&made);
    }
    *copy = made;
    return ok;
}
