#include "scrape/scraper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "scrape/check.h"
#include "scrape/fetch_tls.h"
#include "scrape/health_log.h"
#include "scrape/target.h"

// How often changes of the table and of who is busy are looked for.
enum { TICK_MS = 100 };

struct scraper {
    struct scrape_context context;
    struct fetch_tls tls;
    struct check_context checks;
    struct health_log health_log;
    struct endpoint_table *table;
    pthread_t thread;
    struct timer tick;
    uint64_t version; // of the table, as followed
    struct list_node sources;
};

// ---- sources ----

static void source_free(struct scrape_source *source)
{
    list_for_each(&source->targets, node) {
        scrape_target_free(scrape_target_of_node(node));
    }
    list_remove(&source->node);
    backend_state_unwatch(source->backend);
    server_tls_unref(source->tls);
    free(source->generic);
    free(source);
}

// With the table's lock.
static struct scrape_source *source_new(struct scraper *scraper, struct backend_state *backend)
{
    struct scrape_source *source = calloc(1, sizeof(*source));
    if (source == NULL) {
        return NULL;
    }
    source->context = &scraper->context;
    source->config = backend->scrape;
    source->tls = server_tls_ref(backend->tls);
    list_init(&source->targets);
    if (source->config.engine == ENGINE_GENERIC) {
        source->generic = malloc(sizeof(*source->generic));
        if (source->generic == NULL ||
            metric_plan_init(source->generic, ENGINE_GENERIC, &source->config) != 0) {
            free(source->generic);
            server_tls_unref(source->tls);
            free(source);
            return NULL;
        }
    }
    source->backend = backend;
    backend_state_watch(backend);
    list_push_back(&scraper->sources, &source->node);
    // Relaxed: for display.
    atomic_store_explicit(&backend->detected_engine, (uint32_t)source->config.engine,
                          memory_order_relaxed);
    return source;
}

static bool source_has_metrics(const struct scrape_source *source)
{
    return engine_scrape_path(&source->config, source->config.engine, 0) != NULL &&
           (source->generic == NULL || source->generic->count > 0);
}

static struct scrape_source *source_find(struct scraper *scraper,
                                         const struct backend_state *backend)
{
    list_for_each(&scraper->sources, node) {
        struct scrape_source *source = container_of(node, struct scrape_source, node);
        if (source->backend == backend) {
            return source;
        }
    }
    return NULL;
}

static bool source_is_configured_as(const struct scrape_source *source,
                                    const struct scrape_config *config)
{
    const struct scrape_config *own = &source->config;
    return own->engine == config->engine && own->is_tls == config->is_tls &&
           own->scheme == config->scheme && own->port == config->port &&
           own->interval_ms == config->interval_ms &&
           own->stale_after_ms == config->stale_after_ms &&
           strcmp(own->path, config->path) == 0 &&
           strcmp(own->map_waiting, config->map_waiting) == 0 &&
           strcmp(own->map_running, config->map_running) == 0 &&
           strcmp(own->map_kv, config->map_kv) == 0;
}

// Another certificate or authority: with new connections, all else stays as it was learnt. With the
// table's lock.
static void source_secure(struct scrape_source *source, const struct backend_state *backend)
{
    if (server_tls_same(source->tls, backend->tls)) {
        return;
    }
    server_tls_unref(source->tls);
    source->tls = server_tls_ref(backend->tls);
    list_for_each(&source->targets, node) {
        scrape_target_reconnect(scrape_target_of_node(node));
    }
}

// ---- following the table ----

// Both lists keep the order of the set where nothing changed, so this is one walk along both. With
// the table's lock: the set cannot be replaced, and so not freed, meanwhile.
static bool source_follow(struct scrape_source *source)
{
    const struct endpoint_set *set = backend_state_endpoints(source->backend);
    struct list_node kept;
    bool complete = true;
    list_init(&kept);
    for (size_t i = 0; i < set->count && source_has_metrics(source); i++) {
        struct scrape_target *found = NULL;
        list_for_each(&source->targets, node) {
            if (scrape_target_endpoint(scrape_target_of_node(node)) == set->items[i]) {
                found = scrape_target_of_node(node);
                break;
            }
        }
        if (found == NULL) {
            found = scrape_target_new(source, set->items[i]);
        }
        if (found == NULL) {
            complete = false;
            continue;
        }
        list_remove(scrape_target_node(found));
        list_push_back(&kept, scrape_target_node(found));
    }
    list_for_each(&source->targets, gone) {
        scrape_target_free(scrape_target_of_node(gone));
    }
    list_for_each(&kept, node) {
        list_remove(node);
        list_push_back(&source->targets, node);
    }
    return complete;
}

