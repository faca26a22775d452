// Is the policy worth it? A discrete-event simulation of pods that prefill one prompt at a time and
// decode a batch, fed by the real pick_endpoint: seeded, without a clock.
//
// With a trace as argument it prints the table for that trace instead: lines of JSON with timestamp
// in ms, input_length and output_length, as the Mooncake traces have, or of
// TIMESTAMP,ContextTokens,GeneratedTokens, as Azure's have. Its time is compressed or stretched so
// that the prompts take 90 % of the pods' prefill capacity, or the share given as second argument.
#include "endpoint/pick.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    PODS = 8,
    SLOTS = 32,
    GATEWAYS_MAX = 4,
    STEP_MS = 20,         // a decode step, whatever the batch
    PREFILL_FIX_MS = 10,
    PREFILL_PER_MS = 20,  // tokens
    REQUESTS = 6000,
};

#define NO_JOB UINT32_MAX

struct job {
    double arrival;
    uint32_t tokens;
    uint32_t output;
    double first_token;
    struct reservation reservation;
    uint32_t next;  // in a pod's queue
    uint32_t fixed; // sent there by somebody who does not ask us; NO_JOB = ours to place
};

struct workload {
    struct job *jobs;
    uint32_t count;
    uint32_t cap;
};

struct pod {
    uint32_t head, tail; // waiting
    uint32_t waiting;
    uint32_t running;
    uint32_t prefilling;
};

struct event {
    double at;
    enum { EVENT_PREFILLED, EVENT_DONE, EVENT_SCRAPE } kind;
    uint32_t job, pod;
};

struct gateway {
    struct endpoint_table *table;
    struct backend_state *backend;
    struct rand_state rng;
};

struct sim {
    struct workload *load;
    struct pod pods[PODS];
    struct gateway gateways[GATEWAYS_MAX];
    struct epoch *epoch;
    uint32_t gateway_count;
    uint32_t scrape_ms; // 0 = never
    enum pick_policy policy;
    struct event *heap;
    size_t heap_len;
    uint32_t done;
};

// ---- events ----

static void heap_push(struct sim *sim, struct event event)
{
    size_t i = sim->heap_len++;
    while (i > 0 && sim->heap[(i - 1) / 2].at > event.at) {
        sim->heap[i] = sim->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    sim->heap[i] = event;
}

static struct event heap_pop(struct sim *sim)
{
    struct event top = sim->heap[0];
    struct event last = sim->heap[--sim->heap_len];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= sim->heap_len) {
            break;
        }
        if (child + 1 < sim->heap_len && sim->heap[child + 1].at < sim->heap[child].at) {
            child++;
        }
        if (sim->heap[child].at >= last.at) {
            break;
        }
        sim->heap[i] = sim->heap[child];
        i = child;
    }
    sim->heap[i] = last;
    return top;
}

// ---- pods ----

static void pod_go_on(struct sim *sim, uint32_t p, double now)
{
    struct pod *pod = &sim->pods[p];
    if (pod->prefilling != NO_JOB || pod->head == NO_JOB || pod->running >= SLOTS) {
        return;
    }
    uint32_t j = pod->head;
    struct job *job = &sim->load->jobs[j];
    pod->head = job->next;
    pod->waiting--;
    pod->running++;
    pod->prefilling = j;
    double took = (double)PREFILL_FIX_MS + (double)job->tokens / (double)PREFILL_PER_MS;
    heap_push(sim, (struct event){.at = now + took, .kind = EVENT_PREFILLED, .job = j, .pod = p});
}

static void pod_add(struct sim *sim, uint32_t p, uint32_t j, double now)
{
    struct pod *pod = &sim->pods[p];
    sim->load->jobs[j].next = NO_JOB;
    if (pod->head == NO_JOB) {
        pod->head = j;
    } else {
        sim->load->jobs[pod->tail].next = j;
    }
    pod->tail = j;
    pod->waiting++;
    pod_go_on(sim, p, now);
}

static void arrive(struct sim *sim, uint32_t j)
{
    struct job *job = &sim->load->jobs[j];
    if (job->fixed != NO_JOB) {
        pod_add(sim, job->fixed, j, job->arrival);
        return;
    }
    // As clients' connections fall.
    struct gateway *gateway = &sim->gateways[(j * UINT32_C(2654435761) >> 16) % sim->gateway_count];
    struct pick_request request = {
        .policy = sim->policy,
        .prompt_bytes = (uint64_t)job->tokens * 4,
        .now_ms = (uint64_t)job->arrival + 1,
        .rng = &gateway->rng,
    };
    int rc = pick_endpoint(gateway->backend, &request, false, &job->reservation, NULL);
    BUG_ON(rc != 0);
    const struct endpoint_set *set = backend_state_endpoints(gateway->backend);
    for (uint32_t p = 0; p < PODS; p++) {
        if (set->items[p] == job->reservation.endpoint) {
            pod_add(sim, p, j, job->arrival);
        }
    }
}

