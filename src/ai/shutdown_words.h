// What engines answer while they shut down, and to nothing else. An error of this kind says more
// than that one request failed: none that follows will be served.
#pragma once

#include <stdbool.h>

#include "base/slice.h"

// Is enough of an error's body to be sure.
enum { SHUTDOWN_WORDS_BODY_MAX = 4096 };

// Does the body of an error (status 500 and above), or the data of an error event, say that the
// server goes? Its message must begin with words that are known, so that a text which only quotes
// them (a prompt, say) does not count.
bool shutdown_words_found(unsigned status, struct slice body);
