// What pages may cost when they are asked for again and again: rendering one takes milliseconds of
// a CPU that requests need. Up to CROWD_A_SECOND of them each is made for who asks. Beyond that
// an answer is kept for CROWD_KEEP_MS, and given to all who ask meanwhile.
//
// The daemon's thread only.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"

enum { CROWD_A_SECOND = 100, CROWD_KEEP_MS = 100, CROWD_PAGES_MAX = 16 };

struct crowd {
    uint64_t second;
    unsigned asked; // in it
    struct {
        struct strbuf body;
        uint64_t made_ms; // 0: none is kept
    } kept[CROWD_PAGES_MAX];
};

void crowd_fini(struct crowd *crowd); // zero-initialised is ready

// One more page is asked for. True: there are too many of them now.
bool crowd_note(struct crowd *crowd, uint64_t now_ms);

// Appends the answer that is kept of page number `page`; false: none is, or it is too old.
bool crowd_kept(const struct crowd *crowd, unsigned page, uint64_t now_ms, struct strbuf *out);

// Keeps a copy of an answer, if there is memory for it.
void crowd_keep(struct crowd *crowd, unsigned page, uint64_t now_ms, struct slice body);
