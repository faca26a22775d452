#include "load/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/vec.h"
#include "json/scan.h"
#include "load/dist.h"

enum { TRACE_ITEMS_MAX = 50000000 };
static const uint64_t TRACE_FILE_MAX = UINT64_C(1) << 30;
static const double TRACE_SECONDS_MAX = 1e9; // 30 years, in ns well within 64 bits

struct parser {
    struct load_trace trace;
    const char *name;
    size_t line;
    double first_s; // time stamp of the first request
    bool has_first;
    struct error *err;
};

static int bad_line(struct parser *p, const char *why)
{
    return error_set(p->err, -EINVAL, "%s:%zu: %s", p->name, p->line, why);
}

// Times are relative to the first line; one that is earlier (clocks jitter) is cut to it.
static int add_item(struct parser *p, double at_s, struct load_trace_item item)
{
    if (!p->has_first) {
        p->has_first = true;
        p->first_s = at_s;
    }
    double since = at_s - p->first_s;
    if (!(since < TRACE_SECONDS_MAX)) {
        return bad_line(p, "the time stamp is too far from the first");
    }
    item.at_ns = since > 0 ? (uint64_t)llround(since * 1e9) : 0;
    if (p->trace.len >= TRACE_ITEMS_MAX) {
        return bad_line(p, "too many requests");
    }
    if (!VEC_PUSH(&p->trace, item)) {
        return error_set(p->err, -ENOMEM, "%s: out of memory", p->name);
    }
    return 0;
}

static int tokens_of(struct slice text, uint32_t *ret_tokens)
{
    uint64_t n;
    if (slice_to_u64(text, &n) != 0 || n > LOAD_TOKENS_MAX) {
        return -EINVAL;
    }
    *ret_tokens = (uint32_t)n;
    return 0;
}

// ---- Mooncake -------------------------------------------------------------------------------

enum { KEY_TIMESTAMP, KEY_INPUT, KEY_OUTPUT, KEY_BLOCKS, KEY_COUNT };
static const struct slice mooncake_keys[KEY_COUNT] = {SLICE("timestamp"), SLICE("input_length"),
                                                      SLICE("output_length"), SLICE("hash_ids")};

// "[0, 1, 2]"
static int add_blocks(struct parser *p, struct slice list, struct load_trace_item *item)
{
    item->first_block = p->trace.block_len;
    struct slice rest = slice_trim(slice_of(list.ptr + 1, list.len - 2)), part;
    while (rest.len > 0 && slice_split(&rest, ',', &part)) {
        uint64_t id;
        if (slice_to_u64(slice_trim(part), &id) != 0) {
            return bad_line(p, "hash_ids must be a list of non-negative whole numbers");
        }
        if (p->trace.block_len == p->trace.block_cap &&
            !vec_grow((void **)&p->trace.blocks, &p->trace.block_cap, p->trace.block_len,
                      sizeof(p->trace.blocks[0]))) {
            return error_set(p->err, -ENOMEM, "%s: out of memory", p->name);
        }
        p->trace.blocks[p->trace.block_len++] = id;
        item->block_count++;
    }
    return 0;
}

static int parse_json_line(struct parser *p, struct slice line)
{
    struct json_scan scan;
    json_scan_init(&scan, mooncake_keys, KEY_COUNT);
    enum json_error error = json_scan_feed(&scan, line);
    if (error == JSON_OK) {
        error = json_scan_finish(&scan);
    }
    if (error != JSON_OK) {
        return bad_line(p, json_error_text(error));
    }
    struct slice values[KEY_COUNT] = {0};
    for (int i = 0; i < KEY_COUNT; i++) {
        const struct json_capture *capture = &scan.captures[i];
        enum json_value_type wanted = i == KEY_BLOCKS ? JSON_ARRAY : JSON_NUMBER;
        if (capture->type == wanted) {
            values[i] = slice_of(line.ptr + capture->start, capture->end - capture->start);
        } else if (i != KEY_BLOCKS || capture->type != JSON_ABSENT) {
            return bad_line(p, "timestamp, input_length and output_length must be numbers, "
                               "hash_ids a list");
        }
    }
    struct load_trace_item item = {0};
    double at_ms;
    if (slice_to_double(values[KEY_TIMESTAMP], &at_ms) != 0 ||
        tokens_of(values[KEY_INPUT], &item.prompt_tokens) != 0 ||
        tokens_of(values[KEY_OUTPUT], &item.output_tokens) != 0) {
        return bad_line(p, "a length is not a whole number from 0 to 1048576");
    }
    int rc = values[KEY_BLOCKS].ptr != NULL ? add_blocks(p, values[KEY_BLOCKS], &item) : 0;
    return rc != 0 ? rc : add_item(p, at_ms / 1e3, item);
}

// ---- Azure ----------------------------------------------------------------------------------

static int digits(struct slice *text, size_t len, char after, int *ret_value)
{
    uint64_t value;
    if (text->len < len || slice_to_u64(slice_first(*text, len), &value) != 0 ||
        (after != 0 && (text->len == len || text->ptr[len] != after))) {
        return -EINVAL;
    }
    *text = slice_skip(*text, len + (after != 0));
    *ret_value = (int)value;
    return 0;
}

