// Session affinity: which endpoint a session belongs to. By rendezvous hashing of a text that the
// client sends (each endpoint draws a number from text and address, the highest has it, so that an
// endpoint that comes or goes moves its own share only), or by an endpoint's tag in a cookie.
//
// Numbers depend on addresses alone: every worker, every replica and every restart agrees.
#pragma once

#include "base/siphash.h"
#include "endpoint/endpoint.h"

enum { AFFINITY_TAG_LEN = 16 };

// What a pick is asked to hold on to; zero-initialised: nothing.
struct affinity {
    bool by_hash;
    uint64_t hash;                 // by_hash
    const struct endpoint *wanted; // else; of the current set. May be NULL
};

// Of the text by which a session is known.
uint64_t affinity_hash(struct slice text);

// The number that an endpoint draws, above 0; one of weight 2 has the highest twice as often.
double affinity_draw(uint64_t hash, const struct endpoint *endpoint, uint32_t weight);

// An endpoint may serve its sessions while it has at most this many requests outstanding, of
// `total` that are outstanding in all; `share` is its part of all weights, 0..1.
double affinity_bound(uint64_t total, double share);

// What a client is told of an endpoint: nothing that can be turned into an address.
void affinity_tag(const struct siphash_key *key, const struct endpoint *endpoint,
                  char out[AFFINITY_TAG_LEN]);

// The endpoint of a tag that a client sent, or NULL. Inside an epoch section.
struct endpoint *affinity_find(const struct endpoint_set *set, const struct siphash_key *key,
                               struct slice tag);
