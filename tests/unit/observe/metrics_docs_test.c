// docs/metrics.md lists what the exposition has, with the texts of the code's own tables.
// UPDATE_GOLDEN=1 writes the lists anew (`make sync` does).
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "observe/metrics.h"

enum { TEXT_MAX = 1 << 20, LABELS_MAX = 256 };

static const char docs_path[] = "docs/metrics.md";

static const char *fault_label(unsigned n)
{
    return n == 0 ? "ok" : NULL;
}

// Every family with at least one series, so that its labels can be seen.
static void count_something(struct metrics *metrics)
{
    struct metrics_worker *worker = metrics_worker(metrics, 0);
    struct traffic *cells = traffic_of(&worker->traffic, SLICE("ns/route"), SLICE("ns/backend"));
    assert_non_null(cells);
    metrics_cell_add(&cells->outcomes[0], 1);
    const double kube[METRIC_KUBE_COUNT] = {0};
    metrics_kube_set(metrics, 0, "Service", kube);
}

static void write_exposition(struct strbuf *out)
{
    struct epoch epoch;
    struct endpoint_table *table;
    struct endpoint_spec spec = {.weight = 1};
    struct metrics *metrics = metrics_new(1);
    epoch_init(&epoch);
    assert_non_null(metrics);
    assert_int_equal(endpoint_table_new(&table, &epoch), 0);
    struct backend_state *backend = endpoint_table_backend(table, SLICE("ns/backend"));
    assert_non_null(backend);
    assert_int_equal(endpoint_address_parse(SLICE("10.0.0.1"), 8000, &spec), 0);
    assert_int_equal(backend_state_set_endpoints(backend, &spec, 1), 0);
    endpoint_sample_write(backend_state_endpoints(backend)->items[0], 3, 5, 0.25, 0, 0, 0, 1000);
    count_something(metrics);
    strbuf_init(out, TEXT_MAX);
    metrics_write(metrics, out, fault_label);
    metrics_write_endpoints(table, 1500, out);
    metrics_write_process("1", true, out);
    assert_false(out->failed);
    backend_state_unref(backend);
    endpoint_table_free(table);
    epoch_fini(&epoch);
    metrics_free(metrics);
}

// Names of the labels of the series in the first line, as "`a`, `b`"; the bounds of histograms are
// none of theirs.
static void print_labels(struct slice text, struct strbuf *out)
{
    struct slice line, name, pair, rest;
    assert_true(slice_split(&text, '\n', &line));
    ptrdiff_t open = slice_find(line, SLICE("{"));
    ptrdiff_t close = slice_find(line, SLICE("}"));
    if (open < 0 || close < open) {
        return;
    }
    rest = slice_of(line.ptr + open + 1, (size_t)(close - open - 1));
    while (slice_split(&rest, ',', &pair)) {
        assert_true(slice_split(&pair, '=', &name));
        if (!slice_eq_str(name, "le")) {
            strbuf_printf(out, "%s`%.*s`", out->len != 0 ? ", " : "", SLICE_FMT(name));
        }
    }
}

struct family {
    struct slice name;
    struct slice help;
    struct slice type;
    char labels[LABELS_MAX];
};

// The family whose HELP line begins at *rest; false at the end.
static bool next_family(struct slice *rest, struct family *family)
{
    struct slice line;
    struct strbuf labels;
    if (!slice_split(rest, '\n', &line) || line.len == 0) {
        return false;
    }
    assert_true(slice_has_prefix(line, SLICE("# HELP ")));
    line = slice_skip(line, 7);
    assert_true(slice_split(&line, ' ', &family->name));
    family->help = line;
    assert_true(slice_split(rest, '\n', &line));
    assert_true(slice_has_prefix(line, SLICE("# TYPE ")));
    family->type = slice_skip(line, 7 + family->name.len + 1);
    if (rest->len == 0 || rest->ptr[0] == '#') {
        fail_msg("%.*s has no series", SLICE_FMT(family->name));
    }
    strbuf_init(&labels, LABELS_MAX);
    print_labels(*rest, &labels);
    snprintf(family->labels, sizeof(family->labels), "%s", strbuf_cstr(&labels));
    strbuf_fini(&labels);
    while (rest->len != 0 && rest->ptr[0] != '#') {
        assert_true(slice_split(rest, '\n', &line));
    }
    return true;
}

