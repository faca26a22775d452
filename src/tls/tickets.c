#include "tls/tickets.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

// Slots are used in turn. A reader looks at the newest and TLS_TICKET_OLD before it; a rotation
// writes those after the newest, and wipes those at which no reader has looked for a period.
enum { SLOTS = 8 };

struct tls_tickets {
    uint64_t period_ms;
    _Atomic uint64_t newest;    // counts up; its slot is newest % SLOTS
    _Atomic uint64_t rotate_ms; // when the newest has had its period
    _Atomic bool rotating;      // somebody does
    struct tls_ticket_key slots[SLOTS];
};

static bool draw_key(struct tls_ticket_key *key)
{
    return getrandom(key, sizeof(*key), 0) == (ssize_t)sizeof(*key);
}

int tls_tickets_new(uint64_t period_ms, uint64_t now_ms, struct tls_tickets **ret_ring)
{
    struct tls_tickets *ring = calloc(1, sizeof(*ring));
    if (ring == NULL) {
        return -ENOMEM;
    }
    // Names of slots that were never written are random as well: a ticket that names sixteen zero
    // bytes must not find a key of zeros.
    for (size_t i = 0; i < SLOTS; i++) {
        if (!draw_key(&ring->slots[i])) {
            tls_tickets_free(ring);
            return -EIO;
        }
    }
    ring->period_ms = period_ms;
    atomic_init(&ring->newest, SLOTS);
    atomic_init(&ring->rotate_ms, now_ms + period_ms);
    *ret_ring = ring;
    return 0;
}

void tls_tickets_free(struct tls_tickets *ring)
{
    if (ring != NULL) {
        explicit_bzero(ring->slots, sizeof(ring->slots));
        free(ring);
    }
}

// Goes on by `steps` keys. False: no random bytes; the old keys stay until the next call.
static bool rotate(struct tls_tickets *ring, uint64_t steps)
{
    uint64_t newest = atomic_load_explicit(&ring->newest, memory_order_relaxed);
    for (uint64_t i = 1; i <= steps; i++) {
        if (!draw_key(&ring->slots[(newest + i) % SLOTS])) {
            return false;
        }
    }
    // Who loaded `newest` before this may still look at the ones that counted until now. What is
    // older goes; by random bytes, for the reason that tls_tickets_new gives.
    for (uint64_t i = newest + steps + 1; i < newest + SLOTS - TLS_TICKET_OLD; i++) {
        (void)draw_key(&ring->slots[i % SLOTS]);
    }
    // Release: the keys are written before they can be found. Partner: the acquire in
    // tls_tickets_find and tls_tickets_current.
    atomic_store_explicit(&ring->newest, newest + steps, memory_order_release);
    return true;
}

void tls_tickets_tick(struct tls_tickets *ring, uint64_t now_ms)
{
    if (LIKELY(now_ms < atomic_load_explicit(&ring->rotate_ms, memory_order_relaxed))) {
        return;
    }
    // Acquire, and release at the end: the next one to rotate sees what this one wrote.
    if (atomic_exchange_explicit(&ring->rotating, true, memory_order_acquire)) {
        return;
    }
    uint64_t due_ms = atomic_load_explicit(&ring->rotate_ms, memory_order_relaxed);
    if (due_ms <= now_ms) {
        // Nobody shook hands for long: what is too old goes at once.
        uint64_t missed = (now_ms - due_ms) / ring->period_ms;
        if (rotate(ring, 1 + MIN_OF(missed, (uint64_t)TLS_TICKET_OLD))) {
            atomic_store_explicit(&ring->rotate_ms, due_ms + (missed + 1) * ring->period_ms,
                                  memory_order_relaxed);
        }
    }
    atomic_store_explicit(&ring->rotating, false, memory_order_release);
}

void tls_tickets_current(const struct tls_tickets *ring, struct tls_ticket_key *ret_key)
{
    // Acquire: partner is the release in rotate.
    uint64_t newest = atomic_load_explicit(&ring->newest, memory_order_acquire);
    *ret_key = ring->slots[newest % SLOTS];
}

int tls_tickets_find(const struct tls_tickets *ring, const uint8_t name[TLS_TICKET_NAME_LEN],
                     struct tls_ticket_key *ret_key)
{
    // Acquire: partner is the release in rotate.
    uint64_t newest = atomic_load_explicit(&ring->newest, memory_order_acquire);
    for (uint64_t age = 0; age <= TLS_TICKET_OLD; age++) {
        const struct tls_ticket_key *key = &ring->slots[(newest - age) % SLOTS];
        if (memcmp(key->name, name, TLS_TICKET_NAME_LEN) == 0) {
            *ret_key = *key;
            return age == 0 ? 1 : 2;
        }
    }
    return 0;
}
