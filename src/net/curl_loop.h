// libcurl's multi_socket interface on our event loop: many transfers, one thread, nothing blocks.
// For everything that is a client of something else off the request path: the API server, scrapes.
//
// Ownership: an easy handle belongs to its maker; the loop only borrows it between curl_loop_add
// and the done callback (or curl_loop_drop). CURLOPT_PRIVATE is used here and is not the maker's.
#pragma once

#include <curl/curl.h>
#include <stddef.h>

#include "base/error.h"
#include "base/macros.h"
#include "event/loop.h"

struct curl_loop;

// The transfer ended. The handle is off the loop already: free it, or add it again (also from
// here).
typedef void curl_loop_done(CURL *easy, CURLcode result, void *arg);

// The loop is borrowed and must outlive it. 0 or -ENOMEM.
MUST_CHECK int curl_loop_new(struct loop *loop, struct curl_loop **ret_curl, struct error *err);

// Takes every transfer off without calling its done callback (handles stay their makers'). Must not
// be called from inside a libcurl callback; from a done callback it may. NULL is fine.
void curl_loop_free(struct curl_loop *curl);

// Starts the transfer; done comes once, never from inside this call. May be called from any
// callback. 0, -EBUSY (the handle is running already) or -ENOMEM.
MUST_CHECK int curl_loop_add(struct curl_loop *curl, CURL *easy, curl_loop_done *done, void *arg);

// Takes a transfer off, running or not, and frees the handle: done does not come. May be called
// from anywhere. When that is inside one of the transfer's own libcurl callbacks, the callback must
// then return an error value to libcurl and touch the handle no more. NULL is fine.
void curl_loop_drop(struct curl_loop *curl, CURL *easy);

// A new handle with what every client of ours wants: no signals, http and https only, no redirects,
// no environment proxy, TCP keep-alive. NULL when out of memory.
CURL *curl_loop_easy(void);
