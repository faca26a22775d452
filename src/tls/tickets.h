// The keys that session tickets are sealed with: one ring for the process, so that a client resumes
// on whichever worker its next connection lands.
//
// A key seals for one period and opens tickets for two more. New ones are drawn at random, so an
// old key tells nothing of a later one, and a key is wiped one period after its last use.
//
// Any thread, no lock: readers look at slots that are not written again for a whole period.
#pragma once

#include <stdint.h>

#include "base/macros.h"

enum {
    TLS_TICKET_NAME_LEN = 16,
    TLS_TICKET_PERIOD_MS = 60 * 60 * 1000,
    TLS_TICKET_OLD = 2, // periods for which a key still opens
};

struct tls_ticket_key {
    uint8_t name[TLS_TICKET_NAME_LEN]; // in the clear in each ticket
    uint8_t cipher[32];
    uint8_t mac[32];
};

struct tls_tickets;

// period_ms: TLS_TICKET_PERIOD_MS but for tests. 0, -ENOMEM or -EIO (no random bytes).
MUST_CHECK int tls_tickets_new(uint64_t period_ms, uint64_t now_ms, struct tls_tickets **ret_ring);
// Wipes the keys. NULL is fine.
void tls_tickets_free(struct tls_tickets *ring);

// Rotates when it is time; cheap when it is not. now_ms is monotonic. Whoever seals or opens calls
// it first.
void tls_tickets_tick(struct tls_tickets *ring, uint64_t now_ms);

// The key to seal with.
void tls_tickets_current(const struct tls_tickets *ring, struct tls_ticket_key *ret_key);

// The key of this name: 1 it is the current one, 2 an older one (the client should get a new
// ticket), 0 there is none (any more).
int tls_tickets_find(const struct tls_tickets *ring, const uint8_t name[TLS_TICKET_NAME_LEN],
                     struct tls_ticket_key *ret_key);