static void scrape(struct sim *sim, double now)
{
    for (uint32_t g = 0; g < sim->gateway_count; g++) {
        const struct endpoint_set *set = backend_state_endpoints(sim->gateways[g].backend);
        for (uint32_t p = 0; p < PODS; p++) {
            struct endpoint *e = set->items[p];
            // vLLM counts those that are being prefilled as running, as we do here.
            endpoint_sample_write(e, sim->pods[p].waiting, sim->pods[p].running, NAN, NAN,
                                  load_requests(atomic_load(&e->load)),
                                  atomic_load(&e->tokens_reserved), (uint64_t)now + 1);
        }
    }
    heap_push(sim, (struct event){.at = now + sim->scrape_ms, .kind = EVENT_SCRAPE});
}

static void handle(struct sim *sim, const struct event *event)
{
    struct job *job = &sim->load->jobs[event->job];
    struct pod *pod = &sim->pods[event->pod];
    switch (event->kind) {
    case EVENT_PREFILLED:
        pod->prefilling = NO_JOB;
        job->first_token = event->at;
        reservation_first_token(&job->reservation);
        heap_push(sim, (struct event){.at = event->at + (double)job->output * (double)STEP_MS,
                                      .kind = EVENT_DONE,
                                      .job = event->job,
                                      .pod = event->pod});
        break;
    case EVENT_DONE:
        pod->running--;
        sim->done++;
        reservation_release(&job->reservation);
        break;
    case EVENT_SCRAPE:
        scrape(sim, event->at);
        return;
    }
    pod_go_on(sim, event->pod, event->at);
}

// ---- a run ----

static void sim_up(struct sim *sim)
{
    BUG_ON(posix_memalign((void **)&sim->epoch, CACHE_LINE, sizeof(*sim->epoch)) != 0);
    epoch_init(sim->epoch);
    struct endpoint_spec specs[PODS] = {0};
    for (uint16_t p = 0; p < PODS; p++) {
        BUG_ON(endpoint_address_parse(SLICE("10.0.0.1"), (uint16_t)(p + 1), &specs[p]) != 0);
        sim->pods[p] = (struct pod){.head = NO_JOB, .prefilling = NO_JOB};
    }
    for (uint32_t g = 0; g < sim->gateway_count; g++) {
        struct gateway *gateway = &sim->gateways[g];
        gateway->rng.state = g + 1;
        BUG_ON(endpoint_table_new(&gateway->table, sim->epoch) != 0);
        gateway->backend = endpoint_table_backend(gateway->table, SLICE("sim"));
        BUG_ON(gateway->backend == NULL);
        BUG_ON(backend_state_set_endpoints(gateway->backend, specs, PODS) != 0);
        struct scrape_config config = {.interval_ms = MAX_OF(sim->scrape_ms, 1u),
                                       .stale_after_ms = 2000};
        backend_state_configure(gateway->backend, &config);
    }
    sim->heap = calloc((size_t)PODS * (SLOTS + 1) + 2, sizeof(*sim->heap));
    BUG_ON(sim->heap == NULL);
}

static void sim_down(struct sim *sim)
{
    for (uint32_t g = 0; g < sim->gateway_count; g++) {
        const struct endpoint_set *set = backend_state_endpoints(sim->gateways[g].backend);
        for (uint32_t p = 0; p < PODS; p++) {
            BUG_ON(atomic_load(&set->items[p]->load) != 0); // the books are empty again
        }
        endpoint_table_free(sim->gateways[g].table);
    }
    free(sim->epoch);
    free(sim->heap);
}

