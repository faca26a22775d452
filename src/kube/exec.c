#include "kube/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/strbuf.h"

enum { OUTPUT_MAX = 1 << 20, KEPT_OPEN_MS = 500 };

struct kube_exec_run {
    struct loop *loop;
    pid_t pid;
    int pid_fd;
    int out_fd;
    struct io pid_io;
    struct io out_io;
    struct timer timeout;
    struct strbuf output;
    bool exited;
    bool closed;
    int status; // of waitpid
    uint64_t timeout_ms;
    kube_exec_done *done;
    void *arg;
};

static void run_free(struct kube_exec_run *run)
{
    loop_io_del(run->loop, &run->pid_io);
    loop_io_del(run->loop, &run->out_io);
    loop_timer_cancel(run->loop, &run->timeout);
    if (run->pid > 0 && !run->exited) {
        kill(-run->pid, SIGKILL);
        while (waitpid(run->pid, &run->status, 0) < 0 && errno == EINTR) {
        }
    }
    if (run->pid_fd >= 0) {
        close(run->pid_fd);
    }
    if (run->out_fd >= 0) {
        close(run->out_fd);
    }
    if (run->output.ptr != NULL) {
        explicit_bzero(run->output.ptr, run->output.cap);
    }
    strbuf_fini(&run->output);
    free(run);
}

static void finish(struct kube_exec_run *run, int rc, const struct error *err)
{
    loop_io_del(run->loop, &run->pid_io);
    loop_io_del(run->loop, &run->out_io);
    run->done(rc, strbuf_slice(&run->output), err, run->arg);
    run_free(run);
}

static void finish_if_complete(struct kube_exec_run *run)
{
    struct error err = ERROR_INIT;
    int rc = 0;
    if (!run->exited || !run->closed) {
        return;
    }
    if (WIFSIGNALED(run->status)) {
        rc = error_set(&err, -ECHILD, "ended by signal %d", WTERMSIG(run->status));
    } else if (WEXITSTATUS(run->status) != 0) {
        rc = error_set(&err, -ECHILD, "exit status %d", WEXITSTATUS(run->status));
    }
    finish(run, rc, &err);
}

// Reads what is there. True at the end of the output or when there is too much of it.
static bool read_output(struct kube_exec_run *run)
{
    for (;;) {
        if (!strbuf_reserve(&run->output, 4096)) {
            return true;
        }
        ssize_t n = read(run->out_fd, run->output.ptr + run->output.len, 4096);
        if (n > 0) {
            run->output.len += (size_t)n;
        } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
            return true;
        } else if (errno == EAGAIN) {
            return false;
        }
    }
}

static void on_output(struct io *io, uint32_t events, void *arg)
{
    (void)events;
    struct kube_exec_run *run = arg;
    if (!read_output(run)) {
        return;
    }
    loop_io_del(run->loop, io);
    run->closed = true;
    if (run->output.failed) {
        struct error err;
        finish(run, error_set(&err, -EFBIG, "wrote more than %d bytes", OUTPUT_MAX), &err);
        return;
    }
    finish_if_complete(run);
}

static void on_timeout(struct timer *timer, void *arg)
{
    (void)timer;
    struct kube_exec_run *run = arg;
    struct error err;
    if (run->exited) { // a grandchild still holds the pipe: what came so far is the answer
        run->closed = true;
        finish_if_complete(run);
        return;
    }
    finish(run, error_set(&err, -ETIMEDOUT, "gave no answer in %llu ms",
                          (unsigned long long)run->timeout_ms), &err);
}

static void on_exit_of_child(struct io *io, uint32_t events, void *arg)
{
    (void)events;
    struct kube_exec_run *run = arg;
    pid_t pid = waitpid(run->pid, &run->status, WNOHANG);
    if (pid == 0 || (pid < 0 && errno == EINTR)) {
        return;
    }
    loop_io_del(run->loop, io);
    run->exited = true;
    if (pid < 0) { // somebody else reaped it; the output must speak for itself
        run->status = 0;
    }
    if (!run->closed) {
        loop_timer_set(run->loop, &run->timeout, KEPT_OPEN_MS, on_timeout, run);
    }
    finish_if_complete(run);
}

