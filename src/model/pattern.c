#include "model/pattern.h"

#include <pthread.h>
#include <regex.h>
#include <string.h>

enum { PATTERNS_MAX = 32 };

static struct {
    const char *pattern;
    regex_t compiled;
} cache[PATTERNS_MAX];
static size_t cached;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const regex_t *compiled(const char *pattern)
{
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < cached && strcmp(cache[i].pattern, pattern) != 0) {
        i++;
    }
    if (i == cached) {
        BUG_ON(cached == PATTERNS_MAX);
        cache[i].pattern = pattern;
        BUG_ON(regcomp(&cache[i].compiled, pattern, REG_EXTENDED | REG_NOSUB) != 0);
        cached++;
    }
    pthread_mutex_unlock(&lock);
    return &cache[i].compiled;
}

bool pattern_matches(const char *pattern, const char *text)
{
    return regexec(compiled(pattern), text, 0, NULL, 0) == 0;
}
