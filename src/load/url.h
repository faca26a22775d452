// Where the load goes: http://host[:port][/path].
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/slice.h"

enum load_api { LOAD_API_CHAT = 0, LOAD_API_COMPLETIONS, LOAD_API_EMBEDDINGS };

// "chat", "completions", "embeddings"; 0 or -EINVAL.
MUST_CHECK int load_api_parse(struct slice text, enum load_api *ret_api);
const char *load_api_text(enum load_api api);

struct load_url {
    char host[256];      // without brackets
    char authority[280]; // for the Host header
    char path[1024];     // of the request
    uint16_t port;
};

// A URL without a path, or one that ends in /v1, gets the API's usual one. 0, or -EINVAL with why;
// https is refused, user info too.
MUST_CHECK int load_url_parse(struct slice text, enum load_api api, struct load_url *ret_url,
                              struct error *err);

enum { LOAD_ADDRESSES_MAX = 8 };
struct load_addresses {
    struct sockaddr_storage items[LOAD_ADDRESSES_MAX];
    socklen_t lens[LOAD_ADDRESSES_MAX];
    unsigned len;
};

// Blocking. 0, or -ENOENT with why.
MUST_CHECK int load_url_resolve(const struct load_url *url, struct load_addresses *ret_addresses,
                                struct error *err);
