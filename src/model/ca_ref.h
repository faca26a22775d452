// Where a list of authorities is: a key of a ConfigMap or of a Secret.
#pragma once

#include "model/schema.h"

enum ca_kind { CA_CONFIGMAP = 0, CA_SECRET };

struct ca_ref {
    int kind; // enum ca_kind
    struct slice name;
    struct slice key;
};

extern const struct schema_object ca_ref_schema;
