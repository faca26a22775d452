// `headrace top`: what each endpoint is doing.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin_client.h"
#include "base/options.h"
#include "commands.h"
#include "table.h"

enum { OUT_MAX = 64 * 1024 * 1024 };

struct top_options {
    const char *admin;
    const char *output;
    uint64_t interval_ms;
    bool once;
    bool json;
};

static const char *state_of(struct json_object *endpoint)
{
    struct json_object *health = NULL;
    json_object_object_get_ex(endpoint, "health", &health);
    const char *state = json_text(health, "state", "ok");
    bool goes_by_itself = strcmp(state, "refusing") == 0; // a failure says more
    if (strcmp(state, "ok") != 0 && strcmp(state, "warming") != 0 && !goes_by_itself) {
        return state;
    }
    if (json_number(endpoint, "avoided_for_ms", 0) > 0) {
        return "failing";
    }
    if (json_number(endpoint, "overloaded_for_ms", 0) > 0) {
        return "overloaded";
    }
    return json_number(endpoint, "failures_in_row", 0) > 0 ? "probing" : state;
}

static void endpoint_row(struct json_object *endpoint, struct table *table)
{
    struct json_object *sample = NULL;
    json_object_object_get_ex(endpoint, "sample", &sample);
    table_cell(table, "%s", json_text(endpoint, "address", "?"));
    table_cell(table, "%.0f", json_number(endpoint, "outstanding_requests", 0));
    table_cell(table, "%.0f", json_number(endpoint, "outstanding_prompt_tokens", 0));
    if (sample != NULL) {
        table_cell(table, "%.0f", json_number(sample, "waiting", 0));
        table_cell(table, "%.0f", json_number(sample, "running", 0));
        double kv = json_number(sample, "kv_utilisation", -1);
        if (kv >= 0) {
            table_cell(table, "%.0f%%", kv * 100);
        } else {
            table_cell(table, "-");
        }
        table_cell(table, "%.1fs", json_number(sample, "age_ms", 0) / 1000);
    } else {
        for (int i = 0; i < 4; i++) {
            table_cell(table, "-");
        }
    }
    table_cell(table, "%.0f", json_number(endpoint, "picks", 0));
    table_cell(table, "%.0f", json_number(endpoint, "failures", 0));
    table_cell(table, "%s", state_of(endpoint));
    table_cell(table, "%s", json_text(endpoint, "pod", ""));
}

static void write_backend(struct json_object *backend, struct strbuf *out)
{
    struct json_object *endpoints = json_list(backend, "endpoints");
    size_t count = json_list_len(endpoints);
    double ttft = json_number(backend, "mean_ttft_ms", 0);
    strbuf_printf(out, "%s  %s  %s  %zu endpoint%s", json_text(backend, "name", "?"),
                  json_text(backend, "engine", "?"), json_text(backend, "policy", "unused"), count,
                  count == 1 ? "" : "s");
    if (ttft > 0) {
        strbuf_printf(out, "  mean TTFT %.0f ms", ttft);
    }
    if (json_flag(backend, "panic")) {
        strbuf_add_str(out, "  too few are available: ejections and checks are ignored");
    }
    strbuf_add_char(out, '\n');
    struct table table;
    table_init(&table,
               "ENDPOINT >OURS >TOKENS >WAITING >RUNNING >KV >AGE >PICKS >FAILURES STATE POD");
    for (size_t i = 0; i < count; i++) {
        endpoint_row(json_object_array_get_idx(endpoints, i), &table);
    }
    table_write(&table, 2, out);
    strbuf_add_char(out, '\n');
}

static int show(const struct top_options *options, struct error *err)
{
    struct json_object *json;
    int rc = admin_get(options->admin, "/endpoints", NULL, 0, &json, err);
    if (rc != 0) {
        return rc;
    }
    struct strbuf out;
    strbuf_init(&out, OUT_MAX);
    if (options->json) {
        strbuf_printf(&out, "%s\n", json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));
    } else {
        struct json_object *backends = json_list(json, "backends");
        for (size_t i = 0; i < json_list_len(backends); i++) {
            write_backend(json_object_array_get_idx(backends, i), &out);
        }
        if (json_list_len(backends) == 0) {
            strbuf_add_str(&out, "no backends\n");
        }
    }
    json_object_put(json);
    if (!options->once && !options->json && isatty(STDOUT_FILENO)) {
        fputs("\033[H\033[J", stdout);
    }
    print_clean(&out);
    strbuf_fini(&out);
    return 0;
}

#define FIELD(member) OPTION_FIELD(struct top_options, member)
static const struct option_row rows[] = {
    {"admin", "ADDR:PORT", "admin address of the instance (default 127.0.0.1:9090)", OPTION_STRING,
     FIELD(admin), 0, 0, NULL},
    {"once", NULL, "print once and end", OPTION_SWITCH, FIELD(once), 0, 0, NULL},
    {"interval", "TIME", "between two looks (default 1s)", OPTION_DURATION, FIELD(interval_ms), 100,
     3600000, NULL},
    {"output", "FORMAT", "table or json; also -o (default table)", OPTION_STRING, FIELD(output), 0,
     0, NULL},
};

int cmd_top(int argc, char **argv)
{
    struct top_options o = {.admin = "127.0.0.1:9090", .output = "table", .interval_ms = 1000};
    struct error err = ERROR_INIT;
    int words = 0;
    accept_short_output(argc, argv);
    int rc = options_parse(rows, ARRAY_LEN(rows), "HEADRACE", &o, argc, argv, &words, &err);
    if (rc == -EAGAIN) {
        printf("Usage: headrace top [--admin ADDR:PORT] [--once] [-o json]\n\n");
        options_help(rows, ARRAY_LEN(rows), "HEADRACE");
        return 0;
    }
    if (rc == 0 && words != 0) {
        rc = error_set(&err, -EINVAL, "unexpected argument \"%s\"", argv[0]);
    }
    if (rc == 0) {
        rc = output_is_json(o.output, &o.json, &err);
    }
    if (rc != 0) {
        fprintf(stderr, "headrace top: %s\n", err.text);
        return 2;
    }
    do {
        rc = show(&o, &err);
        if (rc != 0) {
            fprintf(stderr, "headrace top: %s\n", err.text);
            return 1;
        }
        if (!o.once) {
            struct timespec pause = {.tv_sec = (time_t)(o.interval_ms / 1000),
                                     .tv_nsec = (long)(o.interval_ms % 1000) * 1000000};
            nanosleep(&pause, NULL);
        }
    } while (!o.once);
    return 0;
}