static void follow_table(struct scraper *scraper)
{
    struct endpoint_table *table = scraper->table;
    // Acquire pairs with the release of every change; looked at before the lock, so that a change
    // after it is seen as one the next time.
    uint64_t version = atomic_load_explicit(&table->version, memory_order_acquire);
    if (version == scraper->version) {
        return;
    }
    list_for_each(&scraper->sources, unseen) {
        container_of(unseen, struct scrape_source, node)->seen = false;
    }
    pthread_mutex_lock(&table->lock);
    bool complete = check_follow(&scraper->checks, table);
    list_for_each(&table->backend_list, node) {
        struct backend_state *backend = container_of(node, struct backend_state, node);
        struct scrape_source *source = source_find(scraper, backend);
        if (source != NULL && !source_is_configured_as(source, &backend->scrape)) {
            source_free(source);
            source = NULL;
        }
        if (source == NULL) {
            source = source_new(scraper, backend);
        }
        if (source == NULL) {
            complete = false;
            continue;
        }
        source->seen = true;
        source_secure(source, backend);
        complete = source_follow(source) && complete;
    }
    complete = fetch_tls_follow(&scraper->tls, table) && complete;
    pthread_mutex_unlock(&table->lock);
    check_sweep(&scraper->checks);
    list_for_each(&scraper->sources, node) {
        struct scrape_source *source = container_of(node, struct scrape_source, node);
        if (!source->seen) {
            source_free(source);
        }
    }
    if (complete) {
        scraper->version = version; // else the next tick tries again
    }
}

// A backend that gets requests after a pause is scraped at its full rate from now on.
static void source_look(struct scrape_source *source, uint64_t now_ms)
{
    uint64_t picks = 0;
    bool loaded = false;
    list_for_each(&source->targets, node) {
        struct endpoint *endpoint = scrape_target_endpoint(scrape_target_of_node(node));
        picks += atomic_load_explicit(&endpoint->picks, memory_order_relaxed);
        loaded = loaded || atomic_load_explicit(&endpoint->load, memory_order_relaxed) != 0;
    }
    bool was_busy = now_ms < source->busy_until_ms;
    if (loaded || picks != source->picks_seen) {
        source->busy_until_ms = now_ms + SCRAPE_BUSY_MS;
    }
    source->picks_seen = picks;
    if (!was_busy && now_ms < source->busy_until_ms) {
        list_for_each(&source->targets, node) {
            scrape_target_hurry(scrape_target_of_node(node));
        }
    }
}

static void on_tick(struct timer *timer, void *arg)
{
    struct scraper *scraper = arg;
    uint64_t now_ms = clock_mono_ms(); // that of the reports, not the loop's
    follow_table(scraper);
    health_watch(scraper->table, now_ms, health_log_take, &scraper->health_log);
    health_log_flush(&scraper->health_log, now_ms);
    list_for_each(&scraper->sources, node) {
        source_look(container_of(node, struct scrape_source, node),
                    loop_now_ms(scraper->context.loop));
    }
    loop_timer_set(scraper->context.loop, timer, TICK_MS, on_tick, scraper);
}

// ---- thread ----

static void *scraper_run(void *arg)
{
    struct scraper *scraper = arg;
    pthread_setname_np(pthread_self(), "scrape");
    loop_timer_set(scraper->context.loop, &scraper->tick, 0, on_tick, scraper);
    loop_run(scraper->context.loop);
    loop_timer_cancel(scraper->context.loop, &scraper->tick);
    check_fini(&scraper->checks);
    list_for_each(&scraper->sources, node) {
        source_free(container_of(node, struct scrape_source, node));
    }
    fetch_tls_fini(&scraper->tls);
    return NULL;
}

static void scraper_free(struct scraper *scraper)
{
    loop_free(scraper->context.loop);
    free(scraper->context.fetch.buffer);
    scrape_readers_free(&scraper->context);
    free(scraper);
}

static int context_init(struct scrape_context *context, struct error *err)
{
    list_init(&context->idle_readers);
    rand_seed_random(&context->rng);
    for (int engine = 0; engine < ENGINE_COUNT; engine++) {
        if (engine != ENGINE_GENERIC &&
            metric_plan_init(&context->plans[engine], (enum engine)engine, NULL) != 0) {
            return error_set(err, -EINVAL, "the table of engines is broken");
        }
    }
    context->fetch.buffer = malloc(FETCH_BUFFER_SIZE);
    if (context->fetch.buffer == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    int rc = loop_new(&context->loop, err);
    context->fetch.loop = context->loop;
    return rc;
}

int scraper_start(struct scraper **ret_scraper, struct endpoint_table *table, struct error *err)
{
    struct scraper *scraper = calloc(1, sizeof(*scraper));
    if (scraper == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    scraper->table = table;
    scraper->context.fetch.guard = table->guard;
    scraper->context.fetch.tls = &scraper->tls;
    scraper->tls.table = table;
    list_init(&scraper->sources);
    check_init(&scraper->checks);
    int rc = context_init(&scraper->context, err);
    scraper->checks.loop = scraper->context.loop;
    scraper->checks.fetch = &scraper->context.fetch;
    scraper->checks.rng = &scraper->context.rng;
    if (rc == 0) {
        sigset_t all, before;
        sigfillset(&all); // signals are for the thread that started us
        pthread_sigmask(SIG_SETMASK, &all, &before);
        rc = -pthread_create(&scraper->thread, NULL, scraper_run, scraper);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (rc != 0) {
            error_set(err, rc, "scraper thread: %s", strerror(-rc));
        }
    }
    if (rc != 0) {
        scraper_free(scraper);
        return rc;
    }
    *ret_scraper = scraper;
    return 0;
}

void scraper_stop(struct scraper *scraper)
{
    if (scraper != NULL) {
        loop_stop(scraper->context.loop);
        pthread_join(scraper->thread, NULL);
        scraper_free(scraper);
    }
}