// The lists by the labels that a family begins with; the last takes what is left.
static const struct {
    const char *title;
    const char *labels;
} lists[] = {
    {"routes and backends", "`route`, `backend`"},
    {"endpoints", "`backend`, `endpoint`"},
    {"pools", "`name`, `pool_namespace`"},
    {"workers", "`worker`"},
    {"Kubernetes", "`kind`"},
    {"the instance", ""},
};

static size_t list_of(const struct family *family)
{
    size_t i = 0;
    while (strncmp(family->labels, lists[i].labels, strlen(lists[i].labels)) != 0) {
        i++;
    }
    return i;
}

static void print_list(struct slice exposition, size_t list, struct strbuf *out)
{
    struct family family;
    strbuf_add_str(out, "| metric | type | labels | |\n| --- | --- | --- | --- |\n");
    while (next_family(&exposition, &family)) {
        if (list_of(&family) == list) {
            strbuf_printf(out, "| `%.*s` | %.*s | %s | %.*s |\n", SLICE_FMT(family.name),
                          SLICE_FMT(family.type), family.labels, SLICE_FMT(family.help));
        }
    }
}

// Replaces what stands between the list's mark and the next end mark.
static void place(struct strbuf *docs, const char *title, struct slice list)
{
    char mark[128];
    snprintf(mark, sizeof(mark), "<!-- metrics of %s: written by `make sync` -->\n", title);
    ptrdiff_t at = slice_find(strbuf_slice(docs), slice_of_str(mark));
    if (at < 0) {
        fail_msg("%s has no %s", docs_path, mark);
    }
    size_t begin = (size_t)at + strlen(mark);
    struct slice rest = slice_skip(strbuf_slice(docs), begin);
    ptrdiff_t length = slice_find(rest, SLICE("<!-- end -->"));
    assert_true(length >= 0);
    struct strbuf made;
    strbuf_init(&made, TEXT_MAX);
    strbuf_add(&made, slice_first(strbuf_slice(docs), begin));
    strbuf_add(&made, list);
    strbuf_add(&made, slice_skip(rest, (size_t)length));
    assert_false(made.failed);
    strbuf_fini(docs);
    *docs = made;
}

static void read_docs(struct strbuf *out)
{
    FILE *file = fopen(docs_path, "re");
    if (file == NULL) {
        fail_msg("cannot open %s: run from the root of the repository", docs_path);
    }
    strbuf_init(out, TEXT_MAX);
    assert_true(strbuf_reserve(out, TEXT_MAX / 2));
    out->len = fread(out->ptr, 1, TEXT_MAX / 2, file);
    fclose(file);
}

static void the_docs_tell_of_every_metric(void **state)
{
    (void)state;
    struct strbuf found, wanted, exposition;
    read_docs(&found);
    read_docs(&wanted);
    write_exposition(&exposition);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct strbuf list;
        strbuf_init(&list, TEXT_MAX);
        print_list(strbuf_slice(&exposition), i, &list);
        place(&wanted, lists[i].title, strbuf_slice(&list));
        strbuf_fini(&list);
    }
    bool same = slice_eq(strbuf_slice(&found), strbuf_slice(&wanted));
    if (!same && getenv("UPDATE_GOLDEN") != NULL) {
        FILE *file = fopen(docs_path, "we");
        assert_non_null(file);
        assert_int_equal(fwrite(wanted.ptr, 1, wanted.len, file), wanted.len);
        fclose(file);
    } else if (!same) {
        fail_msg("%s is not what the code's tables say: make sync writes it anew", docs_path);
    }
    strbuf_fini(&found);
    strbuf_fini(&wanted);
    strbuf_fini(&exposition);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_docs_tell_of_every_metric),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
