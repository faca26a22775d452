// The little that the Kubernetes half itself reads from objects.
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"
#include "base/slice.h"
#include "base/strbuf.h"

// A kind as the API names it.
struct kube_resource {
    const char *api_version; // "v1", "discovery.k8s.io/v1"
    const char *kind;        // "EndpointSlice"
    const char *plural;      // "endpointslices"
};

// "/api/v1/namespaces/NAMESPACE/services/NAME/SUBRESOURCE"; each but the resource may be NULL or
// empty. The parts are escaped.
void kube_path_add(struct strbuf *path, const struct kube_resource *resource,
                   const char *namespace_name, const char *name, const char *subresource);

// Percent-encodes for a path segment or a query value (RFC 3986 unreserved stay).
void kube_escape_add(struct strbuf *to, struct slice text);

// Borrowed from the object; empty when absent.
struct kube_meta {
    struct slice namespace_name;
    struct slice name;
    struct slice uid;
    struct slice version; // resourceVersion
    int64_t generation;
};

// False when there is no metadata with a name.
bool kube_meta_read(struct json_object *object, struct kube_meta *ret);

// "namespace/name", or "name" for an object without namespace.
void kube_key_add(struct strbuf *to, struct slice namespace_name, struct slice name);

// The string at a path of members; empty when one is missing or it is no string.
struct slice kube_get_str(struct json_object *object, const char *a, const char *b);

// Takes out what is large and of no use to us: managedFields and kubectl's copy of the object.
void kube_strip(struct json_object *object);

// Order of two resourceVersions of one resource: < 0, 0, > 0. They are opaque by contract except
// that equal strings are equal, and that since Kubernetes 1.35 decimal ones compare as numbers;
// *ret_known is false when nothing can be said.
int kube_version_compare(struct slice a, struct slice b, bool *ret_known);
