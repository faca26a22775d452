// Any bytes as an exposition: pieces of any size give the same numbers, whatever is found is sound,
// and an ORCA header is read without harm. The first byte picks the size of the pieces.
#include <math.h>
#include <stdlib.h>

#include "endpoint/load_metrics.h"
#include "scrape/engine_table.h"

#define CHECK(cond) BUG_ON(!(cond))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct metric_plan plan;
static struct metric_reader whole, pieces;

static bool read_in_pieces(struct metric_reader *reader, const uint8_t *data, size_t size,
                           size_t step, struct metric_result *result)
{
    metric_reader_init(reader, &plan);
    for (size_t at = 0; at < size; at += step) {
        size_t len = size - at < step ? size - at : step;
        char *piece = malloc(len); // its own, so that reading beyond it is seen
        CHECK(piece != NULL);
        memcpy(piece, data + at, len);
        metric_reader_feed(reader, slice_of(piece, len));
        free(piece);
    }
    return metric_reader_finish(reader, result);
}

static bool sound(double value, double most)
{
    return isnan(value) || (value >= 0 && value <= most);
}

static bool same(double a, double b)
{
    return isnan(a) ? isnan(b) : !isnan(b) && !(a < b) && !(a > b);
}

static void check_orca(const uint8_t *data, size_t size)
{
    struct load_metrics metrics;
    char *copy = malloc(size + 5);
    CHECK(copy != NULL);
    memcpy(copy, size % 2 == 0 ? "TEXT " : "JSON ", 5);
    memcpy(copy + 5, data, size);
    if (load_metrics_parse(slice_of(copy, size + 5), &metrics) == 0) {
        CHECK(sound(metrics.waiting, INFINITY) && sound(metrics.kv_utilisation, INFINITY));
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (plan.count == 0) {
        CHECK(metric_plan_init(&plan, ENGINE_AUTO, NULL) == 0);
    }
    if (size == 0) {
        return 0;
    }
    size_t step = data[0] % 64 + 1u;
    data++;
    size--;
    struct metric_result a, b;
    bool found = read_in_pieces(&whole, data, size, size > 0 ? size : 1, &a);
    CHECK(found == read_in_pieces(&pieces, data, size, step, &b));
    CHECK(whole.count == pieces.count && whole.exposition.samples == pieces.exposition.samples);
    for (size_t i = 0; i < whole.count; i++) {
        CHECK(whole.values[i].entry == pieces.values[i].entry &&
              whole.values[i].group == pieces.values[i].group &&
              same(whole.values[i].value, pieces.values[i].value));
    }
    if (found) {
        CHECK(a.engine > ENGINE_AUTO && a.engine < ENGINE_COUNT && a.engine == b.engine);
        CHECK(sound(a.waiting, INFINITY) && sound(a.running, INFINITY));
        CHECK(sound(a.kv_utilisation, 1) && sound(a.kv_capacity_tokens, INFINITY));
        CHECK(same(a.waiting, b.waiting) && same(a.kv_utilisation, b.kv_utilisation));
        CHECK(strcmp(a.found, b.found) == 0 && strcmp(a.missing, b.missing) == 0);
        CHECK(a.found[0] != '\0');
    }
    check_orca(data, size);
    return 0;
}
