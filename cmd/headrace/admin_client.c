#include "admin_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/options.h"

enum { ANSWER_MAX = 64 * 1024 * 1024, URL_MAX = 16 * 1024, CONNECT_MS = 3000, TOTAL_MS = 15000 };

static size_t on_data(char *data, size_t size, size_t count, void *arg)
{
    struct strbuf *answer = arg;
    strbuf_add(answer, slice_of(data, size * count));
    return answer->failed ? 0 : size * count;
}

static int build_url(CURL *curl, const char *address, const char *page,
                     const struct admin_argument *arguments, size_t count, struct strbuf *url)
{
    bool has_scheme = strstr(address, "://") != NULL;
    size_t len = strlen(address);
    while (len > 0 && address[len - 1] == '/') {
        len--;
    }
    // ":9090" is what `headrace run --admin` takes for every address.
    const char *host = !has_scheme && address[0] == ':' ? "127.0.0.1" : "";
    strbuf_printf(url, "%s%s%.*s%s", has_scheme ? "" : "http://", host, (int)len, address, page);
    char separator = '?';
    for (size_t i = 0; i < count; i++) {
        if (arguments[i].value == NULL) {
            continue;
        }
        char *escaped = curl_easy_escape(curl, arguments[i].value, 0);
        if (escaped == NULL) {
            return -ENOMEM;
        }
        strbuf_printf(url, "%c%s=%s", separator, arguments[i].name, escaped);
        curl_free(escaped);
        separator = '&';
    }
    return url->failed ? -ENOMEM : 0;
}

static int transfer(CURL *curl, const char *method, const char *url, struct strbuf *answer,
                    long *ret_status, struct error *err)
{
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)TOTAL_MS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        return error_set(err, -ECONNREFUSED,
                         "cannot ask %s: %s (is headrace running, "
                         "and is this its --admin address?)",
                         url, curl_easy_strerror(code));
    }
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, ret_status);
    return 0;
}

static int parse(struct strbuf *answer, long status, const char *url,
                 struct json_object **ret_json, struct error *err)
{
    struct json_object *json = json_tokener_parse(strbuf_cstr(answer));
    if (status != 200) {
        int rc = error_set(err, -EPROTO, "%s: status %ld: %s", url, status,
                           json_text(json, "error", "no reason given"));
        json_object_put(json);
        return rc;
    }
    if (json == NULL) {
        return error_set(err, -EPROTO, "%s: the answer is not JSON", url);
    }
    *ret_json = json;
    return 0;
}

static int ask(const char *method, const char *address, const char *page,
               const struct admin_argument *arguments, size_t count,
               struct json_object **ret_json, struct error *err)
{
    struct strbuf url, answer;
    strbuf_init(&url, URL_MAX);
    strbuf_init(&answer, ANSWER_MAX);
    long status = 0;
    int rc = -ENOMEM;
    CURL *curl = curl_easy_init();
    if (curl != NULL) {
        rc = build_url(curl, address, page, arguments, count, &url);
    }
    if (rc != 0) {
        error_set(err, rc, "an argument is too long");
    } else {
        rc = transfer(curl, method, strbuf_cstr(&url), &answer, &status, err);
    }
    if (rc == 0) {
        rc = parse(&answer, status, strbuf_cstr(&url), ret_json, err);
    }
    curl_easy_cleanup(curl);
    strbuf_fini(&url);
    strbuf_fini(&answer);
    return rc;
}

int admin_get(const char *address, const char *page, const struct admin_argument *arguments,
              size_t count, struct json_object **ret_json, struct error *err)
{
    return ask("GET", address, page, arguments, count, ret_json, err);
}

int admin_put(const char *address, const char *page, const struct admin_argument *arguments,
              size_t count, struct json_object **ret_json, struct error *err)
{
    return ask("PUT", address, page, arguments, count, ret_json, err);
}

const char *json_text(struct json_object *object, const char *key, const char *fallback)
{
    struct json_object *value;
    return json_object_object_get_ex(object, key, &value) ? json_object_get_string(value)
                                                          : fallback;
}

double json_number(struct json_object *object, const char *key, double fallback)
{
    struct json_object *value;
    return json_object_object_get_ex(object, key, &value) ? json_object_get_double(value)
                                                          : fallback;
}

bool json_flag(struct json_object *object, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(object, key, &value) && json_object_get_boolean(value);
}

struct json_object *json_list(struct json_object *object, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(object, key, &value) &&
                   json_object_is_type(value, json_type_array)
               ? value
               : NULL;
}

size_t json_list_len(struct json_object *list)
{
    return list != NULL ? json_object_array_length(list) : 0;
}

void print_clean(const struct strbuf *text)
{
    for (size_t i = 0; i < text->len; i++) {
        unsigned char c = (unsigned char)text->ptr[i];
        putchar((c < 0x20 && c != '\n') || c == 0x7f ? '?' : c);
    }
    fflush(stdout);
}

void accept_short_output(int argc, char **argv)
{
    static char output[] = "--output";
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "-o") == 0) {
            argv[i] = output;
        }
    }
}

int output_is_json(const char *output, bool *ret_json, struct error *err)
{
    bool is_json = strcmp(output, "json") == 0;
    if (!is_json && strcmp(output, "table") != 0) {
        char where[OPTIONS_WHERE_MAX];
        return error_set(err, -EINVAL, "%s %s: want table or json",
                         options_where("HEADRACE", "output", output, where), output);
    }
    *ret_json = is_json;
    return 0;
}
