// A ModelBackend's endpoints, from Services, EndpointSlices and Pods. Separate from the compilation
// of routes, so that pods that come and go recompile nothing.
#pragma once

#include "compile/resources.h"
#include "compile/status.h"
#include "endpoint/endpoint.h"
#include "snapshot/snapshot.h"

struct resolution {
    // Those that take requests, each address once, in the order of their bytes. The specs' `pod`
    // slices live as long as the objects that they came from: use the list before these change.
    VEC(struct endpoint_spec) endpoints;
    // Those that are terminating and take no requests: streams may be open there. Specs as above.
    VEC(struct endpoint_spec) terminating;
    uint32_t total; // distinct addresses, ready or not
    bool resolved;  // what the backend refers to exists
    enum condition_reason reason;
    char message[768]; // although it is resolved: a warning
    enum snap_protocol protocol; // see resolve_protocol
};

// Zeroes and frees; a zero-initialised one is fine.
void resolution_fini(struct resolution *resolution);

// `backend` is a valid ModelBackend. 0 or -ENOMEM (*ret untouched).
//
// An endpoint takes requests when it is ready and not terminating (EndpointSlice: ready absent
// counts as true). While a Service has none of these, those that are terminating but still serving
// take them, as kube-proxy does (KEP-1669).
MUST_CHECK int resolve_backend(const struct resources *resources, const struct object *backend,
                               struct resolution *ret);

// What is spoken with the endpoints: what the spec says; for Auto what the appProtocol of the
// Service's port says, or, where that is silent, what those of all its EndpointSlices agree on. A
// change of these is the one change of endpoints for which the snapshot must be compiled anew.
enum snap_protocol resolve_protocol(const struct resources *resources,
                                    const struct object *backend);

// Takes out the endpoints that must not be connected to, and says so. NULL takes out nothing.
void resolution_refuse(struct resolution *resolution, const struct address_guard *guard);

// Does a change of this object (Service, EndpointSlice, Pod) concern the backend's endpoints?
// For a changed Pod or EndpointSlice, ask with the old and with the new object.
bool resolve_depends(const struct object *backend, const struct object *changed);