// "2023-11-16 18:17:03.9799600", with "+00:00" or "Z" after it at most: seconds.
static int parse_date(struct slice text, double *ret_seconds)
{
    struct tm tm = {0};
    if (slice_has_suffix(text, SLICE("+00:00"))) {
        text.len -= 6;
    } else if (slice_has_suffix(text, SLICE("Z"))) {
        text.len -= 1;
    }
    char between = slice_find_byte(text, 'T') >= 0 ? 'T' : ' ';
    if (digits(&text, 4, '-', &tm.tm_year) != 0 || digits(&text, 2, '-', &tm.tm_mon) != 0 ||
        digits(&text, 2, between, &tm.tm_mday) != 0 || digits(&text, 2, ':', &tm.tm_hour) != 0 ||
        digits(&text, 2, ':', &tm.tm_min) != 0 || digits(&text, 2, 0, &tm.tm_sec) != 0) {
        return -EINVAL;
    }
    double fraction = 0;
    if (text.len > 0 && (text.ptr[0] != '.' || slice_to_double(text, &fraction) != 0 ||
                         !(fraction >= 0 && fraction < 1))) {
        return -EINVAL;
    }
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    *ret_seconds = (double)timegm(&tm) + fraction;
    return 0;
}

static int parse_csv_line(struct parser *p, struct slice line)
{
    struct slice rest = line, date, prompt, output;
    struct load_trace_item item = {0};
    double at_s;
    if (!slice_split(&rest, ',', &date) || !slice_split(&rest, ',', &prompt) ||
        !slice_split(&rest, ',', &output) || parse_date(slice_trim(date), &at_s) != 0 ||
        tokens_of(slice_trim(prompt), &item.prompt_tokens) != 0 ||
        tokens_of(slice_trim(output), &item.output_tokens) != 0) {
        return bad_line(p, "not of the form \"YYYY-MM-DD HH:MM:SS.fraction,tokens,tokens\"");
    }
    return add_item(p, at_s, item);
}

// ---- both -----------------------------------------------------------------------------------

static int compare_items(const void *a, const void *b)
{
    const struct load_trace_item *x = a, *y = b;
    return (x->at_ns > y->at_ns) - (x->at_ns < y->at_ns);
}

static void sort_items(struct load_trace *trace)
{
    for (size_t i = 1; i < trace->len; i++) {
        if (trace->items[i].at_ns < trace->items[i - 1].at_ns) {
            qsort(trace->items, trace->len, sizeof(trace->items[0]), compare_items);
            return;
        }
    }
}

int load_trace_parse(struct slice text, const char *name, struct load_trace *ret_trace,
                     struct error *err)
{
    struct parser p = {.name = name, .err = err};
    struct slice rest = text, line;
    bool is_csv = false;
    int rc = 0;
    while (rc == 0 && slice_split(&rest, '\n', &line)) {
        p.line++;
        line = slice_trim(line);
        if (line.len == 0) {
            continue;
        }
        if (p.trace.len == 0 && !is_csv && line.ptr[0] != '{') {
            if (!slice_has_prefix(line, SLICE("TIMESTAMP,"))) {
                rc = bad_line(&p, "neither JSON lines with timestamp, input_length, output_length "
                                  "nor CSV with the header TIMESTAMP,ContextTokens,"
                                  "GeneratedTokens");
            }
            is_csv = true;
            continue;
        }
        rc = is_csv ? parse_csv_line(&p, line) : parse_json_line(&p, line);
    }
    if (rc == 0 && p.trace.len == 0) {
        rc = error_set(err, -EINVAL, "%s: no request in it", name);
    }
    if (rc != 0) {
        load_trace_fini(&p.trace);
        return rc;
    }
    sort_items(&p.trace);
    *ret_trace = p.trace;
    return 0;
}

static int missing(const char *path, int error, struct error *err)
{
    return error_set(
        err, -error,
        "cannot read the trace %s: %s. Traces that this program reads: Mooncake, "
        "https://github.com/kvcache-ai/Mooncake (FAST25-release/traces/conversation_trace.jsonl), "
        "and Azure, https://github.com/Azure/AzurePublicDataset "
        "(data/AzureLLMInferenceTrace_code.csv)",
        path, strerror(error));
}

int load_trace_read(const char *path, struct load_trace *ret_trace, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return missing(path, errno, err);
    }
    struct stat st;
    int rc;
    if (fstat(fd, &st) != 0) {
        rc = missing(path, errno, err);
    } else if (!S_ISREG(st.st_mode) || st.st_size == 0 || (uint64_t)st.st_size > TRACE_FILE_MAX) {
        rc = error_set(err, -EINVAL, "%s: not a file of 1 byte to 1 GiB", path);
    } else {
        size_t size = (size_t)st.st_size;
        void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            rc = missing(path, errno, err);
        } else {
            rc = load_trace_parse(slice_of(map, size), path, ret_trace, err);
            munmap(map, size);
        }
    }
    close(fd);
    return rc;
}

void load_trace_fini(struct load_trace *trace)
{
    free(trace->items);
    free(trace->blocks);
    *trace = (struct load_trace){0};
}
