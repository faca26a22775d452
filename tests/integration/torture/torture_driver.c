// headrace as it is, but for memory and files: in its workers, allocations and the making of
// sockets fail when the test says so. The program's own calls are wrapped by the linker, so that a
// sanitizer keeps its allocator, and only the data plane is struck: the control half may give up at
// its start.
//
// TORTURE_FILE names a file of 24 bytes, shared with the test: u64 calls so far, u64 the call that
// fails (0 = none), u64 after how many calls on average another one fails (0 = no other).
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct plan {
    _Atomic uint64_t calls;
    _Atomic uint64_t fail_at;
    _Atomic uint64_t step;
};

static struct plan *plan;

__attribute__((constructor)) static void map_plan(void)
{
    const char *path = getenv("TORTURE_FILE");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *mapped = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || mapped == MAP_FAILED) {
        abort();
    }
    close(fd);
    plan = mapped;
}

static bool in_worker(void)
{
    static _Thread_local bool is_worker; // a thread is named before its first request
    if (!is_worker) {
        char name[16] = "";
        pthread_getname_np(pthread_self(), name, sizeof(name));
        is_worker = strncmp(name, "worker-", 7) == 0;
    }
    return is_worker;
}

static bool must_fail(void)
{
    if (plan == NULL || !in_worker()) {
        return false;
    }
    uint64_t call = atomic_fetch_add(&plan->calls, 1) + 1;
    uint64_t at = atomic_load(&plan->fail_at);
    if (at == 0 || call != at) {
        return false;
    }
    uint64_t step = atomic_load(&plan->step);
    // Not in step with the program: a call that is made again and again shall succeed some time.
    uint64_t draw = call * UINT64_C(0x9e3779b97f4a7c15) >> 33;
    atomic_store(&plan->fail_at, step != 0 ? call + 1 + draw % (2 * step) : 0);
    return true;
}

#define WRAP(type, name, failure, error, parameters, arguments) \
    type __real_##name parameters;                              \
    type __wrap_##name parameters;                              \
    type __wrap_##name parameters                               \
    {                                                           \
        if (must_fail()) {                                      \
            errno = error;                                      \
            return failure;                                     \
        }                                                       \
        return __real_##name arguments;                         \
    }

WRAP(void *, malloc, NULL, ENOMEM, (size_t size), (size))
WRAP(void *, calloc, NULL, ENOMEM, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, NULL, ENOMEM, (void *old, size_t size), (old, size))
WRAP(void *, aligned_alloc, NULL, ENOMEM, (size_t align, size_t size), (align, size))
WRAP(int, socket, -1, EMFILE, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, accept4, -1, ENFILE, (int fd, struct sockaddr *address, socklen_t *len, int flags),
     (fd, address, len, flags))
WRAP(int, epoll_ctl, -1, ENOSPC, (int epoll, int op, int fd, struct epoll_event *event),
     (epoll, op, fd, event))
