// What is kept of a Secret or ConfigMap: its PEM, judged once when it is read. Everything else in
// it is dropped.
#pragma once

#include "model/schema.h"
#include "tls/pem.h"

struct material_entry {
    struct slice key;
    struct slice pem;     // empty: what is under the key is no PEM, and not kept
    struct slice problem; // why it is no list of authorities; empty = it is one
    uint8_t digest[TLS_DIGEST_LEN];
};

struct material {
    SCHEMA_LIST(struct material_entry) entries; // sorted by key
    // tls.crt and tls.key together, as in a Secret of the type kubernetes.io/tls:
    bool has_pair; // at least one of the two is there
    struct slice pair_problem; // why they are no certificate with its key; empty = they are
    struct tls_leaf leaf;
    uint8_t pair_digest[TLS_DIGEST_LEN];
};

#define MATERIAL_CERTIFICATE SLICE("tls.crt")
#define MATERIAL_KEY SLICE("tls.key")

// NULL when absent.
const struct material_entry *material_find(const struct material *material, struct slice key);

// Nothing in it is broken: the pair, where there is one, and every list of certificates.
bool material_is_sound(const struct material *material);

bool material_equal(const struct material *a, const struct material *b);
