// A folder of manifests: what is served is what was good last.
#include "manifest/folder.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"

struct world {
    char dir[64];
    struct loop *loop;
    struct epoch *epoch;
    struct endpoint_table *table;
    struct controller *controller;
    struct folder *folder;
    struct snapshot *snapshot;
    size_t publications;
};

static void on_publish(void *arg, struct snapshot *snapshot)
{
    struct world *w = arg;
    snapshot_unref(w->snapshot);
    w->snapshot = snapshot;
    w->publications++;
}

static int world_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct error err = ERROR_INIT;
    log_setup(LOG_LEVEL_ERROR + 1, LOG_FORMAT_TEXT); // the errors are wanted here
    snprintf(w->dir, sizeof(w->dir), "/tmp/headrace-folder-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    assert_int_equal(loop_new(&w->loop, &err), 0);
    assert_int_equal(posix_memalign((void **)&w->epoch, CACHE_LINE, sizeof(*w->epoch)), 0);
    epoch_init(w->epoch);
    assert_int_equal(endpoint_table_new(&w->table, w->epoch), 0);
    struct controller_config config = {
        .loop = w->loop,
        .endpoints = w->table,
        .ingress_class = SLICE("headrace"),
        .sink = {.publish = on_publish, .arg = w},
    };
    assert_int_equal(controller_new(&config, &w->controller, &err), 0);
    *state = w;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int world_down(void **state)
{
    struct world *w = *state;
    folder_free(w->folder);
    controller_free(w->controller);
    snapshot_unref(w->snapshot);
    endpoint_table_free(w->table);
    epoch_fini(w->epoch);
    free(w->epoch);
    loop_free(w->loop);
    nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(w);
    return 0;
}

static const char *path_of(const struct world *w, const char *name)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", w->dir, name);
    return path;
}

