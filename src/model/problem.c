#include "model/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void problems_fini(struct problems *problems)
{
    for (size_t i = 0; i < problems->list.len; i++) {
        free(problems->list.items[i].path);
        free(problems->list.items[i].message);
    }
    VEC_FINI(&problems->list);
    problems->dropped = 0;
}

void problems_add(struct problems *problems, int line, const char *path, const char *fmt, ...)
{
    char message[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    struct problem problem = {.line = line};
    if (problems->list.len < PROBLEMS_MAX) {
        problem.path = strdup(path);
        problem.message = strdup(message);
    }
    if (problem.path == NULL || problem.message == NULL || !VEC_PUSH(&problems->list, problem)) {
        free(problem.path);
        free(problem.message);
        problems->dropped++;
    }
}

void problems_print(const struct problems *problems, struct strbuf *out)
{
    for (size_t i = 0; i < problems->list.len; i++) {
        const struct problem *problem = &problems->list.items[i];
        strbuf_add_str(out, i > 0 ? "; " : "");
        if (problem->path[0] != '\0') {
            strbuf_printf(out, "%s: ", problem->path);
        }
        strbuf_add_str(out, problem->message);
    }
    if (problems->dropped > 0) {
        strbuf_printf(out, "%sand %zu more", problems->list.len > 0 ? "; " : "", problems->dropped);
    }
}
