// Attributes and checks that every module uses.
#pragma once

#include <stddef.h>
#include <stdnoreturn.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define COLD __attribute__((cold))
#define UNUSED __attribute__((unused))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define CACHE_LINE 64
#define CACHE_ALIGNED __attribute__((aligned(CACHE_LINE)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) \
    ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#define MIN_OF(a, b) ({ __typeof__(a) a_ = (a); __typeof__(b) b_ = (b); a_ < b_ ? a_ : b_; })
#define MAX_OF(a, b) ({ __typeof__(a) a_ = (a); __typeof__(b) b_ = (b); a_ > b_ ? a_ : b_; })

// An invariant of ours is broken: stays on in production, aborts with the place. Never for input.
#define BUG_ON(cond)                                    \
    do {                                                \
        if (UNLIKELY(cond)) {                           \
            bug_abort(__FILE__, __LINE__, #cond);       \
        }                                               \
    } while (0)

COLD noreturn void bug_abort(const char *file, int line, const char *what);

// For start-up and other places where a missing allocation cannot be reported: abort with a
// message.
COLD noreturn void oom_abort(const char *what);
