// Asking a running instance, over its admin address.
#pragma once

#include <json-c/json.h>

#include "base/error.h"
#include "base/strbuf.h"

struct admin_argument {
    const char *name;
    const char *value; // NULL: not sent
};

// GETs `page` of the instance at `address` ("127.0.0.1:9090" or "http://host:port"). *ret_json is
// the caller's. 0; -ENOENT, -EINVAL … with a text that says what to do.
MUST_CHECK int admin_get(const char *address, const char *page,
                         const struct admin_argument *arguments,
                         size_t count, struct json_object **ret_json, struct error *err);

// The same with a PUT: changes something.
MUST_CHECK int admin_put(const char *address, const char *page,
                         const struct admin_argument *arguments,
                         size_t count, struct json_object **ret_json, struct error *err);

// Members of objects; absent ones give the fallback.
const char *json_text(struct json_object *object, const char *key, const char *fallback);
double json_number(struct json_object *object, const char *key, double fallback);
bool json_flag(struct json_object *object, const char *key);
// Elements; NULL (length 0) when absent.
struct json_object *json_list(struct json_object *object, const char *key);
size_t json_list_len(struct json_object *list);

// Writes the text to stdout. Names may come from clients: control characters become "?".
void print_clean(const struct strbuf *text);

// "-o FORMAT" for people who know kubectl; options have long names only.
void accept_short_output(int argc, char **argv);

// "table" or "json" → whether JSON is wanted. 0 or -EINVAL.
MUST_CHECK int output_is_json(const char *output, bool *ret_json, struct error *err);
