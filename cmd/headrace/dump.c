// `headrace dump` and `headrace log-level`: small questions to a running instance.
#include <errno.h>
#include <stdio.h>

#include "admin_client.h"
#include "base/log.h"
#include "base/options.h"
#include "commands.h"

enum { OUT_MAX = 64 * 1024 * 1024 };

struct dump_options {
    const char *admin;
    const char *most;
};

#define FIELD(member) OPTION_FIELD(struct dump_options, member)
static const struct option_row rows[] = {
    {"admin", "ADDR:PORT", "admin address of the instance (default 127.0.0.1:9090)", OPTION_STRING,
     FIELD(admin), 0, 0, NULL},
    {"most", "N", "oldest connections and requests of each worker (default 20)", OPTION_STRING,
     FIELD(most), 0, 0, NULL},
};
enum { LOG_LEVEL_ROWS = 1 }; // of them are for log-level, too

// How a command ends whose options were not read (rc), or that was asked for help.
static int ended(int rc, const char *usage, size_t row_count, const char *command,
                 const struct error *err)
{
    if (rc == -EAGAIN) {
        printf("%s\n\n", usage);
        options_help(rows, row_count, "HEADRACE");
        return 0;
    }
    fprintf(stderr, "headrace %s: %s\n", command, err->text);
    return 2;
}

static int failed(const char *command, const struct error *err)
{
    fprintf(stderr, "headrace %s: %s\n", command, err->text);
    return 1;
}

int cmd_dump(int argc, char **argv)
{
    struct dump_options o = {.admin = "127.0.0.1:9090"};
    struct error err = ERROR_INIT;
    int words = 0;
    int rc = options_parse(rows, ARRAY_LEN(rows), "HEADRACE", &o, argc, argv, &words, &err);
    if (rc == 0 && words != 0) {
        rc = error_set(&err, -EINVAL, "unexpected argument \"%s\"", argv[0]);
    }
    if (rc != 0) {
        return ended(rc, "Usage: headrace dump [--admin ADDR:PORT] [--most N]", ARRAY_LEN(rows),
                     "dump", &err);
    }
    struct json_object *json;
    const struct admin_argument arguments[] = {{"n", o.most}};
    if (admin_get(o.admin, "/debug/state", arguments, 1, &json, &err) != 0) {
        return failed("dump", &err);
    }
    struct strbuf out;
    strbuf_init(&out, OUT_MAX);
    strbuf_printf(&out, "%s\n",
                  json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY |
                                                           JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(json);
    print_clean(&out);
    strbuf_fini(&out);
    return 0;
}

int cmd_log_level(int argc, char **argv)
{
    struct dump_options o = {.admin = "127.0.0.1:9090"};
    struct error err = ERROR_INIT;
    enum log_level level;
    int words = 0;
    int rc = options_parse(rows, LOG_LEVEL_ROWS, "HEADRACE", &o, argc, argv, &words, &err);
    if (rc == 0 && (words > 1 || (words == 1 &&
                                  log_level_parse(slice_of_str(argv[0]), &level) != 0))) {
        rc = error_set(&err, -EINVAL, "want one of debug, info, warn, error, or nothing");
    }
    if (rc != 0) {
        return ended(rc, "Usage: headrace log-level [--admin ADDR:PORT] [debug|info|warn|error]",
                     LOG_LEVEL_ROWS, "log-level", &err);
    }
    struct json_object *json;
    const struct admin_argument arguments[] = {{"level", words == 1 ? argv[0] : NULL}};
    rc = words == 1 ? admin_put(o.admin, "/log-level", arguments, 1, &json, &err)
                    : admin_get(o.admin, "/log-level", NULL, 0, &json, &err);
    if (rc != 0) {
        return failed("log-level", &err);
    }
    printf("%s\n", json_text(json, "level", "?"));
    json_object_put(json);
    return 0;
}
