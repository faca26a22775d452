// Another place for a request: the path that it is given, and the URL that its client is sent to.
// Pure; compiled once, read by workers.
#pragma once

#include "base/strbuf.h"

enum path_change_type { PATH_CHANGE_NONE, PATH_CHANGE_FULL, PATH_CHANGE_PREFIX };

struct path_change {
    enum path_change_type type;
    struct slice value; // begins with a slash
    // PREFIX: what may be replaced, without a slash at the end ("" = the root); the longest that
    // the path begins with, by whole segments, is.
    const struct slice *prefixes;
    size_t prefix_count;
};

struct redirect {
    struct slice scheme;   // empty: as asked
    struct slice hostname; // empty: as asked
    uint16_t port;         // 0: that of a changed scheme, else as asked
    unsigned status;
    struct path_change path;
};

// Where the request went.
struct redirect_from {
    struct slice scheme;    // "http" or "https"
    struct slice authority; // host and perhaps port, with brackets; empty when none was named
    struct slice path;      // normalised
    struct slice query;     // ptr NULL = none
};

// Appends the path that `path` becomes.
void path_change_write(const struct path_change *change, struct slice path, struct strbuf *out);

// Appends the value of Location. Without any host it is a path alone, which begins with exactly one
// slash: "//name" would be another host.
void redirect_write(const struct redirect *redirect, const struct redirect_from *from,
                    struct strbuf *out);
