// What objects refer to in vain, collected for one condition.
#include <stdarg.h>
#include <stdio.h>

#include "compile/build.h"

void references_init(struct references *references)
{
    for (size_t i = 0; i < NOTE_COUNT; i++) {
        strbuf_init(&references->notes[i].text, CONDITION_MESSAGE_MAX / 2 - 8);
        references->notes[i].path = SLICE("");
    }
}

void references_fini(struct references *references)
{
    for (size_t i = 0; i < NOTE_COUNT; i++) {
        strbuf_fini(&references->notes[i].text);
    }
}

void references_note(struct build *build, struct references *references, enum reference_note kind,
                     struct slice path, const char *fmt, ...)
{
    struct strbuf *text = &references->notes[kind].text;
    char message[CONDITION_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    if (text->len == 0) {
        references->notes[kind].path = path;
    }
    build->failed = build->failed || path.ptr == NULL;
    strbuf_printf(text, "%s%s", text->len > 0 ? "; " : "", message);
}

struct verdict references_judge(struct build *build, struct references *references)
{
    static const enum condition_reason reasons[NOTE_COUNT] = {
        [NOTE_BACKEND_NOT_FOUND] = REASON_BACKEND_NOT_FOUND,
        [NOTE_BACKEND_INVALID] = REASON_BACKEND_INVALID,
        [NOTE_CERTIFICATE_NOT_FOUND] = REASON_CERTIFICATE_NOT_FOUND,
        [NOTE_CERTIFICATE_INVALID] = REASON_INVALID_CERTIFICATE_REF,
        [NOTE_WARNING] = REASON_RESOLVED_REFS,
    };
    struct verdict verdict = {.holds = true, .reason = REASON_RESOLVED_REFS};
    struct strbuf all;
    bool first = true;
    strbuf_init(&all, NOTE_COUNT * CONDITION_MESSAGE_MAX);
    for (size_t i = 0; i < NOTE_COUNT; i++) {
        struct strbuf *text = &references->notes[i].text;
        if (text->len == 0) {
            continue;
        }
        if (first) {
            verdict.holds = i == NOTE_WARNING;
            verdict.reason = reasons[i];
            verdict.path = references->notes[i].path;
        }
        strbuf_printf(&all, "%s%s", first ? "" : "; ", strbuf_cstr(text));
        first = false;
    }
    if (!first) {
        verdict.message = build_say(build, "%s", strbuf_cstr(&all));
    }
    strbuf_fini(&all);
    return verdict;
}
