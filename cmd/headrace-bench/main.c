// headrace-bench: open-loop load for OpenAI-compatible servers.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "load/report.h"
#include "load/run.h"
#include "options.h"

enum { PROGRESS_TTY_MS = 500, PROGRESS_LOG_MS = 10000, REPORT_MAX = 16 << 20 };

struct bench {
    struct options options;
    struct loop *loop;
    struct load_run *run;
    struct load_tally tally;
    struct timer progress;
    bool tty;
    int signal_fd;
    struct io signal_io;
    unsigned signals;
};

static void print_progress(struct bench *bench)
{
    struct load_progress p = load_run_progress(bench->run);
    const struct histogram *ttft = &bench->tally.ttft;
    fprintf(stderr, "%s%4.0f s  sent %llu  over %llu  in flight %llu  waiting %llu  failed %llu",
            bench->tty ? "\r" : "", (double)p.elapsed_ns / 1e9, (unsigned long long)p.sent,
            (unsigned long long)p.over, (unsigned long long)p.in_flight,
            (unsigned long long)p.waiting, (unsigned long long)p.failed);
    if (ttft->count > 0) {
        fprintf(stderr, "  TTFT p50 %.1f ms p99 %.1f ms",
                (double)histogram_quantile(ttft, 0.5) / 1e6,
                (double)histogram_quantile(ttft, 0.99) / 1e6);
    }
    fprintf(stderr, "%s", bench->tty ? "\x1b[K" : "\n");
}

static void progress_due(struct timer *timer, void *arg)
{
    struct bench *bench = arg;
    print_progress(bench);
    loop_timer_set(bench->loop, timer, bench->tty ? PROGRESS_TTY_MS : PROGRESS_LOG_MS,
                   progress_due, bench);
}

static void run_done(void *arg)
{
    struct bench *bench = arg;
    loop_stop(bench->loop);
}

// The first signal ends the sending, the second the waiting.
static void signal_ready(struct io *io, UNUSED uint32_t events, void *arg)
{
    struct bench *bench = arg;
    struct signalfd_siginfo info;
    if (read(io->fd, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
        return;
    }
    if (bench->signals++ == 0) {
        load_run_stop(bench->run);
    } else {
        load_run_abort(bench->run);
    }
}

static int watch_signals(struct bench *bench, struct error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    bench->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (bench->signal_fd < 0) {
        return error_set(err, -errno, "signalfd: %s", strerror(errno));
    }
    int rc = loop_io_add(bench->loop, &bench->signal_io, bench->signal_fd, EPOLLIN, signal_ready,
                         bench);
    return rc != 0 ? error_set(err, rc, "epoll: %s", strerror(-rc)) : 0;
}

// Each stream is a descriptor.
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int drive(struct bench *bench, struct error *err)
{
    int rc = loop_new(&bench->loop, err);
    rc = rc ? rc : watch_signals(bench, err);
    rc = rc ? rc
            : load_run_new(bench->loop, &bench->options.config, &bench->tally, run_done, bench,
                           &bench->run, err);
    if (rc != 0) {
        return rc;
    }
    if (!bench->options.quiet) {
        bench->tty = isatty(STDERR_FILENO) == 1;
        loop_timer_set(bench->loop, &bench->progress,
                       bench->tty ? PROGRESS_TTY_MS : PROGRESS_LOG_MS, progress_due, bench);
    }
    loop_run(bench->loop);
    if (!bench->options.quiet) {
        print_progress(bench);
        fputs(bench->tty ? "\n" : "", stderr);
    }
    return 0;
}

static int report(struct bench *bench)
{
    struct strbuf out;
    strbuf_init(&out, REPORT_MAX);
    load_tally_sort(&bench->tally);
    if (bench->options.output == OUTPUT_JSON) {
        load_report_json(&bench->options.config, &bench->tally, &out);
    } else {
        load_report_table(&bench->options.config, &bench->tally, &out);
    }
    bool written = !out.failed && fwrite(out.ptr, 1, out.len, stdout) == out.len &&
                   fflush(stdout) == 0;
    strbuf_fini(&out);
    if (!written) {
        fprintf(stderr, "headrace-bench: cannot write the report\n");
        return 1;
    }
    bool failed = bench->tally.failed > 0 && bench->options.fail_on_error;
    return failed || bench->tally.succeeded == 0 ? 1 : 0;
}

static void bench_fini(struct bench *bench)
{
    if (bench->loop != NULL) {
        loop_timer_cancel(bench->loop, &bench->progress);
        load_run_free(bench->run);
        loop_io_del(bench->loop, &bench->signal_io);
        loop_free(bench->loop);
    }
    if (bench->signal_fd >= 0) {
        close(bench->signal_fd);
    }
    load_tally_fini(&bench->tally);
    options_fini(&bench->options);
    free(bench);
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct bench *bench = calloc(1, sizeof(*bench));
    if (bench == NULL) {
        oom_abort("start");
    }
    bench->signal_fd = -1;
    load_tally_init(&bench->tally);
    raise_file_limit();
    int rc = options_read(&bench->options, argc - 1, argv + 1, &err);
    int status = rc == -EAGAIN ? 0 : 2;
    if (rc == 0) {
        rc = drive(bench, &err);
        status = rc == 0 ? report(bench) : 2;
    }
    if (rc != 0 && rc != -EAGAIN) {
        fprintf(stderr, "headrace-bench: %s\n", err.text);
    }
    bench_fini(bench);
    return status;
}
