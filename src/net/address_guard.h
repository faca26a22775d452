// Which addresses may be connected to. Who writes a ModelBackend, or an EndpointSlice, names the
// addresses that Headrace sends requests to; without a guard that is a way to reach what listens
// only on the loopback of our own pod, the metadata service of a cloud (with the node's
// credentials), or ourselves.
//
// Asked with the address that connect(2) is about to get, so there is nothing between the check
// and the use. Filled at the start; afterwards it is constant and any thread may ask.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/slice.h"
#include "net/cidr.h"

enum address_class {
    ADDRESS_ORDINARY,   // a host like any other, private ranges included: that is where pods are
    ADDRESS_LOOPBACK,   // 127.0.0.0/8, ::1
    ADDRESS_LINK_LOCAL, // 169.254.0.0/16, fe80::/10
    ADDRESS_MULTICAST,  // 224.0.0.0/4, ff00::/8
    ADDRESS_NO_HOST,    // 0.0.0.0/8, 240.0.0.0/4, ::
    ADDRESS_METADATA,   // where clouds tell a machine its credentials
    ADDRESS_OWN,        // what we listen on ourselves
};
// "a loopback address", for messages.
const char *address_class_text(enum address_class class);

enum { ADDRESS_GUARD_RANGES_MAX = 32, ADDRESS_GUARD_OWN_MAX = 16, ADDRESS_GUARD_LOCALS_MAX = 64 };

struct address_guard {
    struct cidr allowed[ADDRESS_GUARD_RANGES_MAX];
    size_t allowed_count;
    struct {
        struct ip address;
        uint16_t port;
        bool is_any; // listens on every address of this machine
    } own[ADDRESS_GUARD_OWN_MAX];
    size_t own_count;
    struct ip locals[ADDRESS_GUARD_LOCALS_MAX]; // addresses of this machine
    size_t local_count;
};

// A zero-initialised guard allows ordinary addresses only. Adds what `list` says, parts separated
// by commas: "loopback", "link-local", "none" (adds nothing), an address, or a range in CIDR
// notation; ::/0 is everything, IPv4 included. 0, or -EINVAL with the text; nothing was added then.
MUST_CHECK int address_guard_allow(struct address_guard *guard, struct slice list,
                                   struct error *err);

// We listen there (the port in the address does not count): never connected to, whatever is
// allowed. The wildcard address stands for all addresses of this machine that are known
// (address_guard_learn_locals) and its loopback.
void address_guard_add_own(struct address_guard *guard, const struct sockaddr_storage *address,
                           uint16_t port);

// Asks the kernel for the addresses of this machine. What cannot be learnt, or is too much, is left
// out.
void address_guard_learn_locals(struct address_guard *guard);
void address_guard_add_local(struct address_guard *guard, const struct sockaddr *address);

// ADDRESS_ORDINARY: may be connected to, because it is such an address or was allowed; else what is
// in the way. IPv4 addresses that are written as IPv6 ones (mapped, NAT64) count as what they mean.
// NULL allows everything.
enum address_class address_guard_check(const struct address_guard *guard,
                                       const struct sockaddr_storage *address);
