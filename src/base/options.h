// Command-line options from a constant table: one row is a flag, its environment twin, its line of
// --help, its bounds and the member of a structure that it fills, which holds the default before.
// Long options only: --name VALUE, --name=VALUE; a flag without a value is a switch.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

enum option_type {
    OPTION_SWITCH,   // a bool
    OPTION_STRING,   // a const char * (borrowed from argv or the environment)
    OPTION_NUMBER,   // unsigned, of 32 or 64 bits, within [min, max]
    OPTION_DURATION, // the same, in milliseconds: "200ms", "2s", "10m", "1h", or "0"
    OPTION_CALL,     // set(value, &member, err); may be given several times
};

struct option_row {
    const char *name;    // without the dashes
    const char *metavar; // what stands for the value in --help; NULL or "" for a switch
    const char *help;    // with the default, as people should read it
    enum option_type type;
    size_t offset; // of the member: OPTION_FIELD gives both
    size_t size;
    uint64_t min; // NUMBER and DURATION
    uint64_t max; // 0: none but what the member holds
    // OPTION_CALL: 0, or a negative code with the text. The value is lent for the call.
    int (*set)(const char *value, void *target, struct error *err);
};

// What a row fills: a member, or for OPTION_CALL the whole structure.
#define OPTION_FIELD(type, member) offsetof(type, member), sizeof(((type *)0)->member)
#define OPTION_WHOLE(type)         0, sizeof(type)

// Fills `target`, the structure of the table. Reads the environment first (PREFIX_NAME_IN_CAPITALS;
// for OPTION_CALL a list split at commas), then argv. What is not an option is moved to the front
// of argv, *ret_count of them (from argv[0] on); "--" ends the options. 0, or -EINVAL with a text
// that names the option. -EAGAIN: --help was asked for (the caller prints options_help and exits
// 0).
MUST_CHECK int options_parse(const struct option_row *rows, size_t count, const char *env_prefix,
                             void *target, int argc, char **argv, int *ret_count,
                             struct error *err);

// For what is found wrong with an OPTION_STRING after options_parse: writes where the value came
// from, "--name" or "environment variable PREFIX_NAME", into where and returns it. The value is the
// pointer that options_parse stored.
enum { OPTIONS_WHERE_MAX = 128 };
const char *options_where(const char *env_prefix, const char *name, const char *value,
                          char where[OPTIONS_WHERE_MAX]);

// Prints the table to stdout.
void options_help(const struct option_row *rows, size_t count, const char *env_prefix);

// "1.5s", "200ms", "10m", "1h", "0": milliseconds, rounded down. 0, -EINVAL or -ERANGE.
MUST_CHECK int options_duration_ms(struct slice text, uint64_t *ret_ms);