extern char **environ;

// Ours, except what the additions name, then the additions. The strings are borrowed.
static char **merge_env(char *const add[])
{
    size_t n = 0;
    size_t extra = 0;
    while (environ != NULL && environ[n] != NULL) {
        n++;
    }
    while (add != NULL && add[extra] != NULL) {
        extra++;
    }
    char **out = calloc(n + extra + 1, sizeof(*out));
    size_t at = 0;
    for (size_t i = 0; out != NULL && i < n; i++) {
        bool replaced = false;
        for (size_t k = 0; k < extra && !replaced; k++) {
            size_t name = strcspn(add[k], "=");
            replaced = strncmp(environ[i], add[k], name + 1) == 0;
        }
        if (!replaced) {
            out[at++] = environ[i];
        }
    }
    for (size_t k = 0; out != NULL && k < extra; k++) {
        out[at++] = add[k];
    }
    return out;
}

static int spawn(char *const argv[], char *const env[], int out_fd, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    sigset_t defaults;
    char **full_env = merge_env(env);
    if (full_env == NULL) {
        return -ENOMEM;
    }
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGTERM);
    sigaddset(&defaults, SIGINT);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    int rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
    rc = rc != 0 ? rc : posix_spawnattr_setsigmask(&attr, &none);
    rc = rc != 0 ? rc : posix_spawnattr_setsigdefault(&attr, &defaults);
    rc = rc != 0 ? rc : posix_spawnattr_setpgroup(&attr, 0);
    rc = rc != 0 ? rc
                 : posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                       POSIX_SPAWN_SETPGROUP);
    rc = rc != 0 ? rc : posix_spawnp(ret_pid, argv[0], &actions, &attr, argv, full_env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    free(full_env);
    return -rc;
}

int kube_exec_start(struct loop *loop, char *const argv[], char *const env[], uint64_t timeout_ms,
                    kube_exec_done *done, void *arg, struct kube_exec_run **ret_run,
                    struct error *err)
{
    int pipe_fds[2] = {-1, -1};
    struct kube_exec_run *run = calloc(1, sizeof(*run));
    if (run == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    run->loop = loop;
    run->pid_fd = -1;
    run->out_fd = -1;
    run->done = done;
    run->arg = arg;
    run->timeout_ms = timeout_ms;
    strbuf_init(&run->output, OUTPUT_MAX);
    int rc = pipe2(pipe_fds, O_CLOEXEC) == 0 ? 0 : -errno;
    if (rc == 0) {
        run->out_fd = pipe_fds[0];
        rc = fcntl(run->out_fd, F_SETFL, O_NONBLOCK) == 0 ? 0 : -errno;
    }
    rc = rc != 0 ? rc : spawn(argv, env, pipe_fds[1], &run->pid);
    if (pipe_fds[1] >= 0) {
        close(pipe_fds[1]);
    }
    if (rc == 0) {
        run->pid_fd = (int)syscall(SYS_pidfd_open, run->pid, 0);
        rc = run->pid_fd >= 0 ? 0 : -errno;
    }
    rc = rc != 0 ? rc : loop_io_add(loop, &run->out_io, run->out_fd, EPOLLIN, on_output, run);
    rc = rc != 0 ? rc
                 : loop_io_add(loop, &run->pid_io, run->pid_fd, EPOLLIN, on_exit_of_child, run);
    if (rc != 0) {
        error_set(err, rc, "cannot run %s: %s", argv[0], strerror(-rc));
        run_free(run);
        return rc;
    }
    loop_timer_set(loop, &run->timeout, timeout_ms, on_timeout, run);
    *ret_run = run;
    return 0;
}

void kube_exec_cancel(struct kube_exec_run *run)
{
    if (run != NULL) {
        run_free(run);
    }
}
