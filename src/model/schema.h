// Tables that describe a resource, and the one path that reads an object by them: decode, default,
// validate. They say what the CRD's OpenAPI schema and CEL rules say; tests/unit/model/crd_test.c
// walks both and fails on any difference.
//
// A field is one row. Where it lands in the C struct depends on its type:
//   STRING          struct slice (ptr NULL when absent), lives in the arena, NUL-terminated
//   INT             int64_t (0 when absent)
//   INT_OR_STRING   struct int_or_string
//   BOOL            bool (false when absent)
//   ENUM            int, the value of the name (0 when absent)
//   DURATION        int64_t milliseconds (0 when absent)
//   OBJECT          pointer to the struct of row.object (NULL when absent)
//   LIST            SCHEMA_LIST(item type); the items land as row.item says, objects in place
//   STRING_MAP      SCHEMA_LIST(struct string_pair), sorted by key
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

#include "base/arena.h"
#include "base/slice.h"
#include "model/problem.h"

enum schema_type {
    SCHEMA_STRING,
    SCHEMA_INT,
    SCHEMA_INT_OR_STRING,
    SCHEMA_BOOL,
    SCHEMA_ENUM,
    SCHEMA_DURATION,
    SCHEMA_OBJECT,
    SCHEMA_LIST,
    SCHEMA_STRING_MAP,
};

// x-kubernetes-list-type
enum schema_list_type { SCHEMA_ATOMIC, SCHEMA_SET, SCHEMA_MAP };

// Checks that are CEL rules at the field itself in the CRD: on a string, or on the keys of a map.
enum schema_check {
    SCHEMA_CHECK_NONE,
    SCHEMA_CHECK_IP,
    SCHEMA_CHECK_LABEL_KEYS,
    SCHEMA_CHECK_HEADER_NAME,
};

#define SCHEMA_LIST(type)  \
    struct {               \
        type *items;       \
        size_t len;        \
    }

struct int_or_string {
    int64_t number;    // 0 when it is a string, or absent
    struct slice text; // ptr NULL when it is a number, or absent
};

struct string_pair {
    struct slice key;
    struct slice value;
};

struct schema_name {
    const char *name; // NULL ends the table
    int value;
};

struct schema_object;

struct schema_field {
    const char *name;
    enum schema_type type;
    size_t offset;
    bool required;
    const char *fallback;            // the default, as JSON text; NULL = none
    int64_t min;                     // of a number, or of a duration in ms (both 0: unchecked here)
    int64_t max;
    size_t min_len;                  // code points, items or properties
    size_t max_len;
    const char *pattern;             // RE2 and POSIX ERE alike
    const struct schema_name *names; // ENUM
    const struct schema_object *object;
    const struct schema_field *item; // LIST, STRING_MAP: its own offset is 0
    size_t item_size;                // LIST
    enum schema_list_type list_type;
    const char *keys[2];             // of a SCHEMA_MAP list
    enum schema_check check;
};

// A rule over several fields; a CEL rule with the same field and message is in the CRD.
struct schema_rule {
    const char *field; // where it is reported: a field's name, or "" for the object
    const char *message;
    bool (*holds)(const void *object);
};

struct schema_object {
    const struct schema_field *fields;
    size_t field_count;
    size_t size;
    size_t min_properties;
    const struct schema_rule *rules;
    size_t rule_count;
};

#define SCHEMA_CHECK_IP_MESSAGE "must be an IPv4 or IPv6 address"
#define SCHEMA_CHECK_LABEL_KEYS_MESSAGE                                                    \
    "the key of a label is a name of at most 63 letters, digits, '-', '_' and '.', perhaps " \
    "behind a domain and a slash"

#define SCHEMA_CHECK_HEADER_NAME_MESSAGE                                                     \
    "what frames a message or belongs to a connection, Host, the forwarded fields, "         \
    "Traceparent, X-Request-Id and Accept-Encoding are Headrace's own and cannot be changed here"

struct schema_reader {
    struct arena *arena;
    struct problems *problems;
    bool strict; // unknown fields are problems (files); else skipped (the API server pruned)
};

// Reads `value` by the table into *ret_object (from the arena); every problem found is added to
// the reader's. `path` is where the object lies ("spec"). Returns 0, -EINVAL when there was a
// problem (*ret_object untouched), or -ENOMEM.
MUST_CHECK int schema_read(const struct schema_reader *reader, const struct schema_object *schema,
                           struct json_object *value, const char *path, int line,
                           void **ret_object);

// "must be between 20ms and 1m": the message for a duration out of its bounds.
void schema_duration_message(const struct schema_field *field, char *out, size_t size);
