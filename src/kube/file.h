// Small local files: tokens, certificates, kubeconfigs.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/strbuf.h"

// Appends the whole file. 0, -errno, or -EFBIG when it does not fit into the buffer's maximum.
MUST_CHECK int kube_file_read(const char *path, struct strbuf *buf);

// A file's contents, read again when they are older than an interval. What was read last is kept
// when a later read fails or finds the file empty (a token is replaced by rename; a half-mounted
// volume must not log us out).
struct kube_file {
    const char *path; // borrowed; NULL: never has contents
    struct strbuf text;
    uint64_t read_at_ms;
    bool was_read;
    int failure; // of the last read: 0 or -errno; -ENODATA: it was empty
};

void kube_file_init(struct kube_file *file, const char *path, size_t max);
// Wipes the contents.
void kube_file_fini(struct kube_file *file);

// Contents without white space at both ends; empty when there never were any, and then the next
// call looks again. now_ms is monotonic.
struct slice kube_file_get(struct kube_file *file, uint64_t now_ms, uint64_t max_age_ms);

// The next kube_file_get reads again.
void kube_file_expire(struct kube_file *file);
