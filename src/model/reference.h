// The Secrets and ConfigMaps that an object names: what must be watched for it.
#pragma once

#include "model/object.h"

// `name` lies in the namespace of the object; the kind is Secret or ConfigMap.
typedef void reference_fn(void *arg, enum object_kind kind, struct slice name);

// Each as often as it is named. Nothing for an object without a spec, or of a kind that is not
// ours.
void reference_each(const struct object *object, reference_fn *fn, void *arg);
