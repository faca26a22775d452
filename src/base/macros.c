#include "base/macros.h"

#include <stdio.h>
#include <stdlib.h>

void bug_abort(const char *file, int line, const char *what)
{
    fprintf(stderr, "headrace: bug: %s:%d: %s\n", file, line, what);
    abort();
}

void oom_abort(const char *what)
{
    fprintf(stderr, "headrace: out of memory (%s)\n", what);
    abort();
}
