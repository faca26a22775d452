// Checks over manifests without a cluster: what is wrong in each object, and between them.
#pragma once

#include "manifest/manifest.h"

struct check_options {
    struct slice ingress_class;
    bool allow_missing; // references to ModelBackends that are not among the files are fine
};

// One finding; text says which object and what.
typedef void check_report_fn(void *arg, const char *file, int line, const char *text);

// Reports every problem; *ret_count counts them. 0 or -ENOMEM.
//
// Each object by the schema and its rules; an object defined twice; expressions that do not
// compile; routes that an older one shadows; ModelBackends that do not exist; a serviceRef's port,
// and certificates that are not good, when the Service, Secret or ConfigMap is among the files
// (they usually come from elsewhere).
MUST_CHECK int check_manifests(const struct manifest *manifests, size_t count,
                               const struct check_options *options, check_report_fn *report,
                               void *arg, size_t *ret_count);