struct result {
    double mean, p90, p99;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static struct result sim_result(const struct workload *load)
{
    double *ttft = calloc(load->count, sizeof(*ttft));
    BUG_ON(ttft == NULL);
    struct result result = {0};
    for (uint32_t i = 0; i < load->count; i++) {
        ttft[i] = (load->jobs[i].first_token - load->jobs[i].arrival) / 1000;
        result.mean += ttft[i] / load->count;
    }
    qsort(ttft, load->count, sizeof(*ttft), by_value);
    result.p90 = ttft[load->count * 9ull / 10];
    result.p99 = ttft[load->count * 99ull / 100];
    free(ttft);
    return result;
}

// Time to first token in seconds.
static struct result simulate(struct workload *load, enum pick_policy policy, uint32_t gateways,
                              uint32_t scrape_ms)
{
    struct sim sim = {
        .load = load, .policy = policy, .gateway_count = gateways, .scrape_ms = scrape_ms};
    sim_up(&sim);
    if (scrape_ms > 0) {
        heap_push(&sim, (struct event){.at = 0, .kind = EVENT_SCRAPE});
    }
    uint32_t next = 0;
    while (sim.done < load->count) {
        if (next < load->count &&
            (sim.heap_len == 0 || load->jobs[next].arrival <= sim.heap[0].at)) {
            arrive(&sim, next++);
        } else {
            struct event event = heap_pop(&sim);
            handle(&sim, &event);
        }
    }
    sim_down(&sim);
    return sim_result(load);
}

// ---- workloads ----

static void workload_add(struct workload *load, double arrival, uint32_t tokens, uint32_t output)
{
    if (load->count == load->cap) {
        load->cap = MAX_OF(load->cap * 2, 1024u);
        load->jobs = realloc(load->jobs, load->cap * sizeof(*load->jobs));
        BUG_ON(load->jobs == NULL);
    }
    load->jobs[load->count++] =
        (struct job){.arrival = arrival, .tokens = tokens, .output = output, .fixed = NO_JOB};
}

// Stretches time so that the prompts take this share of the pods' prefill capacity.
static void workload_scale(struct workload *load, double share)
{
    double work = 0;
    for (uint32_t i = 0; i < load->count; i++) {
        work += (double)PREFILL_FIX_MS + (double)load->jobs[i].tokens / (double)PREFILL_PER_MS;
    }
    double factor = work / (double)PODS / share / load->jobs[load->count - 1].arrival;
    for (uint32_t i = 0; i < load->count; i++) {
        load->jobs[i].arrival *= factor;
    }
}

static double normal(struct rand_state *rng)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        sum += rand_unit(rng);
    }
    return sum;
}

static uint32_t log_normal(struct rand_state *rng, double median, double sigma, double most)
{
    return (uint32_t)fmin(fmax(median * exp(sigma * normal(rng)), 16), most);
}

// Bursts of several requests in one instant; prompts with a long tail.
static struct workload workload_bursty(uint64_t seed, double share)
{
    struct workload load = {0};
    struct rand_state rng = {.state = seed};
    double at = 1;
    while (load.count < REQUESTS) {
        at -= log(1 - rand_unit(&rng)) * 1000;
        for (uint64_t n = 1 + rand_below(&rng, 12); n > 0; n--) {
            workload_add(&load, at, log_normal(&rng, 7000, 1.0, 120000),
                         log_normal(&rng, 250, 0.7, 2000));
        }
    }
    workload_scale(&load, share);
    return load;
}

// ---- tests ----

static void inference_aware_beats_the_other_policies(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct workload load = workload_bursty(seed, 0.6);
        double aware = simulate(&load, PICK_INFERENCE_AWARE, 1, 0).mean;
        double least = simulate(&load, PICK_LEAST_REQUEST, 1, 0).mean;
        double round = simulate(&load, PICK_ROUND_ROBIN, 1, 0).mean;
        double random = simulate(&load, PICK_RANDOM, 1, 0).mean;
        print_message("mean TTFT s: InferenceAware %.3f LeastRequest %.3f RoundRobin %.3f "
                      "Random %.3f\n", aware, least, round, random);
        assert_true(aware < 0.8 * least);
        assert_true(aware < 0.8 * round);
        assert_true(round < random);
        free(load.jobs);
    }
}

static void load_from_outside_is_found_by_scraping(void **state)
{
    (void)state;
    double blind = 0, scraped = 0, round = 0;
    for (uint64_t seed = 11; seed <= 13; seed++) {
        struct workload load = workload_bursty(seed, 0.6);
        for (uint32_t i = 0; i < load.count; i += 3) {
            load.jobs[i].fixed = i / 3 % 2; // a third of all goes to two of the eight pods
        }
        blind += simulate(&load, PICK_INFERENCE_AWARE, 1, 0).mean / 3;
        scraped += simulate(&load, PICK_INFERENCE_AWARE, 1, 200).mean / 3;
        round += simulate(&load, PICK_ROUND_ROBIN, 1, 0).mean / 3;
        free(load.jobs);
    }
    print_message("load from outside, mean TTFT s: alone %.3f, with scraping %.3f, "
                  "RoundRobin %.3f\n",
                  blind, scraped, round);
    assert_true(scraped < 0.75 * blind);
    assert_true(blind < round);
}

static void gateways_that_scrape_the_same_pods_do_not_herd(void **state)
{
    (void)state;
    double blind = 0, scraped = 0, old = 0;
    for (uint64_t seed = 31; seed <= 35; seed++) {
        struct workload load = workload_bursty(seed, 0.7);
        blind += simulate(&load, PICK_INFERENCE_AWARE, 4, 0).mean / 5;
        scraped += simulate(&load, PICK_INFERENCE_AWARE, 4, 50).mean / 5;
        old += simulate(&load, PICK_INFERENCE_AWARE, 4, 1000).mean / 5;
        free(load.jobs);
    }
    print_message("four gateways, mean TTFT s: alone %.3f, scraping at 50 ms %.3f, at 1 s %.3f\n",
                  blind, scraped, old);
    assert_true(scraped < 1.02 * blind);
    assert_true(old < 1.08 * blind);
}

