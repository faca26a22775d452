#include "manifest/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "manifest/offline.h"

struct checker {
    const struct check_options *options;
    check_report_fn *report;
    void *arg;
    size_t count;
    struct offline offline;
};

static void say(struct checker *checker, const struct object *object, int line, const char *fmt,
                ...)
    PRINTF_LIKE(4, 5);
static void say(struct checker *checker, const struct object *object, int line, const char *fmt,
                ...)
{
    char text[CONDITION_MESSAGE_MAX + 512];
    int n = snprintf(text, sizeof(text), "%s %s: ", object_kinds[object->kind].kind,
                     object->key.ptr);
    va_list args;
    va_start(args, fmt);
    vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, args);
    va_end(args);
    checker->report(checker->arg, object->file.ptr, line, text);
    checker->count++;
}

static void say_problems(struct checker *checker, const struct object *object)
{
    for (size_t i = 0; i < object->problems.list.len; i++) {
        const struct problem *problem = &object->problems.list.items[i];
        say(checker, object, problem->line > 0 ? problem->line : object->line, "%s%s%s",
            problem->path, problem->path[0] != '\0' ? ": " : "", problem->message);
    }
    if (object->problems.dropped > 0) {
        say(checker, object, object->line, "and %zu more problems", object->problems.dropped);
    }
}

static int add_objects(struct checker *checker, const struct manifest *manifest)
{
    for (size_t i = 0; i < manifest->objects.len; i++) {
        struct object *object = manifest->objects.items[i];
        const struct object *first;
        say_problems(checker, object);
        if (offline_add(&checker->offline, object, &first) < 0) {
            return -ENOMEM;
        }
        if (first != NULL) {
            say(checker, object, object->line, "defined twice, first at %s:%d", first->file.ptr,
                first->line);
        }
    }
    return 0;
}

static int check_backend(struct checker *checker, const struct finding *finding)
{
    struct resolution resolution = {0};
    int rc = resolve_backend(&checker->offline.resources, finding->object, &resolution);
    bool is_warned = resolution.resolved && resolution.message[0] != '\0';
    if (rc == 0 && (is_warned || !resolution.resolved) &&
        resolution.reason != REASON_SERVICE_NOT_FOUND) {
        struct slice path = resolution.reason == REASON_PORT_NOT_FOUND
                                ? SLICE("spec.pool.serviceRef.port")
                                : SLICE("spec.pool.serviceRef.name");
        say(checker, finding->object, object_line(finding->object, path), "%s",
            resolution.message);
    }
    resolution_fini(&resolution);
    return rc;
}

// A backend that is there but wrong was reported itself; Secrets and ConfigMaps usually come from
// elsewhere, as Services do.
static bool is_told(const struct checker *checker, const struct verdict *resolved)
{
    switch (resolved->reason) {
    case REASON_BACKEND_NOT_FOUND:
        return !checker->options->allow_missing;
    case REASON_INVALID_CERTIFICATE_REF:
        return true;
    default:
        return resolved->holds && resolved->message.len > 0; // a warning
    }
}

static int check_finding(struct checker *checker, const struct finding *finding)
{
    const struct object *object = finding->object;
    if (finding->accepted.message.len > 0 && !problems_any(&object->problems)) {
        say(checker, object, object_line(object, finding->accepted.path), "%s: %.*s",
            condition_reason_text(finding->accepted.reason), SLICE_FMT(finding->accepted.message));
    }
    if (!finding->accepted.holds) {
        return 0;
    }
    if (is_told(checker, &finding->resolved)) {
        say(checker, object, object_line(object, finding->resolved.path), "%.*s",
            SLICE_FMT(finding->resolved.message));
    }
    return object->kind == OBJECT_MODELBACKEND ? check_backend(checker, finding) : 0;
}

static int check_together(struct checker *checker)
{
    int rc = offline_compile(&checker->offline, checker->options->ingress_class);
    const struct compile_result *result = &checker->offline.result;
    for (size_t i = 0; rc == 0 && i < result->finding_count; i++) {
        rc = check_finding(checker, &result->findings[i]);
    }
    return rc;
}

int check_manifests(const struct manifest *manifests, size_t count,
                    const struct check_options *options, check_report_fn *report, void *arg,
                    size_t *ret_count)
{
    struct checker checker = {.options = options, .report = report, .arg = arg};
    int rc = offline_init(&checker.offline);
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = add_objects(&checker, &manifests[i]);
    }
    if (rc == 0) {
        rc = check_together(&checker);
    }
    offline_fini(&checker.offline);
    if (rc == 0) {
        *ret_count = checker.count;
    }
    return rc;
}
