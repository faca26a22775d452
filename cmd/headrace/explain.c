// `headrace explain`: why a request went where it went, or where one would go.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_client.h"
#include "base/options.h"
#include "commands.h"
#include "explain_offline.h"
#include "explain_text.h"

enum { OUT_MAX = 16 * 1024 * 1024 };

struct explain_options {
    const char *admin;
    const char *request_id;
    const char *host;
    const char *path;
    const char *method;
    const char *model;
    const char *prompt_bytes;
    const char *output;
    const char *ingress_class;
    struct explain_question question; // its headers; the rest when it is asked
    char *headers[EXPLAIN_HEADERS_MAX]; // the lines; owned
    bool json;
};

// Fills the question; its headers are there already.
static int fill_question(struct explain_options *o, struct error *err)
{
    struct explain_question *question = &o->question;
    const struct {
        const char *from;
        struct slice *to;
    } texts[] = {{o->host, &question->host},
                 {o->path, &question->path},
                 {o->method, &question->method},
                 {o->model, &question->model}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (texts[i].from != NULL) {
            *texts[i].to = slice_of_str(texts[i].from);
        }
    }
    if (o->prompt_bytes != NULL &&
        slice_to_u64(slice_of_str(o->prompt_bytes), &question->prompt_bytes) != 0) {
        return error_set(err, -EINVAL, "--prompt-bytes must be a number");
    }
    const char *problem = explain_question_check(question);
    return problem == NULL ? 0 : error_set(err, -EINVAL, "%s", problem);
}

static int ask_instance(const struct explain_options *o, struct json_object **ret_json,
                        struct error *err)
{
    bool by_id = o->request_id != NULL;
    const struct admin_argument by_request[] = {{"request_id", o->request_id}};
    struct admin_argument by_query[5 + EXPLAIN_HEADERS_MAX] = {
        {"host", o->host},     {"path", o->path},   {"method", o->method},
        {"model", o->model}, {"prompt_bytes", o->prompt_bytes},
    };
    size_t count = 5;
    for (size_t i = 0; i < o->question.header_count; i++) {
        by_query[count++] = (struct admin_argument){"header", o->headers[i]};
    }
    return by_id
               ? admin_get(o->admin, "/decisions", by_request, ARRAY_LEN(by_request), ret_json, err)
               : admin_get(o->admin, "/explain", by_query, count, ret_json, err);
}

static int answer(const struct explain_options *o, struct json_object *json)
{
    int rc = 0;
    struct strbuf out;
    strbuf_init(&out, OUT_MAX);
    if (o->json) {
        strbuf_printf(&out, "%s\n", json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));
    } else if (o->request_id != NULL) {
        rc = explain_text_decisions(json, o->request_id, &out);
    } else {
        rc = explain_text_match(json, &out);
    }
    json_object_put(json);
    print_clean(&out);
    strbuf_fini(&out);
    return rc;
}

static int add_header(const char *value, void *target, struct error *err)
{
    struct explain_options *o = target;
    size_t at = o->question.header_count;
    char *line = strdup(value); // the value is only lent
    const char *problem =
        line == NULL ? "out of memory" : explain_add_header(&o->question, slice_of_str(line));
    if (problem != NULL) {
        free(line);
        return error_set(err, -EINVAL, "%s", problem);
    }
    o->headers[at] = line;
    return 0;
}

static void free_headers(struct explain_options *o)
{
    for (size_t i = 0; i < o->question.header_count; i++) {
        free(o->headers[i]);
    }
}

static void print_help(const struct option_row *rows, size_t count)
{
    printf("Usage: headrace explain [--admin ADDR:PORT] --request-id ID\n"
           "       headrace explain [--admin ADDR:PORT] [--host NAME] [--path PATH] "
           "[--model NAME]\n"
           "       headrace explain [--host NAME] [--path PATH] [--model NAME] FILE...\n\n"
           "Why a request went where it went, or where one would go: asks a running\n"
           "instance, or with FILE looks into manifests (a file, a folder of files, or - for\n"
           "stdin).\n\n");
    options_help(rows, count, "HEADRACE");
}

#define FIELD(member) OPTION_FIELD(struct explain_options, member)
static const struct option_row rows[] = {
    {"admin", "ADDR:PORT", "admin address of the instance (default 127.0.0.1:9090)", OPTION_STRING,
     FIELD(admin), 0, 0, NULL},
    {"request-id", "ID", "a request that was served: its x-request-id", OPTION_STRING,
     FIELD(request_id), 0, 0, NULL},
    {"host", "NAME", "host of a request to be imagined", OPTION_STRING, FIELD(host), 0, 0, NULL},
    {"path", "PATH", "its path (default /v1/chat/completions)", OPTION_STRING, FIELD(path), 0, 0,
     NULL},
    {"method", "METHOD", "its method (default POST)", OPTION_STRING, FIELD(method), 0, 0, NULL},
    {"model", "NAME", "the model that it names", OPTION_STRING, FIELD(model), 0, 0, NULL},
    {"header", "LINE", "a header field that it has, \"Name: value\"; may be repeated", OPTION_CALL,
     OPTION_WHOLE(struct explain_options), 0, 0, add_header},
    {"prompt-bytes", "N", "length of its prompt (default 4096)", OPTION_STRING, FIELD(prompt_bytes),
     0, 0, NULL},
    {"ingress-class", "NAME", "with FILE: whose routes count (default headrace)", OPTION_STRING,
     FIELD(ingress_class), 0, 0, NULL},
    {"output", "FORMAT", "table or json; also -o (default table)", OPTION_STRING, FIELD(output), 0,
     0, NULL},
};

// *ret_files: so many of argv name manifests. 0, -EINVAL, or -EAGAIN: help was asked for and given.
static int read_options(struct explain_options *o, int argc, char **argv, int *ret_files,
                        struct error *err)
{
    int rc = options_parse(rows, ARRAY_LEN(rows), "HEADRACE", o, argc, argv, ret_files, err);
    if (rc == -EAGAIN) {
        print_help(rows, ARRAY_LEN(rows));
        return rc;
    }
    if (rc == 0 && *ret_files != 0 && o->request_id != NULL) {
        rc = error_set(err, -EINVAL, "--request-id asks a running instance: leave out \"%s\"",
                       argv[0]);
    }
    if (rc == 0) {
        rc = output_is_json(o->output, &o->json, err);
    }
    return rc != 0 ? rc : fill_question(o, err);
}

int cmd_explain(int argc, char **argv)
{
    struct explain_options o = {
        .admin = "127.0.0.1:9090", .output = "table", .ingress_class = "headrace"};
    struct json_object *json = NULL;
    struct error err = ERROR_INIT;
    int files = 0;
    explain_question_init(&o.question);
    accept_short_output(argc, argv);
    int rc = read_options(&o, argc, argv, &files, &err);
    int status = rc == -EAGAIN ? 0 : 2;
    if (rc == 0) {
        status = 1;
        rc = files != 0 ? explain_offline(&o.question, o.ingress_class, argv, files, &json, &err)
                        : ask_instance(&o, &json, &err);
    }
    if (rc == 0) {
        status = answer(&o, json);
    } else if (status != 0) {
        fprintf(stderr, "headrace explain: %s\n", err.text);
    }
    free_headers(&o);
    return status;
}