// All see the same few requests running; whoever breaks ties by them does what all others do.
static void gateways_that_scrape_nearly_idle_pods_do_not_herd(void **state)
{
    (void)state;
    double blind = 0, scraped = 0;
    for (uint64_t seed = 41; seed <= 45; seed++) {
        struct workload load = workload_bursty(seed, 0.2);
        blind += simulate(&load, PICK_INFERENCE_AWARE, 4, 0).mean / 5;
        scraped += simulate(&load, PICK_INFERENCE_AWARE, 4, 200).mean / 5;
        free(load.jobs);
    }
    print_message("four gateways, little load, mean TTFT s: alone %.3f, scraping %.3f\n", blind,
                  scraped);
    assert_true(scraped < 1.01 * blind);
}

static void scraping_never_harms_a_gateway_that_sees_all(void **state)
{
    (void)state;
    double alone = 0, scraped = 0;
    for (uint64_t seed = 21; seed <= 23; seed++) {
        struct workload load = workload_bursty(seed, 0.9);
        alone += simulate(&load, PICK_INFERENCE_AWARE, 1, 0).mean;
        scraped += simulate(&load, PICK_INFERENCE_AWARE, 1, 1000).mean;
        free(load.jobs);
    }
    print_message("one gateway, mean TTFT s: alone %.3f, with scraping %.3f\n", alone / 3,
                  scraped / 3);
    assert_true(scraped < 1.05 * alone);
}

// ---- the table for a trace ----

// "2023-11-16 18:17:03.9799600,4808,10". Traces of more than a month are not told apart.
static bool line_read_azure(const char *line, double *at, unsigned *tokens, unsigned *output)
{
    unsigned day, hour, minute;
    double second;
    if (sscanf(line, "%*4u-%*2u-%2u %2u:%2u:%lf,%u,%u", &day, &hour, &minute, &second, tokens,
               output) != 6) {
        return false;
    }
    *at = ((day * 24.0 + hour) * 60 + minute) * 60000 + second * 1000;
    return true;
}

static bool line_read(const char *line, double *at, unsigned *tokens, unsigned *output)
{
    return sscanf(line, "{\"timestamp\": %lf, \"input_length\": %u, \"output_length\": %u", at,
                  tokens, output) == 3 ||
           line_read_azure(line, at, tokens, output);
}

static struct workload workload_read(const char *path)
{
    struct workload load = {0};
    double first = 0;
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t size = 0;
    while (file != NULL && getline(&line, &size, file) > 0) {
        double at;
        unsigned tokens, output;
        if (line_read(line, &at, &tokens, &output)) {
            first = load.count == 0 ? at : first;
            workload_add(&load, at - first + 1, MAX_OF(tokens, 1u), MAX_OF(output, 1u));
        }
    }
    free(line);
    if (file != NULL) {
        fclose(file);
    }
    return load;
}

static int print_table(const char *path, double share)
{
    struct workload load = workload_read(path);
    if (load.count < 2) {
        fprintf(stderr, "%s: no trace\n", path);
        return 1;
    }
    workload_scale(&load, share);
    static const struct {
        uint32_t gateways, scrape_ms;
    } settings[] = {{1, 0}, {1, 200}, {4, 0}, {4, 50}, {4, 200}, {4, 1000}};
    printf("%u requests, %.0f %% of prefill capacity; time to first token, mean / p90 / p99 s\n",
           load.count, share * 100);
    for (size_t s = 0; s < ARRAY_LEN(settings); s++) {
        for (unsigned policy = 0; policy <= PICK_RANDOM; policy++) {
            struct result r =
                simulate(&load, policy, settings[s].gateways, settings[s].scrape_ms);
            printf("%u gateways, scrape %4u ms  %-15s %7.3f /%7.3f /%7.3f\n",
                   settings[s].gateways, settings[s].scrape_ms, pick_policy_name(policy), r.mean,
                   r.p90, r.p99);
        }
    }
    free(load.jobs);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        double share = argc > 2 ? strtod(argv[2], NULL) / 100 : 0.9;
        return share > 0 ? print_table(argv[1], share) : 2;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inference_aware_beats_the_other_policies),
        cmocka_unit_test(load_from_outside_is_found_by_scraping),
        cmocka_unit_test(gateways_that_scrape_the_same_pods_do_not_herd),
        cmocka_unit_test(gateways_that_scrape_nearly_idle_pods_do_not_herd),
        cmocka_unit_test(scraping_never_harms_a_gateway_that_sees_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