static void put(struct world *w, const char *name, const char *text)
{
    FILE *file = fopen(path_of(w, name), "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
}

static void start(struct world *w)
{
    struct error err = ERROR_INIT;
    if (folder_new(w->loop, w->controller, w->dir, &w->folder, &err) < 0) {
        fail_msg("%s", err.text);
    }
    controller_flush(w->controller);
}

static void rescan(struct world *w)
{
    folder_rescan(w->folder);
    controller_flush(w->controller);
}

static bool serves(const struct world *w, const char *key)
{
    for (size_t i = 0; i < w->snapshot->backend_count; i++) {
        if (slice_eq_str(w->snapshot->backends[i]->key, key)) {
            return true;
        }
    }
    return false;
}

// Turns the loop until the backend is there (or gone), at most a minute.
static bool becomes(struct world *w, const char *key, bool there)
{
    uint64_t end = clock_mono_ms() + 60000;
    while (w->snapshot == NULL || serves(w, key) != there) {
        if (clock_mono_ms() > end) {
            return false;
        }
        loop_turn(w->loop, 20);
    }
    return true;
}

#define BACKEND(name)                                                       \
    "apiVersion: headrace.dev/v1alpha1\nkind: ModelBackend\n"               \
    "metadata: {name: " name "}\n"                                          \
    "spec: {static: {endpoints: [{address: 10.0.0.1, port: 80}]}}\n---\n"

static void test_loads_what_counts(void **state)
{
    struct world *w = *state;
    put(w, "a.yaml", BACKEND("a1") BACKEND("a2"));
    put(w, "b.yml", BACKEND("b"));
    put(w, "c.json", "{\"apiVersion\": \"headrace.dev/v1alpha1\", \"kind\": \"ModelBackend\",\n"
                     " \"metadata\": {\"name\": \"c\"}, \"spec\": {\"static\": {\"endpoints\":\n"
                     "\t[{\"address\": \"10.0.0.1\", \"port\": 80}]}}}\n");
    put(w, ".hidden.yaml", BACKEND("hidden"));
    put(w, "notes.txt", "not: [a manifest");
    put(w, "a.yaml~", BACKEND("backup"));
    assert_int_equal(mkdir(path_of(w, "sub.yaml"), 0700), 0);
    put(w, "foreign.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n");
    start(w);
    assert_int_equal(w->publications, 1);
    assert_int_equal(w->snapshot->backend_count, 4);
    assert_true(serves(w, "default/a1") && serves(w, "default/a2") && serves(w, "default/b") &&
                serves(w, "default/c"));
    assert_int_equal(folder_counters(w->folder)->files, 4);
    rescan(w);
    assert_int_equal(w->publications, 1); // nothing changed
    assert_int_equal(folder_counters(w->folder)->loads, 4);
}

static void test_a_broken_file_keeps_its_last_good_state(void **state)
{
    struct world *w = *state;
    put(w, "a.yaml", BACKEND("a"));
    put(w, "b.yaml", BACKEND("b"));
    start(w);
    put(w, "a.yaml", BACKEND("a-new") "spec: [unclosed\n");
    put(w, "b.yaml", BACKEND("b-new"));
    rescan(w);
    assert_true(serves(w, "default/a"));
    assert_false(serves(w, "default/a-new"));
    assert_true(serves(w, "default/b-new")); // the other file is not held up
    assert_false(serves(w, "default/b"));
    assert_int_equal(folder_counters(w->folder)->files_broken, 1);
    // An object that breaks a rule is a broken file too: not half of it.
    put(w, "a.yaml", BACKEND("a-new") "apiVersion: headrace.dev/v1alpha1\nkind: AIRoute\n"
                                      "metadata: {name: r}\nspec: {rules: []}\n");
    rescan(w);
    assert_true(serves(w, "default/a"));
    assert_false(serves(w, "default/a-new"));
    put(w, "a.yaml", BACKEND("a-new"));
    rescan(w);
    assert_false(serves(w, "default/a"));
    assert_true(serves(w, "default/a-new"));
    assert_int_equal(folder_counters(w->folder)->files_broken, 0);
}

static void test_broken_at_the_start(void **state)
{
    struct world *w = *state;
    put(w, "a.yaml", BACKEND("a") "spec: [unclosed\n");
    put(w, "b.yaml", BACKEND("b") "apiVersion: headrace.dev/v1alpha1\nkind: ModelBackend\n"
                                  "metadata: {name: bad}\nspec: {}\n");
    start(w);
    assert_false(serves(w, "default/a"));
    assert_true(serves(w, "default/b")); // what is good of it counts
    assert_false(serves(w, "default/bad"));
    put(w, "b.yaml", BACKEND("b2") "apiVersion: headrace.dev/v1alpha1\nkind: ModelBackend\n"
                                   "metadata: {name: bad}\nspec: {still: bad}\n");
    rescan(w);
    assert_true(serves(w, "default/b2")); // it never was good as a whole
    put(w, "a.yaml", BACKEND("a"));
    rescan(w);
    assert_true(serves(w, "default/a"));
}

static void test_an_object_twice(void **state)
{
    struct world *w = *state;
    put(w, "b.yaml", BACKEND("x") BACKEND("only-b"));
    put(w, "c.yaml", "apiVersion: headrace.dev/v1alpha1\nkind: ModelBackend\nmetadata: {name: x}\n"
                     "spec: {static: {endpoints: [{address: 10.0.0.2, port: 80}]}, engine: TGI}\n");
    start(w);
    assert_int_equal(w->snapshot->backend_count, 2);
    assert_int_equal(w->snapshot->backends[1]->scrape.engine, ENGINE_AUTO); // of b.yaml
    assert_int_equal(unlink(path_of(w, "b.yaml")), 0);
    rescan(w);
    assert_int_equal(w->snapshot->backend_count, 1); // now that of c.yaml
    assert_int_equal(w->snapshot->backends[0]->scrape.engine, ENGINE_TGI);
}

static void test_inotify_sees_edits(void **state)
{
    struct world *w = *state;
    start(w);
    put(w, "new.yaml", BACKEND("one"));
    assert_true(becomes(w, "default/one", true));
    put(w, ".new.yaml.swp", BACKEND("two")); // as editors do: another file, renamed over
    char from[256];
    snprintf(from, sizeof(from), "%s", path_of(w, ".new.yaml.swp"));
    assert_int_equal(rename(from, path_of(w, "new.yaml")), 0);
    assert_true(becomes(w, "default/two", true));
    assert_true(becomes(w, "default/one", false));
    put(w, "new.yaml", BACKEND("three")); // in place
    assert_true(becomes(w, "default/three", true));
    assert_int_equal(unlink(path_of(w, "new.yaml")), 0);
    assert_true(becomes(w, "default/three", false));
}

// A mounted ConfigMap: files are links through ..data, which is swapped as a whole.
static void test_inotify_sees_a_configmap_swap(void **state)
{
    struct world *w = *state;
    assert_int_equal(mkdir(path_of(w, "..1"), 0700), 0);
    put(w, "..1/a.yaml", BACKEND("one"));
    assert_int_equal(symlink("..1", path_of(w, "..data")), 0);
    assert_int_equal(symlink("..data/a.yaml", path_of(w, "a.yaml")), 0);
    start(w);
    assert_true(serves(w, "default/one"));
    assert_int_equal(mkdir(path_of(w, "..2"), 0700), 0);
    put(w, "..2/a.yaml", BACKEND("two"));
    assert_int_equal(symlink("..2", path_of(w, "..data_tmp")), 0);
    char from[256];
    snprintf(from, sizeof(from), "%s", path_of(w, "..data_tmp"));
    assert_int_equal(rename(from, path_of(w, "..data")), 0);
    assert_true(becomes(w, "default/two", true));
    assert_false(serves(w, "default/one"));
}

static void test_a_folder_that_goes_keeps_its_state(void **state)
{
    struct world *w = *state;
    char away[128];
    put(w, "a.yaml", BACKEND("a"));
    start(w);
    snprintf(away, sizeof(away), "%s-away", w->dir);
    assert_int_equal(rename(w->dir, away), 0);
    rescan(w);
    assert_true(serves(w, "default/a"));
    assert_int_equal(mkdir(w->dir, 0700), 0); // another folder in its place
    put(w, "b.yaml", BACKEND("b"));
    rescan(w);
    assert_true(serves(w, "default/b"));
    assert_false(serves(w, "default/a"));
    put(w, "c.yaml", BACKEND("c")); // and that one is watched
    assert_true(becomes(w, "default/c", true));
    nftw(away, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

// The files are as they should be, only the process is short of descriptors for a while.
static void test_a_file_that_could_not_be_read_is_read_later(void **state)
{
    struct world *w = *state;
    struct rlimit before;
    put(w, "a.yaml", BACKEND("a"));
    start(w);
    put(w, "a.yaml", BACKEND("other"));
    int next = dup(STDIN_FILENO);
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit tight = {.rlim_cur = (rlim_t)next + 1, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0); // enough for the folder, not for a file
    rescan(w);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(folder_counters(w->folder)->files_broken, 1);
    assert_true(serves(w, "default/a"));
    rescan(w);
    assert_int_equal(folder_counters(w->folder)->files_broken, 0);
    assert_true(serves(w, "default/other"));
}

static void test_hostile_entries(void **state)
{
    struct world *w = *state;
    assert_int_equal(mkfifo(path_of(w, "pipe.yaml"), 0600), 0); // must not block
    assert_int_equal(symlink("/dev/zero", path_of(w, "zero.yaml")), 0);
    assert_int_equal(symlink("nowhere", path_of(w, "dangling.yaml")), 0);
    assert_int_equal(symlink("loop.yaml", path_of(w, "loop.yaml")), 0);
    put(w, "a.yaml", BACKEND("a"));
    put(w, "huge.yaml", "");
    assert_int_equal(truncate(path_of(w, "huge.yaml"), (off_t)1 << 34), 0);
    start(w);
    assert_int_equal(w->snapshot->backend_count, 1);
}

static void test_no_folder(void **state)
{
    struct world *w = *state;
    struct error err = ERROR_INIT;
    assert_int_equal(folder_new(w->loop, w->controller, "/nonexistent/folder", &w->folder, &err),
                     -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/folder"));
    assert_null(w->folder);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_up, world_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_loads_what_counts),
        WORLD_TEST(test_a_broken_file_keeps_its_last_good_state),
        WORLD_TEST(test_broken_at_the_start),
        WORLD_TEST(test_an_object_twice),
        WORLD_TEST(test_inotify_sees_edits),
        WORLD_TEST(test_inotify_sees_a_configmap_swap),
        WORLD_TEST(test_a_folder_that_goes_keeps_its_state),
        WORLD_TEST(test_a_file_that_could_not_be_read_is_read_later),
        WORLD_TEST(test_hostile_entries),
        WORLD_TEST(test_no_folder),
    };
    return cmocka_run_group_tests_name("folder", tests, NULL, NULL);
}
