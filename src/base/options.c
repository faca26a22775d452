#include "base/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENV_NAME_MAX = 96, ENV_VALUE_MAX = 4096 };

int options_duration_ms(struct slice text, uint64_t *ret_ms)
{
    static const struct {
        struct slice suffix;
        double ms;
    } units[] = {{{"ms", 2}, 1}, {{"s", 1}, 1e3}, {{"m", 1}, 6e4}, {{"h", 1}, 3.6e6}};
    double value;
    if (slice_eq(text, SLICE("0"))) {
        *ret_ms = 0;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (!slice_has_suffix(text, units[i].suffix)) {
            continue;
        }
        struct slice number = slice_first(text, text.len - units[i].suffix.len);
        if (number.len == 0 || number.ptr[0] < '0' || number.ptr[0] > '9' ||
            slice_to_double(number, &value) != 0) {
            return -EINVAL;
        }
        value *= units[i].ms;
        if (value > 1e12) {
            return -ERANGE;
        }
        *ret_ms = (uint64_t)value;
        return 0;
    }
    return -EINVAL;
}

static void *member_of(const struct option_row *row, void *target)
{
    return (char *)target + row->offset;
}

static void store_number(const struct option_row *row, void *target, uint64_t number)
{
    uint32_t small = (uint32_t)number;
    bool is_small = row->size == sizeof(small);
    BUG_ON(!is_small && row->size != sizeof(number));
    memcpy(member_of(row, target), is_small ? (const void *)&small : &number, row->size);
}

static int set_number(const struct option_row *row, void *target, const char *value,
                      struct error *err)
{
    uint64_t number;
    bool duration = row->type == OPTION_DURATION;
    struct slice text = slice_of_str(value);
    int rc = duration ? options_duration_ms(text, &number) : slice_to_u64(text, &number);
    uint64_t max = row->max != 0                    ? row->max
                   : row->size == sizeof(uint32_t) ? UINT32_MAX
                                                   : UINT64_MAX;
    if (rc == 0 && (number < row->min || number > max)) {
        rc = -ERANGE;
    }
    const char *unit = duration ? " ms" : "";
    if (rc == -ERANGE) {
        return error_set(err, -EINVAL, "--%s %s: must be %llu to %llu%s", row->name, value,
                         (unsigned long long)row->min, (unsigned long long)max, unit);
    }
    if (rc != 0) {
        return error_set(err, -EINVAL, "--%s %s: %s", row->name, value,
                         duration ? "not a duration (say 200ms, 2s, 10m, 1h)" : "not a number");
    }
    store_number(row, target, number);
    return 0;
}

static int set_option(const struct option_row *row, void *target, const char *value,
                      struct error *err)
{
    void *member = member_of(row, target);
    switch (row->type) {
    case OPTION_SWITCH:
        if (value != NULL && strcmp(value, "true") != 0 && strcmp(value, "false") != 0) {
            return error_set(err, -EINVAL, "--%s: true or false, not \"%s\"", row->name, value);
        }
        *(bool *)member = value == NULL || strcmp(value, "true") == 0;
        return 0;
    case OPTION_STRING:
        *(const char **)member = value;
        return 0;
    case OPTION_NUMBER:
    case OPTION_DURATION:
        return set_number(row, target, value, err);
    case OPTION_CALL: {
        int rc = row->set(value, member, err);
        return rc != 0 ? error_prefix(err, -EINVAL, "--%s %s", row->name, value) : 0;
    }
    }
    return -EINVAL;
}

static void env_name(const char *prefix, const char *name, char out[ENV_NAME_MAX])
{
    snprintf(out, ENV_NAME_MAX, "%s_%s", prefix, name);
    for (char *c = out; *c != '\0'; c++) {
        if (*c == '-') {
            *c = '_';
        } else if (*c >= 'a' && *c <= 'z') {
            *c = (char)(*c - 'a' + 'A');
        }
    }
}

