#include "model/ca_ref.h"

#include "model/patterns.h"

static const struct schema_name kind_names[] = {
    {"ConfigMap", CA_CONFIGMAP}, {"Secret", CA_SECRET}, {NULL, 0}};

static const struct schema_field fields[] = {
    {.name = "kind", .type = SCHEMA_ENUM, .offset = offsetof(struct ca_ref, kind),
     .fallback = "\"ConfigMap\"", .names = kind_names},
    {.name = "name", .type = SCHEMA_STRING, .offset = offsetof(struct ca_ref, name),
     .required = true, .min_len = 1, .max_len = 253, .pattern = PATTERN_DNS_SUBDOMAIN},
    {.name = "key", .type = SCHEMA_STRING, .offset = offsetof(struct ca_ref, key),
     .fallback = "\"ca.crt\"", .min_len = 1, .max_len = 253, .pattern = PATTERN_DATA_KEY},
};
const struct schema_object ca_ref_schema = {
    .fields = fields, .field_count = ARRAY_LEN(fields), .size = sizeof(struct ca_ref)};