static int set_list_from_env(const struct option_row *row, void *target, const char *value,
                             struct error *err)
{
    char item[ENV_VALUE_MAX];
    struct slice rest = slice_of_str(value);
    struct slice part;
    while (slice_split(&rest, ',', &part)) {
        if (part.len >= sizeof(item)) {
            return error_set(err, -EINVAL, "value too long");
        }
        memcpy(item, part.ptr, part.len);
        item[part.len] = '\0';
        int rc = set_option(row, target, item, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int read_environment(const struct option_row *rows, size_t count, const char *prefix,
                            void *target, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        char name[ENV_NAME_MAX];
        env_name(prefix, rows[i].name, name);
        const char *value = getenv(name);
        if (value == NULL || value[0] == '\0') {
            continue;
        }
        int rc = rows[i].type == OPTION_CALL ? set_list_from_env(&rows[i], target, value, err)
                                             : set_option(&rows[i], target, value, err);
        if (rc != 0) {
            return error_prefix(err, rc, "environment variable %s", name);
        }
    }
    return 0;
}

static const struct option_row *find_row(const struct option_row *rows, size_t count,
                                         struct slice name)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_eq_str(name, rows[i].name)) {
            return &rows[i];
        }
    }
    return NULL;
}

// argv[*at] is an option; moves *at to its last word.
static int read_option(const struct option_row *rows, size_t count, void *target, int argc,
                       char **argv, int *at, struct error *err)
{
    struct slice text = slice_skip(slice_of_str(argv[*at]), 2);
    ptrdiff_t equals = slice_find_byte(text, '=');
    struct slice name = equals >= 0 ? slice_first(text, (size_t)equals) : text;
    const struct option_row *row = find_row(rows, count, name);
    if (row == NULL) {
        return error_set(err, -EINVAL, "unknown option --%.*s (see --help)", SLICE_FMT(name));
    }
    const char *value = equals >= 0 ? text.ptr + equals + 1 : NULL;
    if (value == NULL && row->type != OPTION_SWITCH) {
        if (*at + 1 >= argc) {
            return error_set(err, -EINVAL, "--%s needs a value: %s", row->name, row->metavar);
        }
        value = argv[++*at];
    }
    return set_option(row, target, value, err);
}

int options_parse(const struct option_row *rows, size_t count, const char *env_prefix, void *target,
                  int argc, char **argv, int *ret_count, struct error *err)
{
    int kept = 0;
    bool ended = false;
    int rc = read_environment(rows, count, env_prefix, target, err);
    for (int i = 0; i < argc && rc == 0; i++) {
        if (!ended && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            return -EAGAIN;
        }
        if (!ended && strcmp(argv[i], "--") == 0) {
            ended = true;
        } else if (!ended && strncmp(argv[i], "--", 2) == 0) {
            rc = read_option(rows, count, target, argc, argv, &i, err);
        } else if (!ended && argv[i][0] == '-' && argv[i][1] != '\0') {
            rc = error_set(err, -EINVAL, "unknown option %s (options are long: --name VALUE)",
                           argv[i]);
        } else {
            argv[kept++] = argv[i];
        }
    }
    if (rc == 0) {
        *ret_count = kept;
    }
    return rc;
}

const char *options_where(const char *env_prefix, const char *name, const char *value,
                          char where[OPTIONS_WHERE_MAX])
{
    char variable[ENV_NAME_MAX];
    env_name(env_prefix, name, variable);
    bool is_env = value != NULL && getenv(variable) == value; // the very text, not one like it
    snprintf(where, OPTIONS_WHERE_MAX, "%s%s", is_env ? "environment variable " : "--",
             is_env ? variable : name);
    return where;
}

void options_help(const struct option_row *rows, size_t count, const char *env_prefix)
{
    printf("Options (each also as an environment variable %s_NAME):\n", env_prefix);
    for (size_t i = 0; i < count; i++) {
        char left[64];
        const char *metavar = rows[i].metavar != NULL ? rows[i].metavar : "";
        snprintf(left, sizeof(left), "--%s%s%s", rows[i].name, metavar[0] != '\0' ? " " : "",
                 metavar);
        printf("  %-32s %s\n", left, rows[i].help);
    }
    printf("  %-32s %s\n", "--help", "this text");
}
